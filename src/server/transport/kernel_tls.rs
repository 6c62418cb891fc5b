//! `KernelTls`: a TCP connection whose TLS the kernel does, so that windows of files leave by sendfile and are
//! encrypted on the way.
//!
//! rustls does the handshake, and hands the traffic secrets over. From then on nobody here can follow a
//! change of keys: a TLS 1.3 key update ends the connection, and so does the number of records after which
//! the keys are worn out. Clients ask for neither in practice, and resume where they were.
//!
//! The `ktls` crate does nearly the same, but takes a key update for a session ticket and then reads garbage,
//! panics on what a peer may send, and cannot be told apart from the socket by sendfile.

use std::io;
use std::io::IoSlice;
use std::io::IoSliceMut;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use nix::sys::socket::ControlMessageOwned;
use nix::sys::socket::MsgFlags;
use nix::sys::socket::TlsGetRecordType;
use nix::sys::socket::recvmsg;
use rustix::io::Errno;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::Interest;
use tokio::io::ReadBuf;

use crate::server::transport::Plain;

mod alert;
mod corked;
mod offload;

pub(in crate::server) use corked::Corked;
pub(in crate::server) use offload::can_offload;
pub(in crate::server) use offload::is_supported;
pub(in crate::server) use offload::offload;

/// How many records may be encrypted with the same keys. RFC 8446, 5.5: for AES-GCM about 2^24.5.
const RECORD_LIMIT: u64 = 1 << 24;

/// The longest plaintext of a record, in bytes (RFC 8446, 5.1).
const RECORD_LEN: u64 = 1 << 14;

/// A TCP connection that encrypts in the kernel.
pub(in crate::server) struct KernelTls {
    plain: Plain,
    /// How many records have been sent, at most.
    records: u64,
    reading: Reading,
    is_closed: bool,
}

/// Whether the client still sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    Open,
    Ended,
}

impl KernelTls {
    /// `plain` is over a socket that was [offloaded](offload).
    pub(in crate::server) fn new(plain: Plain) -> Self {
        Self { plain, records: 0, reading: Reading::Open, is_closed: false }
    }

    /// Takes the record that made reading fail because it is no application data.
    fn control(&mut self) -> io::Result<()> {
        let socket = self.plain.socket();
        let kind = socket.try_io(Interest::READABLE, || record_type(socket.as_raw_fd()))?;
        match kind {
            // Every alert ends the connection in TLS 1.3, and close_notify does so cleanly.
            Some(TlsGetRecordType::Alert) => {
                self.reading = Reading::Ended;
                Ok(())
            }
            Some(TlsGetRecordType::Handshake) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "a TLS key update cannot be followed in the kernel",
            )),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "a TLS record of an unexpected type")),
        }
    }
}

impl AsyncRead for KernelTls {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.reading == Reading::Ended {
            return Poll::Ready(Ok(()));
        }
        match ready!(Pin::new(&mut this.plain).poll_read(cx, buffer)) {
            Err(error) if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => {
                Poll::Ready(this.control())
            }
            read => Poll::Ready(read),
        }
    }
}

impl AsyncWrite for KernelTls {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.records >= RECORD_LIMIT {
            return Poll::Ready(Err(io::Error::other("the keys of this connection are worn out")));
        }
        let sent = ready!(Pin::new(&mut this.plain).poll_write_vectored(cx, slices))?;
        // One more for a record that was begun before, and one for one that is not full.
        this.records += sent as u64 / RECORD_LEN + 2;
        Poll::Ready(Ok(sent))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().plain).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.is_closed {
            this.is_closed = true;
            // Best effort: the client knows from the answer's length that it has everything.
            let _ = alert::send_close_notify(this.plain.socket());
        }
        Pin::new(&mut this.plain).poll_shutdown(cx)
    }
}

/// Receives one record that is no application data, and says what it is.
fn record_type(socket: i32) -> io::Result<Option<TlsGetRecordType>> {
    let mut content = [0; RECORD_LEN as usize];
    let mut slices = [IoSliceMut::new(&mut content)];
    let mut space = nix::cmsg_space!(u8);
    let message = recvmsg::<()>(socket, &mut slices, Some(&mut space), MsgFlags::MSG_DONTWAIT)?;
    let kind = message.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::TlsGetRecordType(kind) => Some(kind),
        _ => None,
    });
    Ok(kind)
}
