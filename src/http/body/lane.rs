//! `Lane`: how a window of a file passes through hyper without being read.
//!
//! hyper's writer never looks into body data: it asks for slices and hands them to the transport. So a window
//! on its way is spelled as a slice of one buffer that nobody ever reads or writes, the sentinel, and the
//! transport finds the window again from the slice alone: where the slice begins tells which window and how
//! far into it, its length how much of it. Nothing is counted, so nothing can get out of step, whoever cuts a
//! slice short.
//!
//! Knows which windows one connection has under way. Does not know hyper, sockets or how a window is sent.

use std::fmt;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use crate::store::Window;

/// The longest window, in bytes. Long enough that a system call for each costs nothing, short enough that a
/// window read into memory is still there when its turn comes.
pub(crate) const WINDOW_LIMIT: u64 = 1 << 20;

/// How many windows one connection may have under way: as many buffers as hyper queues before it flushes. One
/// that finds no room is read and copied instead.
const SLOTS: usize = 16;

/// How long a window that was seen in memory is taken to be there still.
pub(super) const TRUSTED_FOR: Duration = Duration::from_millis(200);

/// [`WINDOW_LIMIT`], as a step between slots.
const STRIDE: usize = WINDOW_LIMIT as usize;

/// Addresses with nothing behind them: zeroed memory that is never touched stays unbacked.
static SENTINEL: LazyLock<Box<[u8]>> = LazyLock::new(|| vec![0; SLOTS * STRIDE].into_boxed_slice());

/// The windows that one connection has under way between its bodies and its transport. Clones are the same
/// lane.
#[derive(Clone, Default)]
pub struct Lane {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    slots: Mutex<[Option<Entry>; SLOTS]>,
    broken: AtomicBool,
}

struct Entry {
    window: Window,
    seen_resident: Instant,
}

/// A place on a lane; given up when dropped.
pub(super) struct Place {
    lane: Lane,
    slot: usize,
}

/// What a slice that hyper wants written stands for.
#[derive(Debug)]
pub enum Meaning {
    /// The bytes in it.
    Itself,
    /// A piece of a file.
    File(Passage),
    /// A window that this lane does not have. Its bytes are unknown, so the connection must end.
    Lost,
}

/// A piece of a file whose turn has come.
#[derive(Debug)]
pub struct Passage {
    /// The piece.
    pub window: Window,
    /// Whether it can be taken to be in memory still, or has to be asked again.
    pub residency: Residency,
}

/// What is known of a window's pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Residency {
    /// They were in memory a moment ago.
    Fresh,
    /// They were in memory some time ago.
    Stale,
}

impl Lane {
    /// What `slice` stands for.
    pub fn meaning(&self, slice: &[u8]) -> Meaning {
        let Some((slot, skip)) = locate(slice) else { return Meaning::Itself };
        let slots = self.slots();
        let Some(Some(entry)) = slots.get(slot) else { return Meaning::Lost };
        let len = slice.len() as u64;
        if skip + len > entry.window.len {
            return Meaning::Lost;
        }
        let residency = match entry.seen_resident.elapsed() < TRUSTED_FOR {
            true => Residency::Fresh,
            false => Residency::Stale,
        };
        let window = entry.window.piece(skip, len);
        Meaning::File(Passage { window, residency })
    }

    /// Notes that the window which `slice` stands for was found in memory, or has been read into it.
    pub fn saw_resident(&self, slice: &[u8]) {
        let Some((slot, _)) = locate(slice) else { return };
        if let Some(Some(entry)) = self.slots().get_mut(slot) {
            entry.seen_resident = Instant::now();
        }
    }

    /// Whether a copying reader was given bytes that are not the file's, because the file could not be read.
    /// Whatever hyper holds from then on must not be sent.
    pub fn is_broken(&self) -> bool {
        self.inner.broken.load(Ordering::Acquire)
    }

    pub(super) fn set_broken(&self) {
        self.inner.broken.store(true, Ordering::Release);
    }

    /// Puts a window that is in the page cache on the lane; `None` where the lane is full.
    pub(super) fn enter(&self, window: Window) -> Option<Place> {
        debug_assert!(window.len <= WINDOW_LIMIT, "the caller cuts windows to the limit");
        let mut slots = self.slots();
        let (slot, entry) = slots.iter_mut().enumerate().find(|(_, entry)| entry.is_none())?;
        *entry = Some(Entry { window, seen_resident: Instant::now() });
        Some(Place { lane: self.clone(), slot })
    }

    fn slots(&self) -> MutexGuard<'_, [Option<Entry>; SLOTS]> {
        self.inner.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let under_way = self.slots().iter().flatten().count();
        f.debug_struct("Lane").field("under_way", &under_way).finish_non_exhaustive()
    }
}

impl Place {
    /// The slice that stands for the window's bytes from `from` up to `to`.
    pub(super) fn slice(&self, from: usize, to: usize) -> &'static [u8] {
        let start = self.slot * STRIDE;
        SENTINEL.get(start + from..start + to).unwrap_or_default()
    }

    pub(super) fn lane(&self) -> &Lane {
        &self.lane
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").field("slot", &self.slot).finish_non_exhaustive()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(entry) = self.lane.slots().get_mut(self.slot) {
            *entry = None;
        }
    }
}

/// Which slot a slice of the sentinel belongs to, and how far into the window it begins; `None` for any other
/// slice.
fn locate(slice: &[u8]) -> Option<(usize, u64)> {
    let sentinel = SENTINEL.as_ptr_range();
    let here = slice.as_ptr_range();
    if slice.is_empty() || here.start < sentinel.start || sentinel.end < here.end {
        return None;
    }
    let distance = here.start.addr() - sentinel.start.addr();
    Some((distance / STRIDE, (distance % STRIDE) as u64))
}
