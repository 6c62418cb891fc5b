//! `Writer`: every way to change a store.
//!
//! Knows which changes make a push, a mount or a deletion, and in which order.
//! Does not know how they are made durable, or who may ask for them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::SystemTime;

use bytes::Bytes;
use storage_layout::Algorithm;
use storage_layout::Digest;
use storage_layout::Dir;
use storage_layout::Entry;
use storage_layout::RelativePath;
use storage_layout::RepositoryName;
use storage_layout::Tag;
use storage_layout::UploadId;
use tokio::sync::RwLock;
use tokio_util::task::TaskTracker;

use crate::metrics::StoreMetrics;
use crate::metrics::UploadEvent;
use crate::store::Append;
use crate::store::Directory;
use crate::store::Error;
use crate::store::LastEnd;
use crate::store::append::Pipeline;
use crate::store::content::Contents;
use crate::store::disk::Disk;
use crate::store::disk::DiskPath;
use crate::store::health::Health;
use crate::store::lease::Leases;
use crate::store::lock::Lock;
use crate::store::medium::blocking;
use crate::store::publish::Outcome;
use crate::store::publish::Publisher;
use crate::store::roots::Roots;
use crate::store::upload::Held;
use crate::store::upload::Session;
use crate::store::upload::Uploads;

mod delete;
mod document;
mod finish;
mod import;
mod maintain;
mod manifest;
mod purge;

pub use finish::Finish;
pub use import::Import;
pub use import::Intake;
pub use import::Pointer;
pub use import::Reservation;
pub use import::Taken;

/// The one writer of a store. Everything becomes visible through `publish`, in the order blob, links, tag,
/// and is durable when the call returns. A call whose caller is dropped is finished all the same.
#[derive(Clone, Debug)]
pub struct Writer {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    tree: Arc<Directory>,
    roots: Arc<Roots>,
    contents: Contents,
    metrics: StoreMetrics,
    health: Health,
    leases: Leases,
    publisher: Publisher,
    pipeline: Arc<Pipeline>,
    tasks: TaskTracker,
    /// Held to read by who adds to a repository, to write by who removes a manifest with all its tags: in
    /// between no tag may come that points at it.
    removal: RwLock<()>,
    lock: Option<Arc<Lock>>,
    /// Whether what is in the tree lasts, whoever wrote it.
    is_settled: AtomicBool,
}

/// What a writer shares with the reading side of its store.
pub(super) struct Shared {
    pub(super) roots: Arc<Roots>,
    pub(super) contents: Contents,
    pub(super) metrics: StoreMetrics,
    /// The lock of the root, where there is one.
    pub(super) lock: Option<Arc<Lock>>,
}

impl Writer {
    /// How long the request that appends to an upload is waited for: one whose connection broke ends as soon
    /// as that is noticed.
    const SETTLES_WITHIN: Duration = Duration::from_secs(1);
    /// How long to wait for an upload whose last request is still being tidied up after.
    const TIDIED_WITHIN: Duration = Duration::from_secs(5);

    /// The writer of the root that `tree` shows.
    pub(super) fn new(tree: Arc<Directory>, disk: Arc<dyn Disk>, shared: Shared) -> Result<Self, Error> {
        let Shared { roots, contents, metrics, lock } = shared;
        let last = lock.as_ref().map_or(LastEnd::Finished, |it| it.last_end());
        let tasks = TaskTracker::new();
        let health = Health::new(tree.path(), Arc::clone(&disk), metrics.clone());
        let leases = Leases::new();
        let publisher = Publisher::new(
            Arc::clone(&disk),
            Arc::clone(&tree),
            health.clone(),
            contents.clone(),
            leases.clone(),
            metrics.clone(),
            tasks.clone(),
        );
        publisher.prepare()?;
        let uploads = Uploads::new(Arc::clone(&disk), Arc::clone(&tree), health.clone());
        let pipeline = Arc::new(Pipeline::new(disk, health.clone(), uploads, tasks.clone()));
        let inner = Inner {
            tree,
            roots,
            contents,
            metrics,
            health,
            leases,
            publisher,
            pipeline,
            tasks,
            removal: RwLock::new(()),
            lock,
            is_settled: AtomicBool::new(last == LastEnd::Finished),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Begins an upload. `algorithm` is that of the digest the client announced, if it did.
    ///
    /// # Errors
    /// [`Error::NoSpace`] when only a reserve is left.
    pub async fn start_upload(
        &self,
        name: &RepositoryName,
        algorithm: Option<Algorithm>,
    ) -> Result<UploadId, Error> {
        let id = UploadId::from_u128(uuid::Uuid::new_v4().as_u128());
        let (pipeline, name) = (Arc::clone(&self.inner.pipeline), name.clone());
        blocking(move || pipeline.uploads.begin(&name, id, algorithm)).await?;
        self.inner.metrics.upload(UploadEvent::Started);
        Ok(id)
    }

    /// How many bytes of an upload are held; `None` for an upload that does not exist in this repository.
    pub async fn upload_offset(&self, name: &RepositoryName, id: UploadId) -> Result<Option<u64>, Error> {
        let Some(session) = self.inner.session(name, id).await? else { return Ok(None) };
        // Who asks has lost the connection that the last bytes came by, and these may not have been written
        // yet.
        let _ = session.hold_within(Self::SETTLES_WITHIN, Self::TIDIED_WITHIN).await;
        Ok(Some(session.len.load(Ordering::Acquire)))
    }

    /// Opens an upload to append to it; `None` where it does not exist.
    ///
    /// # Errors
    /// [`Error::UploadBusy`] while another request appends to it.
    pub async fn append(&self, name: &RepositoryName, id: UploadId) -> Result<Option<Append>, Error> {
        let Some((session, held)) = self.inner.hold(name, id).await? else { return Ok(None) };
        Append::open(Arc::clone(&self.inner.pipeline), session, held).await
    }

    /// Opens the upload of this name to append to it, and begins it where it does not exist: whoever names
    /// uploads by what they bring finds them again after a restart.
    ///
    /// # Errors
    /// [`Error::UploadBusy`] while somebody else appends to it, [`Error::NoSpace`] when only a reserve is left.
    pub async fn resume_upload(
        &self,
        name: &RepositoryName,
        id: UploadId,
        algorithm: Algorithm,
    ) -> Result<Append, Error> {
        if let Some(append) = self.append(name, id).await? {
            return Ok(append);
        }
        let (pipeline, owned) = (Arc::clone(&self.inner.pipeline), name.clone());
        blocking(move || pipeline.uploads.begin(&owned, id, Some(algorithm))).await?;
        self.inner.metrics.upload(UploadEvent::Started);
        self.append(name, id).await?.ok_or(Error::UploadBusy { holds: 0 })
    }

    /// Ends an upload: checks the digest against the one computed while the bytes came in, publishes the blob
    /// (replacing a stored one whose size differs or which is known to be damaged), links it, and forgets the
    /// upload.
    ///
    /// # Errors
    /// As of publishing; the upload is kept where it can be. [`Error::UploadBusy`] while another request appends to it.
    pub async fn finish_upload(
        &self,
        name: &RepositoryName,
        id: UploadId,
        digest: &Digest,
    ) -> Result<Finish, Error> {
        let (inner, name, digest) = (Arc::clone(&self.inner), name.clone(), *digest);
        self.to_the_end(async move { inner.finish(&name, id, &digest).await }).await
    }

    /// Forgets an upload and its bytes; `false` where it does not exist.
    ///
    /// # Errors
    /// [`Error::UploadBusy`] while another request appends to it.
    pub async fn cancel_upload(&self, name: &RepositoryName, id: UploadId) -> Result<bool, Error> {
        let (inner, name) = (Arc::clone(&self.inner), name.clone());
        self.to_the_end(async move { inner.cancel(&name, id).await }).await
    }

    /// Links a stored blob into a repository; `false` where the blob is not stored whole.
    pub async fn link_layer(&self, name: &RepositoryName, digest: &Digest) -> Result<bool, Error> {
        let (inner, name, digest) = (Arc::clone(&self.inner), name.clone(), *digest);
        self.to_the_end(async move { inner.link_layer(&name, &digest).await }).await
    }

    /// Whether a blob is stored whole anywhere, for a mount without `from`. Costs one look.
    pub async fn is_stored(&self, digest: &Digest) -> Result<bool, Error> {
        self.inner.is_stored(digest).await
    }

    /// Stores a manifest under its digest (already verified by the caller), links it, then points `tags` at
    /// it.
    pub async fn put_manifest(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        content: Bytes,
        tags: &[Tag],
    ) -> Result<(), Error> {
        let (inner, name, digest, tags) = (Arc::clone(&self.inner), name.clone(), *digest, tags.to_vec());
        self.to_the_end(async move { inner.put_manifest(&name, &digest, content, tags).await }).await
    }

    /// Points a tag at a manifest that the repository holds.
    pub async fn put_tag(&self, name: &RepositoryName, tag: &Tag, digest: &Digest) -> Result<(), Error> {
        let (inner, name, tag, digest) = (Arc::clone(&self.inner), name.clone(), tag.clone(), *digest);
        self.to_the_end(async move { inner.put_tag(name, tag, digest).await }).await
    }

    /// Replaces a small document of Larder's own (`ROOT/larder/NAME`), durably.
    pub async fn put_document(&self, name: &'static str, content: Bytes) -> Result<(), Error> {
        let inner = Arc::clone(&self.inner);
        self.to_the_end(async move { inner.put_document(name, content).await }).await
    }

    /// Removes a tag and leaves the manifest; `false` where it does not exist.
    ///
    /// # Errors
    /// [`Error::ReadOnlyRoot`] where a root that is only read has it too.
    pub async fn delete_tag(&self, name: &RepositoryName, tag: &Tag) -> Result<bool, Error> {
        let (inner, dir) = (Arc::clone(&self.inner), Dir::Tag(name.clone(), tag.clone()));
        let path = Entry::TagCurrent(name.clone(), tag.clone()).path();
        self.to_the_end(async move { inner.delete(path, dir).await }).await
    }

    /// Removes a manifest from a repository with all tags that point at it; `false` where it does not exist.
    ///
    /// # Errors
    /// [`Error::ReadOnlyRoot`] where a root that is only read has it too.
    pub async fn delete_revision(&self, name: &RepositoryName, digest: &Digest) -> Result<bool, Error> {
        let (inner, name, digest) = (Arc::clone(&self.inner), name.clone(), *digest);
        self.to_the_end(async move { inner.delete_revision(&name, &digest).await }).await
    }

    /// Removes a blob from a repository; `false` where it is not linked. The bytes stay for garbage
    /// collection.
    ///
    /// # Errors
    /// [`Error::ReadOnlyRoot`] where a root that is only read has it too.
    pub async fn delete_layer(&self, name: &RepositoryName, digest: &Digest) -> Result<bool, Error> {
        let (inner, dir) = (Arc::clone(&self.inner), Dir::Layer(name.clone(), *digest));
        let path = Entry::LayerLink(name.clone(), *digest).path();
        self.to_the_end(async move { inner.delete(path, dir).await }).await
    }

    /// Forgets every upload that began before `before` and that nobody appends to, as distribution's
    /// `uploadpurging` does; gives how many.
    pub async fn purge_uploads(&self, before: SystemTime) -> Result<usize, Error> {
        let inner = Arc::clone(&self.inner);
        self.to_the_end(async move { inner.purge_uploads(before).await }).await
    }

    /// Can it take writes: space is left, the root is not remounted read-only, no I/O error stands. After an
    /// I/O error a little is written to see whether it still does.
    ///
    /// # Errors
    /// Why it cannot.
    pub async fn check_writable(&self) -> Result<(), Error> {
        let health = self.inner.health.clone();
        blocking(move || health.check()).await
    }

    /// Waits until what was removed so far has given back its space: removing answers before that.
    pub async fn emptied(&self) {
        self.inner.publisher.emptied().await;
    }

    /// Somebody is about to be told whether this is there.
    pub(super) fn tell(&self, digest: &Digest) {
        self.inner.leases.tell(digest);
    }

    /// A small document of Larder's own.
    pub(super) async fn document(&self, name: &'static str) -> Result<Option<Bytes>, Error> {
        self.inner.document(name).await
    }

    /// How many bytes can still be written.
    pub(super) async fn free_space(&self) -> Result<u64, Error> {
        let health = self.inner.health.clone();
        blocking(move || health.spare()).await
    }

    /// The root that is written.
    pub(super) fn root(&self) -> &Path {
        self.inner.health.root()
    }

    /// Removes what a crash left of ours. May wait.
    pub(super) fn clean_up(&self) {
        self.inner.publisher.clean_up();
    }

    /// Waits until everything that was begun is done.
    pub(super) async fn close(&self) {
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
        if let Some(lock) = self.inner.lock.as_ref().filter(|_| self.inner.is_settled.load(Ordering::Acquire))
        {
            lock.finish();
        }
    }

    /// How the process ended that wrote here before.
    pub fn last_end(&self) -> LastEnd {
        self.inner.lock.as_ref().map_or(LastEnd::Finished, |it| it.last_end())
    }

    /// Makes what a process that was cut off had named last as long as everything else; `false` where that
    /// would wait for what others write.
    ///
    /// # Errors
    /// The disk cannot be written.
    pub async fn settle(&self) -> Result<bool, Error> {
        if self.inner.is_settled.load(Ordering::Acquire) {
            return Ok(true);
        }
        let inner = Arc::clone(&self.inner);
        blocking(move || match inner.pipeline.disk.sync_all() {
            None => Ok(false),
            Some(synced) => {
                synced.map_err(|error| inner.health.failed("sync", &DiskPath::root(), error))?;
                inner.is_settled.store(true, Ordering::Release);
                Ok(true)
            }
        })
        .await
    }

    /// Does something to its end, whether or not the caller waits for it: half a push is of no use to
    /// anybody.
    async fn to_the_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        match self.inner.tasks.spawn(work).await {
            Ok(done) => done,
            Err(failed) => match failed.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(Error::Closed),
            },
        }
    }
}

impl Inner {
    async fn session(&self, name: &RepositoryName, id: UploadId) -> Result<Option<Arc<Session>>, Error> {
        if let Some(session) = self.pipeline.uploads.known(name, id) {
            return Ok(Some(session));
        }
        let (pipeline, name) = (Arc::clone(&self.pipeline), name.clone());
        blocking(move || pipeline.uploads.find(&name, id)).await
    }

    /// An upload, and the right to append to it.
    async fn hold(&self, name: &RepositoryName, id: UploadId) -> Result<Option<(Arc<Session>, Held)>, Error> {
        let Some(session) = self.session(name, id).await? else { return Ok(None) };
        match session.hold_within(Writer::SETTLES_WITHIN, Writer::TIDIED_WITHIN).await {
            Some(held) => Ok(Some((session, held))),
            None => Err(Error::UploadBusy { holds: session.len.load(Ordering::Acquire) }),
        }
    }

    async fn is_stored(&self, digest: &Digest) -> Result<bool, Error> {
        self.leases.tell(digest);
        let (contents, digest) = (self.contents.clone(), *digest);
        match self.roots.any(move |source, wait| contents.blob(source, &digest, wait)).await {
            Ok(blob) => Ok(blob.is_some()),
            Err(Error::Corrupt { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Fails where a root that is only read holds what is to be removed: it would still be there.
    async fn check_removable(&self, path: RelativePath) -> Result<(), Error> {
        match self.roots.other_with(self.health.root(), path).await? {
            Some(path) => Err(Error::ReadOnlyRoot { path }),
            None => Ok(()),
        }
    }
}

/// Whether something was there to be done with.
fn was_there(outcome: Outcome) -> bool {
    outcome == Outcome::Done
}

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod tests;
