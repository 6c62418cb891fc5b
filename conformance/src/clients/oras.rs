//! oras: artifacts and what refers to them, as helm and notation push them.

use std::fs;
use std::process::Command;

use anyhow::Result;
use anyhow::ensure;

use super::COPY;
use super::REPOSITORY;
use super::Way;
use crate::image::Image;
use crate::image::layout;
use crate::tools::Tool;

/// Pushes, attaches, discovers, lists, pulls, copies by digest with what refers to it, deletes.
pub(super) fn run(way: &Way, image: &Image) -> Result<()> {
    let (source, target) = (way.name(REPOSITORY), way.name(COPY));
    let digest = &image.manifest.digest;
    let tagged = format!("{source}:v1");
    way.run("push", oras(way, "cp", "to-")?.args(["--from-oci-layout", "source:v1", &tagged]))?;
    way.check(REPOSITORY, "v1", image)?;
    fs::write(way.path("sbom.json"), "{}")?;
    let attach = ["--artifact-type=application/vnd.example.sbom", &tagged, "sbom.json:application/json"];
    way.run("attach", oras(way, "attach", "")?.args(attach))?;
    let referrers = way.run("discover", oras(way, "discover", "")?.args(["--format=json", &tagged]))?;
    ensure!(referrers.contains("application/vnd.example.sbom"), "referrers: {referrers}");
    let tags = way.run("list", oras2(way, ["repo", "tags"])?.arg(&source))?;
    ensure!(tags.trim() == "v1", "attaching needs no tag where referrers are served, but there are: {tags}");
    let repositories = way.run("catalog", oras2(way, ["repo", "ls"])?.arg(way.endpoint().host()))?;
    ensure!(repositories.trim() == REPOSITORY, "repositories: {repositories}");
    way.run("pull", oras(way, "cp", "from-")?.args(["--to-oci-layout", &tagged, "pulled:v1"]))?;
    layout::check(image, &way.path("pulled"))?;
    let by_digest = [format!("{source}@{digest}"), format!("{target}:v2")];
    way.run("copy", both_sides(way, oras_alone(way)?.args(["cp", "--recursive"])).args(by_digest))?;
    way.check(COPY, "v2", image)?;
    let referrers = way
        .run("discover-copy", oras(way, "discover", "")?.args(["--format=json", &format!("{target}:v2")]))?;
    ensure!(referrers.contains("application/vnd.example.sbom"), "referrers of the copy: {referrers}");
    way.run("delete", oras2(way, ["manifest", "delete"])?.args(["--force", &tagged]))?;
    way.check_gone(REPOSITORY, "v1")
}

fn oras(way: &Way, verb: &str, side: &str) -> Result<Command> {
    let mut command = oras_alone(way)?;
    command.arg(verb);
    one_side(way, &mut command, side);
    Ok(command)
}

fn oras2(way: &Way, verbs: [&str; 2]) -> Result<Command> {
    let mut command = oras_alone(way)?;
    command.args(verbs);
    one_side(way, &mut command, "");
    Ok(command)
}

fn both_sides<'a>(way: &Way, command: &'a mut Command) -> &'a mut Command {
    one_side(way, command, "from-");
    one_side(way, command, "to-");
    command
}

/// What oras is told of a registry; it prefixes the options where two are involved.
fn one_side(way: &Way, command: &mut Command, side: &str) {
    // It takes `localhost` for plain unless it is told otherwise.
    command.arg(format!("--{side}plain-http={}", way.is_plain()));
    if let Some(directory) = &way.ca {
        command.arg(format!("--{side}ca-file={}", directory.join("ca.crt").display()));
    }
    if let Some(directory) = &way.auth {
        command.arg(format!("--{side}registry-config={}", directory.join("config.json").display()));
    }
}

fn oras_alone(way: &Way) -> Result<Command> {
    way.command(Tool::Oras)
}
