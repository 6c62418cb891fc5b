//! `Publisher`: the one way by which anything becomes visible, or durable.
//!
//! Knows the order of things: what is staged is made durable, then named, then
//! its name is made durable, and only then comes what points at it. Many
//! publications go through each of these together, so that they share the
//! syncs: etcd may be writing to the same disk. Does not know what the blobs,
//! links and tags mean.
//!
//! One thread at a time changes names, in batches: whoever saw a change and
//! publishes something that relies on it comes in a later batch, and a batch
//! begins when the one before it is durable. So nothing is acknowledged that
//! relies on what a power cut can take back.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use crate::metrics::StoreMetrics;
use crate::store::Directory;
use crate::store::Error;
use crate::store::ItemKind;
use crate::store::content::Contents;
use crate::store::disk::Disk;
use crate::store::disk::DiskFile;
use crate::store::disk::DiskPath;
use crate::store::health::Health;
use crate::store::lease::Leases;
use crate::store::publish::batch::Batch;
use crate::store::publish::batch::Durable;

mod batch;
mod change;

pub(super) use change::Change;
pub(super) use change::Outcome;
pub(super) use change::Since;
pub(super) use change::current_link;
pub(super) use change::index_link;

/// Publishes. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Publisher {
    inner: Arc<Inner>,
    tasks: TaskTracker,
}

#[derive(Debug)]
struct Inner {
    disk: Arc<dyn Disk>,
    tree: Arc<Directory>,
    health: Health,
    contents: Contents,
    leases: Leases,
    metrics: StoreMetrics,
    durable: Durable,
    queue: Mutex<Queue>,
    trash: Mutex<Trash>,
    /// Tells the names of this process's staged files from those that a crash left.
    session: String,
    staged: AtomicU64,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Publication>,
    is_served: bool,
}

/// What was renamed away and is being taken apart, by a thread of its own: a directory of a thousand tags or
/// a blob of some gigabytes takes a disk seconds, and nobody's push is to wait for that.
#[derive(Debug, Default)]
struct Trash {
    waiting: Vec<DiskPath>,
    is_served: bool,
    /// Those who want to know when it is gone, and what was before it: they are dropped then.
    watchers: Vec<oneshot::Sender<()>>,
}

/// Changes in steps: those of each are durable before those of the next are made.
#[derive(Debug)]
struct Publication {
    steps: VecDeque<Vec<Change>>,
    staged: Vec<DiskPath>,
    reply: oneshot::Sender<Result<Outcome, Error>>,
}

/// A file or directory that is being made ready, with a name that nobody looks at.
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) path: DiskPath,
    pub(super) file: DiskFile,
}

impl Publisher {
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        tree: Arc<Directory>,
        health: Health,
        contents: Contents,
        leases: Leases,
        metrics: StoreMetrics,
        tasks: TaskTracker,
    ) -> Self {
        let session = uuid::Uuid::new_v4().simple().to_string();
        let inner = Inner {
            disk,
            tree,
            health,
            contents,
            leases,
            metrics,
            durable: Durable::new(),
            queue: Mutex::default(),
            trash: Mutex::default(),
            session,
            staged: AtomicU64::new(0),
        };
        Self { inner: Arc::new(inner), tasks }
    }

    /// Makes the directories for what is staged and what is thrown away. May wait.
    pub(super) fn prepare(&self) -> Result<(), Error> {
        for name in [STAGE, TRASH] {
            let path = DiskPath::own(name);
            self.inner
                .disk
                .make_dir(&path)
                .map_err(|error| self.inner.health.failed("make", &path, error))?;
        }
        Ok(())
    }

    /// Removes what a crash left behind. May wait.
    pub(super) fn clean_up(&self) {
        for name in [STAGE, TRASH] {
            let directory = DiskPath::own(name);
            let items = self.inner.tree.list_at(&directory).ok().flatten().unwrap_or_default();
            for item in items.iter().filter(|item| !item.name.starts_with(&self.inner.session)) {
                self.inner.remove_tree(&directory.join(&item.name), item.kind);
            }
        }
    }

    /// Stages a file with this content. May wait.
    pub(super) fn stage(&self, content: &[u8]) -> Result<Staged, Error> {
        let path = self.inner.new_name(STAGE);
        self.stage_at(path, content)
    }

    /// Stages a file in a directory that was staged. May wait.
    pub(super) fn stage_at(&self, path: DiskPath, content: &[u8]) -> Result<Staged, Error> {
        let failed = |error| self.inner.health.failed("write", &path, error);
        let file = self.inner.disk.create(&path).map_err(failed)?;
        if let Err(error) = self.inner.disk.write(&file, 0, &[IoSlice::new(content)]) {
            let _ = self.inner.disk.remove_file(&path);
            return Err(failed(error));
        }
        Ok(Staged { path, file })
    }

    /// Removes what was staged and is not to be published. May wait.
    pub(super) fn discard(&self, staged: impl IntoIterator<Item = DiskPath>) {
        staged.into_iter().for_each(|path| self.inner.discard(&path));
    }

    /// Stages a directory. May wait.
    pub(super) fn stage_dir(&self) -> Result<DiskPath, Error> {
        let path = self.inner.new_name(STAGE);
        self.make_dir(&path)?;
        Ok(path)
    }

    /// Makes a directory in one that was staged. May wait.
    pub(super) fn make_dir(&self, path: &DiskPath) -> Result<(), Error> {
        let made = self.inner.disk.make_dir(path);
        made.map(|_| ()).map_err(|error| self.inner.health.failed("make", path, error))
    }

    /// Makes changes visible and durable, step by step, and gives how they ended. What is under way is
    /// finished even when the caller is gone. `staged` is removed when a step fails.
    pub(super) async fn publish(
        &self,
        steps: impl Into<VecDeque<Vec<Change>>>,
        staged: Vec<DiskPath>,
    ) -> Result<Outcome, Error> {
        let (reply, answer) = oneshot::channel();
        self.enqueue(Publication { steps: steps.into(), staged, reply });
        answer.await.unwrap_or(Err(Error::Closed))
    }

    fn enqueue(&self, publication: Publication) {
        let mut queue = self.inner.queue();
        queue.waiting.push_back(publication);
        if !queue.is_served {
            queue.is_served = true;
            let (inner, tasks) = (Arc::clone(&self.inner), self.tasks.clone());
            self.tasks.spawn_blocking(move || inner.serve(&tasks));
        }
    }

    /// Waits until what was removed so far has given back its space.
    pub(super) async fn emptied(&self) {
        let (watcher, emptied) = oneshot::channel();
        {
            let mut trash = self.inner.trash();
            if !trash.is_served {
                return;
            }
            trash.watchers.push(watcher);
        }
        // Whoever empties it ends, one way or the other.
        let _ = emptied.await;
    }
}

/// Where files are made ready, below `larder`.
const STAGE: &str = "stage";
/// Where directories go that are to be removed: to be renamed away is to be gone at once.
const TRASH: &str = "trash";

impl Inner {
    /// Publishes what waits until nothing does.
    fn serve(self: &Arc<Self>, tasks: &TaskTracker) {
        let serving = Serving(self);
        while let Some(publications) = serving.next() {
            let (unfinished, trash) = self.publish(publications);
            self.take_apart(trash, tasks);
            let mut queue = self.queue();
            for publication in unfinished.into_iter().rev() {
                queue.waiting.push_front(publication);
            }
        }
    }

    /// Takes a step of each publication and makes all of them durable together. Gives those with steps left,
    /// and what was renamed away.
    fn publish(&self, publications: VecDeque<Publication>) -> (Vec<Publication>, Vec<DiskPath>) {
        let mut batch = Batch::new(self);
        let mut done = Vec::with_capacity(publications.len());
        for mut publication in publications {
            let step = publication.steps.pop_front().unwrap_or_default();
            match batch.apply_all(step) {
                Ok(outcome) => done.push((publication, outcome)),
                Err(error) => self.end(publication, Err(error)),
            }
        }
        let trash = match batch.sync() {
            Ok(trash) => trash,
            Err(failed) => {
                for (publication, _) in done {
                    self.end(publication, Err(failed()));
                }
                return Default::default();
            }
        };
        let mut unfinished = Vec::new();
        for (publication, outcome) in done {
            if outcome == Outcome::Done && !publication.steps.is_empty() {
                unfinished.push(publication);
            } else {
                self.end(publication, Ok(outcome));
            }
        }
        (unfinished, trash)
    }

    /// Has what was renamed away removed.
    fn take_apart(self: &Arc<Self>, paths: Vec<DiskPath>, tasks: &TaskTracker) {
        if paths.is_empty() {
            return;
        }
        let mut trash = self.trash();
        trash.waiting.extend(paths);
        if !trash.is_served {
            trash.is_served = true;
            let inner = Arc::clone(self);
            tasks.spawn_blocking(move || inner.empty_trash());
        }
    }

    fn empty_trash(&self) {
        loop {
            let (paths, _watchers) = {
                let mut trash = self.trash();
                let watchers = std::mem::take(&mut trash.watchers);
                if trash.waiting.is_empty() {
                    trash.is_served = false;
                    return;
                }
                (std::mem::take(&mut trash.waiting), watchers)
            };
            paths.iter().for_each(|path| self.remove_tree(path, ItemKind::Directory));
        }
    }

    fn trash(&self) -> MutexGuard<'_, Trash> {
        self.trash.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, publication: Publication, result: Result<Outcome, Error>) {
        if !matches!(result, Ok(Outcome::Done)) {
            publication.staged.iter().for_each(|path| self.discard(path));
        }
        // Whoever asked may be gone.
        let _ = publication.reply.send(result);
    }

    fn discard(&self, staged: &DiskPath) {
        let kind = match self.tree.list_at(staged) {
            Ok(Some(_)) => ItemKind::Directory,
            _ => ItemKind::File,
        };
        self.remove_tree(staged, kind);
    }

    /// Removes a file or directory of ours, as far as that goes: what is left is removed at the next start.
    fn remove_tree(&self, path: &DiskPath, kind: ItemKind) {
        if kind != ItemKind::Directory {
            let _ = self.disk.remove_file(path);
            return;
        }
        for item in self.tree.list_at(path).ok().flatten().unwrap_or_default() {
            self.remove_tree(&path.join(&item.name), item.kind);
        }
        let _ = self.disk.remove_dir(path);
    }

    fn new_name(&self, directory: &str) -> DiskPath {
        let number = self.staged.fetch_add(1, Ordering::Relaxed);
        DiskPath::own(directory).join(&format!("{}-{number}", self.session))
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to serve the queue, which goes back also when serving panics.
struct Serving<'a>(&'a Inner);

impl Serving<'_> {
    /// All that waits; `None`, and the right is given back, when nothing does.
    fn next(&self) -> Option<VecDeque<Publication>> {
        let mut queue = self.0.queue();
        if queue.waiting.is_empty() {
            queue.is_served = false;
            return None;
        }
        Some(std::mem::take(&mut queue.waiting))
    }
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut queue = self.0.queue();
            queue.is_served = false;
            queue.waiting.clear();
        }
    }
}
