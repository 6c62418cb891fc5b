//! The content of a `link` file: a digest and nothing else.
//!
//! Knows what distribution writes (`linkedBlobStore.linkBlob`: the digest, no
//! newline) and what it forgives when reading. Does not know where links lie.

use crate::digest::{Digest, DigestError};

/// The digest that a `link` file holds. White space around it is forgiven, as
/// distribution forgives it (`digest.Parse(strings.TrimSpace(...))`).
///
/// # Errors
/// The content is not a digest; an empty file is what a power cut leaves of
/// distribution's unsynced writes.
pub fn parse_link(content: &[u8]) -> Result<Digest, DigestError> {
    let text = core::str::from_utf8(content).map_err(|_| DigestError::NoColon)?;
    Digest::parse(text.trim())
}
