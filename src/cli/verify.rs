//! `larder verify`: is everything in a store what it is called, and is everything there.

use std::io;
use std::io::IsTerminal as _;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context as _;
use indicatif::BinaryBytes;
use indicatif::ProgressBar;
use indicatif::ProgressStyle;
use tokio::runtime::Runtime;

use crate::cli::Exit;
use crate::cli::Failure;
use crate::cli::content::Content;
use crate::cli::output;
use crate::cli::output::Format;
use crate::cli::serve::peers::trust;
use crate::cli::surroundings;
use crate::maintenance::documents;
use crate::maintenance::documents::VerifyReport;
use crate::maintenance::documents::VerifyRequest;
use crate::maintenance::verify::Tally;
use crate::metrics::ReloadMetrics;
use crate::peer::Dialer;
use crate::peer::Endpoint;
use crate::peer::Menders;
use crate::reload::Watcher;
use crate::store::Access;
use crate::store::Error;
use crate::store::Store;

/// Hash every blob, check every link, tag and manifest, and mend what is damaged if so asked
///
/// Runs beside a server without disturbing it, at the lowest priority. Exits with 1 if a problem was found,
/// mended or not. What cannot be mended is moved to ROOT/larder/quarantine, never deleted.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    content: Content,
    /// Check that releases are complete: this one (its version, bundle, tag or digest), or all
    #[arg(long, value_name = "RELEASE", num_args = 0..=1, default_missing_value = "")]
    release: Option<String>,
    /// Mend what the store itself tells how to mend
    #[arg(long)]
    repair: bool,
    /// Mend from this directory, image or registry (`https://HOST:PORT`); repeatable. Registries are asked
    /// last
    #[arg(long, value_name = "SOURCE")]
    repair_from: Vec<String>,
    /// Where no server writes: the authorities that sign the registries' certificates, PEM [default: the
    /// system's]
    #[arg(long, value_name = "FILE", requires = "repair_from")]
    peer_ca: Option<PathBuf>,
    /// Where no server writes: a `.dockerconfigjson`; its entries are what the registries are shown
    #[arg(long, value_name = "FILE", requires = "repair_from")]
    peer_auth: Option<PathBuf>,
    /// Say what would be mended and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Read at most so many MiB in a second; 0 is as fast as it goes
    #[arg(long, value_name = "MIB", default_value_t = 200)]
    limit_rate: u32,
    /// How to write the report
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// How often a bar moves.
const TICK: Duration = Duration::from_millis(100);

pub(super) fn run(args: &Args) -> Result<Exit, Failure> {
    let repairs = args.repair || !args.repair_from.is_empty();
    let (registries, paths): (Vec<_>, Vec<_>) = args.repair_from.iter().partition(|it| it.contains("://"));
    let endpoints = endpoints(&registries)?;
    let request = VerifyRequest {
        dry_run: args.dry_run,
        repair_from: repairs.then(|| absolute(&paths)).transpose()?,
        repair_from_registries: endpoints.iter().map(ToString::to_string).collect(),
        release: args.release.clone(),
        bytes_per_second: NonZero::new(u64::from(args.limit_rate) << 20),
    };
    let runtime = surroundings::runtime()?;
    let access = if repairs && !args.dry_run { Access::ReadWrite } else { Access::ReadOnly };
    let report = match args.content.open(access) {
        Ok(store) => {
            let mut watcher = Watcher::new(ReloadMetrics::default());
            let dialer = Dialer::new(trust(
                args.peer_ca.clone(),
                args.peer_auth.clone(),
                Duration::ZERO,
                &mut watcher,
            )?);
            let menders =
                Menders::new(store.clone(), Arc::default(), &dialer, &endpoints, request.bytes_per_second);
            here(&runtime, &store, &request, &menders)?
        }
        Err(Error::Locked { .. }) => args.content.ask(&runtime, "/v2/_larder/verify", &request)?,
        Err(error) => return Err(error.into()),
    };
    match args.output {
        Format::Json => output::print_json(&report)?,
        Format::Table => output::print(&prose(&report))?,
    };
    Ok(if report.clean { Exit::Fine } else { Exit::ProblemFound })
}

/// The server does not stand where we stand.
fn absolute(paths: &[&String]) -> Result<Vec<PathBuf>, Failure> {
    let absolute: io::Result<_> = paths.iter().map(std::path::absolute).collect();
    Ok(absolute.context("cannot tell where this is")?)
}

fn endpoints(registries: &[&String]) -> Result<Vec<Endpoint>, Failure> {
    let parse = |text: &&String| {
        let endpoint = Endpoint::parse(text).with_context(|| format!("`{text}` is no registry"));
        endpoint.map_err(|error| Failure::new(error).of_usage())
    };
    registries.iter().map(parse).collect()
}

fn here(
    runtime: &Runtime,
    store: &Store,
    request: &VerifyRequest,
    menders: &Menders,
) -> Result<VerifyReport, Failure> {
    let tally = Arc::<Tally>::default();
    let bar = bar();
    let report = runtime.block_on(async {
        let mut verifying = std::pin::pin!(documents::verify(store, request, menders, &tally));
        let mut ticks = tokio::time::interval(TICK);
        let report = loop {
            tokio::select! {
                report = &mut verifying => break report,
                _ = ticks.tick() => show(&bar, &tally),
            }
        };
        bar.finish_and_clear();
        store.close().await;
        report
    })?;
    report.ok_or_else(|| {
        Failure::new(anyhow::anyhow!("no root can be written, so nothing can be mended"))
            .with_hint("name a directory with `--root`")
    })
}

fn bar() -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style =
        "verifying [{wide_bar}] {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left";
    let style = ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::no_length().with_style(style.progress_chars("=> "))
}

fn show(bar: &ProgressBar, tally: &Tally) {
    bar.set_length(tally.bytes.load(Ordering::Relaxed));
    bar.set_position(tally.bytes_done.load(Ordering::Relaxed));
}

/// The report for a person.
fn prose(report: &VerifyReport) -> String {
    let mut text = String::new();
    for problem in &report.problems {
        text += &format!("problem: {}\n", problem.message);
        text.extend(problem.remedy.iter().map(|it| format!("         {it}\n")));
    }
    text.extend(report.strangers.iter().map(|it| format!("stranger: {it}\n")));
    let VerifyReport { blobs, bytes, links, manifests, repositories, seconds, .. } = report;
    let found = match report.problems.len() {
        0 => "no problem".to_owned(),
        1 => "1 problem".to_owned(),
        many => format!("{many} problems"),
    };
    text + &format!(
        "{found} in {blobs} blobs ({}), {links} links and {manifests} manifests of {repositories} repositories, \
         looked at in {seconds:.1} s\n",
        BinaryBytes(*bytes)
    )
}
