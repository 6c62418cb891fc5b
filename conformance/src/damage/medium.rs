//! A medium that loses its end while it is served: what was on it is named, everything else is served.

use std::fs;
use std::fs::File;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use serde_json::Value;

use crate::bench::Bench;
use crate::fixtures;
use crate::fixtures::Payload;
use crate::http::Endpoint;
use crate::payload::blob;
use crate::server::Kind;
use crate::server::Setup;
use crate::server::free_address;
use crate::tree;

/// How much of the image is left, in bytes: about half of its links.
const LEFT: u64 = 1_700_000;

/// The repository of which another root has everything.
const ELSEWHERE: &str = "library/app";

/// Part of the image goes while it is served.
pub(crate) fn lost(bench: &Bench) -> Result<String> {
    let directory = bench.directory();
    let (image, truth, other) =
        (directory.join("data.iso"), directory.join("truth"), directory.join("other"));
    fixtures::unpack_payload(&truth)?;
    fs::copy(fixtures::iso(), &image)?;
    let mut copy = Command::new(bench.program(Kind::Larder)?);
    copy.arg("copy").arg(&image).arg(&other).args(["--repository", ELSEWHERE]);
    bench.run("copy", &copy)?.success()?;
    let (socket, monitor) = (directory.join("admin.sock"), free_address()?);
    let [socket_flag, other_flag] = [&socket, &other].map(|path| path.display().to_string());
    let listen = monitor.to_string();
    let flags =
        ["--root", &other_flag, "--admin-socket", &socket_flag, "--metrics-listen", &listen, "--read-only"];
    let registry = bench.registry(&Setup::new(&image).flags(&flags))?;
    File::options().write(true).open(&image)?.set_len(LEFT)?;
    let (served, failed) = pull(&registry.endpoint, &truth)?;
    ensure!(served > 20 && failed > 10, "{served} were served and {failed} not");
    check_log(directory)?;
    let monitor = Endpoint::plain(monitor);
    let metrics = String::from_utf8(monitor.get("/metrics")?.expect(200)?.body)?;
    ensure!(
        metrics.contains("larder_store_medium_faults_total{medium="),
        "no fault is counted in\n{metrics}"
    );
    let ready = String::from_utf8(monitor.get("/readyz")?.expect(200)?.body)?;
    ensure!(ready.contains("medium: ") && ready.contains("data.iso"), "/readyz: {ready}");
    let mut status = Command::new(bench.program(Kind::Larder)?);
    status.arg("status").arg("--admin-socket").arg(&socket);
    let status = bench.run("status", &status)?.success()?;
    let told = |line: &str| line.starts_with("medium ") && line.contains("the last: byte ");
    ensure!(status.lines().any(told), "{status}");
    registry.stop()?;
    Ok(format!(
        "{served} blobs served, those of {ELSEWHERE} from another root; {failed} named with place and repository"
    ))
}

/// Every blob of every repository: right, or an error.
fn pull(endpoint: &Endpoint, truth: &Path) -> Result<(usize, usize)> {
    let (mut served, mut failed) = (0, 0);
    for (name, repository) in &Payload::read()?.repositories {
        for digest in &repository.blobs {
            let path = format!("/v2/{name}/blobs/{digest}");
            let answer = endpoint.get(&path)?.expect_any(&[200, 500])?;
            if answer.status == 200 {
                ensure!(answer.body == blob(truth, digest)?, "{path}: other bytes");
                served += 1;
                continue;
            }
            ensure!(name != ELSEWHERE, "{path}: another root has it: {}", answer.text());
            let code: Value = answer.json()?;
            ensure!(code.pointer("/errors/0/code").is_some(), "{path}: {code}");
            failed += 1;
        }
    }
    Ok((served, failed))
}

/// The log names device, file, place, blob and repository.
fn check_log(directory: &Path) -> Result<()> {
    let logs = tree::files(directory)?.into_iter().filter(|it| it.extension().is_some_and(|it| it == "log"));
    let log: String = logs.map(fs::read_to_string).collect::<Result<_, _>>()?;
    let is_it = |line: &&str| line.contains("a stored blob ");
    let line = log.lines().find(is_it).context("nothing was logged")?;
    for part in ["repository=", "digest=sha256:", "data.iso", "at byte "] {
        ensure!(line.contains(part), "no {part} in {line}");
    }
    Ok(())
}
