//! A connection over plain TCP whose bodies the kernel throws away.
//!
//! Knows `recv` with `MSG_TRUNC`, which for TCP frees the bytes without
//! copying them (tcp(7)). Does not look at a body.

use std::net::TcpStream;
use std::os::fd::AsFd;

use anyhow::Result;
use anyhow::bail;
use rustix::io::Errno;
use rustix::net::RecvFlags;
use rustix::net::SendFlags;

use crate::client::Request;
use crate::client::ResponseBody;
use crate::client::head::Head;

/// What became of one look at a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Nothing is there to be read now.
    Idle,
    /// So many bytes of a body came in.
    Body(u64),
    /// So many came in, and with them the response is whole.
    Done(u64),
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Plain {
    socket: TcpStream,
    pending: Pending,
}

/// The response that a connection is waiting for.
#[derive(Debug)]
pub(crate) struct Pending {
    head: Vec<u8>,
    left: Option<u64>,
    status: u16,
    body: ResponseBody,
}

impl Plain {
    pub(crate) fn new(socket: TcpStream) -> Self {
        Self { socket, pending: Pending::nothing() }
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Sends a request. Blocks until the kernel has taken it.
    pub(crate) fn send(&mut self, request: &Request) -> Result<()> {
        self.pending = Pending::to(request);
        send_all(&self.socket, &request.bytes)
    }

    /// Takes what is there. `scratch` gives the most that is dropped at once.
    pub(crate) fn advance(&mut self, scratch: &mut [u8]) -> Result<Progress> {
        let Some(left) = self.pending.left else {
            return match receive(&self.socket, scratch, RecvFlags::DONTWAIT)? {
                None => Ok(Progress::Idle),
                Some(got) => self.pending.begin(scratch.get(..got).unwrap_or_default()),
            };
        };
        let most = scratch.len().min(usize::try_from(left)?);
        let room = scratch.get_mut(..most).unwrap_or_default();
        match receive(&self.socket, room, RecvFlags::DONTWAIT | RecvFlags::TRUNC)? {
            None => Ok(Progress::Idle),
            Some(got) => Ok(self.pending.take(got as u64)),
        }
    }
}

impl Pending {
    pub(crate) fn nothing() -> Self {
        Self { head: Vec::new(), left: None, status: 0, body: ResponseBody::Absent }
    }

    pub(crate) fn to(request: &Request) -> Self {
        Self { head: Vec::new(), left: None, status: request.status, body: request.body }
    }

    /// Whether the head is still awaited.
    pub(crate) fn awaits_head(&self) -> bool {
        self.left.is_none()
    }

    /// Takes bytes that may end the head and begin the body.
    pub(crate) fn begin(&mut self, received: &[u8]) -> Result<Progress> {
        // Nearly always it is all there, and need not be kept.
        let held = self.head.len();
        let parsed = match held {
            0 => Head::parse(received)?,
            _ => {
                self.head.extend_from_slice(received);
                Head::parse(&self.head)?
            }
        };
        let Some(head) = parsed else {
            if held == 0 {
                self.head.extend_from_slice(received);
            }
            return Ok(Progress::Body(0));
        };
        if head.status != self.status {
            bail!("answered {}, expected {}", head.status, self.status);
        }
        self.left = Some(match self.body {
            ResponseBody::Absent => 0,
            ResponseBody::Present => head.content_length()?,
        });
        let surplus = held + received.len() - head.length;
        Ok(self.take(surplus as u64))
    }

    /// Counts bytes of the body.
    pub(crate) fn take(&mut self, bytes: u64) -> Progress {
        let left = self.left.unwrap_or(0).saturating_sub(bytes);
        self.left = Some(left);
        if left == 0 { Progress::Done(bytes) } else { Progress::Body(bytes) }
    }
}

/// Sends everything; the socket is a blocking one.
pub(crate) fn send_all(socket: impl AsFd, bytes: &[u8]) -> Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let sent = rustix::net::send(socket.as_fd(), rest, SendFlags::NOSIGNAL)?;
        rest = rest.get(sent..).unwrap_or_default();
    }
    Ok(())
}

/// `None` where nothing is there; an error where the server has closed.
pub(crate) fn receive(socket: impl AsFd, room: &mut [u8], flags: RecvFlags) -> Result<Option<usize>> {
    match rustix::net::recv(socket, room, flags) {
        Ok((_, 0)) => bail!("the server closed the connection"),
        Ok((_, got)) => Ok(Some(got)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
