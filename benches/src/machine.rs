//! The machine a run was made on, in words: figures without it mean nothing.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use anyhow::Result;
use serde::Deserialize;
use serde::Serialize;

/// A machine, and the state it was in.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Machine {
    pub(crate) when: String,
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory: String,
    pub(crate) kernel: String,
    pub(crate) file_system: String,
    /// The load average of the last minute, before the run: what else ran disturbs the figures.
    pub(crate) load_before: String,
    /// Whether the kernel encrypts (`tls` upper layer protocol).
    pub(crate) kernel_tls: bool,
    pub(crate) commit: String,
}

impl Machine {
    /// Describes this one. `work` tells which disk is meant.
    pub(crate) fn describe(work: &Path) -> Result<Self> {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Ok(Self {
            when: said("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
            processor: field(&read("/proc/cpuinfo"), "model name"),
            cores: thread::available_parallelism()?.get(),
            memory: field(&read("/proc/meminfo"), "MemTotal"),
            kernel: said("uname", &["-sr"]),
            file_system: said("df", &["--output=fstype,source", &work.to_string_lossy()]),
            load_before: read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
            kernel_tls: read("/proc/sys/net/ipv4/tcp_available_ulp").contains("tls"),
            commit: said("git", &["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty"]),
        })
    }
}

fn field(text: &str, name: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.split_once(':'));
    line.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
}

/// The last line that a command prints; empty where it cannot be run.
fn said(program: &str, arguments: &[&str]) -> String {
    let output =
        Command::new(program).args(arguments).output().map(|output| output.stdout).unwrap_or_default();
    let text = String::from_utf8_lossy(&output).lines().last().unwrap_or_default().to_owned();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
