//! `Import`: bringing in much at once.
//!
//! Knows how blobs are taken in while they are verified, and how many of them,
//! and many links and tags, become durable together. Does not know which to
//! bring in, or in which order: what is published last may rely on what was
//! published before.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use storage_layout::Digest;
use storage_layout::Entry;
use storage_layout::RepositoryName;
use storage_layout::Tag;

use crate::store::Blob;
use crate::store::Error;
use crate::store::Hashed;
use crate::store::Source;
use crate::store::disk::DiskFile;
use crate::store::disk::DiskPath;
use crate::store::extent::Sink;
use crate::store::hash::Hasher;
use crate::store::medium::blocking;
use crate::store::piece::Piece;
use crate::store::publish::Change;
use crate::store::publish::Staged;
use crate::store::scan::read_once_into;
use crate::store::writer::Inner;
use crate::store::writer::Writer;
use crate::store::writer::manifest::stage_tag;

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
    /// How much is read between two looks at whether to go on.
    const STEP: u64 = 4 * 1024 * 1024;
    /// How much is written at once. Measured: 512 KiB keep a disk waiting, 4 MiB keep the processors waiting.
    const PIECE: u64 = 1024 * 1024;

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

    /// Remembers that a blob which is there does not have its digest, so that it is replaced when it is published.
    pub fn distrust(&self, blob: &Hashed) {
        self.inner.contents.mark_damaged(blob.version);
    }

    /// Sets space aside, so that nobody else takes it while blobs are taken in. Where the file system cannot do that,
    /// it is not done.
    ///
    /// # Errors
    /// [`Error::NoSpace`].
    pub fn reserve(&self, bytes: u64) -> Result<Reservation, Error> {
        let staged = self.throwaway()?;
        self.allocate(&staged, bytes)?;
        Ok(Reservation::new(staged, bytes))
    }

    /// Copies a blob of another store, computing its digest on the way. `each` is told of every piece before it is
    /// read, and may break off.
    ///
    /// # Errors
    /// The disk cannot be written; nothing is left of the blob.
    pub fn take(
        &self,
        blob: &Blob,
        reservation: &Reservation,
        mut each: impl FnMut(u64) -> ControlFlow<()>,
    ) -> Result<Intake, Error> {
        let staged = self.throwaway()?;
        reservation.give_back(blob.len());
        self.allocate(&staged, blob.len())?;
        let mut taking = Taking::new(blob, &staged);
        let mut rest = blob.range(0..u64::MAX);
        while let Some(window) = rest.next_window(Self::STEP) {
            if each(window.len).is_break() {
                return Ok(Intake::Stopped);
            }
            if let Err(error) = read_once_into(&window, &mut taking) {
                return Ok(Intake::Unreadable(error));
            }
            taking.check()?;
        }
        let (computed, len) = taking.end()?;
        if computed != *blob.digest() {
            return Ok(Intake::Mismatch { computed });
        }
        Ok(Intake::Taken(Taken { digest: computed, len, staged }))
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
    /// Makes sure that what was found to be there lasts: whoever wrote it may have been cut off before it did.
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

    /// Whether all that is there is known to last. Where it is not, a tag that is there has to be written again.
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

/// A blob on its way: read into a piece, hashed and written from there.
struct Taking<'a> {
    staged: &'a Throwaway,
    hasher: Hasher,
    piece: Piece,
    /// How much is written.
    at: u64,
    written: io::Result<()>,
}

impl<'a> Taking<'a> {
    fn new(blob: &Blob, staged: &'a Throwaway) -> Self {
        let piece = Piece::new(&staged.inner.pipeline.blocks, 0, Import::PIECE.min(blob.len()));
        Self { staged, hasher: Hasher::new(blob.digest().algorithm()), piece, at: 0, written: Ok(()) }
    }

    fn hand_on(&mut self) {
        let (staged, parts) = (self.staged, self.piece.parts());
        parts.iter().for_each(|part| self.hasher.update(part));
        let disk = &staged.inner.pipeline.disk;
        if self.written.is_ok() {
            self.written = disk.write_past_cache(&staged.file, self.at, &parts);
            disk.start_writing_back(&staged.file, self.at, self.piece.len());
        }
        self.at += self.piece.len();
        self.piece.clear();
    }

    /// Whether it could be written.
    fn check(&mut self) -> Result<(), Error> {
        let written = std::mem::replace(&mut self.written, Ok(()));
        written.map_err(|error| self.staged.inner.health.failed("write", &self.staged.path, error))
    }

    /// The digest of what was read, and its length.
    fn end(mut self) -> Result<(Digest, u64), Error> {
        if !self.piece.is_empty() {
            self.hand_on();
        }
        self.check()?;
        Ok((self.hasher.finish(), self.at))
    }
}

impl Sink for Taking<'_> {
    fn room(&mut self) -> &mut [u8] {
        self.piece.room()
    }

    fn filled(&mut self, len: usize) {
        self.piece.filled(len);
        if self.piece.is_full() {
            self.hand_on();
        }
    }
}

/// Space that was set aside. Dropping it gives it back.
#[derive(Debug)]
pub struct Reservation {
    staged: Throwaway,
    left: Mutex<Left>,
}

/// What is left of a reservation.
#[derive(Clone, Copy, Debug)]
struct Left {
    /// How many bytes are set aside.
    reserved: u64,
    /// How many were given back and are not used yet.
    free: u64,
}

impl Reservation {
    /// How much is given back at once: each time costs the file system a transaction.
    const STEP: u64 = 256 * 1024 * 1024;

    fn new(staged: Throwaway, bytes: u64) -> Self {
        let reservation = Self { staged, left: Mutex::new(Left { reserved: bytes, free: 0 }) };
        reservation.cut(bytes);
        reservation
    }

    /// Gives back as many bytes as something else uses from now on.
    fn give_back(&self, bytes: u64) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        if left.free < bytes {
            let given = bytes.max(Self::STEP).min(left.reserved);
            left.reserved -= given;
            left.free += given;
            self.cut(left.reserved);
        }
        left.free = left.free.saturating_sub(bytes);
    }

    fn cut(&self, bytes: u64) {
        // What is not given back now is when all of it is.
        let _: io::Result<()> = self.staged.inner.pipeline.disk.truncate(&self.staged.file, bytes);
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
