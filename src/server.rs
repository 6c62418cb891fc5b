//! The outermost ring: sockets, TLS, and the beginning and the end of the process.
//!
//! Knows how connections come in, how bytes go out, and when to stop. Does not know what is served: it is
//! given something that answers requests.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use rustix::process::geteuid;
use tokio::net::UnixStream;
use tokio::time::sleep;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::metrics::HttpMetrics;
use crate::metrics::TransportMetrics;

mod access;
mod connection;
mod exchange;
mod listener;
pub mod notify;
mod progress;
mod request_body;
mod room;
mod shutdown;
mod tls;
mod transport;
mod workers;

pub use exchange::Service;
pub use listener::ListenError;
pub use listener::Listener;
pub use request_body::ReceiveError;
pub use request_body::RequestBody;
pub use shutdown::Signals;
pub use tls::Certificate;
pub use tls::CertificateError;
pub use tls::ClientAuthorities;
pub use tls::Inspection;
pub use tls::Tls;
pub use tls::TlsError;
pub use tls::TlsSettings;
pub use workers::Workers;

use connection::Shared;
use listener::Accepted;
use progress::Progress;
use room::Place;
use room::Room;
use workers::Claim;

/// How many connections a listener holds at once. Two hundred nodes that pull with six connections for each
/// of two layers at a time have 2,400; at some 20 KiB each this many are 200 MiB, which is what a control
/// plane can spare.
const CONNECTION_LIMIT: usize = 10_000;

/// How long nothing is accepted after the system ran out of descriptors or memory: long enough for a request
/// to end, short enough that nobody gives up.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(100);

/// How long requests under way may take once the process is to end, if nobody says. podman kills after 10 s.
const DRAIN_LIMIT: Duration = Duration::from_secs(8);

/// How long connections may take to end after they were abandoned. They only have to be dropped.
const ABANDON_LIMIT: Duration = Duration::from_secs(1);

/// Answers requests that come in on listeners.
#[derive(Debug)]
pub struct Server<S> {
    service: Arc<S>,
    http: HttpMetrics,
    transport: TransportMetrics,
    drain: Duration,
    workers: Option<Workers>,
}

impl<S: Service> Server<S> {
    /// Answers with `service`.
    pub fn new(service: S) -> Self {
        Self {
            service: Arc::new(service),
            http: HttpMetrics::default(),
            transport: TransportMetrics::default(),
            drain: DRAIN_LIMIT,
            workers: None,
        }
    }

    /// Counts in these.
    pub fn with_metrics(self, http: HttpMetrics, transport: TransportMetrics) -> Self {
        Self { http, transport, ..self }
    }

    /// Runs each connection on one of these threads, not on the runtime that calls [`Server::serve`].
    pub fn with_workers(self, workers: Workers) -> Self {
        Self { workers: Some(workers), ..self }
    }

    /// Gives requests under way this long to end once the process is to end.
    pub fn with_drain(self, drain: Duration) -> Self {
        Self { drain, ..self }
    }

    /// Accepts connections until `shutdown`, then closes the listener at once, and comes back when the
    /// requests under way have been answered or have had their time.
    pub async fn serve(self, listener: Listener, shutdown: CancellationToken) {
        let (abandon, tasks) = (CancellationToken::new(), TaskTracker::new());
        let shared = Arc::new(Shared {
            service: self.service,
            http: Arc::new(self.http),
            transport: self.transport,
            shutdown: shutdown.clone(),
            abandon: abandon.clone(),
            tasks: tasks.clone(),
            workers: self.workers,
        });
        shared.accept(listener).await;
        tasks.close();
        if timeout(self.drain, tasks.wait()).await.is_err() {
            tracing::warn!(connections = tasks.len(), drain = ?self.drain, "abandoning what is still under way");
            abandon.cancel();
            let _ = timeout(ABANDON_LIMIT, tasks.wait()).await;
        }
    }
}

impl<S: Service> Shared<S> {
    /// Accepts connections until the end begins. The listener is closed when this comes back.
    async fn accept(self: &Arc<Self>, Listener { socket, tls }: Listener) {
        let room = Room::new(CONNECTION_LIMIT);
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return,
                accepted = socket.accept() => accepted,
            };
            match accepted {
                Ok(connection) => match room.enter().await {
                    Some(place) => self.begin(connection, tls.clone(), place),
                    None => self.turn_away(),
                },
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "cannot accept connections");
                    sleep(SHORTAGE_PAUSE).await;
                }
            }
        }
    }

    /// Serves a connection on a task of its own.
    fn begin(self: &Arc<Self>, connection: Accepted, tls: Option<Tls>, place: Place) {
        self.transport.accepted.inc();
        let shared = Arc::clone(self);
        let Some((runtime, claim)) = self.workers.as_ref().and_then(Workers::claim) else {
            self.tasks.spawn(shared.run(connection, tls, place, None));
            return;
        };
        match connection.move_to(&runtime) {
            Ok(connection) => {
                self.tasks.spawn_on(shared.run(connection, tls, place, Some(claim)), &runtime);
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "cannot take a connection");
            }
        }
    }

    /// Serves a connection for as long as it lasts or until its place is needed.
    async fn run(
        self: Arc<Self>,
        connection: Accepted,
        tls: Option<Tls>,
        place: Place,
        _claim: Option<Claim>,
    ) {
        let _open = Open::count(self.transport.connections.clone());
        let progress = place.progress();
        tokio::select! {
            biased;
            () = self.serve_one(connection, tls, progress) => {}
            () = progress.displaced() => {
                self.transport.displaced.inc();
            }
        }
    }

    async fn serve_one(self: &Arc<Self>, connection: Accepted, tls: Option<Tls>, progress: &Arc<Progress>) {
        match connection {
            Accepted::Tcp(socket, address) => self.serve_tcp(socket, address, tls, progress).await,
            Accepted::Unix(socket) if is_trusted(&socket) => self.serve_unix(socket, progress).await,
            Accepted::Unix(_) => tracing::warn!("the administration socket was opened by another user"),
        }
    }

    /// Closing at once tells a client to try again; being left in the backlog would tell it nothing.
    fn turn_away(&self) {
        self.transport.turned_away.inc();
        tracing::debug!(limit = CONNECTION_LIMIT, "turned a connection away");
    }
}

/// Counts an open connection.
struct Open(Gauge);

impl Open {
    fn count(gauge: Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Whether accepting failed for what one client did, so that the next can be accepted at once (`accept(2)`:
/// errors that were pending on the new socket).
fn is_of_one_connection(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(
        errno,
        Some(
            Errno::CONNABORTED
                | Errno::CONNRESET
                | Errno::HOSTDOWN
                | Errno::HOSTUNREACH
                | Errno::INTR
                | Errno::NETDOWN
                | Errno::NETUNREACH
                | Errno::NOPROTOOPT
                | Errno::OPNOTSUPP
                | Errno::PERM
                | Errno::PROTO
                | Errno::TIMEDOUT
        )
    )
}

/// Whether the process at the other end may administer: it runs as root or as ourselves. The socket's mode
/// says so too, but a socket can be handed on.
fn is_trusted(socket: &UnixStream) -> bool {
    socket_peercred(socket.as_fd()).is_ok_and(|peer| peer.uid.is_root() || peer.uid == geteuid())
}

#[cfg(test)]
mod tests;
