//! The content of a `link` file: a digest and nothing else.
//!
//! Knows what distribution writes (`blobStore.link`: the digest, no newline) and
//! the one thing that is forgiven here. Does not know where links lie.

use crate::digest::{Digest, DigestError};

/// The digest that a `link` file holds. White space around it is forgiven, which
/// distribution does not: a link that was mended by hand ends in a newline.
///
/// # Errors
/// The content is not a digest; an empty file is what a power cut leaves of
/// distribution's unsynced writes.
pub fn parse_link(content: &[u8]) -> Result<Digest, DigestError> {
    let text = core::str::from_utf8(content).map_err(|_| DigestError::NoColon)?;
    Digest::parse(text.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn what_a_link_may_hold() {
        let expected = Digest::parse(DIGEST);
        for (content, expected) in [
            (DIGEST.as_bytes(), expected),
            ([DIGEST, "\n"].concat().as_bytes(), expected),
            ([" ", DIGEST, "\r\n"].concat().as_bytes(), expected),
            (b"", Err(DigestError::NoColon)),
            (b"\n", Err(DigestError::NoColon)),
            (&[0; 71], Err(DigestError::NoColon)),
            (b"\xff\xfe", Err(DigestError::NoColon)),
            (&DIGEST.as_bytes()[..70], Err(DigestError::Value(crate::Algorithm::Sha256))),
            ([DIGEST, DIGEST].concat().as_bytes(), Err(DigestError::Value(crate::Algorithm::Sha256))),
        ] {
            assert_eq!(parse_link(content), expected, "{content:?}");
        }
    }
}
