//! The store: the only owner of registry files.
//!
//! Knows distribution's tree, how it is read from a directory or an image of
//! one, and how it is written so that what was acknowledged survives a power
//! cut. Does not know HTTP, what a manifest means, or who may do what.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use storage_layout::Digest;
use storage_layout::Entry;
use storage_layout::RepositoryName;
use storage_layout::Tag;

use crate::metrics::StoreMetrics;
use crate::store::content::Contents;
use crate::store::link::Links;
use crate::store::roots::Roots;
use crate::store::tags::TagLists;
use crate::store::writer::Shared;

mod append;
mod at_once;
mod blob;
mod content;
#[cfg(test)]
mod contract;
mod deletion;
mod descriptors;
mod directory;
mod disk;
mod error;
mod extent;
mod findings;
mod hash;
mod health;
mod image;
mod iso;
mod lease;
mod link;
mod linked;
mod list;
mod lock;
mod medium;
mod near;
mod open;
mod own;
mod piece;
mod proof;
mod publish;
#[cfg(test)]
mod reading_tests;
mod roots;
mod scan;
mod source;
mod stamp;
mod tags;
mod upload;
mod version;
mod walk;
mod writer;

pub use append::Append;
pub use append::Partial;
pub use blob::Blob;
pub use blob::FileRange;
pub use blob::Window;
pub use deletion::delete_all;
pub use directory::Directory;
pub use error::Error;
pub use extent::Extent;
pub use extent::Extents;
pub use iso::Iso;
pub use lease::Hold;
pub use linked::LinkedBlob;
pub use linked::LinkedTag;
pub use lock::LastEnd;
pub use medium::Faults;
pub use medium::Media;
pub use medium::Medium;
pub use scan::Hashed;
pub use scan::Reader;
pub use source::Found;
pub use source::Item;
pub use source::ItemKind;
pub use source::Source;
pub use source::Wait;
pub use stamp::Stamp;
pub use version::Version;
pub use walk::Sight;
pub use walk::Walk;
pub use writer::Finish;
pub use writer::Import;
pub use writer::Intake;
pub use writer::Pointer;
pub use writer::Reservation;
pub use writer::Taken;
pub use writer::Writer;

/// Where a store lies and whether it may be written.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The roots, in the order in which reads look in them.
    pub roots: Vec<PathBuf>,
    /// Whether writes are wanted.
    pub access: Access,
    /// What is counted.
    pub metrics: StoreMetrics,
}

/// Whether a store may be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Not one write is made, not even a lock file.
    #[default]
    ReadOnly,
    /// Writes go to the first root that is a writable directory.
    ReadWrite,
}

/// A union of roots that hold distribution's tree. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    roots: Arc<Roots>,
    links: Links,
    contents: Contents,
    tags: TagLists,
    writer: Option<Writer>,
}

impl Store {
    /// The largest blob that is hashed before its first byte is sent, when it is asked for the first time.
    /// Larger ones would keep a client waiting: from a drive behind a management controller this many take
    /// some seconds, and containerd gives up after 30 (`ResponseHeaderTimeout`). Those are left to their
    /// clients, who hash what they get, and to the scrub.
    pub const VOUCHED_UP_TO: u64 = 64 * 1024 * 1024;
}

/// Reading. Absence is `None`; an error is always of the medium or of the tree.
impl Store {
    /// Opens a store; takes the writer's lock when it is to be written. Costs the same whatever is stored.
    /// Where no root can be written there is no writer, and reads are served all the same.
    ///
    /// # Errors
    /// A root cannot be opened, or another process already writes there ([`Error::Locked`]).
    pub fn open(options: &Options) -> Result<Self, Error> {
        let Options { roots, access, metrics } = options;
        let media = Media::new(metrics.clone());
        if *access == Access::ReadWrite {
            open::make_root(roots)?;
        }
        let sources = Arc::new(Roots::open(roots, media.clone())?);
        let contents = Contents::new(metrics.clone());
        let writer = match access {
            Access::ReadOnly => None,
            Access::ReadWrite => {
                let shared = Shared {
                    roots: Arc::clone(&sources),
                    contents: contents.clone(),
                    metrics: metrics.clone(),
                    lock: None,
                };
                open::writer(roots, &media, shared)?
            }
        };
        Ok(Self::of(sources, contents, writer))
    }

    fn of(roots: Arc<Roots>, contents: Contents, writer: Option<Writer>) -> Self {
        let (links, tags) = (Links::new(), TagLists::new());
        Self { inner: Arc::new(Inner { roots, links, contents, tags, writer }) }
    }

    /// The bytes of a blob as a repository holds it: `None` where nothing in the repository links it. What
    /// `GET /v2/<name>/blobs/<digest>` answers. Follows the link: distribution stores a blob that was pushed by
    /// its sha512 under its sha256, and links both (`linkedBlobStore.linkBlob`, aliases).
    pub async fn layer(&self, name: &RepositoryName, digest: &Digest) -> Result<Option<Blob>, Error> {
        match self.linked(name, digest).await? {
            Some(target) => Ok(self.blob(&target).await?.map(|blob| blob.named(*digest))),
            None => Ok(None),
        }
    }

    /// The bytes of a blob, wherever it is linked. Sizes and emptiness are those of the file: a blob of zero
    /// length whose digest is not that of nothing is [`Error::Corrupt`].
    pub async fn blob(&self, digest: &Digest) -> Result<Option<Blob>, Error> {
        let (contents, digest) = (&self.inner.contents, *digest);
        let at_once = |source: &dyn Source, wait| contents.blob(source, &digest, wait);
        let lasting = || {
            let contents = contents.clone();
            move |source: &dyn Source, wait| contents.blob(source, &digest, wait)
        };
        self.inner.roots.any_of(at_once, lasting).await
    }

    /// A blob read whole, for manifests and configs; verified against its digest.
    ///
    /// # Errors
    /// [`Error::TooLarge`] above `limit`, [`Error::Corrupt`] where the bytes do not have the digest.
    pub async fn content(&self, digest: &Digest, limit: u64) -> Result<Option<Bytes>, Error> {
        if let Some(content) = self.inner.contents.remembered(digest) {
            return Ok(Some(content));
        }
        let (contents, digest) = (self.inner.contents.clone(), *digest);
        self.inner.roots.any(move |source, wait| contents.read(source, &digest, limit, wait)).await
    }

    /// Whether a repository holds a blob (`_layers` link; a manifest's own link counts too, as in
    /// distribution).
    pub async fn has_layer(&self, name: &RepositoryName, digest: &Digest) -> Result<bool, Error> {
        self.linked(name, digest).await.map(|target| target.is_some())
    }

    /// Whether a repository holds a manifest.
    pub async fn has_revision(&self, name: &RepositoryName, digest: &Digest) -> Result<bool, Error> {
        let entry = Entry::RevisionLink(name.clone(), *digest);
        self.target(&entry, digest).await.map(|target| target.is_some())
    }

    /// What a tag points at. An empty or unreadable link is [`Error::Corrupt`].
    pub async fn tag(&self, name: &RepositoryName, tag: &Tag) -> Result<Option<Digest>, Error> {
        let path = Entry::TagCurrent(name.clone(), tag.clone()).path();
        let links = self.inner.links.clone();
        self.inner.roots.first(move |source, wait| links.read(source, &path, wait)).await
    }

    /// A repository's tags in byte order; `None` where the repository does not exist.
    pub async fn tags(&self, name: &RepositoryName) -> Result<Option<Arc<[Tag]>>, Error> {
        let (lists, name) = (self.inner.tags.clone(), name.clone());
        let lists = self.inner.roots.every(move |source, wait| lists.read(source, &name, wait)).await?;
        Ok(tags::merge(lists.into_iter().flatten()))
    }

    /// A repository's manifests, in order.
    pub async fn revisions(&self, name: &RepositoryName) -> Result<Vec<Digest>, Error> {
        let name = name.clone();
        self.list(move |source| list::revisions(source, &name)).await.map(merge)
    }

    /// The blobs that a repository links, in order.
    pub async fn layers(&self, name: &RepositoryName) -> Result<Vec<Digest>, Error> {
        let name = name.clone();
        self.list(move |source| list::layers(source, &name)).await.map(merge)
    }

    /// Up to `limit` repositories after `last`, in byte order. Costs what is asked for, not what is stored.
    pub async fn repositories(&self, last: Option<&str>, limit: usize) -> Result<Vec<RepositoryName>, Error> {
        let last = last.map(str::to_owned);
        let found = self.list(move |source| list::repositories(source, last.as_deref(), limit)).await?;
        let mut found: Vec<_> = merge(found);
        found.truncate(limit);
        Ok(found)
    }

    /// Up to `limit` stored blobs after `last`, in order of algorithm and value: the way to walk all of them.
    pub async fn blobs(&self, last: Option<&Digest>, limit: usize) -> Result<Vec<StoredBlob>, Error> {
        let last = last.copied();
        let found = self.list(move |source| list::blobs(source, last.as_ref(), limit)).await?;
        let mut found: Vec<StoredBlob> = merge(found);
        found.dedup_by_key(|blob| blob.digest);
        found.truncate(limit);
        Ok(found)
    }

    /// A blob of at most [`Store::VOUCHED_UP_TO`] bytes after it was made sure that they have its digest, before
    /// anybody is sent one of them: once for each version of its file, so that what is asked for often costs
    /// nothing more. Where they are few they are kept.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where its bytes have another digest, or the medium's.
    pub async fn vouch(&self, blob: Blob) -> Result<Blob, Error> {
        let contents = &self.inner.contents;
        if blob.len() > Self::VOUCHED_UP_TO || contents.is_vouched_for(&blob) {
            return Ok(blob);
        }
        let (is_resident, medium, contents) =
            (blob.is_resident(), Arc::clone(blob.medium()), contents.clone());
        let work = move || contents.vouch(blob);
        // What is in memory does not wait for a medium that others wait for. On the heap, so that what was
        // vouched for does not pay for its size.
        match is_resident {
            true => Box::pin(medium::blocking(work)).await,
            false => Box::pin(medium.run(work)).await,
        }
    }

    /// Remembers that the bytes of a blob were found not to have its digest: until it is stored anew, it is
    /// [`Error::Corrupt`].
    pub fn report_damage(&self, blob: &Blob) {
        self.inner.contents.mark_damaged(*blob.version());
    }

    /// Whether the bytes of a blob were found not to have its digest.
    pub fn is_damaged(&self, blob: &Blob) -> bool {
        self.inner.contents.is_damaged(blob.version())
    }

    /// Changes whenever a manifest or a tag of the repository was added or removed, also by another process.
    /// What is derived from the tree may be kept for as long as this stays the same.
    ///
    /// Two things do not show in it: that a tag which was there points elsewhere, and that distribution
    /// removed a manifest without tags, of which it leaves the directory. Both are cheap to ask for:
    /// [`Store::tag`] and [`Store::has_revision`].
    pub async fn stamp(&self, name: &RepositoryName) -> Result<Stamp, Error> {
        let name = name.clone();
        let versions =
            self.inner.roots.every(move |source, wait| stamp::versions(source, &name, wait)).await?;
        Ok(Stamp::of(&versions, SystemTime::now()))
    }

    /// Can it serve: every root that it was opened with answers in time. Asked by `/readyz`.
    ///
    /// # Errors
    /// A root cannot be read.
    pub async fn check_readable(&self) -> Result<(), Error> {
        self.inner.roots.check().await
    }

    /// What the devices under the roots did to those who read them, each device once.
    pub fn faults(&self) -> Vec<Faults> {
        let mut all: Vec<_> = self.inner.roots.all().iter().map(|it| it.medium().report()).collect();
        all.sort_unstable_by(|one, other| one.medium.cmp(&other.medium));
        all.dedup();
        all
    }

    /// Adds a root that reads look in after the others: a directory, an image or a device.
    ///
    /// # Errors
    /// It cannot be opened.
    pub async fn attach(&self, root: PathBuf) -> Result<(), Error> {
        let inner = Arc::clone(&self.inner);
        medium::blocking(move || inner.roots.attach(&root)).await
    }

    /// Stops looking in a root; `false` where it is not attached, or is the one that is written. What is
    /// being sent from it is sent to the end.
    pub fn detach(&self, root: &Path) -> bool {
        let is_written = self.inner.writer.as_ref().is_some_and(|writer| writer.root() == root);
        !is_written && self.inner.roots.detach(root)
    }

    /// The roots, in the order in which reads look in them.
    pub fn roots(&self) -> Vec<PathBuf> {
        self.inner.roots.all().iter().map(|source| source.origin().to_owned()).collect()
    }

    /// The sources themselves, in the same order: for those who must look at each tree as it is, on a thread
    /// that may sleep.
    pub fn sources(&self) -> Arc<Vec<Arc<dyn Source>>> {
        self.inner.roots.all()
    }

    /// The source that is written; `None` where the store is read-only.
    pub fn written(&self) -> Option<Arc<dyn Source>> {
        let root = self.inner.writer.as_ref()?.root();
        self.inner.roots.all().iter().find(|source| source.origin() == root).cloned()
    }

    /// The way to change the store; `None` where it is read-only.
    pub fn writer(&self) -> Option<&Writer> {
        self.inner.writer.as_ref()
    }

    /// How many bytes can still be written to the file system of the root that is written; none where there
    /// is no such root.
    ///
    /// # Errors
    /// The root cannot be looked at.
    pub async fn free_space(&self) -> Result<u64, Error> {
        match &self.inner.writer {
            Some(writer) => writer.free_space().await,
            None => Ok(0),
        }
    }

    /// How many bytes can be written where `path` is, or is to be made.
    ///
    /// # Errors
    /// Nothing of the path is there, or it cannot be looked at.
    pub fn free_at(path: &Path) -> Result<u64, Error> {
        open::free_at(path)
    }

    /// A small document of Larder's own (`ROOT/larder/NAME`), such as the jobs under way; `None` where there
    /// is none, or no root that is written.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn document(&self, name: &'static str) -> Result<Option<Bytes>, Error> {
        match &self.inner.writer {
            Some(writer) => writer.document(name).await,
            None => Ok(None),
        }
    }

    /// Waits until what is being written is written. To be called once, after the last request.
    pub async fn close(&self) {
        if let Some(writer) = &self.inner.writer {
            writer.close().await;
        }
    }

    /// Somebody is about to be told whether a blob or a manifest is there, and will not send it if it is: for
    /// a while it is no garbage. To be called before looking. Whoever only reads does not count on what comes
    /// after.
    pub fn tell(&self, digest: &Digest) {
        if let Some(writer) = &self.inner.writer {
            writer.tell(digest);
        }
    }

    /// The blob that a repository means by a digest.
    async fn linked(&self, name: &RepositoryName, digest: &Digest) -> Result<Option<Digest>, Error> {
        let layer = self.target(&Entry::LayerLink(name.clone(), *digest), digest).await?;
        let target = match layer {
            Some(target) => Some(target),
            None => self.target(&Entry::RevisionLink(name.clone(), *digest), digest).await?,
        };
        // The same bytes by another algorithm: whoever was told of one counts on the other.
        target.iter().filter(|target| *target != digest).for_each(|target| self.tell(target));
        Ok(target)
    }

    /// What the link `entry` points at, which is `digest` or the same bytes by another algorithm.
    async fn target(&self, entry: &Entry, digest: &Digest) -> Result<Option<Digest>, Error> {
        let (links, path, digest) = (&self.inner.links, entry.path(), *digest);
        let at_once = |source: &dyn Source, wait| links.read_named(source, &path, &digest, wait);
        let lasting = || {
            let (links, path) = (links.clone(), path.clone());
            move |source: &dyn Source, wait| links.read_named(source, &path, &digest, wait)
        };
        self.inner.roots.any_of(at_once, lasting).await
    }

    /// What is listed in every root.
    async fn list<T: Send + 'static>(
        &self,
        list: impl Fn(&dyn Source) -> Result<T, Error> + Clone + Send + 'static,
    ) -> Result<Vec<T>, Error> {
        self.inner.roots.every(move |source, wait| roots::waiting(wait, || list(source))).await
    }
}

/// A blob as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoredBlob {
    /// Its name.
    pub digest: Digest,
    /// How many bytes its file has.
    pub len: u64,
    /// When it was stored, last pushed again or last linked.
    pub used: SystemTime,
}

/// All that was found, in order and each once.
fn merge<T: Ord>(found: Vec<impl IntoIterator<Item = T>>) -> Vec<T> {
    let mut all: Vec<T> = found.into_iter().flatten().collect();
    all.sort_unstable();
    all.dedup();
    all
}
