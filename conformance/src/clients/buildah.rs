//! buildah: what builds images where they are.

use std::process::Command;

use anyhow::Result;
use anyhow::ensure;

use super::COPY;
use super::REPOSITORY;
use super::Way;
use crate::client;
use crate::image::Image;
use crate::tools::Tool;

/// Builds on a pulled image, pushes the result, pulls it by digest and pushes that.
pub(super) fn run(way: &Way, image: &Image) -> Result<()> {
    let (source, target) = (way.name(REPOSITORY), way.name(COPY));
    client::push_image(way.endpoint(), REPOSITORY, "v1", image)?;
    let container = way.run("from", remote(way, "from")?.arg(format!("{source}:v1")))?;
    let container = container.trim();
    way.run("copy", buildah(way, "copy")?.args([container, "source/index.json", "/index.json"]))?;
    way.run("commit", buildah(way, "commit")?.args([container, &format!("{source}:built")]))?;
    way.run(
        "push",
        remote(way, "push")?.args([&format!("{source}:built"), &format!("docker://{source}:built")]),
    )?;
    let digest = pushed(way, REPOSITORY, "built")?;
    way.run("pull-by-digest", remote(way, "pull")?.arg(format!("{source}@{digest}")))?;
    let by_digest = format!("{source}@{digest}");
    way.run("push-by-digest", remote(way, "push")?.args([&by_digest, &format!("docker://{target}:v2")]))?;
    pushed(way, COPY, "v2")?;
    Ok(())
}

/// The digest of a manifest whose every blob the registry holds whole.
fn pushed(way: &Way, repository: &str, tag: &str) -> Result<String> {
    let path = format!("/v2/{repository}/manifests/{tag}");
    let manifest = client::manifest(way.endpoint(), "GET", &path)?.expect(200)?;
    let layers = client::check_children(way.endpoint(), repository, &manifest.json()?)?;
    ensure!(layers > 1, "{path} has {layers} blobs");
    Ok(crate::image::digest(&manifest.body))
}

fn remote(way: &Way, verb: &str) -> Result<Command> {
    let mut command = buildah(way, verb)?;
    way.tell_transport(&mut command, "");
    way.tell_password(&mut command);
    Ok(command)
}

/// Its storage in this way's directory, without a file system that this machine may lack.
fn buildah(way: &Way, verb: &str) -> Result<Command> {
    let mut command = way.command(Tool::Buildah)?;
    command.args(["--storage-driver=vfs", "--root=storage", "--runroot=run", verb]);
    command.env("BUILDAH_ISOLATION", "chroot");
    Ok(command)
}
