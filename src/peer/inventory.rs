//! The inventory: what a node has, as lines of JSON.
//!
//! Knows the format and its version. Does not know how the lines are gathered or sent.
//!
//! ```text
//! {"inventory":1}
//! {"repository":"openshift/release"}
//! {"tag":"4.18.0-etcd","digest":"sha256:..."}
//! {"manifest":"sha256:...","size":1234}
//! {"blob":"sha256:...","size":5678}
//! {"end":true}
//! ```
//!
//! What stands below a repository belongs to it. Lines of kinds that a reader does not know, and members that
//! it does not know, are passed over, so that nodes of neighbouring versions understand each other; a version
//! that it does not know is refused. A list without its last line was cut short.

use serde::Deserialize;
use serde::Serialize;
use storage_layout::Digest;
use storage_layout::RepositoryName;
use storage_layout::Tag;

/// The version of the format. It rises only when an old reader would misunderstand.
pub const VERSION: u32 = 1;
/// What the lines are called in `Content-Type`.
pub const MEDIA_TYPE: &str = "application/vnd.larder.inventory.v1+x-ndjson";
/// Where a node's inventory is.
pub const PATH: &str = "/v2/_larder/sync/inventory";

/// A line of an inventory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// The first line.
    Begin {
        /// Of the format.
        version: u32,
    },
    /// What follows belongs to this repository.
    Repository(RepositoryName),
    /// A tag and what it points at.
    Tag(Tag, Digest),
    /// A manifest and its length.
    Manifest(Digest, u64),
    /// A blob and its length.
    Blob(Digest, u64),
    /// The last line: nothing is missing.
    End,
    /// A line of a kind that a later version knows.
    Unknown,
}

/// A line on the wire: whichever member is there says what it is.
#[derive(Default, Deserialize, Serialize)]
struct Wire<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    inventory: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none", borrow)]
    repository: Option<std::borrow::Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none", borrow)]
    tag: Option<std::borrow::Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    manifest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    blob: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<bool>,
}

impl Line {
    /// Reads a line.
    ///
    /// # Errors
    /// It is not JSON, or a name, tag or digest in it is not one.
    pub fn parse(line: &[u8]) -> Result<Self, LineError> {
        let wire: Wire<'_> = serde_json::from_slice(line).map_err(|_| LineError::Json)?;
        let size = wire.size.unwrap_or_default();
        let digest = |text: &str| Digest::parse(text).map_err(|_| LineError::Digest);
        Ok(match wire {
            Wire { inventory: Some(version), .. } => Self::Begin { version },
            Wire { repository: Some(name), .. } => {
                Self::Repository(RepositoryName::parse(&name).map_err(|_| LineError::Name)?)
            }
            Wire { tag: Some(tag), digest: Some(text), .. } => {
                Self::Tag(Tag::parse(&tag).map_err(|_| LineError::Tag)?, digest(&text)?)
            }
            Wire { manifest: Some(text), .. } => Self::Manifest(digest(&text)?, size),
            Wire { blob: Some(text), .. } => Self::Blob(digest(&text)?, size),
            Wire { end: Some(true), .. } => Self::End,
            _ => Self::Unknown,
        })
    }

    /// Appends the line with its end.
    pub fn write(&self, out: &mut Vec<u8>) {
        let wire = match self {
            Self::Begin { version } => Wire { inventory: Some(*version), ..Wire::default() },
            Self::Repository(name) => Wire { repository: Some(name.as_str().into()), ..Wire::default() },
            Self::Tag(tag, digest) => {
                Wire { tag: Some(tag.as_str().into()), digest: Some(digest.to_string()), ..Wire::default() }
            }
            Self::Manifest(digest, size) => {
                Wire { manifest: Some(digest.to_string()), size: Some(*size), ..Wire::default() }
            }
            Self::Blob(digest, size) => {
                Wire { blob: Some(digest.to_string()), size: Some(*size), ..Wire::default() }
            }
            Self::End => Wire { end: Some(true), ..Wire::default() },
            Self::Unknown => return,
        };
        // Writing to memory does not fail, and no member can fail to be written.
        if serde_json::to_writer(&mut *out, &wire).is_ok() {
            out.push(b'\n');
        }
    }
}

/// Why a line cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LineError {
    /// It is not a JSON object.
    #[error("a line of the inventory is not JSON")]
    Json,
    /// A repository's name is none.
    #[error("a line of the inventory names a repository that cannot exist")]
    Name,
    /// A tag is none.
    #[error("a line of the inventory names a tag that cannot exist")]
    Tag,
    /// A digest is none.
    #[error("a line of the inventory holds a digest that is none")]
    Digest,
}

/// Asks which blobs a node has and which it is about to have: the body of `POST /v2/_larder/sync/have`.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct HaveRequest {
    /// At most [`Self::LIMIT`] of them.
    pub blobs: Vec<String>,
}

impl HaveRequest {
    /// How many digests may be asked about at once: half a megabyte of them.
    pub const LIMIT: usize = 4096;
    /// Where to ask.
    pub const PATH: &str = "/v2/_larder/sync/have";
}

/// The answer: one letter a digest, in the order of the question.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct HaveResponse {
    /// `y` has it, `f` is getting it and may give what it has so far, `w` is about to get it, `n` does not have it.
    pub blobs: String,
}

/// What a node says of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Have {
    /// It is there.
    Yes,
    /// It is on its way there: whoever asks for it may get what has come so far, and the rest as it comes.
    Fetching,
    /// It is about to be fetched there. Readers of before take this for no.
    Wanted,
    /// It is not there.
    No,
}

impl Have {
    /// The letter for it.
    pub fn letter(self) -> char {
        match self {
            Self::Yes => 'y',
            Self::Fetching => 'f',
            Self::Wanted => 'w',
            Self::No => 'n',
        }
    }

    /// What a letter stands for; a letter of a later version means no.
    pub fn from_letter(letter: char) -> Self {
        match letter {
            'y' => Self::Yes,
            'f' => Self::Fetching,
            'w' => Self::Wanted,
            _ => Self::No,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest() -> Digest {
        Digest::parse(&format!("sha256:{}", "ab".repeat(32))).unwrap()
    }

    #[test]
    fn every_line_reads_back() {
        let name = RepositoryName::parse("openshift/release").unwrap();
        let lines = [
            Line::Begin { version: VERSION },
            Line::Repository(name),
            Line::Tag(Tag::parse("v1").unwrap(), digest()),
            Line::Manifest(digest(), 7),
            Line::Blob(digest(), u64::MAX),
            Line::End,
        ];
        for line in lines {
            let mut text = Vec::new();
            line.write(&mut text);
            assert_eq!(text.pop(), Some(b'\n'));
            assert_eq!(Line::parse(&text), Ok(line));
        }
    }

    #[test]
    fn what_other_versions_and_strangers_send() {
        let check = |text: &str, want| assert_eq!(Line::parse(text.as_bytes()), want, "{text}");
        check(r#"{"inventory":1,"node":"a","later":[1]}"#, Ok(Line::Begin { version: 1 }));
        check(r#"{"lease":"x"}"#, Ok(Line::Unknown));
        check(r#"{"tag":"v1"}"#, Ok(Line::Unknown));
        check(r#"{"repository":"../etc"}"#, Err(LineError::Name));
        check(r#"{"tag":"../x","digest":"sha256:00"}"#, Err(LineError::Tag));
        check(r#"{"blob":"sha256:00","size":1}"#, Err(LineError::Digest));
        check(r#"{"blob":"x","size":-1}"#, Err(LineError::Json));
        check("[]", Err(LineError::Json));
        check("", Err(LineError::Json));
    }
}
