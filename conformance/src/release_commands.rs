//! `larder release`: from a medium onto the disk and to the peers, and away.

use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use serde_json::Value;

use crate::bench::Bench;
use crate::fixtures;
use crate::fixtures::Payload;
use crate::node;
use crate::payload;
use crate::server::Kind;
use crate::server::Registry;
use crate::server::Setup;
use crate::server::free_address;

/// What the payload's release is called.
const RELEASE: &str = "4.22.1";
/// Its bundle.
const BUNDLE: &str = "ocp-release-bundle-4.22.1-x86_64";
/// How long a peer may take for a quarter of a megabyte.
const SOON: Duration = Duration::from_secs(15);

/// One node has the image; then its disk has the release, then its peer's, and then neither.
pub(crate) fn come_and_go(bench: &Bench) -> Result<String> {
    let (iso, disk) = (fixtures::iso().display().to_string(), bench.directory().join("disk"));
    let (second, third) = (free_address()?, bench.directory().join("peer"));
    let (url, setup) = (format!("http://{second}"), Setup::new(&disk));
    let first = start(bench, "first", setup, &["--peer", &url, "--root", &iso])?;
    let (url, setup) = (format!("http://{}", first.endpoint.host()), Setup::new(&third).at(second));
    let peer = start(bench, "peer", setup, &["--peer", &url])?;
    ensure!(holding(&first)? == ["Mounted", "Available"], "{:?}", holding(&first)?);
    ensure!(holding(&peer)?.is_empty(), "the peer has it already");

    let added = larder(bench, "first", "add", &[])?;
    ensure!(number(&added, "blobs")? > 0 && text(&added, "/peers/0/job").is_some(), "{added}");
    let until = Instant::now() + SOON;
    while holding(&peer)? != ["Available"] {
        ensure!(Instant::now() < until, "the peer did not take it: {:?}", holding(&peer)?);
        std::thread::sleep(Duration::from_millis(20));
    }
    let again = larder(bench, "first", "add", &[])?;
    ensure!(number(&again, "blobs")? == 0, "it was copied again: {again}");

    let refused = bench.run("remove-mounted", &command(bench, "first", "remove", &[])?)?;
    ensure!(refused.stderr.contains("only read"), "of a release on a medium: {}", refused.said());
    let refused = bench.run("remove-in-use", &command(bench, "peer", "remove", &["--in-use", BUNDLE])?)?;
    ensure!(refused.status.code() == Some(3) && refused.stderr.contains("in use"), "{}", refused.said());
    let planned = larder(bench, "peer", "remove", &["--dry-run"])?;
    let removed = larder(bench, "peer", "remove", &[])?;
    ensure!(number(&planned, "bytes")? == number(&removed, "bytes")?, "{planned} is not {removed}");
    ensure!(holding(&peer)?.is_empty(), "it is still there");
    first.stop()?;
    peer.stop()?;
    crate::tree::audit(&third)?;
    payload::blob(&disk, &Payload::read()?.release.digest)
        .context("on the disk of the node with the medium")?;
    Ok(format!(
        "{} bytes from the image to the disk and to a peer, and away from there",
        number(&removed, "bytes")?
    ))
}

fn start(bench: &Bench, name: &str, setup: Setup, flags: &[&str]) -> Result<Registry> {
    let socket = socket(bench, name);
    let common = ["--admin-socket", &socket, "--access-log", "off"];
    bench.start(Kind::Larder, &setup.flags(&[&common, flags].concat()))
}

fn socket(bench: &Bench, name: &str) -> String {
    bench.directory().join(format!("{name}.sock")).display().to_string()
}

/// The conditions of the only release that hold.
fn holding(registry: &Registry) -> Result<Vec<String>> {
    let list = registry.endpoint.get("/v2/_larder/releases")?.expect(200)?.json()?;
    match list.pointer("/releases/0") {
        Some(release) => Ok(node::holding(release)?.into_iter().map(|(kind, _)| kind).collect()),
        None => Ok(Vec::new()),
    }
}

fn command(bench: &Bench, node: &str, verb: &str, more: &[&str]) -> Result<Command> {
    let root = bench.directory().join(if node == "first" { "disk" } else { "peer" });
    let mut command = Command::new(bench.program(Kind::Larder)?);
    command.args(["release", verb, RELEASE, "--output", "json", "--admin-socket", &socket(bench, node)]);
    command.arg("--root").arg(root).args(more);
    Ok(command)
}

fn larder(bench: &Bench, node: &str, verb: &str, more: &[&str]) -> Result<Value> {
    let name = format!("{verb}{}", more.concat());
    let report = bench.run(&name, &command(bench, node, verb, more)?)?.success()?;
    serde_json::from_str(&report).with_context(|| report)
}

fn number(report: &Value, member: &str) -> Result<u64> {
    report.get(member).and_then(Value::as_u64).with_context(|| format!("no {member}: {report}"))
}

fn text<'a>(report: &'a Value, pointer: &str) -> Option<&'a str> {
    report.pointer(pointer).and_then(Value::as_str)
}
