//! regctl: regclient, from the maintainer of the conformance suite.

use std::process::Command;

use anyhow::Result;
use anyhow::ensure;

use super::COPY;
use super::REPOSITORY;
use super::Way;
use crate::image::Image;
use crate::image::layout;
use crate::tools::Tool;

/// Pushes, lists, pulls, copies by digest, attaches an artifact, deletes a tag and then the manifest.
pub(super) fn run(way: &Way, image: &Image) -> Result<()> {
    let (source, target) = (way.name(REPOSITORY), way.name(COPY));
    let digest = &image.manifest.digest;
    configure(way)?;
    way.run("push", regctl(way)?.args(["image", "copy", "ocidir://source:v1", &format!("{source}:v1")]))?;
    way.check(REPOSITORY, "v1", image)?;
    let tags = way.run("list", regctl(way)?.args(["tag", "ls", &source]))?;
    ensure!(tags.trim() == "v1", "tags: {tags}");
    let repositories = way.run("catalog", regctl(way)?.args(["repo", "ls", &way.endpoint().host()]))?;
    ensure!(repositories.trim() == REPOSITORY, "repositories: {repositories}");
    way.run("pull", regctl(way)?.args(["image", "copy", &format!("{source}:v1"), "ocidir://pulled:v1"]))?;
    layout::check(image, &way.path("pulled"))?;
    let by_digest = [format!("{source}@{digest}"), format!("{target}:v2")];
    way.run("copy", regctl(way)?.args(["image", "copy"]).args(by_digest))?;
    way.check(COPY, "v2", image)?;
    let attach = ["artifact", "put", "--artifact-type=application/vnd.example.sbom", "--subject"];
    let file = format!("--file={}", way.path("source/index.json").display());
    way.run("attach", regctl(way)?.args(attach).args([&format!("{target}:v2"), &file]))?;
    let referrers = way.run("discover", regctl(way)?.args(["artifact", "list", &format!("{target}:v2")]))?;
    ensure!(referrers.contains("application/vnd.example.sbom"), "referrers: {referrers}");
    way.run("delete-tag", regctl(way)?.args(["tag", "delete", &format!("{source}:v1")]))?;
    way.check_gone(REPOSITORY, "v1")?;
    way.run("delete", regctl(way)?.args(["manifest", "delete", &format!("{source}@{digest}")]))?;
    way.check_gone(REPOSITORY, digest)
}

fn configure(way: &Way) -> Result<()> {
    let host = way.endpoint().host();
    let mut set = regctl(way)?;
    set.args(["registry", "set", "--skip-check", &host]);
    match &way.ca {
        None => set.arg("--tls=disabled"),
        Some(directory) => {
            set.arg(format!("--cacert={}", std::fs::read_to_string(directory.join("ca.crt"))?))
        }
    };
    way.run("configure", &set)?;
    Ok(())
}

fn regctl(way: &Way) -> Result<Command> {
    let mut command = way.command(Tool::Regctl)?;
    command.env("REGCTL_CONFIG", way.path("regctl.json"));
    if let Some(directory) = &way.auth {
        command.env("DOCKER_CONFIG", directory);
    }
    Ok(command)
}
