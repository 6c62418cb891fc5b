//! `Batch`: changes that become durable together.
//!
//! Knows what has to be synced for names and contents to last, and which have
//! been. Does not know what they are.

use std::collections::BTreeSet;
use std::hash::BuildHasher;
use std::hash::RandomState;
use std::time::Instant;

use quick_cache::sync::Cache;

use crate::store::Error;
use crate::store::disk::DiskFile;
use crate::store::disk::DiskPath;
use crate::store::disk::Made;
use crate::store::publish::Inner;
use crate::store::version::Identity;

/// Changes that become durable together.
pub(super) struct Batch<'a> {
    pub(super) of: &'a Inner,
    /// Whose content is to last.
    files: Vec<DiskFile>,
    /// Whose names are to last.
    pub(super) dirs: BTreeSet<DiskPath>,
    /// What will last by its name, with all directories above, when that is done.
    settled: Vec<DiskPath>,
    /// What has been renamed away.
    pub(super) trash: Vec<DiskPath>,
}

/// Files and directories that are known to last, with the names of all directories above them: those that
/// this process synced. What another process made, or this one made and did not sync, is not among them.
#[derive(Debug)]
pub(super) struct Durable {
    known: Cache<(u64, Identity), ()>,
    paths: RandomState,
}

impl Durable {
    /// How many are remembered, at about 100 bytes each: the 256 directories of blobs, a few for each
    /// repository, and the blobs and links that are pushed again and again. What is forgotten is synced once
    /// more.
    const REMEMBERED: usize = 8192;

    pub(super) fn new() -> Self {
        Self { known: Cache::new(Self::REMEMBERED), paths: RandomState::new() }
    }

    fn contains(&self, path: &DiskPath, identity: Identity) -> bool {
        self.known.get(&(self.paths.hash_one(path), identity)).is_some()
    }

    fn insert(&self, path: &DiskPath, identity: Identity) {
        self.known.insert((self.paths.hash_one(path), identity), ());
    }
}

impl<'a> Batch<'a> {
    pub(super) fn new(of: &'a Inner) -> Self {
        Self { of, files: Vec::new(), dirs: BTreeSet::new(), settled: Vec::new(), trash: Vec::new() }
    }

    /// What was staged becomes durable.
    pub(super) fn sync_staged(&mut self, files: Vec<DiskFile>, dirs: Vec<DiskPath>) {
        self.files.extend(files);
        self.dirs.extend(dirs);
    }

    /// Gives what was staged, and is durable, its name.
    pub(super) fn place(&mut self, staged: &DiskPath, at: &DiskPath) -> Result<(), Error> {
        let Some(parent) = at.parent() else { return Ok(()) };
        self.enter(&parent)?;
        self.of.disk.rename(staged, at).map_err(|error| self.of.health.failed("name", at, error))?;
        self.dirs.insert(parent);
        self.settled.push(at.clone());
        Ok(())
    }

    /// Makes a file durable that was there before, whoever wrote it.
    pub(super) fn confirm(&mut self, at: &DiskPath) -> Result<(), Error> {
        if self.is_durable(at)? {
            return Ok(());
        }
        let file = self.of.disk.open(at).map_err(|error| self.of.health.failed("open", at, error))?;
        self.files.extend(file);
        if let Some(parent) = at.parent() {
            self.enter(&parent)?;
            self.dirs.insert(parent);
        }
        self.settled.push(at.clone());
        Ok(())
    }

    /// Makes a directory with all above it, as far as they are missing. A directory that is there may have
    /// been made a moment ago, for an upload or by another process, and its name may not last yet: so what
    /// counts is not whether it is there but whether it is known to be durable.
    fn enter(&mut self, directory: &DiskPath) -> Result<(), Error> {
        let mut missing = Vec::new();
        let mut at = directory.clone();
        while let Some(parent) = at.parent() {
            match self.of.tree.version_at(&at)? {
                Some(version) if version.identity().is_some_and(|it| self.of.durable.contains(&at, it)) => {
                    break;
                }
                Some(_) => {}
                None => missing.push(at.clone()),
            }
            self.dirs.insert(parent.clone());
            self.settled.push(std::mem::replace(&mut at, parent));
        }
        for directory in missing.into_iter().rev() {
            let made = self.of.disk.make_dir(&directory);
            let _: Made = made.map_err(|error| self.of.health.failed("make", &directory, error))?;
        }
        Ok(())
    }

    fn is_durable(&self, at: &DiskPath) -> Result<bool, Error> {
        let identity = self.of.tree.version_at(at)?.and_then(|version| version.identity());
        Ok(identity.is_some_and(|identity| self.of.durable.contains(at, identity)))
    }

    /// Makes all of it durable; gives what can be taken apart now. After an error nothing is known to be
    /// durable, and what the error was can be told to each that waits.
    pub(super) fn sync(self) -> Result<Vec<DiskPath>, impl Fn() -> Error> {
        let started = Instant::now();
        if let Err((path, error)) = self.sync_together() {
            let (health, raw) = (self.of.health.clone(), error.raw_os_error().unwrap_or_default());
            return Err(move || health.failed("sync", &path, std::io::Error::from_raw_os_error(raw)));
        }
        if !self.is_empty() {
            self.of.metrics.fsync_seconds.observe(started.elapsed().as_secs_f64());
        }
        for path in &self.settled {
            let version = self.of.tree.version_at(path).ok().flatten();
            if let Some(identity) = version.and_then(|version| version.identity()) {
                self.of.durable.insert(path, identity);
            }
        }
        Ok(self.trash)
    }

    fn is_empty(&self) -> bool {
        self.files.is_empty() && self.dirs.is_empty()
    }

    /// One sync of everything where that is cheaper, and otherwise one of each, the contents first.
    fn sync_together(&self) -> Result<(), (DiskPath, std::io::Error)> {
        let disk = &self.of.disk;
        if self.files.len() + self.dirs.len() > 1 && matches!(disk.sync_all(), Some(Ok(()))) {
            return Ok(());
        }
        for file in self.files.iter().filter(|_| self.files.len() > 1) {
            disk.start_writing_back(file, 0, 0);
        }
        for file in &self.files {
            disk.sync_file(file).map_err(|error| (DiskPath::own("stage"), error))?;
        }
        for directory in &self.dirs {
            match disk.sync_dir(directory) {
                // Another change of the batch removed it: none of its names is to last.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                synced => synced.map_err(|error| (directory.clone(), error))?,
            }
        }
        Ok(())
    }
}
