//! `Linger`: closing a connection so that the client sees the answer.
//!
//! A socket that is closed with unread bytes in it answers with a reset, and a reset makes the client's
//! kernel throw away what the client has not read yet: the error text that was sent. So the sending half is
//! closed first, and what still comes in is thrown away for a while. Measured with skopeo and a refused
//! upload of 60 MB: without this the client saw "connection reset" in 3 of 5 runs, with it the error's text
//! in 5 of 5, after 0.2 to 1.6 MB.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use rustix::net::RecvFlags;
use rustix::net::Shutdown;
use rustix::net::recv;
use rustix::net::shutdown;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio::time::sleep;

use crate::server::progress::Progress;

/// How many bytes are thrown away: five times what was ever needed when it was measured.
pub(in crate::server) const BYTE_LIMIT: usize = 8 << 20;

/// For how long bytes are thrown away; a client that still sends then is not going to read the answer.
pub(in crate::server) const TIME_LIMIT: Duration = Duration::from_secs(5);

/// Whether a client is in the middle of saying something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// It is, or may be: what it was told last would be lost by a reset.
    Expected,
    /// All that it said has been answered.
    None,
}

impl Rest {
    /// What is left on a connection that does this.
    pub(super) fn of(progress: &Progress) -> Self {
        if progress.is_idle() { Self::None } else { Self::Expected }
    }
}

/// A connection that is being closed.
pub(super) struct Linger {
    left: usize,
    until: Pin<Box<Sleep>>,
}

impl Linger {
    /// Closes the sending half. `None` where the connection is gone already.
    pub(super) fn begin(socket: &TcpStream) -> Option<Self> {
        shutdown(socket, Shutdown::Write).ok()?;
        Some(Self { left: BYTE_LIMIT, until: Box::pin(sleep(TIME_LIMIT)) })
    }

    /// Throws away what comes in; ready when the client has closed its half too, or a limit is reached. Where
    /// `rest` says that there is none, nothing is waited for.
    pub(super) fn poll(&mut self, socket: &TcpStream, rest: Rest, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.left == 0 || self.until.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            match socket.poll_read_ready(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Pending if rest == Rest::Expected => return Poll::Pending,
                Poll::Pending | Poll::Ready(Err(_)) => return Poll::Ready(()),
            }
            match socket.try_io(Interest::READABLE, || throw_away(socket)) {
                Ok(0) => return Poll::Ready(()),
                Ok(count) => self.left = self.left.saturating_sub(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Poll::Ready(()),
            }
        }
    }
}

/// Receives without copying: for TCP, MSG_TRUNC drops the bytes in the kernel.
fn throw_away(socket: &TcpStream) -> io::Result<usize> {
    const AT_ONCE: usize = 16 << 10;
    let (count, _) = recv(socket, &mut [0; AT_ONCE], RecvFlags::TRUNC)?;
    Ok(count)
}
