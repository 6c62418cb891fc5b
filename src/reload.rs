//! An operator's files: parsed, and parsed again whenever they change.
//!
//! Knows when a file has changed, also by a rename over it or by the symlink swap that Kubernetes mounts do.
//! Does not know what is in it: the parser comes with the file. A file that does not parse, or a group of
//! files that do not fit each other yet, leaves the last good value in force.
//!
//! Files are looked at every `LOOK_EVERY` rather than watched by inotify: a look is one `stat` for each of a
//! handful of files, and it cannot miss a change, whereas a watch has to follow every directory and symlink
//! on the way to the file, sees nothing on network and FUSE mounts, and can overflow.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use tokio::time::sleep;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::metrics::ReloadMetrics;

mod group;
mod succession;

pub use succession::Succession;

use group::FormerUntil;
use group::Group;
use group::Look;

/// How long a change may go unnoticed. A certificate is rotated days before it expires.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How many may ask at the same time for files to be read.
const FORCE_LIMIT: usize = 4;

/// How long whoever asked for it waits for files to be read: what they lie on may not answer at all.
const FORCE_PATIENCE: Duration = Duration::from_secs(5);

/// A value that comes from an operator's file and follows it. Clones follow the same file.
#[derive(Debug)]
pub struct Watched<T> {
    value: Arc<ArcSwap<T>>,
}

impl<T> Watched<T> {
    /// A value that comes from nowhere and never changes.
    pub fn fixed(value: T) -> Self {
        Self { value: Arc::new(ArcSwap::from_pointee(value)) }
    }

    /// The value in force.
    pub fn current(&self) -> Arc<T> {
        self.value.load_full()
    }

    /// Which value is in force: a number that no other has as long as this one is kept. Counts no reference, so
    /// that threads which ask at the same time do not wait for each other.
    pub fn address(&self) -> usize {
        Arc::as_ptr(&self.value.load()).addr()
    }
}

impl<T> Clone for Watched<T> {
    fn clone(&self) -> Self {
        Self { value: Arc::clone(&self.value) }
    }
}

/// Looks after the files that were given to it, for as long as it [runs](Self::run).
#[derive(Debug)]
pub struct Watcher {
    metrics: ReloadMetrics,
    force: Force,
    forced: mpsc::Receiver<Done>,
    groups: Vec<Box<dyn Look>>,
    reports: Reports,
}

impl Watcher {
    /// Looks after nothing yet.
    pub fn new(metrics: ReloadMetrics) -> Self {
        let (force, forced) = mpsc::channel(FORCE_LIMIT);
        Self { metrics, force: Force(force), forced, groups: Vec::new(), reports: Reports::default() }
    }

    /// Reads and parses a file now, and again when it changes once [`run`](Self::run) runs. `what` is what
    /// messages and metrics call it (`certificate`, `htpasswd`, `pull_secret`).
    ///
    /// # Errors
    /// It cannot be read, or does not parse.
    pub fn watch<T, E>(
        &mut self,
        what: &'static str,
        path: PathBuf,
        mut parse: impl FnMut(&[u8]) -> Result<T, E> + Send + 'static,
    ) -> Result<Watched<T>, Error>
    where
        T: Send + Sync + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.watch_group(what, [path], move |[content]: &[Vec<u8>; 1]| parse(content))
    }

    /// [`watch`](Self::watch) for files that have to fit each other, as a certificate and its key do: all of
    /// them are given to the parser whenever one changes.
    ///
    /// # Errors
    /// One of them cannot be read, or they do not parse.
    pub fn watch_group<const N: usize, T, E>(
        &mut self,
        what: &'static str,
        paths: [PathBuf; N],
        parse: impl FnMut(&[Vec<u8>; N]) -> Result<T, E> + Send + 'static,
    ) -> Result<Watched<T>, Error>
    where
        T: Send + Sync + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.add(what, paths, parse, |_, _| None)
    }

    /// [`watch_group`](Self::watch_group) for secrets that others go on presenting for a while after they
    /// were changed here: for `overlap`, what the files said before comes with what they say.
    ///
    /// # Errors
    /// One of them cannot be read, or they do not parse.
    pub fn watch_succession<const N: usize, T, E>(
        &mut self,
        what: &'static str,
        paths: [PathBuf; N],
        overlap: Duration,
        mut parse: impl FnMut(&[Vec<u8>; N]) -> Result<T, E> + Send + 'static,
    ) -> Result<Watched<Succession<T>>, Error>
    where
        T: Send + Sync + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let mut last: Option<Succession<T>> = None;
        let parse = move |contents: &[Vec<u8>; N]| {
            let value = parse(contents)?;
            let readings = match &last {
                Some(last) => last.followed_by(value, overlap, Instant::now()),
                None => Succession::first(value),
            };
            last = Some(readings.clone());
            Ok::<_, E>(readings)
        };
        self.add(what, paths, parse, Succession::former_until)
    }

    fn add<const N: usize, T, E>(
        &mut self,
        what: &'static str,
        paths: [PathBuf; N],
        mut parse: impl FnMut(&[Vec<u8>; N]) -> Result<T, E> + Send + 'static,
        former_until: FormerUntil<T>,
    ) -> Result<Watched<T>, Error>
    where
        T: Send + Sync + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let parse = move |contents: &[Vec<u8>; N]| parse(contents).map_err(Into::into);
        let (group, watched) = Group::open(what, paths, parse, former_until, self.metrics.clone())?;
        self.reports.add(group.report());
        self.groups.push(Box::new(group));
        Ok(watched)
    }

    /// What became of the last look at every file; stays current while the watcher runs.
    pub fn reports(&self) -> Reports {
        self.reports.clone()
    }

    /// The way to have every file read at once.
    pub fn force(&self) -> Force {
        self.force.clone()
    }

    /// Looks for changes until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self { mut groups, reports, mut forced, .. } = self;
        loop {
            let (care, done) = tokio::select! {
                () = shutdown.cancelled() => return,
                Some(done) = forced.recv() => (Care::Everything, Some(done)),
                () = sleep(LOOK_EVERY) => (Care::WhatChanged, None),
            };
            // The files may lie on anything that can be mounted, so they are read where blocking is allowed.
            let reports = reports.clone();
            let looked = spawn_blocking(move || {
                reports.replace(groups.iter_mut().map(|group| group.look(care)));
                groups
            });
            match looked.await {
                Ok(back) => groups = back,
                Err(error) => {
                    tracing::error!(%error, "looking after files came to an end");
                    return;
                }
            }
            // Whoever asked may have gone.
            done.map(|done| done.send(()));
        }
    }
}

/// Has every file read at once, whether it seems changed or not. Clones are the same.
#[derive(Clone, Debug)]
pub struct Force(mpsc::Sender<Done>);

/// How whoever asked learns that every file has been read.
type Done = oneshot::Sender<()>;

impl Force {
    /// Comes back when every file has been read, or the watcher does not run, or it takes too long.
    pub async fn read_all(&self) {
        let (done, read) = oneshot::channel();
        let reading = async {
            if self.0.send(done).await.is_ok() {
                let _ = read.await;
            }
        };
        let _in_time = timeout(FORCE_PATIENCE, reading).await;
    }
}

/// How closely to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Care {
    /// Read the files that seem to have changed.
    WhatChanged,
    /// Read all of them.
    Everything,
}

/// What the last looks came to, one report a file or group. Clones show the same.
#[derive(Clone, Debug, Default)]
pub struct Reports {
    reports: Arc<Mutex<Vec<Report>>>,
}

/// What the last look at a file came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What it is called.
    pub what: &'static str,
    /// Where it lies.
    pub paths: Vec<PathBuf>,
    /// Why the last good value is in force rather than what the file says now.
    pub problem: Option<String>,
    /// Until when what the file said before counts beside what it says, in an overlap.
    pub former_until: Option<Instant>,
}

impl Reports {
    /// The newest reports, in the order in which the files were given.
    pub fn all(&self) -> Vec<Report> {
        self.lock().clone()
    }

    fn add(&self, report: Report) {
        self.lock().push(report);
    }

    fn replace(&self, reports: impl Iterator<Item = Report>) {
        let reports = reports.collect();
        *self.lock() = reports;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Report>> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It cannot be read.
    #[error("cannot read {what} `{}`", path.display())]
    Read {
        /// What it is called.
        what: &'static str,
        /// Where it should be.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It is larger than such a file can be.
    #[error("{what} `{}` has more than {limit} bytes", path.display())]
    TooLarge {
        /// What it is called.
        what: &'static str,
        /// Where it lies.
        path: PathBuf,
        /// How large it may be.
        limit: u64,
    },
    /// It is not what it should be, or does not fit the file that it belongs to.
    #[error("cannot use {what} `{}`", path.display())]
    Parse {
        /// What it is called.
        what: &'static str,
        /// Where it lies; the first of a group.
        path: PathBuf,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
