//! Verifying and mending: the request and the report.

use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Instant;

use serde::Deserialize;
use serde::Serialize;
use storage_layout::Digest;
use storage_layout::RepositoryName;

use crate::maintenance::Pace;
use crate::maintenance::background;
use crate::maintenance::pace::StopOnDrop;
use crate::maintenance::repair;
use crate::maintenance::repair::Donors;
use crate::maintenance::repair::Outcome;
use crate::maintenance::repair::Registries;
use crate::maintenance::repair::Remedy;
use crate::maintenance::verify;
use crate::maintenance::verify::Need;
use crate::maintenance::verify::Problem;
use crate::maintenance::verify::Releases;
use crate::maintenance::verify::Report;
use crate::maintenance::verify::Tally;
use crate::store::Error;
use crate::store::Options;
use crate::store::Store;

/// How a store is to be verified and mended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyRequest {
    /// Say what would be mended, and mend nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// Mend, from what the store itself tells and from these directories and images on the server's host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repair_from: Option<Vec<PathBuf>>,
    /// Mend from these registries too (`https://HOST:PORT`), where `repair_from` is given and has nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repair_from_registries: Vec<String>,
    /// Releases that must be complete: a name, or the empty text for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// At most so many bytes in a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<NonZero<u64>>,
}

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct VerifyReport {
    /// Whether nothing is wrong.
    pub clean: bool,
    /// Blobs that were hashed.
    pub blobs: u64,
    /// How many bytes they have.
    pub bytes: u64,
    /// Links that were read.
    pub links: u64,
    /// Manifests whose parts were looked for.
    pub manifests: u64,
    /// Repositories.
    pub repositories: u64,
    /// What is wrong.
    pub problems: Vec<VerifyProblem>,
    /// Files and directories that are not distribution's.
    pub strangers: Vec<String>,
    /// Manifests that an index lists and that were not mirrored.
    pub sparse: u64,
    /// How long it took.
    pub seconds: f64,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyProblem {
    /// What kind of problem it is.
    pub kind: String,
    /// In words.
    pub message: String,
    /// The blob or manifest, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Where it lies, where it is a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Repositories that it costs something.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repositories: Vec<String>,
    /// `mended`, `set-aside`, `left`; in a dry run `would-mend`, `would-set-aside`, `would-leave`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// The outcome in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// Verifies a store, and mends it, as a document asks for it; `None` where it is to be mended and is
/// read-only. How far it is can be seen in `tally`. `registries` are those that it names, from who can dial
/// them.
///
/// # Errors
/// Something to mend from cannot be opened, or the disk cannot be written.
pub async fn verify(
    store: &Store,
    request: &VerifyRequest,
    registries: &dyn Registries,
    tally: &Arc<Tally>,
) -> Result<Option<VerifyReport>, Error> {
    let began = Instant::now();
    let mends = request.repair_from.is_some() && !request.dry_run;
    if mends && store.writer().is_none() {
        return Ok(None);
    }
    let pace = Arc::new(Pace::new(request.bytes_per_second));
    let _stop = StopOnDrop(Arc::clone(&pace));
    let report = look(store, request, &pace, tally).await?;
    let Some(donors) = &request.repair_from else { return Ok(Some(document(report, Vec::new(), began))) };
    let donors = open(donors.clone()).await?;
    let remedies = plan(store, &report, donors, &pace).await?;
    let remedies = repair::ask(store, remedies, registries).await?;
    let outcomes = if mends {
        let outcomes = repair::repair(store, remedies, registries).await?.into_iter();
        outcomes.map(|(problem, outcome)| line(&problem, Some(told(&outcome)))).collect()
    } else {
        remedies.iter().map(|(problem, remedy)| line(problem, Some(foretold(remedy)))).collect()
    };
    Ok(Some(document(report, outcomes, began)))
}

async fn look(
    store: &Store,
    request: &VerifyRequest,
    pace: &Arc<Pace>,
    tally: &Arc<Tally>,
) -> Result<Report, Error> {
    let releases = match request.release.as_deref() {
        None => Releases::Unchecked,
        Some("") => Releases::All,
        Some(name) => Releases::Named(name.to_owned()),
    };
    let threads = available_parallelism().unwrap_or(NonZero::<usize>::MIN);
    let (sources, pace, tally) = (store.sources(), Arc::clone(pace), Arc::clone(tally));
    let verified = background::run(move || verify::verify(&sources, &releases, threads, &pace, &tally));
    verified.await?.ok_or(Error::Closed)
}

async fn open(roots: Vec<PathBuf>) -> Result<Donors, Error> {
    let options = Options { roots, ..Options::default() };
    background::run(move || Store::open(&options)).await?.map(|it| it.sources())
}

async fn plan(
    store: &Store,
    report: &Report,
    donors: Donors,
    pace: &Arc<Pace>,
) -> Result<Vec<(Problem, Remedy)>, Error> {
    let (sources, pace, problems) = (store.sources(), Arc::clone(pace), report.problems.clone());
    let written = store.written().or_else(|| sources.iter().find(|it| it.origin().is_dir()).cloned());
    let planned = background::run(move || match written {
        Some(written) => repair::plan(problems, &sources, &*written, &donors, &pace),
        None => {
            let why = "no root can be written".to_owned();
            Some(problems.into_iter().map(|it| (it, Remedy::None { why: why.clone() })).collect())
        }
    });
    planned.await?.ok_or(Error::Closed)
}

fn document(report: Report, outcomes: Vec<VerifyProblem>, began: Instant) -> VerifyReport {
    let clean = report.is_clean();
    let Report { checked, problems, strangers, sparse } = report;
    let problems = match outcomes.is_empty() {
        true => problems.iter().map(|it| line(it, None)).collect(),
        false => outcomes,
    };
    VerifyReport {
        clean,
        blobs: checked.blobs,
        bytes: checked.bytes,
        links: checked.links,
        manifests: checked.manifests,
        repositories: checked.repositories,
        problems,
        strangers,
        sparse,
        seconds: began.elapsed().as_secs_f64(),
    }
}

fn line(problem: &Problem, outcome: Option<(&'static str, String)>) -> VerifyProblem {
    let names = |names: &[RepositoryName]| names.iter().map(ToString::to_string).collect();
    let needs = |needs: &[Need]| needs.iter().map(|it| it.repository.to_string()).collect();
    let (kind, digest, path, mut repositories): (_, Option<&Digest>, Option<&String>, Vec<String>) =
        match problem {
            Problem::Blob { digest, path, repositories, .. } => {
                ("damaged-blob", Some(digest), Some(path), names(repositories))
            }
            Problem::Missing { digest, needs: by } => ("missing-blob", Some(digest), None, needs(by)),
            Problem::Unlinked { digest, need } => {
                ("unlinked-blob", Some(digest), None, needs(std::slice::from_ref(need)))
            }
            Problem::Link { entry, path, .. } => (
                "damaged-link",
                None,
                Some(path),
                entry.repository().map(ToString::to_string).into_iter().collect(),
            ),
            Problem::Dangling { repository, digest, .. } => {
                ("dangling-tag", Some(digest), None, names(std::slice::from_ref(repository)))
            }
            Problem::NotAManifest { repository, digest, .. } => {
                ("not-a-manifest", Some(digest), None, names(std::slice::from_ref(repository)))
            }
            Problem::Unlisted { .. } => ("unreadable-directory", None, None, Vec::new()),
            Problem::NoRelease { .. } => ("unknown-release", None, None, Vec::new()),
            Problem::Incomplete { .. } => ("incomplete-release", None, None, Vec::new()),
        };
    repositories.sort_unstable();
    repositories.dedup();
    let (outcome, remedy) = outcome.unzip();
    VerifyProblem {
        kind: kind.to_owned(),
        message: problem.to_string(),
        digest: digest.map(ToString::to_string),
        path: path.cloned(),
        repositories,
        outcome: outcome.map(str::to_owned),
        remedy,
    }
}

fn told(outcome: &Outcome) -> (&'static str, String) {
    let word = match outcome {
        Outcome::Mended => "mended",
        Outcome::SetAside { .. } => "set-aside",
        Outcome::Left { .. } => "left",
    };
    (word, outcome.to_string())
}

fn foretold(remedy: &Remedy) -> (&'static str, String) {
    let word = match remedy {
        Remedy::Fetch { .. } | Remedy::Bring { .. } | Remedy::Link { .. } | Remedy::Tag { .. } => {
            "would-mend"
        }
        Remedy::SetAside { .. } => "would-set-aside",
        Remedy::None { .. } => "would-leave",
    };
    (word, remedy.to_string())
}
