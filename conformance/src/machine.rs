//! A machine that boots: Debian's kernel and systemd, Larder from its package, a disc that comes and goes, and power
//! that fails.
//!
//! Knows what is shown, and in which order. How a machine is made, run and cut off are modules of their own.

use std::fs;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::Result;

use crate::bench::Bench;
use crate::machine::cuts::Cuts;
use crate::machine::guest::Guest;
use crate::machine::shown::Shown;
use crate::machine::system::System;
use crate::report;

mod cuts;
mod disk;
mod guest;
mod qmp;
mod shown;
mod system;

/// How often power is cut where every change is tested.
const CUTS: usize = 20;

/// How often it is cut when somebody asks for it.
const MANY_CUTS: usize = 200;

/// How long all of it may take where every change is tested; what does not fit is said.
const BUDGET: Duration = Duration::from_secs(200);

/// Boots, is given a disc, serves, and is cut off.
pub(crate) fn boots(bench: &Bench) -> Result<String> {
    run(bench, CUTS, Some(BUDGET))
}

/// The same, cut off as often as it takes to meet rare moments.
pub(crate) fn cut_often(bench: &Bench) -> Result<String> {
    run(bench, MANY_CUTS, None)
}

fn run(bench: &Bench, cuts: usize, budget: Option<Duration>) -> Result<String> {
    let mut clock = Clock { began: Instant::now(), last: Instant::now() };
    let system = System::make(bench, &mut clock)?;
    let mut guest = system.boot("booted")?;
    clock.tell("booted to its shell");
    let shown = Shown { system: &system }.all(&mut guest, &mut clock);
    keep_journal(bench, &mut guest, "journal.txt");
    shown?;
    let cuts = Cuts::new(bench, &system, cuts);
    let told = cuts.run(guest, budget.map(|budget| clock.began + budget), &mut clock)?;
    Ok(format!("{told}; {:.0} s", clock.began.elapsed().as_secs_f32()))
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
    /// Something is done.
    pub(crate) fn tell(&mut self, what: &str) {
        let (whole, part) = (self.began.elapsed().as_secs_f32(), self.last.elapsed().as_secs_f32());
        report::tell(&format!("{whole:6.1} s  (+{part:.1})  {what}"));
        self.last = Instant::now();
    }
}
