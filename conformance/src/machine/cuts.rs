//! Power cuts: the machine is killed in the middle of pushes, copies and removals, its disk loses what was
//! not flushed, and what was acknowledged must be there when it comes back.
//!
//! To cut often, the machine is not booted from power off each time: its memory is kept once, from a moment
//! at which its disk was not attached, and every life begins there. Of the disk a life knows nothing but what
//! is on it: it is plugged in, its file system is mounted and replays its journal, and Larder starts.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use fastrand::Rng;

use crate::bench::Bench;
use crate::http::Endpoint;
use crate::machine::Clock;
use crate::machine::guest::Guest;
use crate::machine::shown::BUNDLE;
use crate::machine::shown::UNTHROTTLED;
use crate::machine::shown::wait_until_attached;
use crate::machine::shown::wait_until_detached;
use crate::machine::system::System;
use crate::report;

use kept::Kept;
use life::Reach;

mod kept;
mod life;

/// How often power is cut however long everything before took: once for each kind.
const LEAST: usize = Kind::ALL.len();

/// How long Larder may take to be back.
const BACK: Duration = Duration::from_secs(60);

/// How much of what was not flushed is kept: none, some and all of it, since a disk may do any of that.
const KEPT: [f64; 5] = [0.0, 0.5, 0.9, 0.1, 1.0];

/// Has Larder start on the disk, without TLS and open to all, so that a life holds many pushes.
const PREPARE: &str = "systemctl stop larder.service larder.socket && umount /var/lib/larder \
    && printf 'LARDER_ALLOW_ANONYMOUS=pull,push,administer\n' >/etc/larder/larder.env && sync";
const START: &str = "{ mountpoint -q /var/lib/larder || mount /var/lib/larder; } \
    && systemctl start larder.socket larder.service && systemctl is-active larder.service";

/// What goes on beside pushes when power is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Nothing: they have the disk for themselves.
    Push,
    /// The release is removed.
    Remove,
    /// The release is copied from a disc to the disk.
    Copy,
    /// Manifests are deleted, and garbage is collected.
    Collect,
}

impl Kind {
    /// In the order in which one needs least of the other: what was removed can be copied.
    const ALL: [Self; 4] = [Self::Push, Self::Remove, Self::Copy, Self::Collect];

    fn in_words(self) -> &'static str {
        match self {
            Self::Push => "pushes alone",
            Self::Remove => "removals",
            Self::Copy => "copies",
            Self::Collect => "collections",
        }
    }
}

/// How often power is to be cut, and until when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Often {
    /// As often as this.
    pub(crate) wanted: usize,
    /// But not after this.
    pub(crate) until: Option<Instant>,
}

/// Power cuts in a machine.
#[derive(Debug)]
pub(crate) struct Cuts<'a> {
    bench: &'a Bench,
    system: &'a System,
    memory: PathBuf,
    kept: Kept,
    random: Rng,
    reach: Reach,
    tally: Tally,
}

/// What the cuts met.
#[derive(Debug, Default)]
struct Tally(Vec<Met>);

#[derive(Debug)]
struct Met {
    kind: Kind,
    /// Blocks that were not flushed, and are gone.
    lost: usize,
    /// Whether the release was there afterwards.
    is_left: Option<bool>,
}

impl<'a> Cuts<'a> {
    /// None yet.
    pub(crate) fn new(bench: &'a Bench, system: &'a System) -> Self {
        let memory = bench.directory().join("memory");
        let (kept, reach, tally) = Default::default();
        Self { bench, system, memory, kept, random: Rng::with_seed(1), reach, tally }
    }

    /// Cuts power until it was done as often as was wanted, or the time is over, but once for each kind at
    /// least; gives the machine as it is after the last cut, and what is to be said.
    pub(crate) fn run(mut self, guest: Guest, often: Often, clock: &mut Clock) -> Result<(Guest, String)> {
        self.keep_memory(guest)?;
        clock.tell("the machine's memory is kept, without its disk");
        for done in 0..often.wanted {
            if done >= LEAST && often.until.is_some_and(|until| Instant::now() >= until) {
                break;
            }
            let kind = self.tally.rarest();
            let told = self.live(kind).with_context(|| format!("life {done}: {kind:?}"))?;
            clock.tell(&format!("cut {}: {told}", done + 1));
        }
        let done = self.tally.0.len();
        let guest = self.end().context("after the last cut")?;
        clock.tell("after the last cut everything acknowledged is there, and the release can be copied");
        if done < often.wanted {
            let (left, wanted) = (often.wanted - done, often.wanted);
            let why = "did not fit; `cargo conformance cut-often` makes them";
            report::tell(super::NAME, &format!("NOT SHOWN: {left} of {wanted} power cuts {why}"));
        }
        ensure!(self.tally.lost() > 0, "{done} cuts, and nothing lost: nothing was shown");
        Ok((guest, format!("{done} power cuts ({}); {} all there", self.tally, self.kept)))
    }

    /// Keeps the machine as it is without its disk.
    fn keep_memory(&self, mut guest: Guest) -> Result<()> {
        guest.shell(PREPARE)?;
        guest.unplug_disk()?;
        guest.freeze(&self.memory)
    }

    /// One life: begins on what the last cut left, which is checked, and ends with the next.
    fn live(&mut self, kind: Kind) -> Result<String> {
        let mut guest = self.begin("cut")?;
        let endpoint = Endpoint::plain(guest.registry);
        let is_here = self.check(&mut guest, &endpoint)?;
        if kind == Kind::Collect {
            let thinned = self.thin_out(&mut guest, &endpoint);
            self.or_journal(&mut guest, thinned).context("thinning out")?;
        }
        let prepared = prepare(self.system, kind, &mut guest, is_here);
        let script = self.or_journal(&mut guest, prepared)?;
        if kind == Kind::Collect {
            self.kept.forget_what_is_garbage();
        }
        let cut = life::cut_off(self, guest, &endpoint, kind, script)?;
        let keep = KEPT.get(self.tally.0.len() % KEPT.len()).copied().unwrap_or_default();
        let lost = self.system.disk.cut(&mut self.random, keep).lost;
        self.tally.0.push(Met { kind: cut.kind, lost, is_left: None });
        let found = if is_here { "release whole" } else { "no release" };
        let (kind, acknowledged) = (cut.kind.in_words(), cut.acknowledged);
        Ok(format!("{found}; then in {kind}, {acknowledged} things acknowledged, {lost} blocks lost"))
    }

    /// Bounds what is there, since every life verifies all of it. What cuts in collections left lying is collected in every
    /// other life that collects, so that those between take it up and are cut again.
    fn thin_out(&mut self, guest: &mut Guest, endpoint: &Endpoint) -> Result<()> {
        let before = self.tally.0.iter().filter(|met| met.kind == Kind::Collect).count();
        if before % 2 == 1 {
            guest.shell(&format!("larder gc --grace {}s", kept::GRACE.as_secs()))?;
        }
        self.kept.thin_out(endpoint)
    }

    /// Lets the machine go on with its disk. Its clock shows the time: what was written in a life before is
    /// old.
    fn begin(&self, name: &str) -> Result<Guest> {
        let mut guest = self.system.hardware.resume(name, &self.memory)?;
        guest.plug_disk(&self.system.disk)?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
        let started = guest.until(BACK, &format!("date --set=@{now} >/dev/null; {START}"));
        self.or_journal(&mut guest, started)?;
        Ok(guest)
    }

    /// Leaves the machine's journal where something went wrong in it.
    fn or_journal<T>(&self, guest: &mut Guest, result: Result<T>) -> Result<T> {
        if result.is_err() {
            super::keep_journal(self.bench, guest, "journal-of-the-failed.txt");
        }
        result
    }

    /// What was acknowledged is there, and the release is whole or cannot be seen; gives which.
    fn check(&mut self, guest: &mut Guest, endpoint: &Endpoint) -> Result<bool> {
        let looked = self.look(guest, endpoint);
        let is_here = self.or_journal(guest, looked).context("what the last cut left")?;
        if let Some(last) = self.tally.0.last_mut() {
            last.is_left = Some(is_here);
        }
        Ok(is_here)
    }

    fn look(&self, guest: &mut Guest, endpoint: &Endpoint) -> Result<bool> {
        // A removal that was interrupted is gone on with beside what is asked here.
        let said = guest.until(
            BACK,
            &format!(
                "said=$(larder release status {BUNDLE} --root /var/lib/larder); echo \"$said\"; \
                 case $said in *' complete '* | *'no such release'*) ;; *) exit 1 ;; esac"
            ),
        )?;
        guest.shell("larder verify")?;
        self.kept.recent(endpoint)?;
        let is_here = said.contains(" complete ");
        if is_here {
            self.system.check_release(endpoint).context("a release that is said to be complete")?;
        } else {
            self.system.check_unseen(endpoint)?;
        }
        Ok(is_here)
    }

    /// After all of it: everything that was ever acknowledged, and a copy that goes through.
    fn end(&mut self) -> Result<Guest> {
        let mut guest = self.begin("last")?;
        let endpoint = Endpoint::plain(guest.registry);
        let is_here = self.check(&mut guest, &endpoint)?;
        self.kept.all(&endpoint)?;
        if !is_here {
            bring(self.system, &mut guest)?;
        }
        self.system.check_release(&endpoint)?;
        guest.shell("larder gc && larder verify")?;
        Ok(guest)
    }
}

/// Makes ready for what is to be cut off; gives the script that does it.
fn prepare(system: &System, kind: Kind, guest: &mut Guest, is_here: bool) -> Result<Option<String>> {
    match kind {
        Kind::Push => return Ok(None),
        Kind::Remove if is_here => {}
        Kind::Remove => bring(system, guest)?,
        Kind::Copy => {
            // Where it was on its way it is given up, so that it does not come before it is asked for.
            guest.shell(&format!("larder release remove {BUNDLE} || [ $? = 3 ]"))?;
            guest.plug_disc(&system.disc, UNTHROTTLED)?;
            wait_until_attached(guest)?;
        }
        Kind::Collect => {}
    }
    Ok(Some(match kind {
        Kind::Copy => format!("larder release add {BUNDLE}"),
        Kind::Collect => format!("while larder gc --grace {}s; do :; done", kept::GRACE.as_secs()),
        Kind::Push | Kind::Remove => format!("larder release remove {BUNDLE}"),
    }))
}

/// Has the release copied to the disk, to the end.
fn bring(system: &System, guest: &mut Guest) -> Result<()> {
    guest.plug_disc(&system.disc, UNTHROTTLED)?;
    wait_until_attached(guest)?;
    guest.shell(&format!("larder release add {BUNDLE}"))?;
    guest.pull_disc()?;
    wait_until_detached(guest)?;
    Ok(())
}

impl Tally {
    /// What power was cut in least often, and so is next: a cut that came too late for a removal counts among
    /// the pushes, and the removal's turn comes again.
    fn rarest(&self) -> Kind {
        Kind::ALL.into_iter().min_by_key(|kind| self.of(*kind)).unwrap_or(Kind::Push)
    }

    fn of(&self, kind: Kind) -> usize {
        self.0.iter().filter(|it| it.kind == kind).count()
    }

    fn lost(&self) -> usize {
        self.0.iter().map(|it| it.lost).sum()
    }

    /// How many cuts in such work left the release there, or did not.
    fn left(&self, kind: Kind, is_left: bool) -> usize {
        self.0.iter().filter(|it| it.kind == kind && it.is_left == Some(is_left)).count()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for kind in Kind::ALL {
            write!(f, "{} in {}, ", self.of(kind), kind.in_words())?;
        }
        let (gone, begun) = (self.left(Kind::Remove, false), self.left(Kind::Remove, true));
        write!(f, "of the removals {gone} were gone on with and {begun} had not begun, ")?;
        let (whole, unseen) = (self.left(Kind::Copy, true), self.left(Kind::Copy, false));
        write!(
            f,
            "of the copies {whole} were whole and {unseen} unseen; {} unflushed blocks lost",
            self.lost()
        )
    }
}
