//! `larder uninstall`: the end of Larder on this node.

use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use anyhow::Context as _;
use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use rustix::event::poll;
use rustix::io::Errno;
use rustix::process::Pid;
use rustix::process::PidfdFlags;
use rustix::process::Signal;
use rustix::process::pidfd_open;
use rustix::process::pidfd_send_signal;
use serde::Serialize;

use crate::cli::Exit;
use crate::cli::Failure;
use crate::cli::in_use::InUse;
use crate::cli::output;
use crate::cli::output::Format;
use crate::cli::surroundings;
use crate::maintenance::releases::ReleaseStatus;
use crate::maintenance::releases::releases;
use crate::store;
use crate::store::Access;
use crate::store::Error;
use crate::store::Options;
use crate::store::Store;

/// Stop serving and delete all content
///
/// Stops the server that writes there, and where systemd runs it switches its units off: the port is free
/// then. Deletes what is stored. Configuration, certificates and the program stay, and so does whatever else
/// lies in the directory.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where content lies
    #[arg(long, value_name = "DIRECTORY", env = "LARDER_ROOT", hide_env_values = true)]
    root: Option<PathBuf>,
    /// Do it; without this it is only said what would go
    #[arg(short = 'y', long)]
    yes: bool,
    #[command(flatten)]
    in_use: InUse,
    /// How to write the report
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// What there was.
#[derive(Debug, Serialize)]
struct Report {
    root: PathBuf,
    releases: Vec<String>,
    units: Vec<&'static str>,
    deleted: bool,
}

/// The units that serve a root, as the packages install them.
const UNITS: [(&str, &[&str]); 2] = [
    ("/var/lib/larder", &["larder.socket", "larder-scrub.timer", "larder-scrub.service", "larder.service"]),
    ("/var/lib/iri-registry", &["iri-registry.service"]),
];

/// Where systemd says that it runs (`sd_booted(3)`).
const BOOTED: &str = "/run/systemd/system";

/// How long a server may take to end: what the units give it.
const ENDS_WITHIN: Timespec = Timespec { tv_sec: 45, tv_nsec: 0 };

pub(super) fn run(args: &Args) -> Result<Exit, Failure> {
    let root = args.root.clone().unwrap_or_else(|| surroundings::find().root);
    let found = found(&root)?;
    let is_in_use = |it: &&ReleaseStatus| args.in_use.in_use.iter().any(|name| it.is_called(name));
    if let Some(release) = found.iter().find(is_in_use).filter(|_| !args.in_use.force) {
        let failure = Failure::new(anyhow::anyhow!("release {} is in use", release.name()));
        return Err(failure.with_hint("nodes pull from here; `--force` deletes it all the same"));
    }
    let releases = found.iter().map(ReleaseStatus::name).collect();
    let mut report = Report { units: units(&root), root, releases, deleted: false };
    if !args.yes {
        tell(&report, args.output)?;
        return Err(Failure::usage("nothing was deleted").with_hint("say `--yes` to delete it"));
    }
    switch_off(&report.units)?;
    delete(&report.root)?;
    report.deleted = true;
    tell(&report, args.output)
}

fn found(root: &Path) -> Result<Vec<ReleaseStatus>, Failure> {
    if !root.is_dir() {
        let failure = Failure::new(anyhow::anyhow!("{} is no directory", root.display()));
        return Err(failure.with_hint("name the place of the content with `--root`"));
    }
    let options = Options { roots: vec![root.to_owned()], access: Access::ReadOnly, ..Options::default() };
    Ok(releases(&Store::open(&options)?.sources())?)
}

/// The units that are to be switched off: those of this very root that systemd knows.
fn units(root: &Path) -> Vec<&'static str> {
    let of_root = UNITS.iter().filter(|(path, _)| Path::new(path) == root).flat_map(|(_, units)| *units);
    let is_known = |unit: &&str| {
        let asked = Command::new("systemctl")
            .args(["cat", *unit])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        asked.is_ok_and(|it| it.success())
    };
    match Path::new(BOOTED).is_dir() {
        true => of_root.copied().filter(is_known).collect(),
        false => Vec::new(),
    }
}

fn switch_off(units: &[&str]) -> Result<(), Failure> {
    if units.is_empty() {
        return Ok(());
    }
    let status =
        Command::new("systemctl").args(["disable", "--now"]).args(units).stdout(Stdio::null()).status();
    match status.context("cannot run `systemctl`")?.success() {
        true => Ok(()),
        false => Err(anyhow::anyhow!("`systemctl disable --now {}` failed", units.join(" ")).into()),
    }
}

/// Deletes the content, once nobody writes there any more.
fn delete(root: &Path) -> Result<(), Failure> {
    match store::delete_all(root) {
        Err(Error::Locked { holder: Some(holder), .. }) => end(holder)?,
        deleted => return Ok(deleted?),
    }
    Ok(store::delete_all(root)?)
}

/// Tells a server to end, and waits until it has. One that has ended meanwhile is what was wanted.
fn end(server: u32) -> Result<(), Failure> {
    let pid = i32::try_from(server).ok().and_then(Pid::from_raw);
    let Some(pid) = pid else { return Ok(()) };
    let ended = pidfd_open(pid, PidfdFlags::empty()).and_then(|process| {
        pidfd_send_signal(&process, Signal::TERM)?;
        poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&ENDS_WITHIN))
    });
    match ended {
        Ok(0) => Err(anyhow::anyhow!("the server (pid {server}) does not end").into()),
        Ok(_) | Err(Errno::SRCH) => Ok(()),
        Err(error) => {
            let error = anyhow::Error::new(io::Error::from(error));
            Err(error.context(format!("cannot end the server (pid {server})")).into())
        }
    }
}

fn tell(report: &Report, format: Format) -> Result<Exit, Failure> {
    match format {
        Format::Json => output::print_json(report),
        Format::Table => output::print(&prose(report)),
    }
}

fn prose(report: &Report) -> String {
    let Report { root, releases, units, deleted } = report;
    let (stop, delete) = if *deleted { ("stopped", "deleted") } else { ("would stop", "would delete") };
    let mut text = String::new();
    text.extend(units.iter().map(|unit| format!("{stop} {unit}\n")));
    let releases = if releases.is_empty() { String::new() } else { format!(": {}", releases.join(", ")) };
    text + &format!("{delete} all content of {}{releases}\n", root.display())
}
