//! What is known of each release: what the store holds, and what jobs and requests do to it.

use std::time::SystemTime;

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
pub(super) fn known(stored: Vec<Held>, jobs: &[JobStatus], under_way: &UnderWay) -> Vec<Known> {
    let mut known: Vec<_> = stored.into_iter().map(of_store).collect();
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
        let (is_removed, is_added) = (is_among(&under_way.removing), is_among(&under_way.adding));
        release.facts.is_removed |= is_removed;
        if is_added {
            release.facts.installing = Some("it is copied from a medium".to_owned());
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
