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
use crate::peer::ConditionDocument;
use crate::peer::ReleaseDocument;
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
            print(&find(list)?, &[], list.output)?;
            Ok(Exit::Fine)
        }
        Verb::Status(Status { release, list }) => {
            let mut found = find(list)?;
            found.retain(|it| release.as_ref().is_none_or(|name| it.is_called(name)));
            let told: ReleaseList = list.content.hear(RELEASES).unwrap_or_default();
            let faults = faults(&told, release.as_deref());
            print(&found, &faults, list.output)?;
            if list.output == Format::Table {
                let degraded: String = faults.iter().map(Fault::line).collect();
                output::print(&(lacks(&found) + &degraded))?;
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

fn print(found: &[ReleaseStatus], faults: &[Fault<'_>], format: Format) -> Result<Exit, Failure> {
    if format == Format::Json {
        return output::print_json(&written(found, faults));
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

/// What is in the way of a release.
#[derive(Debug)]
struct Fault<'a> {
    release: &'a ReleaseDocument,
    why: &'a ConditionDocument,
}

impl Fault<'_> {
    fn line(&self) -> String {
        let ConditionDocument { reason, message, .. } = self.why;
        format!("{} is degraded ({reason}): {message}\n", self.release.name)
    }

    fn is_of(&self, release: &ReleaseStatus) -> bool {
        release.is_called(self.digest().unwrap_or(&self.release.name))
    }

    /// Of the release's image, which is named by it.
    fn digest(&self) -> Option<&str> {
        self.release.image.as_ref()?.rsplit_once('@').map(|(_, digest)| digest)
    }
}

/// What the server tells is in the way of a release, or of any.
fn faults<'a>(told: &'a ReleaseList, name: Option<&str>) -> Vec<Fault<'a>> {
    let mut faults = Vec::new();
    for release in &told.releases {
        let names = [Some(&release.name), release.version.as_ref(), release.image.as_ref()];
        let is_meant =
            |name: &str| names.iter().flatten().any(|it| *it == name || it.ends_with(&format!("@{name}")));
        let degraded = release.conditions.iter().find(|it| it.kind == "Degraded" && it.status == "True");
        if let Some(why) = degraded.filter(|_| name.is_none_or(is_meant)) {
            faults.push(Fault { release, why });
        }
    }
    faults
}

/// The releases as programs read them: those of the store with what is in their way, then those that are not
/// in it because of what is in their way.
fn written(found: &[ReleaseStatus], faults: &[Fault<'_>]) -> Vec<Written> {
    let here = found.iter().map(|release| {
        let degraded = faults.iter().find(|it| it.is_of(release)).map(Degraded::from);
        Written { degraded, ..Written::from(release) }
    });
    let elsewhere = faults.iter().filter(|fault| !found.iter().any(|release| fault.is_of(release)));
    here.chain(elsewhere.map(Written::from)).collect()
}

#[derive(Serialize)]
struct Written {
    version: Option<String>,
    digest: Option<String>,
    tag: Option<String>,
    bundle: Option<String>,
    images: u64,
    present: u64,
    bytes: u64,
    complete: bool,
    missing: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    degraded: Option<Degraded>,
}

/// Why a release does not come, or cannot be relied on.
#[derive(Serialize)]
struct Degraded {
    reason: String,
    message: String,
}

impl From<&ReleaseStatus> for Written {
    fn from(it: &ReleaseStatus) -> Self {
        Self {
            version: it.version.clone(),
            digest: Some(it.image.digest.to_string()),
            tag: Some(it.image.tag.to_string()),
            bundle: it.bundle.as_ref().map(ToString::to_string),
            images: it.images,
            present: it.present,
            bytes: it.bytes,
            complete: it.is_complete(),
            missing: it.missing.iter().map(ToString::to_string).chain(it.unread.clone()).collect(),
            degraded: None,
        }
    }
}

impl From<&Fault<'_>> for Written {
    fn from(fault: &Fault<'_>) -> Self {
        let it = fault.release;
        Self {
            version: it.version.clone(),
            digest: fault.digest().map(ToOwned::to_owned),
            tag: None,
            bundle: it.bundle.clone(),
            images: it.images.unwrap_or_default(),
            present: it.present.unwrap_or_default(),
            bytes: it.bytes,
            complete: false,
            missing: it.missing.clone(),
            degraded: Some(Degraded::from(fault)),
        }
    }
}

impl From<&Fault<'_>> for Degraded {
    fn from(fault: &Fault<'_>) -> Self {
        Self { reason: fault.why.reason.clone(), message: fault.why.message.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_the_way_of_a_release_is_written_for_programs_too() {
        let told = r#"{"releases":[
            {"name":"ocp-release-bundle-4.22.1-x86_64","version":"4.22.1","images":9,"present":3,"conditions":[
                {"type":"Installing","status":"True","reason":"ReleaseInstalling","lastTransitionTime":""},
                {"type":"Degraded","status":"True","reason":"ReleaseNotMounted","message":"no medium","lastTransitionTime":""}]},
            {"name":"4.22.0","conditions":[
                {"type":"Degraded","status":"False","reason":"AsExpected","lastTransitionTime":""}]}]}"#;
        let told: ReleaseList = serde_json::from_str(told).unwrap();
        for (name, expected) in [(None, 1), (Some("4.22.1"), 1), (Some("4.22.0"), 0)] {
            assert_eq!(faults(&told, name).len(), expected, "{name:?}");
        }
        let faults = faults(&told, None);
        assert_eq!(
            faults[0].line(),
            "ocp-release-bundle-4.22.1-x86_64 is degraded (ReleaseNotMounted): no medium\n"
        );
        let json = serde_json::to_value(written(&[], &faults)).unwrap();
        assert_eq!(json[0]["degraded"]["reason"], "ReleaseNotMounted");
        assert_eq!(json[0]["degraded"]["message"], "no medium");
        assert_eq!((&json[0]["complete"], &json[0]["present"]), (&false.into(), &3.into()));
    }
}
