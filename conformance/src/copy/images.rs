//! A tree of images for a copy, and what of it is under a tag.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use fastrand::Rng;
use serde_json::Value;

use crate::image::Content;
use crate::image::Image;
use crate::image::Layer;
use crate::image::digest;

/// How many images there are, each in a repository of its own.
const IMAGES: usize = 12;

/// How long the layers of each are. One more is everybody's.
const LAYERS: [usize; 2] = [200_000, 20_000];

/// Writes the tree; gives how many tags it has.
pub(super) fn write(root: &Path, random: &mut Rng) -> Result<usize> {
    let shared = Layer::random(random, 1_000_000)?;
    for number in 0..IMAGES {
        let own = LAYERS.iter().map(|length| Layer::random(random, *length));
        let image = Image::of(own.chain([Ok(shared.clone())]).collect::<Result<_>>()?);
        write_one(root, number, &image)?;
    }
    Ok(IMAGES)
}

fn write_one(root: &Path, number: usize, image: &Image) -> Result<()> {
    let repository = repositories(root).join(format!("number-{number}"));
    for content in image.blobs() {
        blob(root, content)?;
        link(&repository.join("_layers").join(content.digest.replace(':', "/")), content)?;
    }
    let manifest = &image.manifest;
    blob(root, manifest)?;
    let name = manifest.digest.replace(':', "/");
    link(&repository.join("_manifests/revisions").join(&name), manifest)?;
    link(&repository.join("_manifests/tags/latest/current"), manifest)?;
    link(&repository.join("_manifests/tags/latest/index").join(&name), manifest)
}

/// Puts a blob into a tree.
pub(super) fn blob(root: &Path, content: &Content) -> Result<()> {
    let path = data(root, &content.digest)?;
    fs::create_dir_all(path.parent().context("below the root")?)?;
    Ok(fs::write(path, &content.bytes)?)
}

fn link(directory: &Path, to: &Content) -> Result<()> {
    fs::create_dir_all(directory)?;
    Ok(fs::write(directory.join("link"), &to.digest)?)
}

/// Everything that a tag needs is there, byte for byte; gives how many tags there are.
pub(super) fn check_tagged(root: &Path) -> Result<usize> {
    let mut tags = 0;
    let Ok(names) = fs::read_dir(repositories(root)) else { return Ok(0) };
    for repository in names {
        let repository = repository?.path();
        if repository.join("_manifests/tags/latest").exists() {
            check_image(root, &repository).with_context(|| repository.display().to_string())?;
            tags += 1;
        }
    }
    Ok(tags)
}

fn check_image(root: &Path, repository: &Path) -> Result<()> {
    let tag = repository.join("_manifests/tags/latest");
    let manifest = fs::read_to_string(tag.join("current/link"))?;
    let name = manifest.replace(':', "/");
    for place in [tag.join("index").join(&name), repository.join("_manifests/revisions").join(&name)] {
        ensure!(fs::read_to_string(place.join("link"))? == manifest, "{}", place.display());
    }
    let image: Value = serde_json::from_slice(&read(root, &manifest)?)?;
    let layers = image.get("layers").and_then(Value::as_array).context("no layers")?;
    for part in layers.iter().chain(image.get("config")) {
        let part = part.get("digest").and_then(Value::as_str).context("no digest")?;
        read(root, part)?;
        let place = repository.join("_layers").join(part.replace(':', "/"));
        ensure!(fs::read_to_string(place.join("link"))? == part, "{}", place.display());
    }
    Ok(())
}

fn read(root: &Path, name: &str) -> Result<Vec<u8>> {
    let bytes = fs::read(data(root, name)?).with_context(|| format!("{name} is tagged and not there"))?;
    ensure!(digest(&bytes) == name, "{name} is tagged and has other bytes");
    Ok(bytes)
}

fn data(root: &Path, name: &str) -> Result<std::path::PathBuf> {
    let (algorithm, encoded) = name.split_once(':').context("a digest")?;
    let prefix = encoded.get(..2).context("a digest")?;
    Ok(root.join(format!("docker/registry/v2/blobs/{algorithm}/{prefix}/{encoded}/data")))
}

fn repositories(root: &Path) -> std::path::PathBuf {
    root.join("docker/registry/v2/repositories/images")
}
