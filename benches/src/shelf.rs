//! The shelf: what is pulled, by everyone.
//!
//! Knows the tree that all read and the copy that zot must have in its own
//! layout. The blobs' files are the same inodes for all who share the tree, so
//! they are in the page cache for all or for none.

use std::fs::File;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use storage_layout::RepositoryName;
use storage_layout::Tag;

use crate::bench::Bench;
use crate::client::exchange::Exchange;
use crate::client::exchange::Payload;
use crate::client::push;
use crate::contender::Access;
use crate::contender::Kind;
use crate::data;
use crate::data::Blob;
use crate::data::image;
use crate::data::image::Image;
use crate::data::tree::Tree;

pub(crate) const REPOSITORY: &str = "openshift/release";
pub(crate) const TAG: &str = "4.20.0-x86_64";

/// Data in the two forms that the contenders read.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) tree: PathBuf,
    layouts: Option<PathBuf>,
}

impl Stored {
    /// Writes a tree, and for zot pushes the same.
    pub(crate) fn new(
        bench: &Bench,
        below: &Path,
        write: impl FnOnce(&Tree) -> Result<()>,
        push: impl FnOnce(&mut Exchange) -> Result<()>,
    ) -> Result<Self> {
        let tree = Tree::create(&below.join("tree"))?;
        write(&tree)?;
        let zot = bench.fleet.contenders.iter().find(|contender| contender.kind == Kind::Zot);
        let layouts = match zot {
            None => None,
            Some(zot) => {
                let root = below.join("layouts");
                let server = zot.start(&bench.site(vec![root.clone()], Access::ReadWrite))?;
                push(&mut Exchange::connect(&server.endpoint)?)?;
                Some(root)
            }
        };
        Ok(Self { tree: tree.root().to_owned(), layouts })
    }

    /// Where a contender finds it.
    pub(crate) fn root(&self, kind: Kind) -> Option<PathBuf> {
        match kind {
            Kind::Zot => self.layouts.clone(),
            _ => Some(self.tree.clone()),
        }
    }
}

/// Blobs of each size, and an image.
#[derive(Clone, Debug)]
pub(crate) struct Shelf {
    pub(crate) stored: Stored,
    /// The largest first.
    pub(crate) blobs: Vec<Blob>,
    pub(crate) image: Image,
}

impl Shelf {
    pub(crate) fn stock(bench: &Bench) -> Result<Self> {
        let below = bench.directory()?.keep();
        let repository = RepositoryName::parse(REPOSITORY).context("a valid name")?;
        let tag = Tag::parse(TAG).context("a valid tag")?;
        let image = Image::over(&[image::layer(1, 3 * 1024)?], 2)?;
        let mut blobs = Vec::new();
        for (seed, size) in bench.scale.blobs.into_iter().enumerate() {
            blobs.push(data::blob(&below, seed as u64, size)?);
        }
        let tree = Tree::create(&below.join("tree"))?;
        let blobs = blobs.into_iter().map(|blob| tree.take(&repository, blob)).collect::<Result<Vec<_>>>()?;
        let write = |tree: &Tree| tree.put(&repository, &tag, &image);
        let push = |to: &mut Exchange| push_all(to, &blobs, &image);
        let stored = Stored::new(bench, &below, write, push)?;
        Ok(Self { stored, blobs, image })
    }

    /// The largest blob.
    pub(crate) fn largest(&self) -> Result<&Blob> {
        self.blobs.first().context("the shelf is empty")
    }
}

fn push_all(to: &mut Exchange, blobs: &[Blob], image: &Image) -> Result<()> {
    for blob in blobs {
        let file = File::open(&blob.path)?;
        let content = Payload::File { file: &file, length: blob.size, tail: &[] };
        push::blob(to, REPOSITORY, &blob.digest, content)?;
    }
    push_image(to, REPOSITORY, TAG, image)
}

/// Pushes an image with what of it is missing.
pub(crate) fn push_image(to: &mut Exchange, repository: &str, tag: &str, image: &Image) -> Result<()> {
    for (digest, content) in &image.blobs {
        push::blob_if_missing(to, repository, digest, Payload::Bytes(content))?;
    }
    push::manifest(to, repository, tag, &image.manifest)
}
