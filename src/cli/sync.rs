//! `larder sync`: make this store hold what other registries have.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use crate::cli::Exit;
use crate::cli::Failure;
use crate::cli::output::Format;
use crate::cli::serve::peers::trust;
use crate::cli::surroundings;
use crate::metrics::ReloadMetrics;
use crate::peer::Dialer;
use crate::peer::Job;
use crate::peer::JobRequest;
use crate::peer::JobStatus;
use crate::peer::Jobs;
use crate::peer::Local;
use crate::peer::Percent;
use crate::peer::State;
use crate::reload::Watcher;
use crate::store;
use crate::store::Store;

mod bar;

use bar::Bar;

/// Make this store hold what other registries have
///
/// Takes everything, or the named releases and repositories, from the registries at `--from`: other Larders,
/// or any OCI registry. Only what is missing comes; tags appear last, when everything they need is here. The
/// server on this host does the work, and goes on when this command is interrupted; with `--root` the command
/// does it itself.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A registry to take from, such as `https://node-2:22625`. May be given again; none means the server's
    /// peers
    #[arg(long, value_name = "URL")]
    from: Vec<String>,
    /// A release to take, by its digest or by its bundle's name. May be given again
    #[arg(long, value_name = "RELEASE")]
    release: Vec<String>,
    /// A repository to take whole. May be given again
    #[arg(long, value_name = "NAME")]
    repository: Vec<String>,
    /// The most bytes a second, such as `50M`
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    rate: Option<NonZeroU64>,
    /// The part of the time, in percent, in which something on the node may wait for storage before the sync
    /// steps back, as the kernel measures it (PSI); none means no limit
    #[arg(long, value_name = "PERCENT", value_parser = parse_percent)]
    disk_pressure: Option<Percent>,
    /// How many bytes of the disk to leave free, such as `10G` [default: 64M]
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    reserve: Option<NonZeroU64>,
    /// Write into this directory, which no server is writing
    #[arg(long, value_name = "DIR", conflicts_with = "admin_socket")]
    root: Option<PathBuf>,
    /// With `--root`: the authorities that sign the sources' certificates, PEM [default: the system's]
    #[arg(long, value_name = "FILE", requires = "root")]
    peer_ca: Option<PathBuf>,
    /// With `--root`: a `.dockerconfigjson`; its entries are what the sources are shown
    #[arg(long, value_name = "FILE", requires = "root")]
    peer_auth: Option<PathBuf>,
    /// The server's administration socket
    #[arg(long, value_name = "PATH", env = "LARDER_ADMIN_SOCKET", hide_env_values = true)]
    admin_socket: Option<PathBuf>,
    /// How to tell progress; JSON is one document a line
    #[arg(long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// How often progress is shown while nothing else changes.
const INTERVAL: Duration = Duration::from_millis(300);
/// Where jobs are.
const PATH: &str = "/v2/_larder/sync/jobs";

pub(super) fn run(args: Args) -> Result<Exit, Failure> {
    let request = JobRequest {
        sources: args.from.clone(),
        releases: args.release.clone(),
        repositories: args.repository.clone(),
        bytes_per_second: args.rate,
        disk_pressure: args.disk_pressure,
        reserve_bytes: args.reserve.map(NonZeroU64::get),
        blobs_at_once: None,
    };
    let job = Job::parse(request).map_err(|error| Failure::new(error).of_usage())?;
    let runtime = surroundings::runtime()?;
    let status = runtime.block_on(async {
        match &args.root {
            Some(root) => here(job, root.clone(), &args).await,
            None => by_server(job, args.admin_socket.clone(), args.output).await,
        }
    })?;
    ended(status)
}

/// How the job ended, as an exit code or a failure.
pub(super) fn ended(status: JobStatus) -> Result<Exit, Failure> {
    match status.state {
        State::Failed { message, .. } => Err(Failure::because("the sync failed".to_owned(), vec![message])),
        State::Cancelled => Err(Failure::because("the sync was cancelled".to_owned(), Vec::new())),
        _ => Ok(Exit::Fine),
    }
}

/// Has the server on this host do it.
pub(super) async fn by_server(
    job: Job,
    socket: Option<PathBuf>,
    output: Format,
) -> Result<JobStatus, Failure> {
    let server = Local::new(surroundings::admin_socket(socket)?);
    let request = serde_json::to_vec(job.request())?;
    let submitted = server.post(PATH, request).await;
    let submitted = submitted.map_err(|error| {
        Failure::new(error)
            .with_hint("start the server, or write into a directory without one by `--root DIR`")
    })?;
    let mut status: JobStatus =
        serde_json::from_slice(&submitted).context("cannot read the server's answer")?;
    let bar = Bar::new(output);
    if !status.state.is_final() {
        let mut events = server.follow(&format!("{PATH}/{}", status.id)).await?;
        while !status.state.is_final() {
            bar.show(&status)?;
            let event = events.next().await?;
            let event = event.context("the server stopped; the job goes on when it is back")?;
            status = serde_json::from_slice(&event).context("cannot read the server's answer")?;
        }
    }
    bar.end(&status)?;
    Ok(status)
}

/// Does it itself.
async fn here(job: Job, root: PathBuf, args: &Args) -> Result<JobStatus, Failure> {
    if job.sources().is_empty() {
        return Err(
            Failure::usage("there is nothing to take from").with_hint("name a registry with `--from URL`")
        );
    }
    let options =
        store::Options { roots: vec![root], access: store::Access::ReadWrite, ..Default::default() };
    let store = spawn_blocking(move || Store::open(&options)).await?.map_err(|error| match error {
        store::Error::Locked { .. } => {
            Failure::new(error).with_hint("a server writes there: leave out `--root` to have it do the work")
        }
        error => Failure::new(error),
    })?;
    let mut watcher = Watcher::new(ReloadMetrics::default());
    let dialer =
        Dialer::new(trust(args.peer_ca.clone(), args.peer_auth.clone(), Duration::ZERO, &mut watcher)?);
    let shutdown = CancellationToken::new();
    let jobs = Jobs::new(store.clone(), dialer, Vec::new(), shutdown.clone());
    let id = job.id().clone();
    jobs.submit(job).await?;
    let mut state = jobs.watch(&id).context("the job is gone")?;
    let bar = Bar::new(args.output);
    let status = loop {
        let status = jobs.get(&id).context("the job is gone")?;
        if status.state.is_final() {
            break status;
        }
        bar.show(&status)?;
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            _ = state.changed() => {}
            _ = tokio::signal::ctrl_c() => drop(jobs.cancel(&id)),
        }
    };
    bar.end(&status)?;
    shutdown.cancel();
    jobs.stopped().await;
    store.close().await;
    Ok(status)
}

fn parse_percent(text: &str) -> Result<Percent, String> {
    text.parse().ok().and_then(Percent::new).ok_or_else(|| "not a percentage from 1 to 100".to_owned())
}

/// A number of bytes, perhaps with one of the letters that rsync and systemd take: `K`, `M`, `G`, of 1024.
fn parse_bytes(text: &str) -> Result<NonZeroU64, String> {
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'K' | b'k') => (text.get(..text.len() - 1), 10),
        Some(b'M' | b'm') => (text.get(..text.len() - 1), 20),
        Some(b'G' | b'g') => (text.get(..text.len() - 1), 30),
        _ => (Some(text), 0),
    };
    let number: Option<u64> = digits.and_then(|it| it.parse().ok());
    let bytes = number.and_then(|it| it.checked_mul(1 << shift)).and_then(NonZeroU64::new);
    bytes.ok_or_else(|| "a number of bytes, such as `500K`, `50M` or `1G`".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn numbers_of_bytes() {
        for (text, bytes) in [
            ("1", Some(1)),
            ("500K", Some(500 * 1024)),
            ("50M", Some(50 << 20)),
            ("1g", Some(1 << 30)),
            ("0", None),
            ("", None),
            ("M", None),
            ("1.5M", None),
            ("99999999999999999999G", None),
        ] {
            assert_eq!(parse_bytes(text).ok().map(NonZeroU64::get), bytes, "{text}");
        }
    }
}
