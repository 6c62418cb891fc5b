//! The official conformance suites of the distribution specification.
//!
//! Knows how each is told what to test, and reads what it found. Both suites
//! are built from their pinned modules (`conformance/go`); nothing of theirs is
//! copied here.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;

use crate::bench::Bench;
use crate::credentials;
use crate::fixtures;
use crate::fixtures::Payload;
use crate::fixtures::Repository;
use crate::server::Registry;
use crate::server::Setup;
use crate::tls::Authority;
use crate::tools::Tool;

mod junit;

use junit::Tally;

/// How many checks the suite of main makes, at least: fewer means that a part of it was not run.
const MAIN_CHECKS: u64 = 1000;

/// How many specs the suite of 1.1.1 has.
const SPECS_111: u64 = 79;

/// The specs of 1.1.1 that exclude others, so that no one run can have them all.
const EXCLUDED_111: &[(&str, &str)] = &[
    ("Get tag name from environment", "for a registry that cannot be pushed to"),
    ("Populate registry with test tags (no push)", "for a registry that cannot be pushed to"),
    (
        "Cross-mounting of nonexistent blob should yield session id",
        "for a mount answered 202; it is answered 201",
    ),
    (
        "automatic content discovery disabled should return a 202",
        "the other of two answers, of which one is declared",
    ),
];

/// main, open to all, over plain HTTP.
pub(crate) fn main_open(bench: &Bench) -> Result<String> {
    let registry = bench.registry(&Setup::new(&bench.directory().join("root")).configured())?;
    let mut suite = main_suite(bench, &registry)?;
    run_main(bench, suite.env("OCI_TLS", "disabled"))
}

/// main, with a password, over TLS.
pub(crate) fn main_secured(bench: &Bench) -> Result<String> {
    let (registry, ca) = secured(bench)?;
    let mut suite = main_suite(bench, &registry)?;
    suite.env("OCI_TLS", "enabled").env("SSL_CERT_FILE", ca);
    run_main(bench, suite.env("OCI_USERNAME", credentials::USER).env("OCI_PASSWORD", credentials::PASSWORD))
}

/// main's read-only profile, over every repository of the payload.
pub(crate) fn main_read_only(bench: &Bench) -> Result<String> {
    let repositories = main_read_only_of(bench, &payload(bench)?)?;
    Ok(format!("Pass for all {repositories} repositories of the payload"))
}

/// main's read-only profile of a registry that serves the payload; gives how many repositories passed.
pub(crate) fn main_read_only_of(bench: &Bench, registry: &Registry) -> Result<usize> {
    let payload = Payload::read()?;
    for (name, repository) in &payload.repositories {
        let mut suite = main_suite(bench, registry)?;
        suite.env("OCI_TLS", "disabled").env("OCI_REPO1", name);
        for api in ["PUSH", "TAGS_DELETE", "MANIFESTS_DELETE", "BLOBS_DELETE"] {
            suite.env(format!("OCI_API_{api}"), "false");
        }
        suite.env("OCI_RO_DATA_TAGS", words(repository.tags.keys()));
        suite.env("OCI_RO_DATA_MANIFESTS", words(repository.manifests.keys()));
        suite.env("OCI_RO_DATA_BLOBS", words(repository.blobs.iter()));
        // At this commit the program breaks while it writes its files, after the whole report went
        // to standard output: so the line of the report is what counts, not the exit status.
        let said = bench.run(&name.replace('/', "-"), &suite)?.stdout;
        let verdict = said.lines().find_map(|line| line.strip_prefix("OCI Conformance Result: "));
        ensure!(verdict == Some("Pass"), "{name}: {verdict:?}\n{}", unwell(&said));
        let tested = said.lines().filter(|line| {
            line.trim_start().starts_with("OCI Conformance Test/") && line.ends_with(": Pass")
        });
        ensure!(
            tested.count() > repository.tags.len() + repository.manifests.len(),
            "{name}: too little was tested\n{said}"
        );
    }
    Ok(payload.repositories.len())
}

/// 1.1.1, open to all, over plain HTTP.
pub(crate) fn v111_open(bench: &Bench) -> Result<String> {
    let registry = bench.registry(&Setup::new(&bench.directory().join("root")).configured())?;
    let mut suite = v111_suite(bench)?;
    run_111(bench, suite.env("OCI_ROOT_URL", format!("http://{}", registry.endpoint.host())))
}

/// 1.1.1, with a password, over TLS.
pub(crate) fn v111_secured(bench: &Bench) -> Result<String> {
    let (registry, _) = secured(bench)?;
    let mut suite = v111_suite(bench)?;
    suite.env("OCI_ROOT_URL", format!("https://{}", registry.endpoint.host()));
    run_111(bench, suite.env("OCI_USERNAME", credentials::USER).env("OCI_PASSWORD", credentials::PASSWORD))
}

/// 1.1.1's pull category, over every image of the payload.
pub(crate) fn v111_read_only(bench: &Bench) -> Result<String> {
    let images = v111_read_only_of(bench, &payload(bench)?)?;
    Ok(format!("the pull category for all {images} tags of the payload"))
}

/// 1.1.1's pull category of a registry that serves the payload; gives how many images passed.
pub(crate) fn v111_read_only_of(bench: &Bench, registry: &Registry) -> Result<usize> {
    let mut images = 0;
    for (name, repository) in &Payload::read()?.repositories {
        for (tag, digest) in &repository.tags {
            pull_111(bench, registry, name, repository, (tag, digest))?;
            images += 1;
        }
    }
    Ok(images)
}

fn pull_111(
    bench: &Bench,
    registry: &Registry,
    name: &str,
    repository: &Repository,
    image: (&str, &str),
) -> Result<()> {
    let mut suite = Command::new(bench.tools().path(Tool::Suite111)?);
    suite.env("OCI_ROOT_URL", format!("http://{}", registry.endpoint.host())).env("OCI_NAMESPACE", name);
    suite.env("OCI_TEST_PULL", "1").env("OCI_TAG_NAME", image.0).env("OCI_MANIFEST_DIGEST", image.1);
    suite.env("OCI_BLOB_DIGEST", repository.blobs.first().context("a repository without blobs")?);
    suite.env("OCI_REPORT_DIR", bench.directory()).arg("-ginkgo.no-color");
    let finished = bench.run(&format!("{}-{}", name.replace('/', "-"), image.0), &suite)?;
    let tally = Tally::read(&bench.directory().join("junit.xml"))?;
    ensure!(
        finished.status.success() && tally.failed.is_empty(),
        "{name}:{}: {:#?}\n{}",
        image.0,
        tally.failed,
        finished.said()
    );
    Ok(())
}

fn run_main(bench: &Bench, suite: &mut Command) -> Result<String> {
    let results = bench.directory().join("results");
    fs::create_dir_all(&results)?;
    suite.env("OCI_VERSION", "dev").env("OCI_DATA_SPARSE", "true").env("OCI_RESULTS_DIR", &results);
    let finished = bench.run("suite", suite)?;
    let tally = Tally::read(&results.join("junit.xml")).with_context(|| finished.said())?;
    let wrong = tally.failed.len() + tally.broken.len();
    ensure!(wrong == 0, "{} of {} checks failed\n{}", wrong, tally.total, unwell(&finished.stdout));
    ensure!(
        tally.skipped.is_empty(),
        "{} of {} checks skipped\n{}",
        tally.skipped.len(),
        tally.total,
        unwell(&finished.stdout)
    );
    ensure!(tally.total >= MAIN_CHECKS, "only {} checks ran", tally.total);
    finished.success()?;
    Ok(format!("{} checks, all passed", tally.total))
}

fn run_111(bench: &Bench, suite: &mut Command) -> Result<String> {
    suite.env("OCI_REPORT_DIR", bench.directory()).arg("-ginkgo.no-color");
    for category in ["PULL", "PUSH", "CONTENT_DISCOVERY", "CONTENT_MANAGEMENT"] {
        suite.env(format!("OCI_TEST_{category}"), "1");
    }
    let finished = bench.run("suite", suite.env("OCI_AUTOMATIC_CROSSMOUNT", "1"))?;
    let tally = Tally::read(&bench.directory().join("junit.xml")).with_context(|| finished.said())?;
    ensure!(
        tally.failed.is_empty(),
        "{} of {} specs failed: {:#?}",
        tally.failed.len(),
        tally.total,
        tally.failed
    );
    let excluded = |name: &&String| EXCLUDED_111.iter().any(|(end, _)| name.ends_with(end));
    let skipped: Vec<_> = tally.skipped.iter().filter(|name| !excluded(name)).collect();
    ensure!(skipped.is_empty(), "specs skipped without need: {skipped:#?}");
    // ginkgo counts the suite's own preparation as one more.
    ensure!(tally.total == SPECS_111 + 1, "{} specs, not {SPECS_111}", tally.total - 1);
    finished.success()?;
    let ran = SPECS_111 - tally.skipped.len() as u64;
    Ok(format!("{SPECS_111} specs: {ran} passed, {} exclude others that passed", tally.skipped.len()))
}

fn main_suite(bench: &Bench, registry: &Registry) -> Result<Command> {
    let mut suite = Command::new(bench.tools().path(Tool::SuiteMain)?);
    suite.env("OCI_REGISTRY", registry.endpoint.host());
    suite.env("OCI_REPO1", "conformance/repo1").env("OCI_REPO2", "conformance/repo2");
    suite.env("OCI_RESULTS_DIR", bench.directory()).current_dir(bench.directory());
    Ok(suite)
}

fn v111_suite(bench: &Bench) -> Result<Command> {
    let mut suite = Command::new(bench.tools().path(Tool::Suite111)?);
    suite.env("OCI_NAMESPACE", "conformance/repo").env("OCI_CROSSMOUNT_NAMESPACE", "conformance/other");
    Ok(suite)
}

/// A registry over TLS that wants a password, and where the authority's certificate lies.
fn secured(bench: &Bench) -> Result<(Registry, PathBuf)> {
    let authority = Authority::new()?;
    let ca = bench.directory().join("ca.crt");
    authority.write(&ca)?;
    let identity = authority.issue(&bench.directory().join("certs"))?;
    let htpasswd = credentials::write_htpasswd(bench.directory())?;
    let setup = Setup::new(&bench.directory().join("root")).configured().htpasswd(&htpasswd);
    Ok((bench.registry(&setup.tls(&identity, authority.client(&["http/1.1"])?))?, ca))
}

fn payload(bench: &Bench) -> Result<Registry> {
    let root = bench.directory().join("root");
    fixtures::unpack_payload(&root)?;
    bench.registry(&Setup::new(&root).configured().read_only())
}

/// The lines of the program's report that are neither passed nor headings of such, with their reasons.
fn unwell(report: &str) -> String {
    let tree = report.split("Test results").nth(1).unwrap_or(report);
    let wrong = |line: &str| [": FAIL", ": Error", ": Skip"].iter().any(|end| line.ends_with(end));
    let reason = |line: &str| !line.contains("OCI Conformance Test") && !line.trim().is_empty();
    let lines = tree.lines().filter(|line| wrong(line) || reason(line));
    lines.take(120).collect::<Vec<_>>().join("\n")
}

fn words<'a>(items: impl Iterator<Item = &'a String>) -> String {
    items.map(String::as_str).collect::<Vec<_>>().join(" ")
}
