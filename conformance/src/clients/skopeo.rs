//! skopeo: the family of containers/image, its plainest member.

use std::process::Command;

use anyhow::Result;
use anyhow::ensure;

use super::COPY;
use super::REPOSITORY;
use super::Way;
use crate::image::Image;
use crate::image::layout;
use crate::tools::Tool;

/// Pushes, lists, inspects, pulls, copies by digest, deletes.
pub(super) fn run(way: &Way, image: &Image) -> Result<()> {
    let (source, target) = (way.name(REPOSITORY), way.name(COPY));
    let digest = &image.manifest.digest;
    way.run("push", copy(way)?.args(["oci:source:v1", &format!("docker://{source}:v1")]))?;
    way.check(REPOSITORY, "v1", image)?;
    let tags = way.run("list", skopeo(way, "list-tags")?.arg(format!("docker://{source}")))?;
    ensure!(tags.contains("\"v1\""), "tags: {tags}");
    let about = way.run("inspect", skopeo(way, "inspect")?.arg(format!("docker://{source}:v1")))?;
    ensure!(about.contains(digest.as_str()), "inspect: {about}");
    way.run("pull", copy(way)?.args([&format!("docker://{source}:v1"), "oci:pulled:v1"]))?;
    layout::check(image, &way.path("pulled"))?;
    let by_digest = format!("docker://{source}@{digest}");
    way.run("copy", copy(way)?.args(["--preserve-digests", &by_digest, &format!("docker://{target}:v2")]))?;
    way.check(COPY, "v2", image)?;
    way.run("delete", skopeo(way, "delete")?.arg(format!("docker://{source}:v1")))?;
    way.check_gone(REPOSITORY, "v1")?;
    way.check(COPY, "v2", image)
}

fn copy(way: &Way) -> Result<Command> {
    let mut command = skopeo_alone(way)?;
    command.arg("copy");
    way.tell_transport(&mut command, "src-");
    way.tell_transport(&mut command, "dest-");
    way.tell_password(&mut command);
    Ok(command)
}

fn skopeo(way: &Way, verb: &str) -> Result<Command> {
    let mut command = skopeo_alone(way)?;
    command.arg(verb);
    way.tell_transport(&mut command, "");
    way.tell_password(&mut command);
    Ok(command)
}

fn skopeo_alone(way: &Way) -> Result<Command> {
    let mut command = way.command(Tool::Skopeo)?;
    command.arg("--insecure-policy");
    Ok(command)
}
