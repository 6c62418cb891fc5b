//! `Plain`: a TCP connection without TLS, or with TLS in the kernel. Windows of files leave by sendfile.

use std::io;
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use rustix::io::Errno;
use rustix::net::SendAncillaryBuffer;
use rustix::net::SendFlags;
use rustix::net::sockopt::set_tcp_cork;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::Interest;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;

use crate::http::body::lane::Lane;
use crate::http::body::lane::Passage;
use crate::metrics::Tally;
use crate::server::progress::Progress;
use crate::server::transport::More;
use crate::server::transport::Next;
use crate::server::transport::linger::Linger;
use crate::server::transport::linger::Rest;
use crate::server::transport::next;
use crate::server::transport::recall::COPY_LIMIT;
use crate::server::transport::recall::Ready;
use crate::server::transport::recall::Recall;
use crate::server::transport::truncated;
use crate::store::Window;

/// A TCP connection that sends windows without reading them.
pub(in crate::server) struct Plain {
    socket: TcpStream,
    lane: Lane,
    progress: Arc<Progress>,
    counters: Counters,
    recall: Recall,
    /// Whether the kernel was told to send whole packets only.
    is_corked: bool,
    linger: Option<Linger>,
}

/// What counts the bytes of a connection.
#[derive(Clone, Debug)]
pub(in crate::server) struct Counters {
    /// Those that the kernel took from its page cache.
    pub(in crate::server) sent_by_kernel: Tally,
    /// Those that were handed over.
    pub(in crate::server) copied: Tally,
}

impl Plain {
    pub(in crate::server) fn new(
        socket: TcpStream,
        lane: Lane,
        progress: Arc<Progress>,
        counters: Counters,
    ) -> Self {
        let recall = Recall::default();
        Self { socket, lane, progress, counters, recall, is_corked: false, linger: None }
    }

    pub(in crate::server) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Sends some of `slices`; says how many bytes.
    fn poll_send(&self, slices: &[IoSlice<'_>], more: More, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let flags = match more {
            More::Follows => SendFlags::NOSIGNAL | SendFlags::MORE,
            More::No => SendFlags::NOSIGNAL,
        };
        let sent = ready!(self.poll_write_with(cx, |socket| {
            rustix::net::sendmsg(socket, slices, &mut SendAncillaryBuffer::default(), flags)
        }));
        if let Ok(count) = &sent {
            self.counters.copied.inc_by(*count as u64);
        }
        Poll::Ready(sent)
    }

    /// Sends some of a piece of a file; says how many bytes.
    fn poll_send_file(
        &mut self,
        passage: &Passage,
        slice: &[u8],
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if let Ready::Copied(bytes) = ready!(self.recall.poll(&self.lane, passage, slice, cx))? {
            return self.poll_send(&[IoSlice::new(&bytes)], More::No, cx);
        }
        let window = &passage.window;
        let sent = ready!(self.poll_write_with(cx, |socket| {
            let mut offset = window.offset;
            rustix::fs::sendfile(socket, &window.file, Some(&mut offset), window.len as usize)
        }));
        match sent {
            Ok(0) => Poll::Ready(Err(truncated())),
            Ok(count) => {
                self.counters.sent_by_kernel.inc_by(count as u64);
                if (count as u64) < window.len {
                    self.cork();
                    self.wait_for_room();
                }
                Poll::Ready(Ok(count))
            }
            Err(error) if is_not_for_sendfile(&error) => self.poll_copy(window, cx),
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// Sends some of a window by reading it.
    fn poll_copy(&self, window: &Window, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut bytes = vec![0; window.len.min(COPY_LIMIT) as usize];
        let count = window.try_read(0, &mut bytes)?;
        self.poll_send(&[IoSlice::new(bytes.get(..count).unwrap_or_default())], More::No, cx)
    }

    /// After a window that went out in part, so that more follows for as long as the client takes it: has the
    /// kernel send whole packets only. Without that it sends whatever fits whenever the client has taken something,
    /// and the client is woken for each: with 64 connections on this host that is half of what a byte costs. What
    /// does not fill a packet waits for 200 ms at most (`tcp(7)`) where the medium does not go on.
    fn cork(&mut self) {
        if !self.is_corked {
            self.is_corked = set_tcp_cork(&self.socket, true).is_ok();
        }
    }

    /// At the end of an answer: has the kernel send what is left.
    fn uncork(&mut self) {
        if self.is_corked {
            self.is_corked = set_tcp_cork(&self.socket, false).is_err();
        }
    }

    /// After a window that went out in part: has the next write wait until there is room for a good part of
    /// the rest (`tcp(7)` calls a socket writable with a third of its buffer free). While the client takes
    /// bytes on another processor there is room for a packet or two at any time, and each of those would be a
    /// system call.
    fn wait_for_room(&self) {
        let is_full = |socket: &TcpStream| {
            let mut socket = [PollFd::new(socket, PollFlags::OUT)];
            matches!(rustix::event::poll(&mut socket, Some(&Timespec::default())), Ok(0))
        };
        // `WouldBlock` has the runtime wait for the kernel to say that it is writable; having been asked, it will.
        let _is_known = self.socket.try_io(Interest::WRITABLE, || match is_full(&self.socket) {
            true => Err(io::ErrorKind::WouldBlock.into()),
            false => Ok(()),
        });
    }

    /// Calls `send` as soon as the socket takes bytes.
    fn poll_write_with(
        &self,
        cx: &mut Context<'_>,
        send: impl Fn(&TcpStream) -> rustix::io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            if self.socket.poll_write_ready(cx)?.is_pending() {
                self.progress.blocked();
                return Poll::Pending;
            }
            let sent = self.socket.try_io(Interest::WRITABLE, || Ok(send(&self.socket)?));
            match sent {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                sent => {
                    self.progress.wrote();
                    return Poll::Ready(sent);
                }
            }
        }
    }
}

impl AsyncRead for Plain {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.socket).poll_read(cx, buffer))?;
        this.progress.read();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Plain {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match next(&this.lane, slices)? {
            Next::Send { slices, more } => this.poll_send(slices, more, cx),
            Next::File { passage, slice } => this.poll_send_file(&passage, slice, cx),
            Next::Nothing => Poll::Ready(Ok(0)),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// hyper asks for this whenever it has handed over what it had, several times for each long body.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.progress.is_waiting() {
            this.uncork();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.linger.is_none() {
            this.linger = Linger::begin(&this.socket);
        }
        match &mut this.linger {
            Some(linger) => linger.poll(&this.socket, Rest::of(&this.progress), cx).map(Ok),
            None => Poll::Ready(Ok(())),
        }
    }
}

/// Whether sendfile says that this file's file system does not support it.
fn is_not_for_sendfile(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP))
}
