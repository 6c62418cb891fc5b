//! How bytes reach the wire: the `AsyncRead` and `AsyncWrite` that hyper is given.
//!
//! Knows which slices stand for windows of files, and the cheapest way to send each. Does not know HTTP.

use std::future::poll_fn;
use std::io;
use std::io::IoSlice;

use tokio::net::TcpStream;

use crate::http::body::lane::Lane;
use crate::http::body::lane::Meaning;
use crate::http::body::lane::Passage;

mod kernel_tls;
pub(super) mod linger;
mod plain;
mod recall;
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
use linger::Rest;

/// Closes a connection so that the client sees what was sent last.
pub(super) async fn close(socket: &TcpStream) {
    if let Some(mut linger) = Linger::begin(socket) {
        poll_fn(|cx| linger.poll(socket, Rest::Expected, cx)).await;
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

/// What ends a connection whose file became shorter than the answer's head said.
fn truncated() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "a file became shorter while it was being sent")
}
