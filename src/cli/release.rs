//! `larder release`: the releases that a store holds, their coming and their going.

use clap::Subcommand;
use indicatif::BinaryBytes;
use serde::Serialize;

use crate::cli::Exit;
use crate::cli::Failure;
use crate::cli::content::Content;
use crate::cli::output;
use crate::cli::output::Format;
use crate::cli::table;
use crate::maintenance::releases::ReleaseStatus;
use crate::maintenance::releases::releases;
use crate::peer::ReleaseList;
use crate::store::Access;

mod change;

/// Where the server tells how releases are doing.
const RELEASES: &str = "/v2/_larder/releases";

/// List releases, tell whether they are complete, add and remove them
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the releases
    List(List),
    /// Tell what a release lacks; exits with 1 if it is incomplete or not there
    Status(Status),
    /// Bring a release from an attached medium onto the disk, and have the peers take it
    ///
    /// The server on this host does it, from the roots that it only reads. Where none runs: give both by
    /// `--root`, the disk first.
    Add(change::Add),
    /// Remove a release with all that no other release, tag or push under way needs, while clients pull
    Remove(change::Remove),
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    content: Content,
    /// How to write it
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Table)]
    output: Format,
}

#[derive(Debug, clap::Args)]
struct Status {
    /// Its version, bundle, tag or digest; all releases if none is named
    release: Option<String>,
    #[command(flatten)]
    list: List,
}

pub(super) fn run(args: &Args) -> Result<Exit, Failure> {
    match &args.verb {
        Verb::Add(add) => change::add(add),
        Verb::Remove(remove) => change::remove(remove),
        Verb::List(list) => {
            print(&find(list)?, list.output)?;
            Ok(Exit::Fine)
        }
        Verb::Status(Status { release, list }) => {
            let mut found = find(list)?;
            found.retain(|it| release.as_ref().is_none_or(|name| it.is_called(name)));
            print(&found, list.output)?;
            let faults = faults(&list.content.hear(RELEASES).unwrap_or_default(), release.as_deref());
            if list.output == Format::Table {
                output::print(&(lacks(&found) + &faults))?;
            }
            let is_fine = !found.is_empty() && found.iter().all(ReleaseStatus::is_complete);
            let is_fine = is_fine && faults.is_empty();
            Ok(if is_fine { Exit::Fine } else { Exit::ProblemFound })
        }
    }
}

fn find(list: &List) -> Result<Vec<ReleaseStatus>, Failure> {
    Ok(releases(&list.content.open(Access::ReadOnly)?.sources())?)
}

fn print(found: &[ReleaseStatus], format: Format) -> Result<Exit, Failure> {
    if format == Format::Json {
        return output::print_json(&found.iter().map(Written::from).collect::<Vec<_>>());
    }
    let rows: Vec<_> = found
        .iter()
        .map(|it| {
            [
                it.version.clone().unwrap_or_else(|| "-".to_owned()),
                it.bundle.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
                format!("{}/{}", it.present, it.images),
                BinaryBytes(it.bytes).to_string(),
                if it.is_complete() { "complete" } else { "incomplete" }.to_owned(),
                it.image.digest.to_string(),
            ]
        })
        .collect();
    output::print(&table::lay_out(["VERSION", "BUNDLE", "IMAGES", "SIZE", "STATE", "DIGEST"], &rows))
}

fn lacks(found: &[ReleaseStatus]) -> String {
    let mut text = String::new();
    for release in found {
        text.extend(release.unread.iter().map(|why| format!("{}: {why}\n", release.name())));
        text.extend(release.missing.iter().map(|it| format!("{} lacks {it}\n", release.name())));
    }
    if found.is_empty() { "there is no such release\n".to_owned() } else { text }
}

/// What the server tells is in the way of a release, or of any.
fn faults(told: &ReleaseList, name: Option<&str>) -> String {
    let mut text = String::new();
    for release in &told.releases {
        let names = [Some(&release.name), release.version.as_ref(), release.image.as_ref()];
        let is_meant =
            |name: &str| names.iter().flatten().any(|it| *it == name || it.ends_with(&format!("@{name}")));
        let degraded = release.conditions.iter().find(|it| it.kind == "Degraded" && it.status == "True");
        if let Some(why) = degraded.filter(|_| name.is_none_or(is_meant)) {
            text += &format!("{} is degraded ({}): {}\n", release.name, why.reason, why.message);
        }
    }
    text
}

#[derive(Serialize)]
struct Written {
    version: Option<String>,
    digest: String,
    tag: String,
    bundle: Option<String>,
    images: u64,
    present: u64,
    bytes: u64,
    complete: bool,
    missing: Vec<String>,
}

impl From<&ReleaseStatus> for Written {
    fn from(it: &ReleaseStatus) -> Self {
        Self {
            version: it.version.clone(),
            digest: it.image.digest.to_string(),
            tag: it.image.tag.to_string(),
            bundle: it.bundle.as_ref().map(ToString::to_string),
            images: it.images,
            present: it.present,
            bytes: it.bytes,
            complete: it.is_complete(),
            missing: it.missing.iter().map(ToString::to_string).chain(it.unread.clone()).collect(),
        }
    }
}
