//! What can go wrong with another registry, in words for the person who runs this one.

use std::time::Duration;

use storage_layout::Digest;

use crate::peer::Endpoint;
use crate::store;

/// A fault of another registry, of the way there, or of taking in what it sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nobody answers.
    #[error("cannot reach {endpoint}")]
    Unreachable {
        /// Who.
        endpoint: Endpoint,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It answered with an error.
    #[error("{endpoint} answered {status} to {request}{}", detail.as_ref().map(|it| format!(": {it}")).unwrap_or_default())]
    Refused {
        /// Who.
        endpoint: Endpoint,
        /// With which status.
        status: u16,
        /// To what.
        request: String,
        /// Its own words, cut short.
        detail: Option<String>,
    },
    /// It does not take the credentials, or there are none for it.
    #[error("{endpoint} wants credentials for {request}")]
    Unauthorized {
        /// Who.
        endpoint: Endpoint,
        /// For what.
        request: String,
    },
    /// It was silent for too long.
    #[error("{endpoint} sent nothing for {} s", after.as_secs())]
    Stalled {
        /// Who.
        endpoint: Endpoint,
        /// For how long.
        after: Duration,
    },
    /// It ended before everything had come.
    #[error("{endpoint} ended the transfer early")]
    Cut {
        /// Who.
        endpoint: Endpoint,
    },
    /// It sent what the protocol does not allow.
    #[error("{endpoint} does not keep to the protocol: {why}")]
    Protocol {
        /// Who.
        endpoint: Endpoint,
        /// What is wrong.
        why: String,
    },
    /// It sent more than it may.
    #[error("{endpoint} sent more than {limit} bytes for {request}")]
    TooLarge {
        /// Who.
        endpoint: Endpoint,
        /// In answer to what.
        request: String,
        /// How much it may be.
        limit: u64,
    },
    /// What it sent has another digest.
    #[error("{endpoint} sent {computed} for {wanted}")]
    WrongDigest {
        /// Who.
        endpoint: Endpoint,
        /// What was asked for.
        wanted: Digest,
        /// What came.
        computed: Digest,
    },
    /// None of the sources has it.
    #[error("no source has {what}")]
    Missing {
        /// What was looked for.
        what: String,
    },
    /// What the sources have of a release is not all that its payload lists.
    #[error("the sources do not have all of release {release}: it lacks {lacks}{}", match more { 0 => String::new(), more => format!(" and {more} more") })]
    Incomplete {
        /// Which release.
        release: Digest,
        /// The first thing that it lacks.
        lacks: String,
        /// How many more.
        more: usize,
    },
    /// It does not fit on the disk.
    #[error("not enough storage space: needs {needed} bytes, {free} bytes free")]
    NoSpace {
        /// What is to come, in bytes.
        needed: u64,
        /// What is free and not promised to others, in bytes.
        free: u64,
    },
    /// Nothing can be written here.
    #[error("this store is read-only")]
    ReadOnly,
    /// Somebody cancelled.
    #[error("cancelled")]
    Cancelled,
    /// The own store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Error {
    /// Whether another attempt, perhaps elsewhere, may succeed where this one failed.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Stalled { .. } | Self::Cut { .. } | Self::WrongDigest { .. } => {
                true
            }
            Self::Refused { status, .. } => matches!(status, 408 | 429 | 500..=599),
            Self::Unauthorized { .. }
            | Self::Protocol { .. }
            | Self::TooLarge { .. }
            | Self::Missing { .. }
            | Self::Incomplete { .. }
            | Self::NoSpace { .. }
            | Self::ReadOnly
            | Self::Cancelled
            | Self::Store(_) => false,
        }
    }
}
