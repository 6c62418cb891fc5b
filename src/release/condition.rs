//! `Condition`: how a release is doing, in the words of the cluster's API.
//!
//! Knows the five types of `InternalReleaseImage` and `MachineConfigNode` (openshift/api,
//! `machineconfiguration/v1`), and the reasons that the node daemon gives. Does not know when a condition
//! last changed: that is for whoever watches.

/// A type of condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConditionType {
    /// It lies on a medium that is attached.
    Mounted,
    /// It is on its way onto the disk.
    Installing,
    /// All of it can be pulled.
    Available,
    /// It is being removed.
    Removing,
    /// Something is wrong with it.
    Degraded,
}

impl ConditionType {
    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mounted => "Mounted",
            Self::Installing => "Installing",
            Self::Available => "Available",
            Self::Removing => "Removing",
            Self::Degraded => "Degraded",
        }
    }
}

/// A condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Its type.
    pub kind: ConditionType,
    /// Whether it holds.
    pub holds: bool,
    /// Why, in one word.
    pub reason: String,
    /// Why, in words.
    pub message: String,
}

/// What is known of a release.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The media that it lies on.
    pub media: Vec<String>,
    /// How many images it has, and how many of them can be pulled.
    pub images: Option<(u64, u64)>,
    /// What it lacks, in words.
    pub lacks: Vec<String>,
    /// How it is being brought here.
    pub installing: Option<String>,
    /// Whether it is being removed.
    pub is_removed: bool,
    /// What is in the way: a reason and words.
    pub fault: Option<(String, String)>,
}

/// How many things that are missing a message names.
const NAMED: usize = 3;

impl Facts {
    /// Whether all of it can be pulled.
    pub fn is_complete(&self) -> bool {
        self.images.is_some_and(|(images, present)| images == present) && self.lacks.is_empty()
    }

    /// The five conditions, in the order of the API.
    pub fn conditions(&self) -> [Condition; 5] {
        [self.mounted(), self.installing(), self.available(), self.removing(), self.degraded()]
    }

    fn mounted(&self) -> Condition {
        let holds = !self.media.is_empty();
        let reason = if holds { "ReleaseMounted" } else { "ReleaseNotMounted" };
        condition(ConditionType::Mounted, holds, reason, self.media.join(", "))
    }

    fn installing(&self) -> Condition {
        let reason = if self.installing.is_some() { "ReleaseInstalling" } else { "ReleaseNotInstalling" };
        let message = self.installing.clone().unwrap_or_default();
        condition(ConditionType::Installing, self.installing.is_some(), reason, message)
    }

    fn available(&self) -> Condition {
        let reason = if self.is_complete() { "ReleaseImageAvailable" } else { "ReleaseImageNotAvailable" };
        condition(ConditionType::Available, self.is_complete(), reason, self.completeness())
    }

    fn removing(&self) -> Condition {
        let reason = if self.is_removed { "ReleaseRemoving" } else { "ReleaseNotRemoving" };
        condition(ConditionType::Removing, self.is_removed, reason, String::new())
    }

    /// What is on its way in, or out, is not complete, and nothing is wrong with that.
    fn degraded(&self) -> Condition {
        let is_moving = self.installing.is_some() || self.is_removed;
        match &self.fault {
            Some((reason, message)) => condition(ConditionType::Degraded, true, reason, message.clone()),
            None if self.is_complete() || is_moving => {
                let reason =
                    if self.is_complete() { "ReleaseImageAvailable" } else { "ReleaseImageNotAvailable" };
                condition(ConditionType::Degraded, false, reason, String::new())
            }
            None => condition(ConditionType::Degraded, true, "ReleaseImageNotAvailable", self.completeness()),
        }
    }

    fn completeness(&self) -> String {
        let Some((images, present)) = self.images else {
            return "nothing of it can be pulled yet".to_owned();
        };
        let mut text = format!("{present} of {images} images are here");
        let more = self.lacks.len().saturating_sub(NAMED);
        for lack in self.lacks.iter().take(NAMED) {
            text += &format!("; it lacks {lack}");
        }
        if more > 0 {
            text += &format!("; and {more} more");
        }
        text
    }
}

fn condition(kind: ConditionType, holds: bool, reason: &str, message: String) -> Condition {
    Condition { kind, holds, reason: reason.to_owned(), message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_when() {
        let whole = Facts { images: Some((62, 62)), ..Facts::default() };
        let part =
            Facts { images: Some((62, 60)), lacks: vec!["etcd".into(), "dns".into()], ..Facts::default() };
        let coming = Facts { installing: Some("copying".into()), ..Facts::default() };
        let full = Some(("NotEnoughStorageSpace".to_owned(), "not enough storage space".to_owned()));
        for (case, facts, expected) in [
            ("whole", whole.clone(), "Available"),
            ("on a medium", Facts { media: vec!["/dev/sr0".into()], ..whole }, "Mounted Available"),
            ("incomplete", part.clone(), "Degraded"),
            ("on its way", coming.clone(), "Installing"),
            ("in the way", Facts { fault: full, ..coming }, "Installing Degraded"),
            ("going", Facts { is_removed: true, ..part }, "Removing"),
        ] {
            let holding: Vec<_> =
                facts.conditions().into_iter().filter(|it| it.holds).map(|it| it.kind.as_str()).collect();
            assert_eq!(holding.join(" "), expected, "{case}");
        }
    }

    #[test]
    fn what_is_missing_is_named_and_not_without_end() {
        let lacks = ["a", "b", "c", "d", "e"].map(str::to_owned).to_vec();
        let [.., degraded] = Facts { images: Some((9, 4)), lacks, ..Facts::default() }.conditions();
        assert_eq!(degraded.reason, "ReleaseImageNotAvailable");
        assert_eq!(
            degraded.message,
            "4 of 9 images are here; it lacks a; it lacks b; it lacks c; and 2 more"
        );
    }
}
