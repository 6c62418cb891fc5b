//! Blobs that are on their way here, and peers that read along while they come.
//!
//! Knows how far each is, and hands on what came so far and what comes next: so a blob that eight nodes want
//! leaves the one that has it once, and passes from node to node with the delay of a piece, not of the whole.
//! Nothing that is handed on here is verified yet: whoever reads along is a peer, and hashes what it gets as
//! it does anyway. Does not know where the bytes come from.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use bytes::Bytes;
use storage_layout::Digest;
use storage_layout::RepositoryName;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio::sync::mpsc;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::peer::inventory::Have;
use crate::registry::Arriving;
use crate::store::Partial;

/// How many peers may read one blob along. More of them find each other: whoever reads along can be read
/// along.
const READERS: usize = 2;
/// How many pieces may wait for a peer: its socket's buffer holds more.
const WAITING: usize = 2;
/// How many bytes are read at once of what is in the file already.
const PIECE: usize = 256 * 1024;
/// How long a peer may take nothing before it is let go.
const PATIENCE: Duration = Duration::from_secs(20);

/// Blobs that are on their way here.
#[derive(Debug, Default)]
pub struct Fetching {
    arrivals: Mutex<HashMap<Digest, Arc<Arrival>>>,
    tasks: TaskTracker,
}

#[derive(Debug)]
struct Arrival {
    repositories: BTreeSet<RepositoryName>,
    readers: Arc<Semaphore>,
    stream: Mutex<Option<Arc<Stream>>>,
}

/// Where the bytes of a blob come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Upstream {
    /// Somebody who has all of it.
    Holder,
    /// Somebody who gets it from somebody else.
    Reader,
}

/// One attempt's bytes.
#[derive(Debug)]
struct Stream {
    size: u64,
    upstream: Upstream,
    file: Partial,
    tail: Mutex<Tail>,
    grown: watch::Sender<Growth>,
}

/// What came and is perhaps not in the file yet. The store holds the same bytes until they are: nothing is
/// held twice.
#[derive(Debug)]
struct Tail {
    begin: u64,
    pieces: VecDeque<Bytes>,
}

#[derive(Clone, Copy, Debug)]
struct Growth {
    held: u64,
    has_ended: bool,
}

/// Says that a blob is on its way here, for as long as it lives.
#[derive(Debug)]
pub(crate) struct FetchingGuard {
    fetching: Arc<Fetching>,
    digest: Digest,
    arrival: Arc<Arrival>,
}

/// Says that bytes are coming, for as long as it lives.
#[derive(Debug)]
pub(crate) struct StreamGuard {
    arrival: Arc<Arrival>,
    stream: Arc<Stream>,
}

impl Fetching {
    /// Whether a blob is on its way here.
    pub fn contains(&self, digest: &Digest) -> bool {
        self.lock().contains_key(digest)
    }

    /// What to say of a blob that is not here.
    pub fn have(&self, digest: &Digest) -> Have {
        let arrival = self.lock().get(digest).cloned();
        match arrival.map(|it| it.stream().is_some()) {
            Some(true) => Have::Fetching,
            Some(false) => Have::Wanted,
            None => Have::No,
        }
    }

    /// Says that a blob is on its way into these repositories; `None` if somebody said so already.
    pub(crate) fn begin(
        self: &Arc<Self>,
        digest: Digest,
        repositories: BTreeSet<RepositoryName>,
    ) -> Option<FetchingGuard> {
        let readers = Arc::new(Semaphore::new(READERS));
        let arrival = Arc::new(Arrival { repositories, readers, stream: Mutex::default() });
        let mut arrivals = self.lock();
        if arrivals.contains_key(&digest) {
            return None;
        }
        arrivals.insert(digest, Arc::clone(&arrival));
        Some(FetchingGuard { fetching: Arc::clone(self), digest, arrival })
    }

    /// The bytes of a blob from `begin` on as they come here, for a peer; `None` where none are coming into
    /// this repository or enough peers read them along.
    ///
    /// Nodes must not wait for each other in a circle: a node whose bytes come from another reader gives only
    /// to those that have less than itself.
    pub(crate) fn read_along(&self, name: &RepositoryName, digest: &Digest, begin: u64) -> Option<Arriving> {
        let arrival = self.lock().get(digest).filter(|it| it.repositories.contains(name)).cloned()?;
        let stream = arrival.stream().clone()?;
        let held = stream.grown.borrow().held;
        if begin >= stream.size || (stream.upstream == Upstream::Reader && begin >= held) {
            return None;
        }
        let place = Arc::clone(&arrival.readers).try_acquire_owned().ok()?;
        let (to, from) = mpsc::channel(WAITING);
        let size = stream.size;
        self.tasks.spawn(hand_on(stream, begin, to, place));
        Some(Arriving::new(begin, size, from))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Arc<Arrival>>> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Arrival {
    fn stream(&self) -> MutexGuard<'_, Option<Arc<Stream>>> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FetchingGuard {
    /// Which blob it is.
    pub(crate) fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Bytes are coming, after those that `file` holds.
    pub(crate) fn stream(&self, size: u64, upstream: Upstream, file: Partial, held: u64) -> StreamGuard {
        let tail = Mutex::new(Tail { begin: held, pieces: VecDeque::new() });
        let grown = watch::Sender::new(Growth { held, has_ended: false });
        let stream = Arc::new(Stream { size, upstream, file, tail, grown });
        *self.arrival.stream() = Some(Arc::clone(&stream));
        StreamGuard { arrival: Arc::clone(&self.arrival), stream }
    }
}

impl Drop for FetchingGuard {
    fn drop(&mut self) {
        self.fetching.lock().remove(&self.digest);
    }
}

impl StreamGuard {
    /// These bytes came; up to `written` they are in the file.
    pub(crate) fn grow(&self, data: Bytes, written: u64) {
        let len = data.len() as u64;
        self.stream.tail().take(data, written);
        self.stream.grown.send_modify(|it| it.held += len);
    }

    /// What came is in the file, up to `held`.
    pub(crate) fn settle(&self, held: u64) {
        self.stream.tail().forget(held);
    }
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        *self.arrival.stream() = None;
        self.stream.grown.send_modify(|it| it.has_ended = true);
    }
}

impl Stream {
    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next bytes from `at` on, of which there are some.
    async fn next(&self, at: u64) -> Option<Bytes> {
        let (from_memory, written) = {
            let tail = self.tail();
            (tail.from(at), tail.begin)
        };
        if let Some(piece) = from_memory {
            return Some(piece);
        }
        let len = usize::try_from(written.checked_sub(at)?).unwrap_or(PIECE).min(PIECE);
        self.file.read(at, len).await.inspect_err(|error| tracing::debug!(%error, "a peer is let go")).ok()
    }
}

impl Tail {
    fn take(&mut self, data: Bytes, written: u64) {
        self.pieces.push_back(data);
        self.forget(written);
    }

    fn forget(&mut self, written: u64) {
        while let Some(first) = self.pieces.front()
            && self.begin + first.len() as u64 <= written
        {
            self.begin += first.len() as u64;
            self.pieces.pop_front();
        }
    }

    fn from(&self, at: u64) -> Option<Bytes> {
        let mut begin = self.begin;
        for piece in &self.pieces {
            let end = begin + piece.len() as u64;
            if (begin..end).contains(&at) {
                return Some(piece.slice(usize::try_from(at - begin).ok()?..));
            }
            begin = end;
        }
        None
    }
}

/// Gives a peer what comes, until it has all, or it takes nothing, or nothing comes any more.
async fn hand_on(stream: Arc<Stream>, mut at: u64, to: mpsc::Sender<Bytes>, _place: OwnedSemaphorePermit) {
    let mut grown = stream.grown.subscribe();
    while at < stream.size {
        let Ok(growth) = grown.wait_for(|it| it.held > at || it.has_ended).await.map(|it| *it) else {
            return;
        };
        if growth.held <= at {
            return;
        }
        let Some(data) = stream.next(at).await else { return };
        at += data.len() as u64;
        if !matches!(timeout(PATIENCE, to.send(data)).await, Ok(Ok(()))) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use super::*;
    use crate::store::Access;
    use crate::store::Append;
    use crate::store::Options;
    use crate::store::Store;

    const NAME: &str = "openshift/release";

    struct Upload {
        _directory: tempfile::TempDir,
        _store: Store,
        append: Append,
        fetching: Arc<Fetching>,
        digest: Digest,
        name: RepositoryName,
    }

    async fn upload() -> Upload {
        let directory = tempfile::tempdir().unwrap();
        let options = Options {
            roots: vec![directory.path().to_owned()],
            access: Access::ReadWrite,
            ..Options::default()
        };
        let store = Store::open(&options).unwrap();
        let name = RepositoryName::parse(NAME).unwrap();
        let digest = Digest::parse(&format!("sha256:{}", "ab".repeat(32))).unwrap();
        let id = storage_layout::UploadId::from_u128(7);
        let append = store.writer().unwrap().resume_upload(&name, id, digest.algorithm()).await.unwrap();
        Upload { _directory: directory, _store: store, append, fetching: Arc::default(), digest, name }
    }

    async fn read(mut from: Arriving) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(data) = std::future::poll_fn(|context| from.poll_next(context)).await {
            all.extend_from_slice(&data);
        }
        all
    }

    #[tokio::test]
    async fn peers_read_along_from_wherever_they_are() {
        let Upload { append, fetching, digest, name, .. } = &mut upload().await;
        assert_eq!(fetching.have(digest), Have::No);
        let guard = fetching.begin(*digest, [name.clone()].into()).unwrap();
        assert!(fetching.begin(*digest, [name.clone()].into()).is_none());
        assert_eq!(fetching.have(digest), Have::Wanted);
        assert!(fetching.read_along(name, digest, 0).is_none(), "nothing comes yet");

        let stream = guard.stream(9, Upstream::Holder, append.partial().unwrap(), 0);
        assert_eq!(fetching.have(digest), Have::Fetching);
        let early = fetching.read_along(name, digest, 0).unwrap();
        for piece in ["abc", "def"] {
            append.write(Bytes::from(piece)).await.unwrap();
            stream.grow(Bytes::from(piece), append.written());
        }
        let late = fetching.read_along(name, digest, 4).unwrap();
        assert_eq!((late.begin(), late.len(), late.size()), (4, 5, 9));
        assert!(fetching.read_along(name, digest, 0).is_none(), "two are enough");
        let readers = [tokio::spawn(read(early)), tokio::spawn(read(late))];
        append.write(Bytes::from_static(b"ghi")).await.unwrap();
        stream.grow(Bytes::from_static(b"ghi"), append.written());
        let [early, late] = readers;
        assert_eq!(late.await.unwrap(), b"efghi");
        assert_eq!(early.await.unwrap(), b"abcdefghi");
        let elsewhere = RepositoryName::parse("secret").unwrap();
        assert!(
            fetching.read_along(&elsewhere, digest, 0).is_none(),
            "it does not come into that repository"
        );
        drop((stream, guard));
        assert_eq!(fetching.have(digest), Have::No);
    }

    #[tokio::test]
    async fn what_is_in_the_file_is_read_from_there() {
        let Upload { append, fetching, digest, name, _store, _directory } = upload().await;
        let mut append = append;
        let guard = fetching.begin(digest, [name.clone()].into()).unwrap();
        let content: Vec<u8> = (0..3 * PIECE).map(|it| it as u8).collect();
        let partial = append.partial().unwrap();
        let stream = guard.stream(content.len() as u64, Upstream::Holder, partial, 0);
        append.write(Bytes::from(content.clone())).await.unwrap();
        stream.grow(Bytes::from(content.clone()), append.written());
        let held = append.close().await.unwrap();
        stream.settle(held);
        assert_eq!(read(fetching.read_along(&name, &digest, 5).unwrap()).await, content.get(5..).unwrap());
    }

    #[tokio::test]
    async fn an_attempt_that_ends_early_ends_for_its_readers() {
        let Upload { append, fetching, digest, name, .. } = &upload().await;
        let guard = fetching.begin(*digest, [name.clone()].into()).unwrap();
        let stream = guard.stream(9, Upstream::Holder, append.partial().unwrap(), 0);
        let reader = tokio::spawn(read(fetching.read_along(name, digest, 0).unwrap()));
        stream.grow(Bytes::from_static(b"abc"), 0);
        tokio::time::sleep(Duration::from_millis(20)).await;
        drop(stream);
        assert_eq!(reader.await.unwrap(), b"abc");
        assert_eq!(fetching.have(digest), Have::Wanted, "it is tried again");
    }

    #[tokio::test]
    async fn nodes_do_not_wait_for_each_other_in_a_circle() {
        let Upload { append, fetching, digest, name, .. } = &upload().await;
        let guard = fetching.begin(*digest, [name.clone()].into()).unwrap();
        let stream = guard.stream(9, Upstream::Reader, append.partial().unwrap(), 0);
        assert!(fetching.read_along(name, digest, 0).is_none(), "it has no more than who asks");
        stream.grow(Bytes::from_static(b"abc"), 0);
        assert!(fetching.read_along(name, digest, 3).is_none());
        assert!(fetching.read_along(name, digest, 2).is_some());
    }
}
