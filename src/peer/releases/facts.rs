//! What is known of each release: what the store holds, and what jobs and requests do to it.

use std::time::SystemTime;

use crate::maintenance::Addition;
use crate::maintenance::documents::AttachedRelease;
use crate::maintenance::releases::Held;
use crate::maintenance::removal::Work;
use crate::peer::JobStatus;
use crate::peer::State;
use crate::peer::progress::Arrival;
use crate::peer::releases::UnderWay;
use crate::release::Facts;

/// How many things that are missing are told in words: a damaged release can lack a thousand.
const LACKS_LIMIT: usize = 100;

/// A release, here or on its way.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) names: Vec<String>,
    pub(super) version: Option<String>,
    pub(super) bundle: Option<String>,
    pub(super) digest: Option<String>,
    pub(super) bytes: u64,
    /// When it was published here.
    pub(super) since: Option<SystemTime>,
    pub(super) facts: Facts,
}

impl Known {
    /// What its transitions are remembered by.
    pub(super) fn key(&self) -> String {
        self.digest.clone().or_else(|| self.names.first().cloned()).unwrap_or_default()
    }

    fn is_called(&self, name: &str) -> bool {
        self.names.iter().any(|it| it == name) || self.digest.as_deref() == Some(name)
    }
}

/// All releases that are here or on their way.
pub(super) fn known(
    stored: Vec<Held>,
    jobs: &[JobStatus],
    additions: &[Addition],
    under_way: &UnderWay,
) -> Vec<Known> {
    joined(stored.into_iter().map(of_store).collect(), jobs, additions, under_way)
}

fn joined(
    mut known: Vec<Known>,
    jobs: &[JobStatus],
    additions: &[Addition],
    under_way: &UnderWay,
) -> Vec<Known> {
    for addition in additions {
        match known.iter_mut().find(|it| it.names.iter().any(|name| addition.is_called(name))) {
            // What is whole on the disk came some other way.
            Some(known) if known.since.is_some() && known.facts.is_complete() => {}
            Some(known) => known.facts.fault = Some(interruption(addition, &known.facts.media)),
            None => known.push(of_addition(addition)),
        }
    }
    for job in jobs.iter().filter(|it| concerns_now(&it.state)) {
        for arrival in arrivals(job) {
            let coming = of_job(job, &arrival);
            let at = known.iter().position(|it| coming.names.iter().any(|name| it.is_called(name)));
            match at.and_then(|at| known.get_mut(at)) {
                Some(known) => {
                    known.facts.installing = coming.facts.installing.or(known.facts.installing.take());
                    known.facts.fault = coming.facts.fault.or(known.facts.fault.take());
                }
                None => known.push(coming),
            }
        }
    }
    if let Some(work) = &under_way.resumed {
        let names = [work.bundle.clone(), Some(work.release.clone()), Some(work.digest.clone())];
        let names: Vec<_> = names.into_iter().flatten().collect();
        let at = known.iter().position(|it| names.iter().any(|name| it.is_called(name)));
        match at.and_then(|at| known.get_mut(at)) {
            Some(known) => known.facts.is_removed = true,
            None => known.push(of_removal(work, names)),
        }
    }
    for release in &mut known {
        let is_among =
            |names: &std::collections::BTreeSet<String>| names.iter().any(|it| release.is_called(it));
        release.facts.is_removed |= is_among(&under_way.removing);
        let is_added = |asked: &String| {
            let noted = additions.iter().find(|it| it.asked == *asked);
            release.is_called(asked)
                || noted.is_some_and(|it| release.names.iter().any(|name| it.is_called(name)))
        };
        if under_way.adding.keys().any(is_added) {
            release.facts.installing = Some("it is copied from a medium".to_owned());
            // It is being tried again.
            release.facts.fault = None;
        }
    }
    known
}

fn of_store(held: Held) -> Known {
    let Held { status, media, since } = held;
    let lacks = status.unread.iter().cloned().chain(status.missing.iter().map(ToString::to_string));
    let bundle = status.bundle.as_ref().map(ToString::to_string);
    let digest = status.image.digest.to_string();
    let names =
        [bundle.clone(), status.version.clone(), Some(status.image.tag.to_string()), Some(digest.clone())];
    Known {
        names: names.into_iter().flatten().collect(),
        version: status.version.clone(),
        bundle,
        digest: Some(digest),
        bytes: status.bytes,
        since,
        facts: Facts {
            media: media.iter().map(|it| it.display().to_string()).collect(),
            images: Some((status.images, status.present)),
            lacks: lacks.take(LACKS_LIMIT).collect(),
            ..Facts::default()
        },
    }
}

/// A release that was on its way from a medium that is not here.
fn of_addition(addition: &Addition) -> Known {
    let AttachedRelease { digest, version, bundle, .. } = addition.release.clone();
    Known {
        names: bundle.iter().chain(&version).chain([&digest]).cloned().collect(),
        version,
        bundle,
        digest: Some(digest),
        bytes: 0,
        since: None,
        facts: Facts { fault: Some(interruption(addition, &[])), ..Facts::default() },
    }
}

/// Why a release that was on its way from a medium does not come.
fn interruption(addition: &Addition, media: &[String]) -> (String, String) {
    let fault = addition.fault.as_ref();
    let why = fault.map_or_else(|| "Larder ended meanwhile".to_owned(), |it| it.message.clone());
    if media.is_empty() {
        let from: Vec<_> = addition.from.iter().map(|it| it.display().to_string()).collect();
        let message =
            format!("it goes on when its medium is attached again (it came from {}): {why}", from.join(", "));
        return ("ReleaseNotMounted".to_owned(), message);
    }
    let reason = fault.map_or_else(|| "ReleaseImageNotAvailable".to_owned(), |it| it.reason.clone());
    (reason, format!("it did not come whole from {}: {why}", media.join(", ")))
}

/// A release of which only what a removal has left is here.
fn of_removal(work: &Work, names: Vec<String>) -> Known {
    Known {
        names,
        version: None,
        bundle: work.bundle.clone(),
        digest: Some(work.digest.clone()),
        bytes: work.bytes(),
        since: None,
        facts: Facts { is_removed: true, ..Facts::default() },
    }
}

/// Whether a job has something to say of a release now: one that is complete or was cancelled has not.
fn concerns_now(state: &State) -> bool {
    match state {
        State::Complete | State::Cancelled => false,
        State::Queued
        | State::Surveying
        | State::Copying
        | State::Publishing
        | State::Degraded { .. }
        | State::Failed { .. } => true,
    }
}

/// What a job brings, as far as it knows by now; before that, what it was asked for.
fn arrivals(job: &JobStatus) -> Vec<Arrival> {
    if !job.arriving.is_empty() {
        return job.arriving.clone();
    }
    let asked = job.request.releases.iter();
    asked
        .map(|it| Arrival {
            digest: it.contains(':').then(|| it.clone()),
            bundle: (!it.contains(':')).then(|| it.clone()),
        })
        .collect()
}

fn of_job(job: &JobStatus, arrival: &Arrival) -> Known {
    let (done, total) = (job.counts.bytes_done, job.counts.bytes_total);
    let installing = match &job.state {
        State::Failed { .. } => None,
        State::Queued => Some("it waits for another job".to_owned()),
        _ => Some(format!("job {} brought {done} of {total} bytes", job.id)),
    };
    let fault = match &job.state {
        State::Degraded { reason, message } | State::Failed { reason, message } => {
            Some((reason.to_string(), message.clone()))
        }
        _ => None,
    };
    let Arrival { digest, bundle } = arrival.clone();
    Known {
        names: bundle.iter().chain(&digest).cloned().collect(),
        version: None,
        bundle,
        digest,
        bytes: 0,
        since: None,
        facts: Facts { installing, fault, ..Facts::default() },
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::maintenance::Fault;

    fn addition() -> Addition {
        Addition {
            asked: "4.22.1".into(),
            release: AttachedRelease {
                digest: "sha256:ab".into(),
                version: Some("4.22.1".into()),
                bundle: Some("ocp-release-bundle-4.22.1-x86_64".into()),
                complete: true,
            },
            from: vec!["/dev/sr0".into()],
            fault: Some(Fault { reason: "StorageError".into(), message: "the disk is gone".into() }),
        }
    }

    fn held(media: &[&str], is_on_disk: bool) -> Known {
        let facts = Facts {
            media: media.iter().map(|it| (*it).to_owned()).collect(),
            images: Some((2, 2)),
            ..Facts::default()
        };
        Known { since: is_on_disk.then_some(SystemTime::UNIX_EPOCH), facts, ..of_addition(&addition()) }
    }

    fn holding(known: &Known) -> String {
        let conditions = known.facts.conditions();
        let holding = conditions.iter().filter(|it| it.holds);
        holding.map(|it| format!("{}:{}", it.kind.as_str(), it.reason)).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn how_a_release_does_that_was_interrupted_on_its_way() {
        let adding = UnderWay {
            adding: [("4.22.1".to_owned(), CancellationToken::new())].into(),
            ..UnderWay::default()
        };
        let idle = UnderWay::default();
        for (case, stored, under_way, expected) in [
            ("its medium is gone", None, &idle, "Degraded:ReleaseNotMounted"),
            (
                "its medium is back",
                Some(held(&["/dev/sr0"], false)),
                &idle,
                "Mounted:ReleaseMounted Available:ReleaseImageAvailable Degraded:StorageError",
            ),
            ("it is tried again", None, &adding, "Installing:ReleaseInstalling"),
            ("it came from a peer", Some(held(&[], true)), &idle, "Available:ReleaseImageAvailable"),
        ] {
            let known = joined(stored.into_iter().collect(), &[], &[addition()], under_way);
            assert_eq!(known.iter().map(holding).collect::<Vec<_>>(), [expected], "{case}");
        }
        let [.., degraded] = of_addition(&addition()).facts.conditions();
        assert_eq!(
            degraded.message,
            "it goes on when its medium is attached again (it came from /dev/sr0): the disk is gone"
        );
    }
}
