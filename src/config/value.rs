//! The values of settings that are neither numbers nor paths: each word once, read and shown.

use std::fmt;
use std::time::Duration;

use crate::config::duration;

/// A closed set of words: an enum, how each is spelled, and back.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The word for it.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }

            /// The one that a word stands for.
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|it| it.as_str().eq_ignore_ascii_case(word))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// Whether the store may be written.
    Access {
        /// Not one write is made.
        ReadOnly = "read-only",
        /// Clients with the right to may push.
        ReadWrite = "read-write",
    }
}

words! {
    /// Whether clients may delete manifests, tags and blobs (distribution's `storage.delete.enabled`).
    Deletes {
        /// With the right to push.
        Allowed = "allowed",
        /// Not at all.
        Refused = "refused",
    }
}

words! {
    /// Whether HTTP/2 is offered over TLS.
    Http2 {
        /// By ALPN, beside HTTP/1.1.
        Offered = "offered",
        /// Only HTTP/1.1 is.
        Disabled = "disabled",
    }
}

words! {
    /// The lowest version of TLS that is spoken.
    TlsVersion {
        /// Also what takes the place of the older ones, which no longer protect.
        Tls12 = "tls1.2",
        /// Nothing older.
        Tls13 = "tls1.3",
    }
}

words! {
    /// A TLS 1.2 cipher suite, by its IANA name. Those of TLS 1.3 are always offered, as in Go.
    CipherSuite {
        /// ECDSA, AES-128.
        EcdsaAes128 = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        /// ECDSA, AES-256.
        EcdsaAes256 = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        /// ECDSA, ChaCha20.
        EcdsaChacha20 = "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        /// RSA, AES-128.
        RsaAes128 = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        /// RSA, AES-256.
        RsaAes256 = "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        /// RSA, ChaCha20.
        RsaChacha20 = "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    }
}

words! {
    /// How much is logged.
    LogLevel {
        /// What somebody has to act on.
        Error = "error",
        /// What may become that.
        Warn = "warn",
        /// What an operator wants to know.
        Info = "info",
        /// What a developer wants to know.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
}

words! {
    /// How log lines are written.
    LogFormat {
        /// For people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}

words! {
    /// Whether each request leaves a line in the log.
    AccessLog {
        /// It does.
        On = "on",
        /// It does not.
        Off = "off",
    }
}

/// What becomes of uploads that nobody goes on with (distribution's `storage.maintenance.uploadpurging`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadPurge {
    /// They stay.
    Off,
    /// Those older than `age` are removed, each `interval`.
    Every {
        /// Since they were begun.
        age: Duration,
        /// How often is looked.
        interval: Duration,
    },
}

impl fmt::Display for UploadPurge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Every { age, interval } => {
                write!(f, "after {}, every {}", duration::show(*age), duration::show(*interval))
            }
        }
    }
}

/// Something that is not to be shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<[u8]>);

impl Secret {
    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(not shown)")
    }
}
