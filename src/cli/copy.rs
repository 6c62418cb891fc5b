//! `larder copy`: content from one store into another.

use std::num::NonZero;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use serde::Serialize;
use storage_layout::RepositoryName;
use tokio::task::spawn_blocking;
use tokio::time::MissedTickBehavior;

use crate::cli::Exit;
use crate::cli::Failure;
use crate::cli::output;
use crate::cli::output::Format;
use crate::cli::surroundings;
use crate::cli::sync;
use crate::maintenance::Pace;
use crate::maintenance::copy;
use crate::maintenance::copy::Held;
use crate::maintenance::copy::Plan;
use crate::maintenance::copy::Progress;
use crate::maintenance::copy::Report;
use crate::maintenance::copy::Selection;
use crate::peer::JobRequest;
use crate::peer::JobStatus;
use crate::store;
use crate::store::Access;
use crate::store::Options;
use crate::store::Store;

mod server;
mod watch;

use watch::Watch;

/// Copy content from an image or a directory into a directory
///
/// Every byte is verified while it is read. Where a server writes DESTINATION it does the work. What
/// DESTINATION holds already is left as it is, so that a copy which was cut off goes on where it was when it
/// is started again. Tags appear last, and only when all that they need is there.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where to read: a directory, an ISO image, a block device, or the first part of a split image
    /// (`data.isoaa`)
    source: PathBuf,
    /// Where to write: a directory, which is made if it is missing
    destination: PathBuf,
    /// Copy only this repository, with all that it holds; repeatable
    #[arg(long, value_name = "NAME", conflicts_with = "release", value_parser = RepositoryName::parse)]
    repository: Vec<RepositoryName>,
    /// Copy only this release (its version, bundle, tag or digest), with all that it reaches; repeatable
    #[arg(long, value_name = "RELEASE")]
    release: Vec<String>,
    /// Hash what DESTINATION holds already, and copy again what is damaged
    #[arg(long)]
    verify: bool,
    /// Read at most so many MiB in a second
    #[arg(long, value_name = "MIB")]
    limit_rate: Option<NonZero<u32>>,
    /// The administration socket of the server that writes DESTINATION, if one does
    #[arg(long, value_name = "PATH", env = "LARDER_ADMIN_SOCKET", hide_env_values = true)]
    admin_socket: Option<PathBuf>,
    /// How to write the report; with `json`, progress is written to standard error as a JSON object a line
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Table)]
    output: Format,
}

pub(super) fn run(args: &Args) -> Result<Exit, Failure> {
    let began = Instant::now();
    let runtime = surroundings::runtime()?;
    let copied = runtime.block_on(copy(args));
    // What still reads from a medium that does not answer must not hold up the end.
    runtime.shutdown_background();
    let report = match copied? {
        Copied::Here(report) => report,
        Copied::ByServer(status) => return sync::ended(*status),
    };
    let ended = match args.output {
        Format::Table => output::print(&sentence(&report, began.elapsed())),
        Format::Json => output::print_json(&Written::new(&report, began.elapsed())),
    };
    ended?;
    if report.is_complete() {
        return Ok(Exit::Fine);
    }
    if args.output == Format::Table {
        watch::tell(report.problems.iter().map(|it| format!("problem: {it}")));
    }
    Ok(Exit::ProblemFound)
}

/// Who copied, and what came of it.
enum Copied {
    Here(Report),
    ByServer(Box<JobStatus>),
}

async fn copy(args: &Args) -> Result<Copied, Failure> {
    let source = open(&args.source, Access::ReadOnly)?;
    match open(&args.destination, Access::ReadWrite) {
        Ok(destination) => here(args, source, destination).await.map(Copied::Here),
        Err(locked @ store::Error::Locked { .. }) => {
            by_server(args, source, locked).await.map(|it| Copied::ByServer(Box::new(it)))
        }
        Err(error) => Err(error.into()),
    }
}

async fn by_server(args: &Args, source: Store, locked: store::Error) -> Result<JobStatus, Failure> {
    if args.verify {
        return Err(Failure::usage("a server writes there, and hashes what it holds when it is asked to")
            .with_hint("have it hash with `larder verify`, and copy without `--verify`"));
    }
    let request = JobRequest {
        sources: Vec::new(),
        releases: args.release.clone(),
        repositories: args.repository.iter().map(ToString::to_string).collect(),
        bytes_per_second: rate(args),
        blobs_at_once: None,
        ..JobRequest::default()
    };
    let socket = surroundings::admin_socket(args.admin_socket.clone())?;
    server::check(&socket, &args.destination, locked).await?;
    server::copy(source, request, socket, args.output).await
}

/// In bytes a second.
fn rate(args: &Args) -> Option<NonZero<u64>> {
    args.limit_rate.and_then(|mib| NonZero::new(u64::from(mib.get()) << 20))
}

async fn here(args: &Args, source: Store, destination: Store) -> Result<Report, Failure> {
    let Some(writer) = destination.writer() else {
        let failure = anyhow::anyhow!("`{}` cannot be written", args.destination.display());
        return Err(Failure::new(failure).with_hint("check that it is a directory, and who may write there"));
    };
    let import = writer.import();
    let (sources, selection) = (source.sources(), selection(args));
    let held = if args.verify { Held::Hashed } else { Held::Trusted };
    let pace = Arc::new(Pace::new(rate(args)));
    let progress = Arc::<Progress>::default();
    let mut watch = Watch::new(args.output, Arc::clone(&progress));
    let mut ticks = tokio::time::interval(Watch::EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let copying = async {
        let plan = spawn_blocking(move || Plan::new(sources, &selection)).await??;
        Ok::<_, Failure>(copy::copy(plan, import, held, pace, progress).await?)
    };
    let mut copying = std::pin::pin!(copying);
    let ended = loop {
        tokio::select! {
            ended = &mut copying => break ended,
            _ = ticks.tick() => watch.look(),
        }
    };
    watch.end();
    destination.close().await;
    let report = ended?;
    // Nothing here stops the pace.
    report.ok_or_else(|| anyhow::anyhow!("the copy was stopped").into())
}

fn selection(args: &Args) -> Selection {
    if !args.release.is_empty() {
        return Selection::Releases(args.release.clone());
    }
    match args.repository.as_slice() {
        [] => Selection::Everything,
        names => Selection::Repositories(names.to_vec()),
    }
}

fn open(root: &Path, access: Access) -> Result<Store, store::Error> {
    Store::open(&Options { roots: vec![root.to_owned()], access, ..Options::default() })
}

/// The report for a person.
fn sentence(report: &Report, elapsed: Duration) -> String {
    let Report { copied_blobs, copied_bytes, skipped_blobs, skipped_bytes, links, tags, problems } = report;
    let left_out = match problems.len() {
        0 => String::new(),
        1 => "; 1 problem".to_owned(),
        many => format!("; {many} problems"),
    };
    format!(
        "copied {copied_blobs} blobs ({}) in {:.1} s, {skipped_blobs} ({}) were there already; wrote {links} links and \
         {tags} tags{left_out}\n",
        indicatif::BinaryBytes(*copied_bytes),
        elapsed.as_secs_f64(),
        indicatif::BinaryBytes(*skipped_bytes),
    )
}

/// The report for a program.
#[derive(Serialize)]
struct Written {
    copied_blobs: u64,
    copied_bytes: u64,
    skipped_blobs: u64,
    skipped_bytes: u64,
    links: u64,
    tags: u64,
    seconds: f64,
    problems: Vec<String>,
}

impl Written {
    fn new(report: &Report, elapsed: Duration) -> Self {
        Self {
            copied_blobs: report.copied_blobs,
            copied_bytes: report.copied_bytes,
            skipped_blobs: report.skipped_blobs,
            skipped_bytes: report.skipped_bytes,
            links: report.links,
            tags: report.tags,
            seconds: elapsed.as_secs_f64(),
            problems: report.problems.iter().map(ToString::to_string).collect(),
        }
    }
}
