//! `Setting`: a value that knows where it came from.

use std::fmt;

/// A value in effect, and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting<T> {
    /// The value.
    pub value: T,
    /// Where it came from.
    pub source: Source,
}

/// Where a value came from. Later variants win over earlier ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nobody said anything.
    Default,
    /// The configuration file.
    File {
        /// In which line, counted from one.
        line: u64,
    },
    /// An environment variable.
    Environment(String),
    /// A flag, spelled as on the command line.
    Flag(String),
}

impl<T> Setting<T> {
    /// A value that somebody gave.
    pub fn new(value: T, source: Source) -> Self {
        Self { value, source }
    }

    /// A value that holds because nobody gave another.
    pub fn default(value: T) -> Self {
        Self { value, source: Source::Default }
    }

    /// The same origin, another value.
    pub fn map<U>(self, into: impl FnOnce(T) -> U) -> Setting<U> {
        Setting { value: into(self.value), source: self.source }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { line } => write!(f, "line {line}"),
            Self::Environment(name) => write!(f, "`{name}`"),
            Self::Flag(name) => write!(f, "`{name}`"),
        }
    }
}
