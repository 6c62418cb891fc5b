//! `Files`: what the operators' files say at one moment, and what a credential proves by them.

use std::sync::Arc;

use tokio::time::Instant;

use crate::auth::Credential;
use crate::auth::Htpasswd;
use crate::auth::Identity;
use crate::auth::PullSecret;
use crate::credentials::Sources;
use crate::reload::Succession;
use crate::reload::Watched;

/// The files in force at one moment: a verdict is about these.
#[derive(Clone, Debug)]
pub(super) struct Files {
    htpasswd: Option<Arc<Succession<Htpasswd>>>,
    pull_secret: Option<Arc<Succession<PullSecret>>>,
}

/// Which readings of the files were meant: two numbers that no others have as long as those are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Readings {
    htpasswd: usize,
    pull_secret: usize,
}

impl Readings {
    /// Those in force, without a claim on them.
    pub(super) fn current(sources: &Sources) -> Self {
        Self {
            htpasswd: sources.htpasswd.as_ref().map_or(0, Watched::address),
            pull_secret: sources.pull_secret.as_ref().map_or(0, Watched::address),
        }
    }
}

/// What a check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Right according to the htpasswd file.
    Htpasswd(Standing),
    /// Right according to the pull secret.
    PullSecret(Standing),
    /// Wrong.
    Wrong,
}

/// How a right credential counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// By what the file says.
    InForce,
    /// By what it said before, until then.
    Until(Instant),
}

impl Files {
    pub(super) fn current(sources: &Sources) -> Self {
        Self {
            htpasswd: sources.htpasswd.as_ref().map(Watched::current),
            pull_secret: sources.pull_secret.as_ref().map(Watched::current),
        }
    }

    /// Which readings these are.
    pub(super) fn readings(&self) -> Readings {
        Readings {
            htpasswd: address(self.htpasswd.as_ref()),
            pull_secret: address(self.pull_secret.as_ref()),
        }
    }

    /// Takes as long as bcrypt, unless only the pull secret can know the user. What htpasswd gives includes
    /// what the pull secret does, so it is asked first where it has the user.
    pub(super) fn verify(&self, credential: &Credential, now: Instant) -> Verdict {
        let user = &*credential.user;
        let by_secret = self
            .pull_secret
            .as_ref()
            .and_then(|readings| standing(readings, now, |it| it.verify(credential), |it| it.contains(user)));
        let by_htpasswd = match &self.htpasswd {
            Some(readings) if by_secret.is_none() || readings.current().contains(user) => {
                standing(readings, now, |it| it.verify(credential), |it| it.contains(user))
            }
            _ => None,
        };
        match (by_htpasswd, by_secret) {
            (Some(standing), _) => Verdict::Htpasswd(standing),
            (None, Some(standing)) => Verdict::PullSecret(standing),
            (None, None) => Verdict::Wrong,
        }
    }
}

/// How a credential counts by what a file says or said. What it said before counts only for a user whom it
/// has had ever since: who is changed goes on for a while, who is removed is out at once, and does not come
/// back with an old password.
fn standing<T>(
    readings: &Succession<T>,
    now: Instant,
    proves: impl Fn(&T) -> bool,
    knows: impl Fn(&T) -> bool,
) -> Option<Standing> {
    if proves(readings.current()) {
        return Some(Standing::InForce);
    }
    let mut is_known = knows(readings.current());
    for (former, until) in readings.former(now) {
        // Asked also about who is gone or never was, so that the time tells nobody who is there.
        if proves(former) && is_known {
            return Some(Standing::Until(until));
        }
        is_known &= knows(former);
    }
    None
}

/// Where a reading of a file lies in memory; zero for a file that is not configured.
fn address<T>(reading: Option<&Arc<T>>) -> usize {
    reading.map_or(0, |reading| Arc::as_ptr(reading).addr())
}

impl Verdict {
    /// Whether it still holds.
    pub(super) fn holds(self, now: Instant) -> bool {
        match self {
            Self::Htpasswd(Standing::Until(until)) | Self::PullSecret(Standing::Until(until)) => now < until,
            Self::Htpasswd(Standing::InForce) | Self::PullSecret(Standing::InForce) | Self::Wrong => true,
        }
    }
}

impl Standing {
    /// An identity that counts no longer than what proved it.
    pub(super) fn limit(self, identity: Identity) -> Identity {
        match self {
            Self::InForce => identity,
            Self::Until(until) => identity.no_longer_than(until.into_std()),
        }
    }
}
