//! `Corked`: a socket that gives its reader one TLS record at a time, until it is uncorked.
//!
//! When the kernel takes TLS over, nobody may have read a byte of what it is to decrypt. rustls reads what
//! there is, and tokio-rustls reads on for as long as there is something, also when the record before was the
//! handshake's last. So between two records there seems to be nothing for a moment, in which it sees that the
//! handshake is over.

use std::io;
use std::io::IoSlice;
use std::mem;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;

/// The length of a record's header: type, version, length (RFC 8446, 5.1).
const HEADER_LEN: usize = 5;

/// A socket that stops at the end of every record, or does not.
#[derive(Debug)]
pub(in crate::server) struct Corked {
    socket: TcpStream,
    /// `None` once nobody cares where a record ends.
    record: Option<Record>,
}

/// How far the record that is being read has been read.
#[derive(Debug)]
enum Record {
    Header {
        bytes: [u8; HEADER_LEN],
        len: usize,
    },
    Content {
        left: usize,
    },
    /// It is over, and whoever read it has not yet been told to wait.
    End,
}

impl Corked {
    pub(in crate::server) fn new(socket: TcpStream) -> Self {
        Self { socket, record: Some(Record::START) }
    }

    /// A socket that gives what there is.
    pub(in crate::server) fn open(socket: TcpStream) -> Self {
        Self { socket, record: None }
    }

    /// Gives what there is from now on.
    pub(in crate::server) fn uncork(&mut self) {
        self.record = None;
    }

    pub(in crate::server) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// The socket, which stands at the beginning of a record once the handshake is over.
    pub(in crate::server) fn into_inner(self) -> TcpStream {
        self.socket
    }
}

impl Record {
    const START: Self = Self::Header { bytes: [0; HEADER_LEN], len: 0 };

    /// How many bytes may be read without reading past its end.
    fn left(&self) -> usize {
        match self {
            Self::Header { len, .. } => HEADER_LEN - len,
            Self::Content { left } => *left,
            Self::End => 0,
        }
    }

    /// What it is after `read` was.
    fn after(self, read: &[u8]) -> Self {
        match self {
            Self::Header { mut bytes, len } => {
                let end = len + read.len();
                if let Some(place) = bytes.get_mut(len..end) {
                    place.copy_from_slice(read);
                }
                match (bytes, end) {
                    ([.., high, low], HEADER_LEN) => {
                        Self::Content { left: usize::from(u16::from_be_bytes([high, low])) }.or_end()
                    }
                    _ => Self::Header { bytes, len: end },
                }
            }
            Self::Content { left } => Self::Content { left: left - read.len() }.or_end(),
            Self::End => Self::End,
        }
    }

    /// A record of which nothing is left is over.
    fn or_end(self) -> Self {
        match self {
            Self::Content { left: 0 } => Self::End,
            other => other,
        }
    }
}

impl AsyncRead for Corked {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let Some(record) = &mut this.record else {
            return Pin::new(&mut this.socket).poll_read(cx, buffer);
        };
        if matches!(record, Record::End) {
            *record = Record::START;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let len = record.left().min(buffer.remaining());
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(len));
        ready!(Pin::new(&mut this.socket).poll_read(cx, &mut part))?;
        *record = mem::replace(record, Record::START).after(part.filled());
        let count = part.filled().len();
        buffer.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Corked {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn stops_at_the_end_of_every_record() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        // A record of three bytes, one of none, and the beginning of another.
        let sent = [22, 3, 3, 0, 3, b'a', b'b', b'c', 20, 3, 3, 0, 0, 23, 3];
        peer.write_all(&sent).await.unwrap();
        let mut corked = Corked::new(socket);
        let mut buffer = [0; 64];
        let mut lengths = Vec::new();
        while lengths.iter().sum::<usize>() < sent.len() {
            lengths.push(corked.read(&mut buffer).await.unwrap());
        }
        assert_eq!(lengths, [5, 3, 5, 2]);
    }

    #[tokio::test]
    async fn what_follows_a_record_is_not_there_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        peer.write_all(&[22, 3, 3, 0, 1, b'a', 23, 3, 3, 0, 1, b'b']).await.unwrap();
        let mut corked = Corked::new(socket);
        let mut record = [0; 6];
        corked.read_exact(&mut record).await.unwrap();
        let mut next = [0; 6];
        let mut buffer = ReadBuf::new(&mut next);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(Pin::new(&mut corked).poll_read(&mut cx, &mut buffer).is_pending());
        assert!(Pin::new(&mut corked).poll_read(&mut cx, &mut buffer).is_ready());
        assert_eq!(buffer.filled(), [23, 3, 3, 0, 1]);
    }
}
