//! An HTTP/1.1 client that shows what is on the wire and repairs nothing.
//!
//! Knows requests, responses and where a server is. Does not follow redirects,
//! keep connections, retry, or decode content: a test must see what was sent.

use std::io;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use anyhow::Result;
use base64::Engine as _;
use rustls::ClientConfig;
use rustls::ClientConnection;
use rustls::StreamOwned;
use rustls::pki_types::ServerName;

mod response;

pub(crate) use response::Response;

/// How long one read or write may stand still, unless it is said otherwise.
const STALL: Duration = Duration::from_secs(30);

/// Where a server listens, and how it is spoken to.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    /// The address, on loopback.
    pub(crate) address: SocketAddr,
    /// How TLS is spoken, where it is.
    pub(crate) tls: Option<Arc<ClientConfig>>,
    /// The `Authorization` header sent with every request, where there is one.
    pub(crate) authorization: Option<String>,
    /// The administration socket, where that is spoken to rather than the address.
    pub(crate) socket: Option<PathBuf>,
    /// How long one read or write may stand still.
    pub(crate) patience: Duration,
}

/// Something that bytes go into and come out of.
pub(crate) trait Stream: Read + Write + Send {}

impl<T: Read + Write + Send> Stream for T {}

impl Endpoint {
    /// A plain endpoint, spoken to by nobody in particular.
    pub(crate) fn plain(address: SocketAddr) -> Self {
        Self { address, tls: None, authorization: None, socket: None, patience: STALL }
    }

    /// The administration socket at `path`.
    pub(crate) fn on(path: &Path) -> Self {
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        Self { socket: Some(path.to_owned()), ..Self::plain(nowhere) }
    }

    /// The same server, at another address: behind a proxy.
    pub(crate) fn at(&self, address: SocketAddr) -> Self {
        Self { address, ..self.clone() }
    }

    /// The same server, spoken to as this user by Basic authentication.
    pub(crate) fn as_user(&self, name: &str, password: &str) -> Self {
        let authorization = Some(format!("Basic {}", base64(&format!("{name}:{password}"))));
        Self { authorization, ..self.clone() }
    }

    /// The same server, spoken to with this `Authorization` header.
    pub(crate) fn with_authorization(&self, header: &str) -> Self {
        Self { authorization: Some(header.to_owned()), ..self.clone() }
    }

    /// The same server, waited for so long: some work takes as long as the store is large.
    pub(crate) fn patiently(&self, patience: Duration) -> Self {
        Self { patience, ..self.clone() }
    }

    /// `host:port`, as clients write it in a reference.
    pub(crate) fn host(&self) -> String {
        match self.tls {
            Some(_) => format!("localhost:{}", self.address.port()),
            None => self.address.to_string(),
        }
    }

    /// A new connection, its handshake done.
    pub(crate) fn connect(&self) -> io::Result<Box<dyn Stream>> {
        if let Some(path) = &self.socket {
            let socket = UnixStream::connect(path)?;
            socket.set_read_timeout(Some(self.patience))?;
            socket.set_write_timeout(Some(self.patience))?;
            return Ok(Box::new(socket));
        }
        let socket = TcpStream::connect_timeout(&self.address, STALL)?;
        socket.set_read_timeout(Some(self.patience))?;
        socket.set_write_timeout(Some(self.patience))?;
        socket.set_nodelay(true)?;
        let Some(config) = &self.tls else { return Ok(Box::new(socket)) };
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        let session = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        Ok(Box::new(StreamOwned::new(session, socket)))
    }

    /// A request to this server; `target` is sent as it is.
    pub(crate) fn request(&self, method: &str, target: &str) -> Request<'_> {
        Request {
            endpoint: self,
            method: method.to_owned(),
            target: target.to_owned(),
            headers: Vec::new(),
            body: Body::None,
        }
    }

    /// A GET.
    ///
    /// # Errors
    /// No response came. A response is no error, whatever its status.
    pub(crate) fn get(&self, target: &str) -> Result<Response> {
        self.request("GET", target).send()
    }

    /// A HEAD, likewise.
    pub(crate) fn head(&self, target: &str) -> Result<Response> {
        self.request("HEAD", target).send()
    }

    /// A DELETE, likewise.
    pub(crate) fn delete(&self, target: &str) -> Result<Response> {
        self.request("DELETE", target).send()
    }
}

/// A request about to be sent.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    endpoint: &'a Endpoint,
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Body<'a>,
}

#[derive(Debug)]
enum Body<'a> {
    None,
    Sized(&'a [u8]),
    Chunked(&'a [u8]),
}

impl<'a> Request<'a> {
    /// Adds a header line.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sends `bytes` with a Content-Length.
    pub(crate) fn body(mut self, bytes: &'a [u8]) -> Self {
        self.body = Body::Sized(bytes);
        self
    }

    /// Sends `bytes` in chunks, without a Content-Length.
    pub(crate) fn chunked(mut self, bytes: &'a [u8]) -> Self {
        self.body = Body::Chunked(bytes);
        self
    }

    /// Sends it on a connection of its own and reads the whole response.
    ///
    /// # Errors
    /// There is no connection, or no whole response on it.
    pub(crate) fn send(self) -> Result<Response> {
        let what = format!("{} {}", self.method, self.target);
        self.exchange().with_context(|| what)
    }

    fn exchange(self) -> Result<Response> {
        let mut stream = self.endpoint.connect()?;
        let sent = self.write(&mut stream);
        // A server may answer before it has read everything: the answer counts, not the broken pipe.
        let response = Response::read(&mut stream, &self.method, &self.target);
        match (response, sent) {
            (Ok(response), _) => Ok(response),
            (Err(_), Err(error)) => Err(error).context("sending"),
            (Err(error), Ok(())) => Err(error).context("receiving"),
        }
    }

    fn write(&self, stream: &mut dyn Stream) -> io::Result<()> {
        stream.write_all(self.head().as_bytes())?;
        match &self.body {
            Body::None => {}
            Body::Sized(bytes) => stream.write_all(bytes)?,
            Body::Chunked(bytes) => write_chunked(stream, bytes)?,
        }
        stream.flush()
    }

    fn head(&self) -> String {
        let mut head =
            format!("{} {} HTTP/1.1\r\nHost: {}\r\n", self.method, self.target, self.endpoint.host());
        let mut line = |name: &str, value: &str| head.push_str(&format!("{name}: {value}\r\n"));
        if let Some(value) = &self.endpoint.authorization {
            line("Authorization", value);
        }
        for (name, value) in &self.headers {
            line(name, value);
        }
        match &self.body {
            Body::None if matches!(self.method.as_str(), "POST" | "PUT" | "PATCH") => {
                line("Content-Length", "0")
            }
            Body::None => {}
            Body::Sized(bytes) => line("Content-Length", &bytes.len().to_string()),
            Body::Chunked(_) => line("Transfer-Encoding", "chunked"),
        }
        head + "\r\n"
    }
}

fn write_chunked(stream: &mut dyn Stream, bytes: &[u8]) -> io::Result<()> {
    for chunk in bytes.chunks(32 * 1024) {
        write!(stream, "{:x}\r\n", chunk.len())?;
        stream.write_all(chunk)?;
        stream.write_all(b"\r\n")?;
    }
    stream.write_all(b"0\r\n\r\n")
}

/// `text` in base64, as Basic authentication and pull secrets write it.
pub(crate) fn base64(text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}
