//! `Append`: bytes on their way into an upload.
//!
//! Knows how receiving, hashing and writing overlap within a bound, and what is
//! kept when one of them fails. Does not know where the bytes come from.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use crate::store::Error;
use crate::store::disk::Disk;
use crate::store::disk::DiskFile;
use crate::store::hash::Hasher;
use crate::store::health::Health;
use crate::store::medium::blocking;
use crate::store::piece::Blocks;
use crate::store::piece::Piece;
use crate::store::upload::Held;
use crate::store::upload::Received;
use crate::store::upload::Session;
use crate::store::upload::Uploads;

mod partial;

pub use partial::Partial;

/// An upload that is open for appending. Dropping it keeps what was written and hashed.
#[derive(Debug)]
pub struct Append {
    open: Option<Open>,
    pipeline: Arc<Pipeline>,
}

/// What all appends of a store share.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) health: Health,
    pub(super) uploads: Uploads,
    pub(super) tasks: TaskTracker,
    pub(super) blocks: Arc<Blocks>,
    writing: Arc<Semaphore>,
    hashing: Arc<Semaphore>,
    appending: AtomicUsize,
}

#[derive(Debug)]
struct Open {
    session: Arc<Session>,
    held: Held,
    file: DiskFile,
    /// As it was at the beginning.
    before: Received,
    /// What is written and hashed, but for what is on the way.
    received: Received,
    pending: Piece,
    on_the_way: Option<OnTheWay>,
}

/// Bytes that are being written on one thread and hashed on another.
#[derive(Debug)]
struct OnTheWay {
    writing: JoinHandle<Result<(), Error>>,
    hashing: JoinHandle<Vec<Hasher>>,
    len: u64,
}

impl Pipeline {
    /// How many bytes may wait in all, so that 64 pushes at once fit in 64 MiB with all else: what
    /// connections read, and the larger pieces that the first of many began with.
    pub(super) const WAITING: u64 = 12 * 1024 * 1024;
    /// How many bytes are handed on at once at most; more makes nothing faster.
    const LARGEST_PIECE: u64 = 1024 * 1024;
    /// And at least, however many push.
    const SMALLEST_PIECE: u64 = 64 * 1024;
    /// How many threads may wait for the disk to take bytes.
    const WRITERS: usize = 8;
    /// How often the disk is told to begin writing what is dirty: so the sync at the end finds little to do.
    const WRITE_BACK_EVERY: u64 = 8 * 1024 * 1024;

    pub(super) fn new(disk: Arc<dyn Disk>, health: Health, uploads: Uploads, tasks: TaskTracker) -> Self {
        let hashers = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            disk,
            health,
            uploads,
            tasks,
            blocks: Arc::default(),
            writing: Arc::new(Semaphore::new(Self::WRITERS)),
            hashing: Arc::new(Semaphore::new(hashers)),
            appending: AtomicUsize::new(0),
        }
    }

    /// For the bytes from `offset` on. Of each push as many wait as are on the way.
    fn piece(&self, offset: u64) -> Piece {
        let appending = self.appending.load(Ordering::Relaxed).max(1) as u64;
        let wanted = (Self::WAITING / 2 / appending).clamp(Self::SMALLEST_PIECE, Self::LARGEST_PIECE);
        Piece::new(&self.blocks, offset, wanted)
    }
}

impl Append {
    /// Opens an upload; `None` where it is gone.
    pub(super) async fn open(
        pipeline: Arc<Pipeline>,
        session: Arc<Session>,
        mut held: Held,
    ) -> Result<Option<Self>, Error> {
        let known = held.take();
        let (shared, of) = (Arc::clone(&pipeline), Arc::clone(&session));
        let Some((file, received)) = blocking(move || shared.uploads.open(&of, known)).await? else {
            return Ok(None);
        };
        pipeline.appending.fetch_add(1, Ordering::Relaxed);
        let (before, pending) = (received.clone(), pipeline.piece(received.len));
        let open = Open { session, held, file, before, received, pending, on_the_way: None };
        Ok(Some(Self { open: Some(open), pipeline }))
    }

    /// How many bytes the upload holds, those that are on the way included.
    pub fn offset(&self) -> u64 {
        self.open.as_ref().map_or(0, Open::offset)
    }

    /// How many bytes are in the file.
    pub fn written(&self) -> u64 {
        self.open.as_ref().map_or(0, |it| it.received.len)
    }

    /// The file, to be read up to [`Append::written`] while it grows; `None` where it is closed.
    pub fn partial(&self) -> Option<Partial> {
        self.open.as_ref().map(|it| Partial { file: Arc::clone(&it.file.file) })
    }

    /// Appends; hashing and writing overlap, and the call waits only while both are behind by a bounded
    /// amount.
    ///
    /// # Errors
    /// What was appended before cannot be written: the upload holds what could be.
    pub async fn write(&mut self, mut data: Bytes) -> Result<(), Error> {
        let Some(open) = &mut self.open else { return Err(Error::Closed) };
        while !data.is_empty() {
            open.pending.take_in(&mut data);
            if open.pending.is_full() {
                open.hand_on(&self.pipeline).await?;
            }
        }
        Ok(())
    }

    /// Waits until everything is written and hashed; gives the new offset.
    ///
    /// # Errors
    /// As [`Append::write`].
    pub async fn close(mut self) -> Result<u64, Error> {
        let Some(open) = self.open.take() else { return Err(Error::Closed) };
        open.close(&self.pipeline).await
    }

    /// Takes back what was appended since opening: a chunk of the wrong length must not be kept.
    ///
    /// # Errors
    /// The file cannot be cut.
    pub async fn undo(mut self) -> Result<(), Error> {
        let Some(mut open) = self.open.take() else { return Err(Error::Closed) };
        open.pending = self.pipeline.piece(open.before.len);
        // Whatever became of it is cut off.
        let _ = open.arrive(&self.pipeline).await;
        open.received = open.before.clone();
        open.cut(&self.pipeline).await?;
        open.close(&self.pipeline).await.map(|_| ())
    }
}

impl Drop for Append {
    fn drop(&mut self) {
        if self.pipeline.appending.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.pipeline.blocks.rest();
        }
        let Some(open) = self.open.take() else { return };
        // Outside of a runtime the process is ending: what is in the file is found again.
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        open.session.is_closing.store(true, Ordering::Release);
        let pipeline = Arc::clone(&self.pipeline);
        self.pipeline.tasks.spawn(async move {
            let (session, id) = (Arc::clone(&open.session), open.session.id);
            if let Err(error) = open.close(&pipeline).await {
                tracing::warn!(upload = %id, error = &error as &dyn std::error::Error, "cannot keep all of an upload");
            }
            session.is_closing.store(false, Ordering::Release);
        });
    }
}

impl Open {
    fn offset(&self) -> u64 {
        let on_the_way = self.on_the_way.as_ref().map_or(0, |it| it.len);
        self.received.len + on_the_way + self.pending.len()
    }

    /// Hands on what is pending, once what was handed on before has arrived. Where that fails, what was to
    /// follow it is given up too.
    async fn hand_on(&mut self, pipeline: &Arc<Pipeline>) -> Result<(), Error> {
        if let Err(error) = self.arrive(pipeline).await {
            self.pending = pipeline.piece(self.received.len);
            return Err(error);
        }
        if self.pending.is_empty() {
            return Ok(());
        }
        let permit = |of: &Arc<Semaphore>| Arc::clone(of).acquire_owned();
        let (Ok(hasher), Ok(writer)) = (permit(&pipeline.hashing).await, permit(&pipeline.writing).await)
        else {
            return Err(Error::Closed);
        };
        let next = pipeline.piece(self.received.len + self.pending.len());
        let piece = Arc::new(std::mem::replace(&mut self.pending, next));
        let len = piece.len();
        let writing = self.start_writing(pipeline, Arc::clone(&piece), writer);
        let hashing = start_hashing(self.received.hashers.clone(), piece, hasher);
        self.on_the_way = Some(OnTheWay { writing, hashing, len });
        Ok(())
    }

    fn start_writing(
        &self,
        pipeline: &Arc<Pipeline>,
        piece: Arc<Piece>,
        permit: OwnedSemaphorePermit,
    ) -> JoinHandle<Result<(), Error>> {
        let (file, offset, session) = (self.file.clone(), self.received.len, Arc::clone(&self.session));
        let pipeline = Arc::clone(pipeline);
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let written = pipeline.disk.write_past_cache(&file, offset, &piece.parts());
            written.map_err(|error| pipeline.health.failed("write", &session.data(), error))?;
            let (before, after) = (offset, offset + piece.len());
            if before / Pipeline::WRITE_BACK_EVERY != after / Pipeline::WRITE_BACK_EVERY {
                let from = before - before % Pipeline::WRITE_BACK_EVERY;
                pipeline.disk.start_writing_back(&file, from, after - from);
            }
            Ok(())
        })
    }

    /// Waits for what is on the way. What cannot be written is cut off again, so that the digests are those
    /// of the file.
    async fn arrive(&mut self, pipeline: &Arc<Pipeline>) -> Result<(), Error> {
        let Some(OnTheWay { writing, hashing, len }) = self.on_the_way.take() else { return Ok(()) };
        let (written, hashed) = tokio::join!(writing, hashing);
        match (written, hashed) {
            (Ok(Ok(())), Ok(hashers)) => {
                self.received = Received { len: self.received.len + len, hashers };
                self.session.len.store(self.received.len, Ordering::Release);
                Ok(())
            }
            (Ok(Err(error)), _) => {
                self.cut(pipeline).await?;
                Err(error)
            }
            _ => Err(Error::Closed),
        }
    }

    /// Cuts the file to what counts as received.
    async fn cut(&self, pipeline: &Arc<Pipeline>) -> Result<(), Error> {
        self.session.len.store(self.received.len, Ordering::Release);
        let (file, len, session) = (self.file.clone(), self.received.len, Arc::clone(&self.session));
        let pipeline = Arc::clone(pipeline);
        blocking(move || {
            let cut = pipeline.disk.truncate(&file, len);
            cut.map_err(|error| pipeline.health.failed("cut", &session.data(), error))
        })
        .await
    }

    /// Writes and hashes what is left, and notes how far the digests are.
    async fn close(mut self, pipeline: &Arc<Pipeline>) -> Result<u64, Error> {
        let arrived = match self.hand_on(pipeline).await {
            Ok(()) => self.arrive(pipeline).await,
            failed => failed,
        };
        let Self { session, mut held, received, .. } = self;
        let len = received.len;
        let (shared, state) = (Arc::clone(pipeline), received.clone());
        let saved = blocking(move || shared.uploads.save(&session, &state)).await;
        *held = Some(received);
        arrived?;
        saved.map(|()| len)
    }
}

fn start_hashing(
    mut hashers: Vec<Hasher>,
    piece: Arc<Piece>,
    permit: OwnedSemaphorePermit,
) -> JoinHandle<Vec<Hasher>> {
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        for hasher in &mut hashers {
            for part in piece.parts() {
                hasher.update(part);
            }
        }
        hashers
    })
}
