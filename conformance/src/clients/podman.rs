//! podman: what an operator has on a node.

use std::fs;
use std::process::Command;

use anyhow::Result;
use anyhow::ensure;

use super::COPY;
use super::REPOSITORY;
use super::Way;
use crate::client;
use crate::credentials;
use crate::image::Image;
use crate::image::layout;
use crate::tools::Tool;

/// Signs in, pulls, pushes, lists, and pulls and pushes by digest. It has no verb to delete in a registry:
/// its sibling skopeo does that.
pub(super) fn run(way: &Way, image: &Image) -> Result<()> {
    let (source, target) = (way.name(REPOSITORY), way.name(COPY));
    client::push_image(way.endpoint(), REPOSITORY, "v1", image)?;
    if way.auth.is_some() {
        sign_in(way)?;
    }
    way.run("pull", podman(way, "pull")?.arg(format!("{source}:v1")))?;
    way.run("pull-by-digest", podman(way, "pull")?.arg(format!("{source}@{}", image.manifest.digest)))?;
    let tags = way.run("list", search(way)?.args(["--list-tags", &source]))?;
    ensure!(tags.contains("v1"), "tags: {tags}");
    way.run("push", podman(way, "push")?.args([&format!("{source}:v1"), &format!("docker://{target}:v2")]))?;
    way.run("pull-again", podman(way, "pull")?.arg(format!("{target}:v2")))?;
    fs::create_dir_all(way.path("saved"))?;
    let mut save = alone(way)?;
    save.args(["save", "--format=oci-dir", "--output=saved", &format!("{source}:v1")]);
    way.run("save", &save)?;
    // What podman stores it compresses anew, so of the saved image only what is in it can be compared.
    ensure!(way.path("saved/index.json").exists(), "nothing was saved");
    layout::check_config(image, &way.path("saved"))
}

/// As `podman login` does it, a wrong password first.
fn sign_in(way: &Way) -> Result<()> {
    let wrong = login(way, "wrong")?;
    ensure!(
        !way.try_run("login-wrong", &login(way, "wrong")?)?.status.success(),
        "a wrong password: {wrong:?}"
    );
    way.run("login", &login(way, credentials::PASSWORD)?)?;
    Ok(())
}

fn login(way: &Way, password: &str) -> Result<Command> {
    let mut command = podman(way, "login")?;
    command.args(["--username", credentials::USER, "--password", password, &way.endpoint().host()]);
    Ok(command)
}

/// `search` knows no certificate directory: it trusts what the machine trusts.
fn search(way: &Way) -> Result<Command> {
    let mut command = alone(way)?;
    command.arg("search");
    match &way.ca {
        None => command.arg("--tls-verify=false"),
        Some(directory) => command.env("SSL_CERT_FILE", directory.join("ca.crt")),
    };
    way.tell_password(&mut command);
    Ok(command)
}

fn podman(way: &Way, verb: &str) -> Result<Command> {
    let mut command = alone(way)?;
    command.arg(verb);
    way.tell_transport(&mut command, "");
    way.tell_password(&mut command);
    Ok(command)
}

/// Its storage in this way's directory, without a file system that this machine may lack.
fn alone(way: &Way) -> Result<Command> {
    let mut command = way.command(Tool::Podman)?;
    command.args(["--storage-driver=vfs", "--root=storage", "--runroot=run", "--cgroup-manager=cgroupfs"]);
    Ok(command)
}
