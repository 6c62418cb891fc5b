//! `Listener`: where connections come from.
//!
//! Knows addresses and sockets. Does not know what is said on a connection.

use std::io;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::Mode;
use rustix::net::AddressFamily;
use rustix::net::SocketAddrUnix;
use rustix::net::SocketFlags;
use rustix::net::SocketType;
use rustix::net::sockopt::set_ipv6_v6only;
use tokio::net::TcpListener;
use tokio::net::TcpSocket;
use tokio::net::TcpStream;
use tokio::net::UnixListener;
use tokio::net::UnixStream;
use tokio::net::lookup_host;
use tokio::runtime::Handle;

use crate::config::Host;
use crate::config::ListenAddress;
use crate::server::Tls;

/// How many connections the kernel keeps for us while we are busy. The kernel cuts it to
/// `net.core.somaxconn`.
const BACKLOG: u32 = 4096;

/// A socket that listens.
#[derive(Debug)]
pub struct Listener {
    pub(super) socket: Socket,
    pub(super) tls: Option<Tls>,
}

#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpListener),
    /// The administration socket.
    Unix {
        listener: UnixListener,
        /// Removed with it.
        _file: SocketFile,
    },
}

/// A connection that came in.
#[derive(Debug)]
pub(super) enum Accepted {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

impl Socket {
    pub(super) async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(socket, peer)| Accepted::Tcp(socket, peer)),
            Self::Unix { listener, .. } => listener.accept().await.map(|(socket, _)| Accepted::Unix(socket)),
        }
    }
}

impl Accepted {
    /// Has another runtime tell when it can be read and written.
    ///
    /// # Errors
    /// The system can watch no more sockets.
    pub(super) fn move_to(self, runtime: &Handle) -> io::Result<Self> {
        match self {
            Self::Tcp(socket, peer) => {
                let socket = socket.into_std()?;
                let _there = runtime.enter();
                Ok(Self::Tcp(TcpStream::from_std(socket)?, peer))
            }
            Self::Unix(socket) => {
                let socket = socket.into_std()?;
                let _there = runtime.enter();
                Ok(Self::Unix(UnixStream::from_std(socket)?))
            }
        }
    }
}

/// Why nothing listens.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Bind {
        /// Which.
        address: ListenAddress,
        /// Why not.
        source: io::Error,
    },
    /// What systemd handed over cannot be used.
    #[error("cannot use the sockets that systemd handed over")]
    Inherited(#[source] io::Error),
}

impl Listener {
    /// Listens on an address.
    ///
    /// # Errors
    /// The system refuses: the port is taken, or needs a right that this process does not have.
    pub async fn bind(address: &ListenAddress) -> Result<Self, ListenError> {
        let socket = match address {
            ListenAddress::Tcp { host: Host::Any, port } => bind_any(*port).map(Socket::Tcp),
            ListenAddress::Tcp { host: Host::Address(host), port } => {
                bind_tcp(SocketAddr::new(*host, *port)).map(Socket::Tcp)
            }
            ListenAddress::Tcp { host: Host::Name(name), port } => {
                bind_name(name, *port).await.map(Socket::Tcp)
            }
            ListenAddress::Unix(path) => bind_unix(path),
        };
        let socket = socket.map_err(|source| ListenError::Bind { address: address.clone(), source })?;
        Ok(Self { socket, tls: None })
    }

    /// The first TCP socket that systemd handed over (`sd_listen_fds(3)`), if it did.
    ///
    /// # Errors
    /// It handed over something else.
    pub fn inherited() -> Result<Option<Self>, ListenError> {
        let listener = listenfd::ListenFd::from_env().take_tcp_listener(0).map_err(ListenError::Inherited)?;
        let Some(listener) = listener else { return Ok(None) };
        listener.set_nonblocking(true).map_err(ListenError::Inherited)?;
        let listener = TcpListener::from_std(listener).map_err(ListenError::Inherited)?;
        Ok(Some(Self { socket: Socket::Tcp(listener), tls: None }))
    }

    /// Speaks TLS.
    pub fn with_tls(self, tls: Tls) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// Where it listens, with the port that the system chose where it was to choose one; `None` for a Unix
    /// socket.
    pub fn address(&self) -> Option<SocketAddr> {
        match &self.socket {
            Socket::Tcp(listener) => listener.local_addr().ok(),
            Socket::Unix { .. } => None,
        }
    }
}

/// Listens on every address, IPv4 and IPv6 with one socket as Go does; on IPv4 alone where the kernel has no
/// IPv6.
fn bind_any(port: u16) -> io::Result<TcpListener> {
    match bind_tcp((Ipv6Addr::UNSPECIFIED, port).into()) {
        Err(error) if is_without_ipv6(&error) => bind_tcp((Ipv4Addr::UNSPECIFIED, port).into()),
        bound => bound,
    }
}

/// Whether an error says that there is no IPv6: the kernel was built or booted without it, or it is switched
/// off for every interface (`net.ipv6.conf.all.disable_ipv6`).
fn is_without_ipv6(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(rustix::io::Errno::from_raw_os_error);
    matches!(errno, Some(rustix::io::Errno::AFNOSUPPORT | rustix::io::Errno::ADDRNOTAVAIL))
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A server that was restarted must not wait for the connections of the last one to be forgotten.
    socket.set_reuseaddr(true)?;
    if let SocketAddr::V6(_) = address {
        set_ipv6_v6only(socket.as_fd(), !address.ip().is_unspecified())?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Listens on the first address of a name, IPv4 before IPv6, as Go does.
async fn bind_name(name: &str, port: u16) -> io::Result<TcpListener> {
    let mut addresses: Vec<_> = lookup_host((name, port)).await?.collect();
    addresses.sort_by_key(SocketAddr::is_ipv6);
    let first = addresses.first().ok_or(io::ErrorKind::NotFound)?;
    bind_tcp(*first)
}

/// The file of a Unix socket.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = rustix::fs::unlink(&self.path);
    }
}

/// Listens on a Unix socket that only its owner and root can open: who can open it may administer.
fn bind_unix(path: &Path) -> io::Result<Socket> {
    remove_stale(path)?;
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
        None,
    )?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    let file = SocketFile { path: path.to_owned() };
    // Before it listens, so that nobody gets in between.
    rustix::fs::chmod(path, Mode::RUSR | Mode::WUSR)?;
    rustix::net::listen(&socket, BACKLOG.cast_signed())?;
    let listener = UnixListener::from_std(socket.into())?;
    Ok(Socket::Unix { listener, _file: file })
}

/// Removes the socket of a server that is gone; leaves that of one that answers, and anything else.
fn remove_stale(path: &Path) -> io::Result<()> {
    // Connecting to a file is refused as well.
    if !path.symlink_metadata().is_ok_and(|it| it.file_type().is_socket()) {
        return Ok(());
    }
    let connected = std::os::unix::net::UnixStream::connect(path);
    match connected.map_err(|error| error.kind()) {
        Err(io::ErrorKind::ConnectionRefused) => Ok(rustix::fs::unlink(path)?),
        Ok(_) | Err(_) => Ok(()),
    }
}
