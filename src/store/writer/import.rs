//! `Import`: bringing in much at once.
//!
//! Knows how blobs are taken in while they are verified, and how many of them,
//! and many links and tags, become durable together. Does not know which to
//! bring in, or in which order: what is published last may rely on what was
//! published before.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use storage_layout::Digest;
use storage_layout::Entry;
use storage_layout::RepositoryName;
use storage_layout::Tag;

use crate::store::Error;
use crate::store::Hashed;
use crate::store::Source;
use crate::store::disk::DiskFile;
use crate::store::disk::DiskPath;
use crate::store::medium::blocking;
use crate::store::publish::Change;
use crate::store::publish::Staged;
use crate::store::writer::Inner;
use crate::store::writer::Writer;
use crate::store::writer::manifest::stage_tag;

mod reservation;
mod taking;

pub use reservation::Reservation;

/// Brings in blobs, links and tags by the hundred. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Import {
    inner: Arc<Inner>,
}

/// A blob that was taken in whole, and that nobody sees until it is published. Dropping it throws it away.
#[derive(Debug)]
pub struct Taken {
    digest: Digest,
    len: u64,
    staged: Throwaway,
}

impl Taken {
    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it is the blob of no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// How taking in a blob ended.
#[derive(Debug)]
pub enum Intake {
    /// It is here and can be published.
    Taken(Taken),
    /// The bytes have another digest; nothing is left of them.
    Mismatch {
        /// What the bytes have.
        computed: Digest,
    },
    /// The medium that it is on cannot be read; nothing is left of what was.
    Unreadable(Error),
    /// It was broken off; nothing is left of it.
    Stopped,
}

/// A link or a tag, and what it is to point at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer<P> {
    /// Which one.
    pub from: P,
    /// What it points at.
    pub to: Digest,
}

impl Writer {
    /// The way to bring in much at once.
    pub fn import(&self) -> Import {
        Import { inner: Arc::clone(&self.inner) }
    }
}

/// These wait for the disk.
impl Import {
    /// What is there already.
    pub fn tree(&self) -> &dyn Source {
        &*self.inner.tree
    }

    /// How many bytes may be brought in, beside what is kept free for deletions.
    ///
    /// # Errors
    /// The root cannot be written, or only the reserve is left.
    pub fn free(&self) -> Result<u64, Error> {
        self.inner.health.check()?;
        self.inner.health.spare()
    }

    /// Remembers that a blob which is there does not have its digest, so that it is replaced when it is
    /// published.
    pub fn distrust(&self, blob: &Hashed) {
        self.inner.contents.mark_damaged(blob.version);
    }

    /// Sets space aside, so that nobody else takes it while blobs are taken in. Where the file system cannot
    /// do that, it is not done.
    ///
    /// # Errors
    /// [`Error::NoSpace`].
    pub fn reserve(&self, bytes: u64) -> Result<Reservation, Error> {
        let staged = self.throwaway()?;
        self.allocate(&staged, bytes)?;
        Ok(Reservation::new(staged, bytes))
    }

    fn throwaway(&self) -> Result<Throwaway, Error> {
        let Staged { path, file } = self.inner.publisher.stage(&[])?;
        Ok(Throwaway { path, file, inner: Arc::clone(&self.inner), is_kept: false })
    }

    fn allocate(&self, staged: &Throwaway, bytes: u64) -> Result<(), Error> {
        let allocated = self.inner.pipeline.disk.allocate(&staged.file, bytes);
        allocated.map_err(|error| self.inner.health.failed("make room for", &staged.path, error))
    }
}

impl Import {
    /// Makes sure that what was found to be there lasts: whoever wrote it may have been cut off before it
    /// did.
    ///
    /// # Errors
    /// The disk cannot be written.
    pub async fn settle(&self, blobs: Vec<Digest>, links: Vec<Pointer<Entry>>) -> Result<(), Error> {
        let writer = Writer { inner: Arc::clone(&self.inner) };
        if writer.settle().await? {
            return Ok(());
        }
        let required = blobs.into_iter().map(Change::Require).collect::<Vec<_>>();
        self.inner.publisher.publish([required], Vec::new()).await?;
        self.link(links).await
    }

    /// Whether all that is there is known to last. Where it is not, a tag that is there has to be written
    /// again.
    pub fn is_settled(&self) -> bool {
        self.inner.is_settled.load(Ordering::Acquire)
    }

    /// Publishes blobs. A blob that is there already stays as it is.
    ///
    /// # Errors
    /// The disk cannot be written. Of the blobs, some may be published.
    pub async fn publish(&self, blobs: Vec<Taken>) -> Result<(), Error> {
        let files = blobs.iter().map(|blob| blob.staged.file.clone()).collect();
        let mut changes = Vec::with_capacity(blobs.len());
        let mut staged = Vec::with_capacity(blobs.len());
        for Taken { digest, len, staged: mut throwaway } in blobs {
            throwaway.is_kept = true;
            staged.push(throwaway.path.clone());
            changes.push(Change::Blob(throwaway.path.clone(), digest, len));
        }
        self.inner.publisher.publish([vec![Change::Sync(files, Vec::new())], changes], staged).await?;
        Ok(())
    }

    /// Links blobs and manifests into repositories.
    ///
    /// # Errors
    /// As [`Import::publish`].
    pub async fn link(&self, links: Vec<Pointer<Entry>>) -> Result<(), Error> {
        let _adding = self.inner.removal.read().await;
        let publisher = self.inner.publisher.clone();
        let (files, changes, staged) = blocking(move || {
            let (mut files, mut changes, mut staged) = (Vec::new(), Vec::new(), Vec::new());
            for Pointer { from, to } in links {
                let link = publisher.stage(to.to_string().as_bytes())?;
                files.push(link.file);
                staged.push(link.path.clone());
                changes.push(Change::Link(link.path, from, to));
            }
            Ok((files, changes, staged))
        })
        .await?;
        self.inner.publisher.publish([vec![Change::Sync(files, Vec::new())], changes], staged).await?;
        Ok(())
    }

    /// Points tags at manifests.
    ///
    /// # Errors
    /// As [`Import::publish`].
    pub async fn tag(&self, tags: Vec<Pointer<(RepositoryName, Tag)>>) -> Result<(), Error> {
        let _adding = self.inner.removal.read().await;
        let publisher = self.inner.publisher.clone();
        let (sync, changes, staged) = blocking(move || {
            let (mut files, mut dirs) = (Vec::new(), Vec::new());
            let (mut changes, mut staged) = (Vec::new(), Vec::new());
            for Pointer { from: (name, tag), to } in tags {
                let path = stage_tag(&publisher, &to, &mut files, &mut dirs)?;
                staged.push(path.clone());
                changes.push(Change::Tag(path, name, tag, to));
            }
            Ok((Change::Sync(files, dirs), changes, staged))
        })
        .await?;
        self.inner.publisher.publish([vec![sync], changes], staged).await?;
        Ok(())
    }
}

/// A staged file that is removed unless it is kept.
#[derive(Debug)]
struct Throwaway {
    path: DiskPath,
    file: DiskFile,
    inner: Arc<Inner>,
    is_kept: bool,
}

impl Drop for Throwaway {
    fn drop(&mut self) {
        if !self.is_kept {
            // What is left is removed at the next start.
            let _ = self.inner.pipeline.disk.remove_file(&self.path);
        }
    }
}
