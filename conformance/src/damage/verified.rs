//! `larder verify` of the damaged store: what it finds, what it would do, and what it mends.

use std::path::Path;
use std::process::Command;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use serde_json::Value;

use crate::bench::Bench;
use crate::damage::EMPTIED;
use crate::damage::FLIPPED;
use crate::damage::UNLINKED;
use crate::fixtures;
use crate::payload::fingerprint;
use crate::payload::strings;
use crate::server::Kind;
use crate::server::Setup;
use crate::tree;

/// The strangers of the fixture.
const STRANGERS: [&str; 3] = ["zz", "lost+found", "stray.txt"];

/// What is found is exactly what is damaged; a dry run changes nothing; the image mends it all, and so does a
/// peer.
pub(crate) fn mended(bench: &Bench) -> Result<String> {
    let iso = fixtures::iso();
    mended_from(bench, "by-image", iso.to_str().context("a path in UTF-8")?)?;
    let peer = bench.registry(&Setup::new(&iso))?;
    mended_from(bench, "by-peer", &format!("http://{}", peer.endpoint.host()))?;
    peer.stop()?;
    Ok("3 faults and 3 strangers found, told by a dry run, mended from the image and from a peer, none found again"
        .into())
}

fn mended_from(bench: &Bench, name: &str, source: &str) -> Result<()> {
    let root = bench.directory().join(name);
    fixtures::unpack_damaged(&root)?;
    let before = fingerprint(&root)?;
    check_faults(&verify(bench, &root, &[], 1)?, None)?;
    let from = ["--repair-from", source];
    check_faults(&verify(bench, &root, &[&from[..], &["--dry-run"]].concat(), 1)?, Some("would-mend"))?;
    ensure!(fingerprint(&root)? == before, "a dry run changed the tree");
    check_faults(&verify(bench, &root, &from, 1)?, Some("mended"))?;
    let clean = verify(bench, &root, &["--release"], 0)?;
    ensure!(clean.pointer("/problems/0").is_none(), "{clean}");
    // Strangers are left where they are, and the auditor does not expect a file among repositories.
    std::fs::remove_file(root.join("docker/registry/v2/repositories/stray.txt"))?;
    tree::audit(&root).with_context(|| format!("after it was mended from {source}"))?;
    Ok(())
}

fn verify(bench: &Bench, root: &Path, more: &[&str], code: i32) -> Result<Value> {
    let mut verify = Command::new(bench.program(Kind::Larder)?);
    verify.args(["verify", "--output", "json", "--root"]).arg(root).args(more);
    let finished = bench.run("verify", &verify)?;
    ensure!(finished.status.code() == Some(code), "{more:?}: {}\n{}", finished.status, finished.said());
    Ok(serde_json::from_str(&finished.stdout)?)
}

fn check_faults(report: &Value, outcome: Option<&str>) -> Result<()> {
    let problems = report.get("problems").and_then(Value::as_array).context("no list of problems")?;
    let about = |what: &str| problems.iter().any(|it| it.to_string().contains(what));
    let (repository, tag) = UNLINKED;
    let all = [EMPTIED.1, FLIPPED.1, &format!("{repository}/_manifests/tags/{tag}/current/link")];
    ensure!(problems.len() == all.len() && all.into_iter().all(about), "other faults: {report:#}");
    let ended = |it: &Value| it.get("outcome").and_then(Value::as_str) == outcome;
    ensure!(problems.iter().all(ended), "not all of them are {outcome:?}: {report:#}");
    let strangers = strings(report, "strangers");
    let told = |name: &&str| strangers.iter().any(|it| it.ends_with(*name));
    ensure!(strangers.len() == STRANGERS.len() && STRANGERS.iter().all(told), "{strangers:?}");
    Ok(())
}
