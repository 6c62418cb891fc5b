//! `Problem` and `Notice`: what is wrong with a configuration, and what is merely worth knowing.

use crate::config::Source;

/// Why a configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The text is not YAML, or takes more than its share to read.
    #[error("not YAML ({origin}): {what}")]
    NotYaml {
        /// What the reader says of it.
        what: String,
        /// Where.
        origin: Source,
    },
    /// The file says which version it is written for, and it is not this one.
    #[error("`version` must be `0.1`{}", found.as_ref().map(|it| format!(", not `{it}`")).unwrap_or_default())]
    Version {
        /// What it says instead.
        found: Option<String>,
    },
    /// A value of the wrong type or form.
    #[error("`{key}` ({origin}) must be {expected}, not {found}")]
    WrongType {
        /// Which setting.
        key: String,
        /// What it has to be, with an article.
        expected: &'static str,
        /// What it is.
        found: String,
        /// Where it was given.
        origin: Source,
    },
    /// Something that would change who may do what or where content lies, and that is not done here. Starting
    /// without it would be worse than not starting.
    #[error("`{key}` ({origin}) is not supported")]
    Unsupported {
        /// Which setting.
        key: String,
        /// Where it was given.
        origin: Source,
        /// What to do instead.
        instead: &'static str,
    },
    /// Something is needed that nobody gave.
    #[error("`{key}` is missing: {why}")]
    Missing {
        /// Which setting.
        key: &'static str,
        /// What needs it.
        why: &'static str,
    },
    /// A variable names an element of a list that cannot be.
    #[error("`{variable}` names no element of the list `{key}`")]
    NoElement {
        /// The environment variable.
        variable: String,
        /// The list.
        key: String,
    },
}

impl Problem {
    /// What a person could do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unsupported { instead, .. } => Some(instead),
            Self::Version { .. } => Some("add the line `version: 0.1`, as distribution wants it"),
            Self::NotYaml { .. } | Self::WrongType { .. } | Self::Missing { .. } | Self::NoElement { .. } => {
                None
            }
        }
    }
}

/// Something in a configuration that has no effect, or not the one that its writer may expect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Notice {
    /// A key that nobody knows.
    #[error("unknown key `{key}` ({origin}) is ignored")]
    UnknownKey {
        /// The key.
        key: String,
        /// Where it stands.
        origin: Source,
    },
    /// A `REGISTRY_*` variable that names nothing.
    #[error("unknown environment variable `{name}` is ignored")]
    UnknownVariable {
        /// Its name.
        name: String,
    },
    /// A key that distribution knows and that has no counterpart here.
    #[error("`{key}` ({origin}) has no effect: {why}")]
    NoEffect {
        /// The key.
        key: String,
        /// Where it stands.
        origin: Source,
        /// Why not.
        why: &'static str,
    },
    /// A key that stands twice in one mapping; the last one counts, as in distribution.
    #[error("`{key}` stands twice, the one in line {line} counts")]
    Duplicate {
        /// The key.
        key: String,
        /// Where the last one stands.
        line: u64,
    },
    /// A pull secret was given, and nothing that could let anybody push.
    #[error("nobody may push: a pull secret gives only pull, and no `--htpasswd` file is given")]
    NobodyPushes,
    /// Content is open to writing by everybody who reaches the port.
    #[error("everybody who reaches the port may push: {why}")]
    EverybodyPushes {
        /// Which rule says so.
        why: &'static str,
    },
}

/// What reading a configuration brought up.
#[derive(Debug, Default)]
pub(super) struct Issues {
    pub(super) problems: Vec<Problem>,
    pub(super) notices: Vec<Notice>,
}

impl Issues {
    pub(super) fn problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    pub(super) fn notice(&mut self, notice: Notice) {
        self.notices.push(notice);
    }
}
