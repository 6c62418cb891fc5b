//! The end of a life: clients push, something else goes on, and power goes in the middle of it.

use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use anyhow::Result;
use anyhow::bail;

use crate::crash::push_forever;
use crate::http::Endpoint;
use crate::machine::cuts::Cuts;
use crate::machine::cuts::Kind;
use crate::machine::cuts::kept::Victim;
use crate::machine::guest::Guest;

/// Who pushes when power is cut.
const PUSHERS: u64 = 3;

/// How many blocks are not flushed when power goes: a few are a link or a tag, many a blob.
fn unflushed(kind: Kind) -> std::ops::Range<usize> {
    match kind {
        Kind::Push | Kind::Collect => 1..24,
        Kind::Remove | Kind::Copy => 1..10,
    }
}

/// How long to wait for such a moment.
const MOMENT: Duration = Duration::from_secs(5);

/// A power cut.
#[derive(Debug)]
pub(super) struct Cut {
    /// What it fell into: where the rest was done before, pushes.
    pub(super) kind: Kind,
    /// How many things were acknowledged in this life.
    pub(super) acknowledged: usize,
}

/// For how long a removal or a copy goes on, in milliseconds, before power is cut: it is to be in its middle,
/// and how long it takes depends on what emulates the machine and on what else that has to do. So this is
/// learnt.
#[derive(Debug)]
pub(super) struct Reach {
    remove: u64,
    copy: u64,
}

impl Default for Reach {
    fn default() -> Self {
        Self { remove: 1_200, copy: 1_800 }
    }
}

impl Reach {
    fn of(&mut self, kind: Kind) -> Option<&mut u64> {
        match kind {
            Kind::Remove => Some(&mut self.remove),
            Kind::Copy => Some(&mut self.copy),
            Kind::Push | Kind::Collect => None,
        }
    }

    fn life(&mut self, kind: Kind) -> std::ops::Range<u64> {
        match self.of(kind) {
            Some(reach) => *reach / 4..*reach,
            None => 300..2_500,
        }
    }

    /// It was over by then, or it was not.
    fn learn(&mut self, kind: Kind, is_over: bool) {
        if let Some(reach) = self.of(kind) {
            *reach = (if is_over { *reach * 7 / 10 } else { *reach * 6 / 5 }).clamp(200, 10_000);
        }
    }
}

/// Has clients push beside `script`, and cuts power.
pub(super) fn cut_off(
    cuts: &mut Cuts<'_>,
    mut guest: Guest,
    endpoint: &Endpoint,
    kind: Kind,
    script: Option<String>,
) -> Result<Cut> {
    let (acknowledged, deleted) = (Mutex::new(Vec::new()), AtomicUsize::new(0));
    let victims = if kind == Kind::Collect { cuts.kept.give_up() } else { Vec::new() };
    let seed = 1000 + cuts.tally.0.len() as u64 * PUSHERS;
    if let Some(script) = &script {
        guest.begin(script)?;
    }
    let disk = &cuts.system.disk;
    let is_over = std::thread::scope(|scope| {
        let acknowledged = &acknowledged;
        for pusher in 0..PUSHERS {
            // It ends with an error, since the machine does.
            scope.spawn(move || push_forever(endpoint, seed + pusher, acknowledged));
        }
        scope.spawn(|| delete(endpoint, &victims, &deleted));
        std::thread::sleep(Duration::from_millis(cuts.random.u64(cuts.reach.life(kind))));
        disk.fail_at(cuts.random.usize(unflushed(kind)));
        let latest = Instant::now() + MOMENT;
        while !disk.is_off() && Instant::now() < latest {
            std::thread::sleep(Duration::from_millis(1));
        }
        let is_over = script.is_some() && guest.has_finished();
        guest.kill();
        is_over
    });
    cuts.reach.learn(kind, is_over);
    let Ok(acknowledged) = acknowledged.into_inner() else { bail!("a client panicked") };
    let cut = Cut { kind: if is_over { Kind::Push } else { kind }, acknowledged: acknowledged.len() };
    cuts.kept.extend(acknowledged);
    cuts.kept.deleted(victims, deleted.into_inner());
    Ok(cut)
}

/// Deletes images until the server is gone, and counts them.
fn delete(endpoint: &Endpoint, victims: &[Victim], deleted: &AtomicUsize) -> Result<()> {
    for victim in victims {
        victim.delete(endpoint)?.expect(202)?;
        deleted.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}
