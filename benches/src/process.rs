//! A server's process, with what it has used: CPU time and memory, its children included.
//!
//! Knows `/proc`. Does not know which server it is.

use std::fs;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use rustix::process::Pid;
use rustix::process::Signal;

/// How long a server may take to end after SIGTERM before it is killed.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often memory is sampled. A peak that is shorter than this is seen only in `VmHWM`.
const SAMPLE_EVERY: Duration = Duration::from_millis(5);

/// A running process, ended when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts a command.
    pub(crate) fn spawn(command: &mut Command) -> Result<Self> {
        let child = command.spawn().with_context(|| format!("starting {:?}", command.get_program()))?;
        Ok(Self { child })
    }

    /// Whether it has not ended.
    pub(crate) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// CPU time used so far, user and system, by the process and all its descendants.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let tick = Duration::from_secs(1) / u32::try_from(rustix::param::clock_ticks_per_second())?;
        let mut ticks = 0;
        for pid in family(self.child.id()) {
            ticks += cpu_ticks(pid)?;
        }
        Ok(tick * u32::try_from(ticks)?)
    }

    /// Watches memory until [`Watch::finish`].
    pub(crate) fn watch_memory(&self) -> Watch {
        let stop = Arc::new(AtomicBool::new(false));
        let sampler = thread::spawn({
            let stop = stop.clone();
            let pid = self.child.id();
            move || {
                let mut peak = memory(pid);
                while !stop.load(Ordering::Relaxed) {
                    thread::sleep(SAMPLE_EVERY);
                    peak = peak.max(memory(pid));
                }
                peak
            }
        });
        Watch { stop, sampler }
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::TERM);
        let given_up = Instant::now() + PATIENCE;
        while self.is_alive() && Instant::now() < given_up {
            thread::sleep(Duration::from_millis(2));
        }
        if self.is_alive() {
            self.signal(Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

/// A sampling of memory that is under way.
#[derive(Debug)]
pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    sampler: JoinHandle<Memory>,
}

impl Watch {
    /// The peaks.
    pub(crate) fn finish(self) -> Result<Memory> {
        self.stop.store(true, Ordering::Relaxed);
        match self.sampler.join() {
            Ok(peak) => Ok(peak),
            Err(_) => bail!("the memory sampler panicked"),
        }
    }
}

/// Memory of a process and its descendants, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// What it allocated: `RssAnon`. Nothing can take this back from it but an end.
    pub(crate) anonymous: u64,
    /// The most that was ever resident, files among it: `VmHWM`.
    pub(crate) peak_resident: u64,
}

impl Memory {
    fn max(self, other: Self) -> Self {
        Self {
            anonymous: self.anonymous.max(other.anonymous),
            peak_resident: self.peak_resident.max(other.peak_resident),
        }
    }
}

fn memory(pid: u32) -> Memory {
    let mut sum = Memory::default();
    for pid in family(pid) {
        // A process that has just ended has no memory.
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        sum.anonymous += status_field(&status, "RssAnon:");
        sum.peak_resident += status_field(&status, "VmHWM:");
    }
    sum
}

/// A field of `/proc/PID/status` that is given in KiB, in bytes.
fn status_field(status: &str, name: &str) -> u64 {
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|value| value.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// `utime` and `stime` of a process, and of its children that have ended (proc(5), fields 14 to 17).
fn cpu_ticks(pid: u32) -> Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("reading a server's CPU time")?;
    parse_cpu_ticks(&stat).context("/proc/PID/stat has an unknown form")
}

/// The command name stands in parentheses and may hold anything, so fields are counted from its end.
fn parse_cpu_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split(' ').skip(11).take(4).map(|field| field.parse::<u64>().ok()).sum()
}

/// A process and its living descendants.
fn family(pid: u32) -> Vec<u32> {
    let mut members = vec![pid];
    let mut next = 0;
    while let Some(member) = members.get(next).copied() {
        members.extend(children(Path::new(&format!("/proc/{member}/task"))));
        next += 1;
    }
    members
}

fn children(tasks: &Path) -> Vec<u32> {
    let mut found = Vec::new();
    for task in fs::read_dir(tasks).into_iter().flatten().flatten() {
        let list = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        found.extend(list.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn ticks_are_found_behind_a_hostile_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 100 20 3 4 20 0 1 0 5";
        assert_eq!(parse_cpu_ticks(stat), Some(127));
        assert_eq!(parse_cpu_ticks("7 (a"), None);
    }

    #[test]
    fn status_fields_are_bytes() {
        let status = "Name:\tx\nVmHWM:\t    2048 kB\nRssAnon:\t 12 kB\n";
        assert_eq!(status_field(status, "VmHWM:"), 2048 * 1024);
        assert_eq!(status_field(status, "RssAnon:"), 12 * 1024);
        assert_eq!(status_field(status, "Missing:"), 0);
    }

    #[test]
    fn a_child_of_a_child_counts_and_ends_with_it() {
        let script = "sh -c 'while :; do :; done' & trap 'kill $!' TERM; wait";
        let process = Process::spawn(Command::new("sh").args(["-c", script])).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while process.cpu().unwrap() < Duration::from_millis(20) {
            assert!(Instant::now() < deadline, "the grandchild's CPU time was never seen");
            thread::sleep(Duration::from_millis(5));
        }
        assert!(process.watch_memory().finish().unwrap().anonymous > 0);
        let members = family(process.child.id());
        assert!(members.len() >= 2);
        drop(process);
        assert!(!Path::new(&format!("/proc/{}", members.first().unwrap())).exists());
    }
}
