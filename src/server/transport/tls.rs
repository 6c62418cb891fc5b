//! `Tls`: a TCP connection with TLS done here, by rustls.
//!
//! A window is read straight into a buffer that all connections of a thread share, encrypted from there, and
//! many records leave with one system call. So a connection holds no plaintext, and no more ciphertext than
//! its client is able to take.

use std::cell::RefCell;
use std::io;
use std::io::IoSlice;
use std::io::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use rustls::ServerConnection;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio_rustls::server::TlsStream;

use crate::http::body::lane::Lane;
use crate::metrics::Tally;
use crate::server::progress::Progress;
use crate::server::transport::Corked;
use crate::server::transport::Next;
use crate::server::transport::linger::Linger;
use crate::server::transport::linger::Rest;
use crate::server::transport::next;
use crate::server::transport::recall::Recall;
use crate::server::transport::truncated;
use crate::store::Window;

/// How much is encrypted before it is sent, for a client that takes everything at once: few enough that it is still
/// in the processor's cache when the kernel copies it. Twice as much was cheaper by a twentieth at most, and took 4 MiB
/// more with 64 pulls.
const LARGEST_BATCH: usize = 64 << 10;

/// How much is encrypted before it is sent, for a client that is slower than this: what a thousand of those
/// may hold.
const SMALLEST_BATCH: usize = 16 << 10;

thread_local! {
    /// Where plaintext stands between being read and being encrypted.
    static PLAINTEXT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A TCP connection that encrypts.
pub(in crate::server) struct Tls {
    stream: TlsStream<Corked>,
    lane: Lane,
    progress: Arc<Progress>,
    /// Counts bytes before encryption.
    counter: Tally,
    /// How many bytes have been encrypted and not all been sent.
    held: usize,
    batch: usize,
    recall: Recall,
    linger: Option<Linger>,
}

impl Tls {
    pub(in crate::server) fn new(
        mut stream: TlsStream<Corked>,
        lane: Lane,
        progress: Arc<Progress>,
        counter: Tally,
    ) -> Self {
        // What is held is bounded by `batch`, before it is encrypted.
        stream.get_mut().1.set_buffer_limit(None);
        let (batch, recall) = (SMALLEST_BATCH, Recall::default());
        Self { stream, lane, progress, counter, held: 0, batch, recall, linger: None }
    }

    /// Encrypts some of `slices`; says how many bytes.
    fn encrypt(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let count = self.stream.get_mut().1.writer().write_vectored(slices)?;
        self.note(count);
        Ok(count)
    }

    /// Encrypts some of a piece of a file; says how many bytes.
    fn poll_encrypt_file(&mut self, window: &Window, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if let Some(count) = self.encrypt_resident(window)? {
            self.note(count);
            return Poll::Ready(Ok(count));
        }
        let bytes = ready!(self.recall.poll_copied(window, cx))?;
        Poll::Ready(self.encrypt(&[IoSlice::new(&bytes)]))
    }

    /// Encrypts as much of a window as is in the page cache and the batch has room for; `None` where nothing
    /// is.
    fn encrypt_resident(&mut self, window: &Window) -> io::Result<Option<usize>> {
        let room = self.batch.saturating_sub(self.held).max(SMALLEST_BATCH);
        let session = self.stream.get_mut().1;
        PLAINTEXT.with_borrow_mut(|plaintext| {
            plaintext.resize(LARGEST_BATCH, 0);
            let room = plaintext.get_mut(..room).unwrap_or_default();
            match window.try_read(0, room) {
                Ok(count) => session.writer().write(room.get(..count).unwrap_or_default()).map(Some),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(truncated()),
                Err(_) => Ok(None),
            }
        })
    }

    fn note(&mut self, count: usize) {
        self.held += count;
        self.counter.inc_by(count as u64);
    }

    /// Sends all that has been encrypted.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (socket, session) = self.stream.get_mut();
        while session.wants_write() {
            let mut outlet = Outlet { socket, cx };
            match session.write_tls(&mut outlet) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(_) => self.progress.wrote(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.batch = SMALLEST_BATCH.max(self.batch / 2);
                    self.progress.blocked();
                    return Poll::Pending;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        if self.held >= self.batch {
            self.batch = LARGEST_BATCH.min(self.batch * 2);
        }
        self.held = 0;
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Tls {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
        this.progress.read();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tls {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.held >= this.batch {
            ready!(this.poll_send(cx))?;
        }
        Poll::Ready(match next(&this.lane, slices)? {
            Next::Send { slices, .. } => this.encrypt(slices),
            Next::File { passage, .. } => ready!(this.poll_encrypt_file(&passage.window, cx)),
            Next::Nothing => Ok(0),
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_send(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.linger.is_none() {
            let session: &mut ServerConnection = this.stream.get_mut().1;
            // Sent once, however often it is asked for.
            session.send_close_notify();
            ready!(this.poll_send(cx))?;
            this.linger = Linger::begin(this.stream.get_ref().0.socket());
        }
        match &mut this.linger {
            Some(linger) => {
                let rest = Rest::of(&this.progress);
                linger.poll(this.stream.get_ref().0.socket(), rest, cx).map(Ok)
            }
            None => Poll::Ready(Ok(())),
        }
    }
}

/// The socket as rustls writes to it.
struct Outlet<'a, 'cx> {
    socket: &'a mut Corked,
    cx: &'a mut Context<'cx>,
}

impl Write for Outlet<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match Pin::new(&mut *self.socket).poll_write_vectored(self.cx, slices) {
            Poll::Ready(written) => written,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
