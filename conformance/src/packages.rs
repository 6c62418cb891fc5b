//! What Larder is shipped as: packages of Debian's and of Red Hat's kind, an image, and a list of what is in
//! them.
//!
//! Knows which tool makes which package. What is in a package is said in `Cargo.toml`; the image is made
//! here, without a container engine: the executable, the libraries that it is linked with, and distribution's
//! names for it.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use serde_json::Value;
use serde_json::json;

use crate::bench::Bench;
use crate::bench::source;
use crate::client;
use crate::image::Image;
use crate::image::Layer;
use crate::image::layout;
use crate::reproducible;
use crate::server::Kind;
use crate::server::Setup;
use crate::tools::Tool;

mod red_hat;

/// The image's configuration file, as the cluster's registry image has it.
const CONFIGURATION: &str = "systemd/iri-registry.yaml";

/// Packages are made, hold what they should, and are the same when they are made again; the image goes where
/// images go.
pub(crate) fn made(bench: &Bench) -> Result<String> {
    let deb = deb(bench)?;
    let first = fs::read(&deb)?;
    ensure!(fs::read(self::deb(bench)?)? == first, "the Debian package differs when it is made again");
    let listed =
        bench.run("deb-contents", Command::new("dpkg-deb").arg("--contents").arg(&deb))?.success()?;
    holds_everything(&listed)?;
    let rpm = rpm(bench)?;
    red_hat::comes_and_goes(bench, &rpm)?;
    let packed = fs::read(&rpm)?;
    ensure!(fs::read(self::rpm(bench)?)? == packed, "the RPM package differs when it is made again");
    let image = image(bench)?;
    let directory = bench.directory().join("image");
    layout::write(&image, &directory)?;
    ensure!(
        self::image(bench)?.manifest.digest == image.manifest.digest,
        "the image differs when it is made again"
    );
    pushed_into_larder(bench, &directory, &image)?;
    runs_alone(bench, &image)?;
    let parts = bill_of_materials(bench)?;
    Ok(format!(
        "deb {} KiB, rpm {} KiB, which rpm installs and erases, image {} KiB pushed by skopeo, {parts} crates listed; all the same twice",
        first.len() >> 10,
        packed.len() >> 10,
        image.blobs().map(|it| it.bytes.len()).sum::<usize>() >> 10
    ))
}

/// Makes the Debian package of the executable under test.
pub(crate) fn deb(bench: &Bench) -> Result<PathBuf> {
    deb_of(bench, source(), &staged(bench)?, &reproducible::epoch(bench)?)
}

/// Makes the Debian package of what was built from `tree` into `target`, as of the time `epoch`.
pub(crate) fn deb_of(bench: &Bench, tree: &Path, target: &Path, epoch: &str) -> Result<PathBuf> {
    let package = bench.directory().join("larder.deb");
    let mut cargo = Command::new(bench.tools().path(Tool::CargoDeb)?);
    cargo.args(["--no-build", "--fast", "--package", "larder", "--output"]).arg(&package);
    cargo.current_dir(tree).env("CARGO_TARGET_DIR", target).env("SOURCE_DATE_EPOCH", epoch);
    bench.run("deb", &cargo)?.success()?;
    Ok(package)
}

/// Makes the RPM package of the executable under test.
fn rpm(bench: &Bench) -> Result<PathBuf> {
    rpm_of(bench, source(), &staged(bench)?, &reproducible::epoch(bench)?)
}

/// Makes the RPM package of what was built from `tree` into `target`, as of the time `epoch`.
pub(crate) fn rpm_of(bench: &Bench, tree: &Path, target: &Path, epoch: &str) -> Result<PathBuf> {
    let package = bench.directory().join("larder.rpm");
    let mut cargo = Command::new(bench.tools().path(Tool::CargoGenerateRpm)?);
    // Its finder of dependencies asks rpm, which Debian has not.
    cargo
        .args(["generate-rpm", "--auto-req", "disabled", "--payload-compress", "gzip", "--target-dir"])
        .arg(target);
    // The time of packing is that of the sources, and so is that of every file in it.
    cargo.args(["--source-date", epoch]);
    cargo.arg("--output").arg(&package).current_dir(tree).env("SOURCE_DATE_EPOCH", epoch);
    bench.run("rpm", &cargo)?.success()?;
    Ok(package)
}

/// A target directory that holds the executable under test as if it had just been built, without what is for
/// debuggers.
fn staged(bench: &Bench) -> Result<PathBuf> {
    let directory = bench.directory().join("staged");
    let program = directory.join("release/larder");
    if !program.exists() {
        fs::create_dir_all(directory.join("release"))?;
        let mut strip = Command::new("strip");
        strip.arg("-o").arg(&program).arg(bench.program(Kind::Larder)?);
        bench.run("strip", &strip)?.success()?;
    }
    Ok(directory)
}

/// The package installs the program and every unit of `systemd/`.
fn holds_everything(listed: &str) -> Result<()> {
    let units = fs::read_dir(source().join("systemd"))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let wanted =
        units.filter(|name| [".service", ".socket", ".timer", ".rules"].iter().any(|it| name.ends_with(it)));
    for name in wanted.chain(["usr/bin/larder".to_owned()]) {
        ensure!(listed.contains(&format!("/{name}\n")), "the package has no {name}:\n{listed}");
    }
    Ok(())
}

/// The image: one layer, from nothing.
fn image(bench: &Bench) -> Result<Image> {
    let program = staged(bench)?.join("release/larder");
    let mut archive = tar::Builder::new(Vec::new());
    add(&mut archive, "usr/bin/larder", &fs::read(&program)?, 0o755)?;
    link(&mut archive, "usr/bin/distribution", "larder")?;
    link(&mut archive, "registry", "usr/bin/larder")?;
    add(&mut archive, "etc/registry/config.yaml", &fs::read(source().join(CONFIGURATION))?, 0o644)?;
    let linked = bench.run("linked", Command::new("ldd").arg(&program))?.success()?;
    for library in
        linked.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
    {
        let content = fs::read(library).with_context(|| format!("reading `{library}`"))?;
        add(&mut archive, library.trim_start_matches('/'), &content, 0o755)?;
    }
    let layer = Layer::of_archive(&archive.into_inner()?)?;
    let run = json!({
        "Entrypoint": ["/usr/bin/larder"], "Cmd": ["serve", "/etc/registry/config.yaml"],
        "ExposedPorts": {"22625/tcp": {}}, "Volumes": {"/var/lib/iri-registry": {}},
    });
    Ok(Image::that_runs(vec![layer], &run))
}

fn add(archive: &mut tar::Builder<Vec<u8>>, path: &str, content: &[u8], mode: u32) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(mode);
    Ok(archive.append_data(&mut header, path, content)?)
}

fn link(archive: &mut tar::Builder<Vec<u8>>, path: &str, target: &str) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    header.set_mode(0o777);
    Ok(archive.append_link(&mut header, path, target)?)
}

/// skopeo takes the layout to a running Larder, whose answers are the layout's bytes.
fn pushed_into_larder(bench: &Bench, directory: &Path, image: &Image) -> Result<()> {
    let registry = bench.registry(&Setup::new(&bench.directory().join("root")))?;
    let mut skopeo = Command::new(bench.tools().path(Tool::Skopeo)?);
    skopeo.args(["--insecure-policy", "copy", "--preserve-digests", "--dest-tls-verify=false"]);
    skopeo.arg(format!("oci:{}:v1", directory.display()));
    skopeo.arg(format!("docker://{}/larder/larder:v1", registry.endpoint.host()));
    bench.run("push-image", &skopeo)?.success()?;
    client::check_image(&registry.endpoint, "larder/larder", "v1", image)?;
    registry.stop()
}

/// What is in the image suffices to run it: it is unpacked, and the program is run with that as its whole
/// world.
fn runs_alone(bench: &Bench, image: &Image) -> Result<()> {
    let root = bench.directory().join("unpacked");
    let layer = image.layers.first().context("the image has a layer")?;
    tar::Archive::new(flate2::read::GzDecoder::new(layer.content.bytes.as_slice())).unpack(&root)?;
    let mut run = Command::new("chroot");
    run.arg(&root).args(["/usr/bin/distribution", "--version"]);
    let said = bench.run("run-image", &run)?.success()?;
    ensure!(said.contains("larder"), "it says {said:?}");
    Ok(())
}

/// Writes what Larder is made of as CycloneDX 1.5; gives how many crates.
fn bill_of_materials(bench: &Bench) -> Result<usize> {
    let arguments = ["tree", "--locked", "--package", "larder", "--edges", "normal", "--prefix", "none"];
    let format = ["--format", "{p}|{l}|{r}"];
    let listed = bench.cargo("crates", &[&arguments[..], &format].concat())?.success()?;
    let mut lines: Vec<_> = listed.lines().map(|line| line.trim_end_matches(" (*)")).collect();
    lines.sort_unstable();
    lines.dedup();
    let components: Vec<_> = lines.iter().filter_map(|line| component(line)).collect();
    ensure!(components.len() > 50, "only {} crates are listed", components.len());
    let bill = json!({
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "metadata": {"component": {"type": "application", "name": "larder"}}, "components": components,
    });
    fs::write(bench.directory().join("larder.cdx.json"), serde_json::to_vec_pretty(&bill)?)?;
    Ok(components.len())
}

/// A line of `cargo tree`: name, version and maybe more, licence, repository.
fn component(line: &str) -> Option<Value> {
    let mut parts = line.split('|');
    let mut words = parts.next()?.split_whitespace();
    let (name, version) = (words.next()?, words.next()?.trim_start_matches('v'));
    let (licence, repository) = (parts.next()?, parts.next()?);
    let purl = format!("pkg:cargo/{name}@{version}");
    let mut component =
        json!({"type": "library", "name": name, "version": version, "purl": purl, "bom-ref": purl});
    if let Some(members) = component.as_object_mut() {
        if !licence.is_empty() {
            members.insert("licenses".into(), json!([{"expression": licence.replace('/', " OR ")}]));
        }
        if !repository.is_empty() {
            members.insert("externalReferences".into(), json!([{"type": "vcs", "url": repository}]));
        }
    }
    Some(component)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_is_listed_with_its_licence() {
        let found = component("bytes v1.11.0|MIT/Apache-2.0|https://github.com/tokio-rs/bytes").unwrap();
        assert_eq!(found["purl"], "pkg:cargo/bytes@1.11.0");
        assert_eq!(found["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert!(component("").is_none());
    }
}
