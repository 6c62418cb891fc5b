//! Power cuts: the machine is killed in the middle of pushes and removals, its disk loses what was not flushed, and
//! what was acknowledged must be there when it comes back.
//!
//! To cut often, the machine is not booted from power off each time: its memory is kept once, from a moment at which its
//! disk was not attached, and every life begins there. Of the disk a life knows nothing but what is on it: it is
//! plugged in, its file system is mounted and replays its journal, and Larder starts.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use fastrand::Rng;

use crate::bench::Bench;
use crate::crash::Acknowledged;
use crate::crash::push_forever;
use crate::crash::still_there;
use crate::http::Endpoint;
use crate::machine::Clock;
use crate::machine::guest::Guest;
use crate::machine::system::System;
use crate::report;

/// Who pushes when power is cut.
const PUSHERS: u64 = 3;

/// How often power is cut however long everything before took.
const LEAST: usize = 5;

/// How long pushes last before power is cut.
const LIFE: std::ops::Range<u64> = 300..2_500;

/// How many of the things acknowledged last are asked for in each life; after the last, all are.
const CHECKED: usize = 12;

/// How many blocks are not flushed when power goes: a few are a link or a tag, many a blob.
const UNFLUSHED: std::ops::Range<usize> = 1..24;

/// How long to wait for such a moment.
const MOMENT: Duration = Duration::from_secs(5);

/// How long Larder may take to be back.
const BACK: Duration = Duration::from_secs(60);

/// How much of what was not flushed is kept: none, some and all of it, since a disk may do any of that.
const KEPT: [f64; 5] = [0.0, 0.5, 0.9, 0.1, 1.0];

/// Has Larder start on the disk, without TLS and open to all, so that a life holds many pushes.
const PREPARE: &str = "systemctl stop larder.service larder.socket && umount /var/lib/larder \
    && printf 'LARDER_ALLOW_ANONYMOUS=pull,push\\n' >/etc/larder/larder.env && sync";
const START: &str = "{ mountpoint -q /var/lib/larder || mount /var/lib/larder; } \
    && systemctl start larder.socket larder.service && systemctl is-active larder.service";

/// A number of power cuts.
#[derive(Debug)]
pub(crate) struct Cuts<'a> {
    bench: &'a Bench,
    system: &'a System,
    count: usize,
    memory: PathBuf,
}

impl<'a> Cuts<'a> {
    /// So many.
    pub(crate) fn new(bench: &'a Bench, system: &'a System, count: usize) -> Self {
        Self { bench, system, count, memory: bench.directory().join("memory") }
    }

    /// Cuts power until it was done as often as was wanted, or the time is over.
    pub(crate) fn run(&self, guest: Guest, until: Option<Instant>, clock: &mut Clock) -> Result<String> {
        self.keep_memory(guest)?;
        clock.tell("the machine's memory is kept, without its disk");
        let mut random = Rng::with_seed(1);
        let (mut acknowledged, mut lost, mut done) = (Vec::new(), 0, 0);
        while done < self.count && (done < LEAST || until.is_none_or(|until| Instant::now() < until)) {
            let seed = done as u64;
            let (new, loss) =
                self.live(seed, &acknowledged, &mut random).with_context(|| format!("life {seed}"))?;
            clock.tell(&format!("cut {}: {} things acknowledged, {loss} blocks lost", done + 1, new.len()));
            acknowledged.extend(new);
            lost += loss;
            done += 1;
        }
        let mut guest = self.begin("last")?;
        let endpoint = Endpoint::plain(guest.registry);
        acknowledged
            .iter()
            .try_for_each(|thing| still_there(&endpoint, thing))
            .context("after the last cut")?;
        guest.shell("larder verify").context("after the last cut")?;
        clock.tell("after the last cut everything acknowledged is there");
        if done < self.count {
            report::tell(&format!(
                "NOT SHOWN: {} of {} power cuts did not fit; `cargo conformance cut-often` makes them",
                self.count - done,
                self.count
            ));
        }
        ensure!(done > 0 && lost > 0, "{done} cuts, and {lost} blocks lost: nothing was shown");
        Ok(format!(
            "{done} power cuts, {lost} unflushed blocks lost, {} acknowledged blobs and tags all there, every verify clean",
            acknowledged.len()
        ))
    }

    /// Keeps the machine as it is without its disk.
    fn keep_memory(&self, mut guest: Guest) -> Result<()> {
        guest.shell(PREPARE)?;
        guest.unplug_disk()?;
        guest.freeze(&self.memory)
    }

    /// One life: begins on what the last cut left, which is checked, and ends with the next.
    fn live(
        &self,
        seed: u64,
        before: &[Acknowledged],
        random: &mut Rng,
    ) -> Result<(Vec<Acknowledged>, usize)> {
        let mut guest = self.begin("cut")?;
        guest.shell("larder verify").context("verifying what the last cut left")?;
        let endpoint = Endpoint::plain(guest.registry);
        let mut recent = before.iter().rev().take(CHECKED);
        recent.try_for_each(|thing| still_there(&endpoint, thing)).context("acknowledged before the cut")?;
        let acknowledged = self.push_until_cut(guest, &endpoint, seed, random)?;
        let keep = KEPT.get(seed as usize % KEPT.len()).copied().unwrap_or_default();
        Ok((acknowledged, self.system.disk.cut(random, keep).lost))
    }

    fn begin(&self, name: &str) -> Result<Guest> {
        let mut guest = self.system.hardware.resume(name, &self.memory)?;
        guest.plug_disk(&self.system.disk)?;
        if let Err(error) = guest.until(BACK, START) {
            super::keep_journal(self.bench, &mut guest, "journal-of-the-failed.txt");
            return Err(error);
        }
        Ok(guest)
    }

    fn push_until_cut(
        &self,
        guest: Guest,
        endpoint: &Endpoint,
        seed: u64,
        random: &mut Rng,
    ) -> Result<Vec<Acknowledged>> {
        let acknowledged = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for pusher in 0..PUSHERS {
                let acknowledged = &acknowledged;
                scope.spawn(move || push_forever(endpoint, 1000 + seed * PUSHERS + pusher, acknowledged));
            }
            std::thread::sleep(Duration::from_millis(random.u64(LIFE)));
            self.system.disk.fail_at(random.usize(UNFLUSHED));
            let latest = Instant::now() + MOMENT;
            while !self.system.disk.is_off() && Instant::now() < latest {
                std::thread::sleep(Duration::from_millis(1));
            }
            guest.kill();
        });
        match acknowledged.into_inner() {
            Ok(acknowledged) => Ok(acknowledged),
            Err(_) => bail!("a pusher panicked"),
        }
    }
}
