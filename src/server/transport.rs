//! How bytes reach the wire: the `AsyncRead` and `AsyncWrite` that hyper is given.
//!
//! Knows which slices stand for windows of files, and the cheapest way to send each. Does not know HTTP.

use std::future::poll_fn;
use std::io;
use std::io::IoSlice;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use bytes::Bytes;
use tokio::net::TcpStream;

use crate::http::body::lane::Lane;
use crate::http::body::lane::Meaning;
use crate::http::body::lane::Passage;
use crate::http::body::lane::Residency;
use crate::http::body::reading::Reading;
use crate::store::Window;

mod kernel_tls;
mod linger;
mod plain;
mod tls;

pub(super) use kernel_tls::Corked;
pub(super) use kernel_tls::KernelTls;
pub(super) use kernel_tls::can_offload;
pub(super) use kernel_tls::is_supported;
pub(super) use kernel_tls::offload;
pub(super) use plain::Counters;
pub(super) use plain::Plain;
pub(super) use tls::Tls;

use linger::Linger;

/// How much of a file is read at a time where it cannot be sent from the page cache.
const COPY_LIMIT: u64 = 64 << 10;

/// Closes a connection so that the client sees what was sent last.
pub(super) async fn close(socket: &TcpStream) {
    if let Some(mut linger) = Linger::begin(socket) {
        poll_fn(|cx| linger.poll(socket, cx)).await;
    }
}

/// What is to be done next with the slices that hyper wants written.
enum Next<'a> {
    /// Send these first slices as they are; `more` follows at once.
    Send { slices: &'a [IoSlice<'a>], more: More },
    /// Send this piece of a file, which that slice stands for.
    File { passage: Passage, slice: &'a [u8] },
    /// There is nothing to send.
    Nothing,
}

/// Whether something follows that should share a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum More {
    Follows,
    No,
}

/// Finds what comes first among `slices`.
///
/// # Errors
/// A slice stands for a window that is not on the lane, or hyper holds bytes that are not the file's. Either way
/// what would be sent is not what was meant.
fn next<'a>(lane: &Lane, slices: &'a [IoSlice<'a>]) -> io::Result<Next<'a>> {
    if lane.is_broken() {
        return Err(io::Error::other("a file could not be read while it was being sent"));
    }
    let mut before = 0;
    for (count, slice) in slices.iter().enumerate() {
        match lane.meaning(slice) {
            Meaning::Itself => before += slice.len(),
            Meaning::File(_) | Meaning::Lost if before > 0 => {
                let slices = slices.get(..count).unwrap_or_default();
                return Ok(Next::Send { slices, more: More::Follows });
            }
            Meaning::File(passage) => return Ok(Next::File { passage, slice }),
            Meaning::Lost => return Err(io::Error::other("a window is not on its lane")),
        }
    }
    match before {
        0 => Ok(Next::Nothing),
        _ => Ok(Next::Send { slices, more: More::No }),
    }
}

/// How a piece of a file can be sent now.
enum Ready {
    /// It is in the page cache.
    Resident,
    /// Its first bytes were read.
    Copied(Bytes),
}

/// Brings pieces back that went out of the page cache before their turn came: those of a client that takes its time.
#[derive(Debug, Default)]
struct Recall {
    state: RecallState,
}

#[derive(Debug, Default)]
enum RecallState {
    #[default]
    Nothing,
    Warming(Reading<()>),
    Copying(Reading<Bytes>),
    /// The first bytes of the piece that begins at this address of the sentinel.
    Copied(usize, Bytes),
}

impl Recall {
    /// Ready when a piece can be sent without waiting for a disk. `residency` says whether to look.
    fn poll(
        &mut self,
        lane: &Lane,
        Passage { window, residency }: &Passage,
        slice: &[u8],
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Ready>> {
        loop {
            self.state = match &mut self.state {
                RecallState::Copied(at, bytes) if *at == slice.as_ptr().addr() => {
                    return Poll::Ready(Ok(Ready::Copied(bytes.clone())));
                }
                RecallState::Nothing | RecallState::Copied(..) => {
                    self.state = RecallState::Nothing;
                    if *residency == Residency::Fresh {
                        return Poll::Ready(Ok(Ready::Resident));
                    }
                    if window.is_resident() {
                        lane.saw_resident(slice);
                        return Poll::Ready(Ok(Ready::Resident));
                    }
                    RecallState::Warming(Reading::warm(window.clone()))
                }
                RecallState::Warming(reading) => {
                    ready!(reading.poll(cx)).map_err(io::Error::other)?;
                    match window.is_resident() {
                        true => RecallState::Nothing,
                        false => RecallState::Copying(Reading::copy(first(window, COPY_LIMIT))),
                    }
                }
                RecallState::Copying(_) => {
                    return self.poll_copied(window, slice, cx).map_ok(Ready::Copied);
                }
            }
        }
    }

    /// The first bytes of a piece that is not in the page cache, once they are read.
    fn poll_copied(
        &mut self,
        window: &Window,
        slice: &[u8],
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Bytes>> {
        loop {
            self.state = match &mut self.state {
                RecallState::Copied(at, bytes) if *at == slice.as_ptr().addr() => {
                    return Poll::Ready(Ok(bytes.clone()));
                }
                RecallState::Copying(reading) => {
                    let bytes = ready!(reading.poll(cx)).map_err(io::Error::other)?;
                    RecallState::Copied(slice.as_ptr().addr(), bytes)
                }
                _ => RecallState::Copying(Reading::copy(first(window, COPY_LIMIT))),
            }
        }
    }
}

/// The first bytes of a window, at most `limit`.
fn first(window: &Window, limit: u64) -> Window {
    Window { len: window.len.min(limit), ..window.clone() }
}

/// What ends a connection whose file became shorter than the answer's head said.
fn truncated() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "a file became shorter while it was being sent")
}
