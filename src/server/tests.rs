//! The server over real sockets, with a service of the tests' own that serves pieces of one file.

use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::LazyLock;

use bytes::Bytes;
use http::Request;
use http::Response;
use http_body_util::BodyExt;
use sha2::Digest as _;
use sha2::Sha256;
use storage_layout::Algorithm;
use storage_layout::Digest;
use storage_layout::Entry;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::*;
use crate::config::ListenAddress;
use crate::http::Body;
use crate::http::Part;
use crate::http::PeerInfo;
use crate::store;
use crate::store::Blob;
use crate::store::Store;

mod bodies;
mod lifecycle;
mod manners;
mod over_tls;
mod slow;

/// Longer than several windows, and no multiple of anything.
const CONTENT_LEN: usize = 5 * 1024 * 1024 + 4321;

/// Bytes that differ from place to place, so that a piece from a wrong place is noticed.
static CONTENT: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .flatten()
    .take(CONTENT_LEN)
    .collect()
});

/// A server that runs until it is dropped or told to end.
struct Running {
    address: SocketAddr,
    http: HttpMetrics,
    transport: TransportMetrics,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    /// Starts a server of `blob` on a port of its own.
    async fn start(blob: Blob, tls: Option<Tls>) -> Self {
        Self::start_service(pieces_of(blob), tls).await
    }

    async fn start_service(service: impl Service, tls: Option<Tls>) -> Self {
        let address: ListenAddress = "127.0.0.1:0".parse().unwrap();
        let mut listener = Listener::bind(&address).await.unwrap();
        if let Some(tls) = tls {
            listener = listener.with_tls(tls);
        }
        let address = listener.address().unwrap();
        let (http, transport, shutdown) = Default::default();
        let server =
            Server::new(service).with_metrics(HttpMetrics::clone(&http), TransportMetrics::clone(&transport));
        let task = tokio::spawn(server.serve(listener, CancellationToken::clone(&shutdown)));
        Self { address, http, transport, shutdown, task }
    }

    async fn connect(&self) -> Client<TcpStream> {
        Client::new(TcpStream::connect(self.address).await.unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.cancel();
        self.task.abort();
    }
}

/// A stored blob of [`CONTENT`], and the file that it lies in.
async fn content_blob() -> (Stored, Blob) {
    let root = tempfile::tempdir().unwrap();
    let digest = content_digest();
    let file = root.path().join(Entry::Blob(digest).path().to_string());
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, &*CONTENT).unwrap();
    let roots = vec![root.path().to_owned()];
    let store = Store::open(&store::Options { roots, ..store::Options::default() }).unwrap();
    let blob = store.blob(&digest).await.unwrap().unwrap();
    (Stored { _root: root, file }, blob)
}

fn content_digest() -> Digest {
    let hex: String = Sha256::digest(&*CONTENT).iter().map(|byte| format!("{byte:02x}")).collect();
    Digest::from_hex(Algorithm::Sha256, &hex).unwrap()
}

/// Where a blob lies, for as long as this does.
struct Stored {
    _root: tempfile::TempDir,
    file: PathBuf,
}

/// Answers `/FROM-TO` with that piece of a blob, `/FROM-TO,FROM-TO` with pieces between delimiters,
/// `/bytes/N` with bytes in memory, `POST /read` with how many bytes came in, and `POST /refuse` with an
/// error at once.
fn pieces_of(blob: Blob) -> impl Service {
    move |request: Request<RequestBody>, _: PeerInfo| {
        let blob = blob.clone();
        async move {
            let path = request.uri().path().trim_start_matches('/').to_owned();
            match (path.as_str(), path.strip_prefix("bytes/")) {
                ("read", _) => {
                    let received = request.into_body().collect().await.map(|body| body.to_bytes().len());
                    text(200, format!("{received:?}"))
                }
                ("refuse", _) => text(403, "not to be pushed to".to_owned()),
                (_, Some(len)) => Response::new(Body::Bytes(CONTENT[..len.parse().unwrap()].to_vec().into())),
                _ => Response::new(pieces(&blob, &path)),
            }
        }
    }
}

fn text(status: u16, text: String) -> Response<Body> {
    Response::builder().status(status).body(Body::Bytes(text.into())).unwrap()
}

fn pieces(blob: &Blob, path: &str) -> Body {
    let ranges: Vec<_> = path.split(',').map(range).collect();
    match &ranges[..] {
        [only] => Body::File(blob.range(only.clone()).into()),
        several => Body::Parts(
            several
                .iter()
                .flat_map(|range| {
                    [Part::Bytes(delimiter(range)), Part::File(blob.range(range.clone()).into())]
                })
                .collect(),
        ),
    }
}

fn range(text: &str) -> Range<u64> {
    let (from, to) = text.split_once('-').unwrap();
    from.parse().unwrap()..to.parse().unwrap()
}

fn delimiter(range: &Range<u64>) -> Bytes {
    format!("--{range:?}--").into()
}

/// What [`pieces_of`] is to answer for a path.
fn expected(path: &str) -> Vec<u8> {
    if let Some(len) = path.strip_prefix("bytes/") {
        return CONTENT[..len.parse().unwrap()].to_vec();
    }
    let ranges: Vec<_> = path.split(',').map(range).collect();
    let piece = |range: &Range<u64>| &CONTENT[range.start as usize..range.end as usize];
    match &ranges[..] {
        [only] => piece(only).to_vec(),
        several => several.iter().flat_map(|range| [&delimiter(range)[..], piece(range)].concat()).collect(),
    }
}

/// An HTTP/1.1 client that knows no more than the tests need, and shows everything.
struct Client<S> {
    stream: S,
}

struct Answered {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    fn new(stream: S) -> Self {
        Self { stream }
    }

    async fn get(&mut self, path: &str) -> Answered {
        self.send(format!("GET /{path} HTTP/1.1\r\nHost: test\r\n\r\n")).await;
        self.answer().await
    }

    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Reads an answer as long as its head says.
    async fn answer(&mut self) -> Answered {
        let head = self.head().await;
        let mut body = vec![0; content_length(&head)];
        self.stream.read_exact(&mut body).await.unwrap();
        Answered { status: head.split(' ').nth(1).unwrap().parse().unwrap(), head, body }
    }

    async fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.stream.read_u8().await.unwrap());
        }
        String::from_utf8(head).unwrap()
    }

    /// Reads until the server closes; an error is what a reset looks like.
    async fn rest(&mut self) -> std::io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).await.map(|_| rest)
    }
}

fn content_length(head: &str) -> usize {
    let head = head.to_ascii_lowercase();
    let line = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    line.map_or(0, |value| value.parse().unwrap())
}
