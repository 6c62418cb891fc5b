//! Exchanges: one request, one whole response, one after the other.
//!
//! Knows how to send a body from a file and how to read any response. It
//! copies and decrypts like an ordinary client, so it serves to check bytes,
//! to push and to time single requests; it is no load.

use std::fs::File;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use rustls::ClientConnection;
use rustls::StreamOwned;
use sha2::Digest as _;
use sha2::Sha256;
use storage_layout::Algorithm;
use storage_layout::Digest;

use crate::client::Endpoint;
use crate::client::Request;
use crate::client::ResponseBody;
use crate::client::Transport;
use crate::client::head::Framing;
use crate::client::head::Head;
use crate::client::text;
use crate::client::tls;

/// An answer that takes longer is none.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A connection that waits for each answer.
#[derive(Debug)]
pub(crate) struct Exchange {
    stream: Stream,
    endpoint: Endpoint,
    received: Vec<u8>,
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// What a request carries.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Payload<'a> {
    Nothing,
    Bytes(&'a [u8]),
    /// The first `length` bytes of a file, which the kernel sends without showing them to us, and then
    /// `tail`.
    File {
        file: &'a File,
        length: u64,
        tail: &'a [u8],
    },
}

impl Payload<'_> {
    fn length(&self) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { length, tail, .. } => length + tail.len() as u64,
        }
    }
}

impl Exchange {
    /// Connects.
    pub(crate) fn connect(endpoint: &Endpoint) -> Result<Self> {
        let socket = TcpStream::connect_timeout(&endpoint.address, TIMEOUT).context("connecting")?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(TIMEOUT))?;
        let stream = match endpoint.transport {
            Transport::Plain => Stream::Plain(socket),
            Transport::Tls => Stream::Tls(Box::new(StreamOwned::new(tls::session()?, socket))),
        };
        Ok(Self { stream, endpoint: endpoint.clone(), received: Vec::new() })
    }

    /// Sends a request with a body and reads the answer, whose body is dropped.
    pub(crate) fn send(
        &mut self,
        method: &str,
        target: &str,
        headers: &str,
        body: Payload<'_>,
    ) -> Result<Head> {
        let headers = format!("{headers}Content-Length: {}\r\n", body.length());
        self.stream.write_all(&text(&self.endpoint, method, target, &headers))?;
        self.write(body).with_context(|| format!("sending the body of {method} {target}"))?;
        let present = if method == "HEAD" { ResponseBody::Absent } else { ResponseBody::Present };
        self.read(present, &mut |_| {}).with_context(|| format!("{method} {target}"))
    }

    /// Asks and gives the status and how long the answer took.
    pub(crate) fn time(&mut self, request: &Request) -> Result<(u16, Duration)> {
        let start = Instant::now();
        self.stream.write_all(&request.bytes)?;
        let head = self.read(request.body, &mut |_| {})?;
        Ok((head.status, start.elapsed()))
    }

    /// Asks and gives the digest of the answer's body, its status and its type.
    pub(crate) fn digest(&mut self, request: &Request) -> Result<(Head, Digest)> {
        let mut hash = Sha256::new();
        self.stream.write_all(&request.bytes)?;
        let head = self.read(request.body, &mut |bytes| hash.update(bytes))?;
        let digest = Digest::from_bytes(Algorithm::Sha256, &hash.finalize());
        Ok((head, digest.context("SHA-256 has 32 bytes")?))
    }

    fn write(&mut self, body: Payload<'_>) -> Result<()> {
        match (body, &mut self.stream) {
            (Payload::Nothing, _) => Ok(()),
            (Payload::Bytes(bytes), stream) => Ok(stream.write_all(bytes)?),
            (Payload::File { file, length, tail }, Stream::Plain(socket)) => {
                send_file(socket, file, length)?;
                Ok(socket.write_all(tail)?)
            }
            (Payload::File { .. }, Stream::Tls(_)) => bail!("files are only sent over plain connections"),
        }
    }

    fn read(&mut self, present: ResponseBody, sink: &mut dyn FnMut(&[u8])) -> Result<Head> {
        let head = loop {
            if let Some(head) = Head::parse(&self.received)? {
                break head;
            }
            self.fill()?;
        };
        self.received.drain(..head.length);
        match (present, head.body) {
            (ResponseBody::Absent, _) => {}
            (ResponseBody::Present, Framing::Length(length)) => self.take(length, sink)?,
            (ResponseBody::Present, Framing::Chunked) => self.take_chunks(sink)?,
        }
        Ok(head)
    }

    fn take(&mut self, length: u64, sink: &mut dyn FnMut(&[u8])) -> Result<()> {
        let mut left = length;
        while left > 0 {
            if self.received.is_empty() {
                self.fill()?;
            }
            let taken = self.received.len().min(usize::try_from(left)?);
            sink(self.received.get(..taken).unwrap_or_default());
            self.received.drain(..taken);
            left -= taken as u64;
        }
        Ok(())
    }

    /// RFC 9112, section 7.1, without extensions and trailers, which no server here sends.
    fn take_chunks(&mut self, sink: &mut dyn FnMut(&[u8])) -> Result<()> {
        loop {
            let line = self.line()?;
            let length = u64::from_str_radix(line.trim(), 16).context("parsing a chunk's length")?;
            self.take(length, sink)?;
            self.line()?;
            if length == 0 {
                return Ok(());
            }
        }
    }

    fn line(&mut self) -> Result<String> {
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                return Ok(String::from_utf8(line)?);
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> Result<()> {
        let mut room = [0; 64 * 1024];
        let got = self.stream.read(&mut room)?;
        if got == 0 {
            bail!("the server closed the connection");
        }
        self.received.extend_from_slice(room.get(..got).unwrap_or_default());
        Ok(())
    }
}

fn send_file(socket: &TcpStream, file: &File, length: u64) -> Result<()> {
    let mut offset = 0;
    while offset < length {
        let left = usize::try_from(length - offset)?;
        if rustix::fs::sendfile(socket, file, Some(&mut offset), left)? == 0 {
            bail!("the file is shorter than {length} bytes");
        }
    }
    Ok(())
}

impl Read for Stream {
    fn read(&mut self, room: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(room),
            Self::Tls(session) => session.read(room),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(session) => session.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Tls(session) => session.flush(),
        }
    }
}
