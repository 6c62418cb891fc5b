//! One connection, from its first byte to its last.
//!
//! Knows how hyper is set up and when a connection is given up. Does not know what is asked on it.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http1;
use hyper::server::conn::http2;
use hyper::service::HttpService;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use rustix::net::sockopt::set_socket_send_buffer_size;
use rustix::net::sockopt::set_tcp_user_timeout;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::UnixStream;
use tokio::time::sleep;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::http::PeerInfo;
use crate::http::Scheme;
use crate::http::body::lane::Lane;
use crate::metrics::HttpMetrics;
use crate::metrics::TransportMetrics;
use crate::server::Service;
use crate::server::Tls;
use crate::server::Workers;
use crate::server::access::Ledger;
use crate::server::exchange::Exchange;
use crate::server::progress::HEAD_LIMIT;
use crate::server::progress::Progress;
use crate::server::progress::STALL_LIMIT;
use crate::server::progress::Verdict;
use crate::server::tls::Alpn;
use crate::server::tls::HandshakeError;
use crate::server::tls::Secured;
use crate::server::transport;
use crate::server::transport::Corked;
use crate::server::transport::Counters;
use crate::server::transport::KernelTls;
use crate::server::transport::Plain;

/// The longest head of a request, and the largest piece of a request's body that is held before the API takes
/// it. Clients send 1,024 ranges in one header and tokens of tens of KiB; more than 64 KiB in all has not
/// been seen.
const BUFFER_LIMIT: usize = 128 << 10;

/// How many requests may be under way on one HTTP/2 connection. `oc` runs dozens and asks for at least 100.
const STREAM_LIMIT: u32 = 128;

/// How much of one upload, and of all of a connection's, may be on its way over HTTP/2 without being taken.
/// With the round trip of a rack, a millisecond, this is a gigabyte a second.
const STREAM_WINDOW: u32 = 1 << 20;

/// How long an HTTP/2 connection may be silent before it is asked whether it lives, and how long it may take
/// to answer: what Kubernetes' own transport does.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_LIMIT: Duration = Duration::from_secs(15);

/// How much the kernel may hold of what is sent to a client on this host, before its own doubling. Such a
/// client is no distance away, and only ever falls asleep and is woken again while more is sent than it has
/// taken: with the kernel's own buffer of up to 4 MiB a pulled byte costs six times as much, most of it for
/// waking the client.
const LOCAL_SEND_BUFFER: usize = 128 << 10;

/// What a client is told that speaks plain HTTP to a TLS port, in the words of Go's server.
const PLAIN_HTTP_ANSWER: &str = "HTTP/1.1 400 Bad Request\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 48\r\n\
    Connection: close\r\n\r\n\
    Client sent an HTTP request to an HTTPS server.\n";

/// What all connections of a listener have in common. Cheap to clone.
#[derive(Debug)]
pub(super) struct Shared<S> {
    pub(super) service: Arc<S>,
    pub(super) http: Arc<HttpMetrics>,
    pub(super) transport: TransportMetrics,
    /// Requests under way are to be finished, and nothing begun.
    pub(super) shutdown: CancellationToken,
    /// Nobody waits any longer.
    pub(super) abandon: CancellationToken,
    /// The owner of what runs beside connections.
    pub(super) tasks: TaskTracker,
    /// Where connections run; `None` where they are accepted.
    pub(super) workers: Option<Workers>,
}

impl<S: Service> Shared<S> {
    /// Serves a TCP connection.
    pub(super) async fn serve_tcp(
        &self,
        socket: TcpStream,
        address: SocketAddr,
        tls: Option<Tls>,
        progress: &Arc<Progress>,
    ) {
        set_options(&socket);
        // A dual-stack socket spells IPv4 clients as mapped IPv6; everybody else spells them plainly.
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        let result = match tls {
            None => self.serve_plain(socket, address, progress).await,
            // On the heap, so that a plain connection does not pay for its size.
            Some(tls) => Box::pin(self.serve_tls(socket, address, &tls, progress)).await,
        };
        if let Err(error) = result {
            tracing::debug!(peer = %address, error = &error as &dyn std::error::Error, "connection failed");
        }
    }

    /// Serves a connection of the administration socket.
    pub(super) async fn serve_unix(&self, socket: UnixStream, progress: &Arc<Progress>) {
        let peer = PeerInfo { address: None, scheme: Scheme::Http };
        if let Err(error) = self.http1(socket, peer, progress, None).await {
            tracing::debug!(error = &error as &dyn std::error::Error, "administration connection failed");
        }
    }

    async fn serve_plain(
        &self,
        socket: TcpStream,
        address: SocketAddr,
        progress: &Arc<Progress>,
    ) -> Result<(), hyper::Error> {
        let lane = Lane::default();
        let counters = Counters {
            sent_by_kernel: self.transport.sendfile.clone(),
            copied: self.transport.copied.clone(),
        };
        let plain = Plain::new(socket, lane.clone(), Arc::clone(progress), counters);
        let peer = PeerInfo { address: Some(address), scheme: Scheme::Http };
        self.http1(plain, peer, progress, Some(lane)).await
    }

    async fn serve_tls(
        &self,
        socket: TcpStream,
        address: SocketAddr,
        tls: &Tls,
        progress: &Arc<Progress>,
    ) -> Result<(), hyper::Error> {
        let secured = tokio::select! {
            secured = tls.accept(socket) => secured,
            () = self.shutdown.cancelled() => return Ok(()),
        };
        let peer = PeerInfo { address: Some(address), scheme: Scheme::Https };
        match secured {
            Ok(Secured::Kernel(socket)) => self.serve_kernel_tls(socket, peer, progress).await,
            Ok(Secured::Here(stream, Alpn::Http1)) => {
                let lane = Lane::default();
                let tls = self.tls(*stream, lane.clone(), progress);
                self.http1(tls, peer, progress, Some(lane)).await
            }
            Ok(Secured::Here(stream, Alpn::Http2)) => {
                progress.speaks_http2();
                let tls = self.tls(*stream, Lane::default(), progress);
                self.http2(tls, peer, progress).await
            }
            Err(error) => {
                self.transport.handshakes_failed.inc();
                tracing::debug!(peer = %address, %error, "TLS handshake failed");
                if let HandshakeError::PlainHttp(socket) = error {
                    refuse_plain_http(socket).await;
                }
                Ok(())
            }
        }
    }

    async fn serve_kernel_tls(
        &self,
        socket: TcpStream,
        peer: PeerInfo,
        progress: &Arc<Progress>,
    ) -> Result<(), hyper::Error> {
        let lane = Lane::default();
        let counters =
            Counters { sent_by_kernel: self.transport.ktls.clone(), copied: self.transport.copied.clone() };
        let plain = Plain::new(socket, lane.clone(), Arc::clone(progress), counters);
        self.http1(KernelTls::new(plain), peer, progress, Some(lane)).await
    }

    fn tls(&self, stream: TlsStream<Corked>, lane: Lane, progress: &Arc<Progress>) -> transport::Tls {
        transport::Tls::new(stream, lane, Arc::clone(progress), self.transport.tls.clone())
    }

    async fn http1(
        &self,
        io: impl AsyncRead + AsyncWrite + Unpin,
        peer: PeerInfo,
        progress: &Arc<Progress>,
        lane: Option<Lane>,
    ) -> Result<(), hyper::Error> {
        let exchange = self.exchange(peer, progress, lane);
        let service = service_fn(move |request| exchange.answer(request));
        let connection = http1::Builder::new()
            // `Progress` has the limits: hyper's would count the time between requests as part of the head's.
            .header_read_timeout(None)
            .max_buf_size(BUFFER_LIMIT)
            // How many header lines there may be is hyper's own limit of 100, which is Envoy's and Apache's too:
            // with another it takes room for all of them from the allocator, for every request.
            .serve_connection(TokioIo::new(io), service);
        self.drive(pin!(connection), progress).await
    }

    async fn http2(
        &self,
        io: impl AsyncRead + AsyncWrite + Unpin,
        peer: PeerInfo,
        progress: &Arc<Progress>,
    ) -> Result<(), hyper::Error> {
        let exchange = self.exchange(peer, progress, None);
        let service = service_fn(move |request| exchange.answer(request));
        let connection = http2::Builder::new(Owned(self.tasks.clone()))
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_LIMIT)
            .max_concurrent_streams(STREAM_LIMIT)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(STREAM_WINDOW)
            .max_header_list_size(BUFFER_LIMIT as u32)
            .max_send_buf_size(BUFFER_LIMIT)
            .serve_connection(TokioIo::new(io), service);
        self.drive(pin!(connection), progress).await
    }

    fn exchange(&self, peer: PeerInfo, progress: &Arc<Progress>, lane: Option<Lane>) -> Arc<Exchange<S>> {
        let ledger = Ledger::new(peer, Arc::clone(progress), Arc::clone(&self.http));
        Arc::new(Exchange { service: Arc::clone(&self.service), ledger: Arc::new(ledger), lane })
    }

    /// Polls a connection to its end: hyper's, or that which its lack of progress or the end of the process
    /// puts to it.
    async fn drive(
        &self,
        mut connection: Pin<&mut impl Connection>,
        progress: &Progress,
    ) -> Result<(), hyper::Error> {
        let mut is_closing = false;
        // Its own, since it is looked at with every wake-up, under a lock.
        let shutdown = self.shutdown.child_token();
        loop {
            let wait = match progress.verdict() {
                Verdict::Wait(wait) => wait,
                // Told to close; what is left is for the client to close its side.
                Verdict::Idle if !is_closing => {
                    is_closing = true;
                    connection.as_mut().close();
                    HEAD_LIMIT
                }
                verdict => {
                    tracing::debug!(?verdict, "connection given up");
                    return Ok(());
                }
            };
            tokio::select! {
                biased;
                result = &mut connection => return result,
                () = shutdown.cancelled(), if !is_closing => {
                    is_closing = true;
                    connection.as_mut().close();
                }
                // Nobody is abandoned who was not told to close before.
                () = self.abandon.cancelled(), if is_closing => return Ok(()),
                () = sleep(wait) => {}
            }
        }
    }
}

/// What hyper's connections have in common.
trait Connection: Future<Output = Result<(), hyper::Error>> {
    /// Ends it after the requests that are under way.
    fn close(self: Pin<&mut Self>);
}

impl<I, S, B> Connection for http1::Connection<I, S>
where
    Self: Future<Output = Result<(), hyper::Error>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    S: HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: http_body::Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn close(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<I, S, B> Connection for http2::Connection<I, S, Owned>
where
    Self: Future<Output = Result<(), hyper::Error>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    S: HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: http_body::Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    Owned: hyper::rt::bounds::Http2ServerConnExec<S::Future, B>,
{
    fn close(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// Runs what hyper wants to run beside an HTTP/2 connection: the answers to its requests. They end with it.
#[derive(Clone, Debug)]
struct Owned(TaskTracker);

impl<F> Executor<F> for Owned
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

fn set_options(socket: &TcpStream) {
    // Best effort: a connection without them works too. What is not sent whole goes out with MSG_MORE.
    let _ = socket.set_nodelay(true);
    // A peer that vanished is noticed when nothing that was sent is acknowledged.
    let _ = set_tcp_user_timeout(socket, STALL_LIMIT.as_millis() as u32);
    if is_of_this_host(socket) {
        let _ = set_socket_send_buffer_size(socket, LOCAL_SEND_BUFFER);
    }
}

/// Whether the client runs on this host, whichever of its addresses it uses.
fn is_of_this_host(socket: &TcpStream) -> bool {
    let ends = socket.local_addr().ok().zip(socket.peer_addr().ok());
    ends.is_some_and(|(here, there)| here.ip() == there.ip() || there.ip().to_canonical().is_loopback())
}

/// Tells a client that the port speaks TLS, in a way that it gets to see.
async fn refuse_plain_http(mut socket: TcpStream) {
    if socket.write_all(PLAIN_HTTP_ANSWER.as_bytes()).await.is_ok() {
        transport::close(&socket).await;
    }
}
