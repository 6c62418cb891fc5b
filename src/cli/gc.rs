//! `larder gc`: remove what nothing reaches.

use std::time::Duration;
use std::time::SystemTime;

use indicatif::BinaryBytes;

use crate::cli::Exit;
use crate::cli::Failure;
use crate::cli::content::Content;
use crate::cli::output;
use crate::cli::output::Format;
use crate::cli::surroundings;
use crate::config::duration;
use crate::maintenance::documents;
use crate::maintenance::documents::GcReport;
use crate::maintenance::documents::GcRequest;
use crate::store::Access;
use crate::store::Store;

/// Remove blobs and links that nothing reaches, while clients push and pull
///
/// Where a server writes there it does the work, and keeps what pushes under way count on. A repository with
/// something in it that cannot be read is kept whole.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    content: Content,
    /// Say what would go and remove nothing
    #[arg(short = 'd', long)]
    dry_run: bool,
    /// Remove manifests, too, that have no tag and that nothing with a tag needs
    #[arg(short = 'm', long, alias = "delete-untagged")]
    untagged: bool,
    /// How old garbage must be: a push under way may need it soon
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_duration)]
    grace: Duration,
    /// Forget uploads that began so long ago
    #[arg(long, value_name = "TIME", default_value = "168h", value_parser = parse_duration)]
    uploads_older_than: Duration,
    /// How to write the report
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Table)]
    output: Format,
}

pub(super) fn run(args: &Args) -> Result<Exit, Failure> {
    let request = GcRequest {
        dry_run: args.dry_run,
        untagged: args.untagged,
        grace_seconds: args.grace.as_secs(),
        uploads_seconds: args.uploads_older_than.as_secs(),
    };
    let runtime = surroundings::runtime()?;
    let access = if args.dry_run { Access::ReadOnly } else { Access::ReadWrite };
    let collect = async |store: &Store| documents::collect(store, &request, SystemTime::now()).await;
    let report = match args.content.here(&runtime, access, collect)? {
        Some(report) => report,
        None => Some(args.content.ask(&runtime, "/v2/_larder/gc", &request)?),
    };
    let report: GcReport = report.ok_or_else(|| anyhow::anyhow!("no root can be written"))?;
    match args.output {
        Format::Json => output::print_json(&report),
        Format::Table => output::print(&prose(&report)),
    }
}

fn prose(report: &GcReport) -> String {
    let mut text = String::new();
    text.extend(report.entries.iter().map(|it| format!("{}\n", it.path)));
    text.extend(report.kept_whole.iter().map(|it| format!("kept whole: {}: {}\n", it.repository, it.why)));
    let GcReport { blobs, links, uploads, seconds, .. } = report;
    let (verb, freed) = if report.dry_run { ("would remove", "to free") } else { ("removed", "freed") };
    text + &format!(
        "{verb} {blobs} blobs, {links} links and {uploads} uploads in {seconds:.1} s; {freed}: {}, spared as too young \
         or counted on: {}\n",
        BinaryBytes(report.bytes),
        BinaryBytes(report.spared_bytes),
    )
}

fn parse_duration(text: &str) -> Result<Duration, &'static str> {
    if text == "0" {
        Ok(Duration::ZERO)
    } else {
        duration::parse(text).ok_or("expected a duration such as `10m`")
    }
}
