//! Uploads: what has been received, and how far its digest has been computed.
//!
//! Knows distribution's `_uploads/<uuid>` with `startedat`, `data` and
//! `hashstates`, so that an upload begun there is finished here and the other
//! way round. Does not know how bytes arrive, or what becomes of them.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::io::IoSlice;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::SystemTime;

use storage_layout::Algorithm;
use storage_layout::Digest;
use storage_layout::Dir;
use storage_layout::Entry;
use storage_layout::RepositoryName;
use storage_layout::UploadId;
use tokio::sync::OwnedMutexGuard;
use tokio::time::timeout;

use crate::store::Directory;
use crate::store::Error;
use crate::store::disk::Disk;
use crate::store::disk::DiskFile;
use crate::store::disk::DiskPath;
use crate::store::hash::Hasher;
use crate::store::health::Health;

mod started_at;

/// The uploads of a root. Everything here may wait, except for [`Uploads::known`].
#[derive(Debug)]
pub(super) struct Uploads {
    disk: Arc<dyn Disk>,
    tree: Arc<Directory>,
    health: Health,
    sessions: Mutex<HashMap<UploadId, Arc<Session>>>,
    /// Somebody committed by sha512 without having said so at the beginning.
    sha512_is_used: AtomicBool,
    boot: Vec<u8>,
}

/// An upload that somebody asked for since the process began.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) name: RepositoryName,
    pub(super) id: UploadId,
    /// How many bytes are held, for who asks while others come in.
    pub(super) len: AtomicU64,
    /// The last request is being tidied up after, so that it pays to wait for the next.
    pub(super) is_closing: AtomicBool,
    /// What was received; `None` until it was looked at. Held by the one who appends or finishes.
    received: Arc<tokio::sync::Mutex<Option<Received>>>,
}

/// The right to append to an upload, or to end it.
pub(super) type Held = OwnedMutexGuard<Option<Received>>;

/// Bytes that were received: how many, and their digests in the making.
#[derive(Clone, Debug)]
pub(super) struct Received {
    pub(super) len: u64,
    pub(super) hashers: Vec<Hasher>,
}

impl Received {
    /// The digest of what was received; `None` where it was not computed by that algorithm.
    pub(super) fn digest(&self, algorithm: Algorithm) -> Option<Digest> {
        self.hashers.iter().find(|hasher| hasher.algorithm() == algorithm).cloned().map(Hasher::finish)
    }
}

impl Session {
    /// The right to append to it; `None` where somebody else has it for longer than `settles`, or than
    /// `tidied` where the last request is being tidied up after.
    pub(super) async fn hold_within(&self, settles: Duration, tidied: Duration) -> Option<Held> {
        let hold = || Arc::clone(&self.received).lock_owned();
        if let Ok(held) = timeout(settles, hold()).await {
            return Some(held);
        }
        if !self.is_closing.load(Ordering::Acquire) {
            return None;
        }
        timeout(tidied, hold()).await.ok()
    }

    pub(super) fn directory(&self) -> Dir {
        Dir::Upload(self.name.clone(), self.id)
    }

    pub(super) fn data(&self) -> DiskPath {
        Entry::UploadData(self.name.clone(), self.id).path().into()
    }
}

impl Uploads {
    /// How many sessions are remembered that nobody uses: they can be looked up again.
    const REMEMBERED: usize = 1024;

    pub(super) fn new(disk: Arc<dyn Disk>, tree: Arc<Directory>, health: Health) -> Self {
        let boot = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let boot = boot.trim_ascii().to_vec();
        let (sessions, sha512_is_used) = Default::default();
        Self { disk, tree, health, sessions, sha512_is_used, boot }
    }

    /// Begins an upload: its directory, and the time.
    pub(super) fn begin(
        &self,
        name: &RepositoryName,
        id: UploadId,
        algorithm: Option<Algorithm>,
    ) -> Result<(), Error> {
        self.health.check_space()?;
        self.make_dirs(&Dir::Upload(name.clone(), id).path().into())?;
        let started_at: DiskPath = Entry::UploadStartedAt(name.clone(), id).path().into();
        let failed = |error| self.health.failed("write", &started_at, error);
        let file = self.disk.create(&started_at).map_err(failed)?;
        let now = started_at::format(SystemTime::now());
        self.disk.write(&file, 0, &[IoSlice::new(now.as_bytes())]).map_err(failed)?;
        let hashers = self.algorithms(algorithm).into_iter().map(Hasher::new).collect();
        self.remember(name, id, Some(Received { len: 0, hashers }));
        Ok(())
    }

    /// An upload that was asked for before.
    pub(super) fn known(&self, name: &RepositoryName, id: UploadId) -> Option<Arc<Session>> {
        self.sessions().get(&id).filter(|session| session.name == *name).cloned()
    }

    /// An upload; `None` where there is none in this repository.
    pub(super) fn find(&self, name: &RepositoryName, id: UploadId) -> Result<Option<Arc<Session>>, Error> {
        if let Some(session) = self.known(name, id) {
            return Ok(Some(session));
        }
        let started_at: DiskPath = Entry::UploadStartedAt(name.clone(), id).path().into();
        if self.tree.version_at(&started_at)?.is_none() {
            return Ok(None);
        }
        let session = self.remember(name, id, None);
        session.len.store(self.len_on_disk(&session)?, Ordering::Release);
        Ok(Some(session))
    }

    /// Opens the data of an upload, with what is known about them; `None` where the upload is gone.
    pub(super) fn open(
        &self,
        session: &Session,
        received: Option<Received>,
    ) -> Result<Option<(DiskFile, Received)>, Error> {
        let path = session.data();
        let failed = |error| self.health.failed("open", &path, error);
        let file = match self.disk.open(&path).map_err(failed)? {
            Some(file) => file,
            None if self.tree.version_at(&session.directory().path().into())?.is_none() => {
                self.forget(session);
                return Ok(None);
            }
            None => self.disk.create(&path).map_err(failed)?,
        };
        let len = self.len_on_disk(session)?;
        let received = match received {
            Some(received) if received.len == len => received,
            _ => self.look_up(session, len)?,
        };
        session.len.store(len, Ordering::Release);
        Ok(Some((file, received)))
    }

    /// Keeps the digests in the making, so that nothing is read again when the upload goes on in another
    /// process.
    pub(super) fn save(&self, session: &Session, received: &Received) -> Result<(), Error> {
        for hasher in received.hashers.iter().filter(|_| received.len > 0) {
            let (name, algorithm) = (session.name.clone(), hasher.algorithm());
            let path: DiskPath =
                Entry::UploadHashState(name.clone(), session.id, algorithm, received.len).path().into();
            let failed = |error| self.health.failed("write", &path, error);
            if self.tree.version_at(&path)?.is_some() {
                continue;
            }
            self.make_dirs(&Dir::HashStates(name, session.id, algorithm).path().into())?;
            let file = self.disk.create(&path).map_err(failed)?;
            self.disk.write(&file, 0, &[IoSlice::new(&hasher.save(received.len))]).map_err(failed)?;
            // Where the file system keeps no notes, the data are read again.
            let _ = self.disk.set_note(&file, &self.boot);
        }
        Ok(())
    }

    /// Reads everything that was received again, by an algorithm that it was not hashed by. Only the first
    /// upload that is committed by sha512 without having said so pays this; from then on all are hashed by
    /// both.
    pub(super) fn read_again(&self, session: &Session, algorithm: Algorithm) -> Result<Digest, Error> {
        if algorithm == Algorithm::Sha512 {
            self.sha512_is_used.store(true, Ordering::Relaxed);
        }
        let mut hasher = Hasher::new(algorithm);
        self.read_from(session, 0, |piece| hasher.update(piece))?;
        Ok(hasher.finish())
    }

    /// Forgets a session, not its files.
    pub(super) fn forget(&self, session: &Session) {
        self.sessions().remove(&session.id);
    }

    /// When an upload began. Where nobody can tell any more (a power cut leaves `startedat` empty), when its
    /// directory last changed.
    pub(super) fn started_at(
        &self,
        name: &RepositoryName,
        id: UploadId,
    ) -> Result<Option<SystemTime>, Error> {
        let path = Entry::UploadStartedAt(name.clone(), id).path().into();
        let text = self.tree.read_at(&path)?.and_then(|content| String::from_utf8(content).ok());
        if let Some(time) = text.and_then(|text| started_at::parse(&text)) {
            return Ok(Some(time));
        }
        let directory = self.tree.version_at(&Dir::Upload(name.clone(), id).path().into())?;
        Ok(directory.map(|version| version.modified()))
    }

    /// What to hash by. CPU belongs to etcd, and sha512 costs three times what sha256 does where the
    /// processor has instructions for the latter: so an upload is hashed by sha512 only when its client said
    /// so, or when clients of this registry have been seen to commit by sha512 without saying so.
    fn algorithms(&self, announced: Option<Algorithm>) -> Vec<Algorithm> {
        match announced {
            Some(algorithm) => vec![algorithm],
            None if self.sha512_is_used.load(Ordering::Relaxed) => Algorithm::ALL.to_vec(),
            None => vec![Algorithm::Sha256],
        }
    }

    /// What is known about data that another process received, or this one before it forgot.
    fn look_up(&self, session: &Session, len: u64) -> Result<Received, Error> {
        let mut hashers = Vec::new();
        for algorithm in self.algorithms(None) {
            let (mut hasher, from) = self.saved(session, algorithm, len)?;
            self.read_from(session, from, |piece| hasher.update(piece))?;
            hashers.push(hasher);
        }
        Ok(Received { len, hashers })
    }

    /// The latest state that was saved, and after how many bytes.
    ///
    /// A state is only worth something if the data before it are what was hashed. A process that ended left
    /// them in the page cache; a power cut may have taken them, whole pages of zeros in their place, and left
    /// the state. So a state counts if it was saved since the system was booted, and otherwise the data are
    /// read again: also those of an upload that distribution began, which does not say when.
    fn saved(&self, session: &Session, algorithm: Algorithm, len: u64) -> Result<(Hasher, u64), Error> {
        let directory = Dir::HashStates(session.name.clone(), session.id, algorithm);
        let items = self.tree.list_at(&directory.path().into())?.unwrap_or_default();
        let mut offsets: Vec<u64> = items.iter().filter_map(|item| item.name.parse().ok()).collect();
        offsets.retain(|offset| *offset <= len);
        offsets.sort_unstable();
        for offset in offsets.into_iter().rev() {
            let path =
                Entry::UploadHashState(session.name.clone(), session.id, algorithm, offset).path().into();
            let is_trusted = !self.boot.is_empty() && self.tree.note_at(&path)?.as_ref() == Some(&self.boot);
            let state = self.tree.read_at(&path)?.filter(|_| is_trusted);
            if let Some(hasher) = state.and_then(|state| Hasher::load(algorithm, &state, offset)) {
                return Ok((hasher, offset));
            }
        }
        Ok((Hasher::new(algorithm), 0))
    }

    fn read_from(&self, session: &Session, from: u64, each: impl FnMut(&[u8])) -> Result<(), Error> {
        self.tree.read_through_at(&session.data(), from, each)
    }

    fn len_on_disk(&self, session: &Session) -> Result<u64, Error> {
        Ok(self.tree.version_at(&session.data())?.map_or(0, |version| version.len()))
    }

    fn make_dirs(&self, path: &DiskPath) -> Result<(), Error> {
        let made = match (self.disk.make_dir(path), path.parent()) {
            (Err(error), Some(parent)) if error.kind() == std::io::ErrorKind::NotFound => {
                self.make_dirs(&parent)?;
                self.disk.make_dir(path)
            }
            (made, _) => made,
        };
        made.map(|_| ()).map_err(|error| self.health.failed("make", path, error))
    }

    fn remember(&self, name: &RepositoryName, id: UploadId, received: Option<Received>) -> Arc<Session> {
        let mut sessions = self.sessions();
        if sessions.len() >= Self::REMEMBERED {
            sessions.retain(|_, session| Arc::strong_count(session) > 1);
        }
        match sessions.entry(id) {
            // Somebody else looked it up in the meantime.
            Slot::Occupied(session) if session.get().name == *name => Arc::clone(session.get()),
            slot => {
                let session = Arc::new(Session {
                    name: name.clone(),
                    id,
                    len: AtomicU64::new(0),
                    is_closing: AtomicBool::new(false),
                    received: Arc::new(tokio::sync::Mutex::new(received)),
                });
                slot.insert_entry(Arc::clone(&session));
                session
            }
        }
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<UploadId, Arc<Session>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
