//! A machine that boots: Debian's kernel and systemd, Larder from its package, a disc that comes and goes,
//! and power that fails.
//!
//! Knows what is shown, and in which order. How a machine is made, run and cut off are modules of their own.

use std::fs;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::Result;

use crate::bench::Bench;
use crate::bench::from_environment;
use crate::machine::cuts::Cuts;
use crate::machine::cuts::Often;
use crate::machine::guest::Guest;
use crate::machine::shown::Shown;
use crate::machine::system::System;
use crate::report;

mod cuts;
mod disk;
mod ends;
mod guest;
mod qmp;
mod shown;
mod system;

pub(crate) use system::base;

/// What its lines begin with.
const NAME: &str = "machine";

/// How often it is cut: as often as this, or as there is time for where it is one step of many.
const CUTS: usize = 20;

/// How old a whole run may be when power is cut for the last time: what comes after that takes as long as one
/// more, and all of it is to fit into a quarter of an hour.
const BUDGET: Duration = Duration::from_secs(13 * 60 + 30);

/// How often it is cut when somebody asks for it.
const MANY_CUTS: usize = 200;

/// How long the blob is that is being read when the disc is pulled out: more than Larder hashes before it
/// sends.
const LONG: usize = 65 << 20;
/// And where none is.
const SHORT: usize = 1 << 20;

/// What the short form leaves out.
const LEFT_OUT: &str = "systemd-analyze, kTLS, podman, the kernel's isofs, a killed server, discs pulled out in the \
    middle of a pull and of a copy, preflight, iri-registry.service, uninstall: `cargo conformance machine` shows them";

/// Boots, takes a release from a disc, and is cut off as often as the run has time for.
pub(crate) fn boots_and_upgrades(bench: &Bench) -> Result<String> {
    let told = upgraded_and_cut(bench, CUTS, Some(bench.began() + BUDGET))?;
    report::tell(NAME, &format!("NOT SHOWN: {LEFT_OUT}"));
    Ok(told)
}

/// The same, cut off as often as it takes to meet rare moments.
pub(crate) fn cut_often(bench: &Bench) -> Result<String> {
    let cuts = from_environment("LARDER_CUTS").map_or(MANY_CUTS, |cuts| cuts as usize);
    upgraded_and_cut(bench, cuts, None)
}

fn upgraded_and_cut(bench: &Bench, cuts: usize, until: Option<Instant>) -> Result<String> {
    let mut clock = Clock::start();
    let system = System::make(bench, SHORT, &mut clock)?;
    let shown = |shown: Shown<'_>, guest: &mut Guest, clock: &mut Clock| shown.upgrade(guest, clock);
    let guest = booted(bench, &system, &mut clock, shown)?;
    let often = Often { wanted: cuts, until };
    let (_guest, told) = Cuts::new(bench, &system).run(guest, often, &mut clock)?;
    Ok(format!("{told}; {:.0} s", clock.began.elapsed().as_secs_f32()))
}

/// Everything, and some power cuts.
pub(crate) fn boots(bench: &Bench) -> Result<String> {
    let mut clock = Clock::start();
    let system = System::make(bench, LONG, &mut clock)?;
    let shown = |shown: Shown<'_>, guest: &mut Guest, clock: &mut Clock| shown.all(guest, clock);
    let guest = booted(bench, &system, &mut clock, shown)?;
    let often = Often { wanted: CUTS, until: None };
    let (mut guest, told) = Cuts::new(bench, &system).run(guest, often, &mut clock)?;
    let ended = ends::shown(&system, &mut guest, &mut clock);
    keep_journal(bench, &mut guest, "journal-of-the-end.txt");
    ended?;
    Ok(format!("{told}; {:.0} s", clock.began.elapsed().as_secs_f32()))
}

/// Boots it, and has something shown of it.
fn booted(
    bench: &Bench,
    system: &System,
    clock: &mut Clock,
    show: impl FnOnce(Shown<'_>, &mut Guest, &mut Clock) -> Result<()>,
) -> Result<Guest> {
    let mut guest = system.boot("booted")?;
    clock.tell("booted to its shell");
    let shown = show(Shown { bench, system }, &mut guest, clock);
    keep_journal(bench, &mut guest, "journal.txt");
    shown.map(|()| guest)
}

/// Leaves what the machine wrote in its journal.
fn keep_journal(bench: &Bench, guest: &mut Guest, name: &str) {
    let journal = guest.ask("journalctl --boot --no-pager --output=short-monotonic");
    // A machine that is gone has left its console.
    if let Ok((_, journal)) = journal.context("the journal") {
        let _written = fs::write(bench.directory().join(name), journal);
    }
}

/// Tells what took how long.
#[derive(Debug)]
pub(crate) struct Clock {
    began: Instant,
    last: Instant,
}

impl Clock {
    fn start() -> Self {
        Self { began: Instant::now(), last: Instant::now() }
    }

    /// Something is done.
    pub(crate) fn tell(&mut self, what: &str) {
        let (whole, part) = (self.began.elapsed().as_secs_f32(), self.last.elapsed().as_secs_f32());
        report::tell(NAME, &format!("{whole:6.1} s  (+{part:.1})  {what}"));
        self.last = Instant::now();
    }
}
