//! A tree as distribution lays it out, written without a registry.
//!
//! Knows which files make a blob, a layer, a manifest and a tag present. Syncs
//! nothing: it is made before anything is measured.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use storage_layout::Digest;
use storage_layout::Entry;
use storage_layout::RepositoryName;
use storage_layout::Tag;

use crate::data::Blob;
use crate::data::image::Image;
use crate::data::write;

/// A tree.
#[derive(Debug)]
pub(crate) struct Tree {
    root: PathBuf,
}

impl Tree {
    /// An empty one, which is a directory without anything.
    pub(crate) fn create(root: &Path) -> Result<Self> {
        fs::create_dir_all(root).context("creating a tree")?;
        Ok(Self { root: root.to_owned() })
    }

    /// Where it lies.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Moves a blob's file into the tree and links it into a repository.
    pub(crate) fn take(&self, repository: &RepositoryName, blob: Blob) -> Result<Blob> {
        let path = self.path(&Entry::Blob(blob.digest));
        fs::create_dir_all(path.parent().unwrap_or(&self.root))?;
        fs::rename(&blob.path, &path).context("moving a blob into a tree")?;
        self.link_layer(repository, &blob.digest)?;
        Ok(Blob { path, ..blob })
    }

    /// Puts an image with all it holds.
    pub(crate) fn put(&self, repository: &RepositoryName, tag: &Tag, image: &Image) -> Result<()> {
        for (digest, content) in &image.blobs {
            self.put_blob(digest, content)?;
            self.link_layer(repository, digest)?;
        }
        let manifest = image.digest;
        self.put_blob(&manifest, &image.manifest)?;
        self.link(&Entry::RevisionLink(repository.clone(), manifest), &manifest)?;
        self.link(&Entry::TagIndex(repository.clone(), tag.clone(), manifest), &manifest)?;
        self.link(&Entry::TagCurrent(repository.clone(), tag.clone()), &manifest)
    }

    fn put_blob(&self, digest: &Digest, content: &[u8]) -> Result<()> {
        let path = self.path(&Entry::Blob(*digest));
        if path.exists() { Ok(()) } else { write(&path, content) }
    }

    fn link_layer(&self, repository: &RepositoryName, digest: &Digest) -> Result<()> {
        self.link(&Entry::LayerLink(repository.clone(), *digest), digest)
    }

    fn link(&self, entry: &Entry, digest: &Digest) -> Result<()> {
        write(&self.path(entry), digest.to_string().as_bytes())
    }

    fn path(&self, entry: &Entry) -> PathBuf {
        self.root.join(entry.path().as_str())
    }
}
