//! crane: go-containerregistry, which ko, kaniko and cosign speak through. Over TLS it speaks HTTP/2.

use std::process::Command;

use anyhow::Result;
use anyhow::ensure;

use super::COPY;
use super::REPOSITORY;
use super::Way;
use crate::image::Image;
use crate::image::layout;
use crate::tools::Tool;

/// Pushes, lists, asks for the digest, validates, pulls, copies by digest, deletes.
pub(super) fn run(way: &Way, image: &Image) -> Result<()> {
    let (source, target) = (way.name(REPOSITORY), way.name(COPY));
    let digest = &image.manifest.digest;
    way.run("push", crane(way)?.args(["push", "source", &format!("{source}:v1")]))?;
    way.run("tag", crane(way)?.args(["tag", &format!("{source}:v1"), "v1.0"]))?;
    for tag in ["v1", "v1.0"] {
        way.check(REPOSITORY, tag, image)?;
    }
    let tags = way.run("list", crane(way)?.args(["ls", &source]))?;
    ensure!(tags.lines().collect::<Vec<_>>() == ["v1", "v1.0"], "tags: {tags}");
    let catalog = way.run("catalog", crane(way)?.args(["catalog", &way.endpoint().host()]))?;
    ensure!(catalog.trim() == REPOSITORY, "catalog: {catalog}");
    let found = way.run("digest", crane(way)?.args(["digest", &format!("{source}:v1")]))?;
    ensure!(found.trim() == digest, "digest: {found}");
    way.run("validate", crane(way)?.args(["validate", "--remote", &format!("{source}:v1")]))?;
    way.run("pull", crane(way)?.args(["pull", "--format=oci", &format!("{source}:v1"), "pulled"]))?;
    layout::check(image, &way.path("pulled"))?;
    way.run("copy", crane(way)?.args(["copy", &format!("{source}@{digest}"), &format!("{target}:v2")]))?;
    way.check(COPY, "v2", image)?;
    way.run("delete", crane(way)?.args(["delete", &format!("{source}@{digest}")]))?;
    way.check_gone(REPOSITORY, "v1")
}

fn crane(way: &Way) -> Result<Command> {
    let mut command = way.command(Tool::Crane)?;
    if let Some(directory) = &way.ca {
        command.env("SSL_CERT_FILE", directory.join("ca.crt"));
    }
    if let Some(directory) = &way.auth {
        command.env("DOCKER_CONFIG", directory);
    }
    Ok(command)
}
