//! `ListenAddress`: where to listen, in the forms that Go's `net.Listen` takes.

use std::fmt;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::str::FromStr;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// A TCP port.
    Tcp {
        /// On which addresses of this host.
        host: Host,
        /// Zero lets the system choose one.
        port: u16,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

/// Which addresses of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// All, IPv4 and IPv6: what Go makes of no host, of `0.0.0.0` and of `::` alike
    /// (`favoriteAddrFamily` in its package `net`).
    Any,
    /// This one.
    Address(IpAddr),
    /// The ones that a name stands for.
    Name(String),
}

/// Text that is no address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected `HOST:PORT` or `:PORT`, such as `0.0.0.0:22625` or `[::1]:22625`")]
pub struct NoAddress;

impl ListenAddress {
    /// The TCP port; `None` for a Unix socket.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp { port, .. } => Some(*port),
            Self::Unix(_) => None,
        }
    }

    /// Whether only this host can reach it.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp { host: Host::Any, .. } => false,
            Self::Tcp { host: Host::Address(address), .. } => address.to_canonical().is_loopback(),
            Self::Tcp { host: Host::Name(name), .. } => name == "localhost",
        }
    }
}

impl FromStr for ListenAddress {
    type Err = NoAddress;

    fn from_str(text: &str) -> Result<Self, NoAddress> {
        let (host, port) = text.rsplit_once(':').ok_or(NoAddress)?;
        let port = match port {
            "http" => 80,
            "https" => 443,
            number if number.starts_with('+') => return Err(NoAddress),
            number => number.parse().map_err(|_| NoAddress)?,
        };
        Ok(Self::Tcp { host: parse_host(host)?, port })
    }
}

fn parse_host(text: &str) -> Result<Host, NoAddress> {
    if text.is_empty() {
        return Ok(Host::Any);
    }
    if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inner.parse::<Ipv6Addr>().map(|address| any_or(address.into())).map_err(|_| NoAddress);
    }
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return Ok(any_or(address.into()));
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.' || c == '_';
    let numeric = text.split('.').next_back().is_some_and(|end| end.chars().all(|c| c.is_ascii_digit()));
    if text.chars().all(is_name) && !numeric { Ok(Host::Name(text.to_owned())) } else { Err(NoAddress) }
}

fn any_or(address: IpAddr) -> Host {
    if address.is_unspecified() { Host::Any } else { Host::Address(address) }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host: Host::Any, port } => write!(f, "[::]:{port}"),
            Self::Tcp { host: Host::Address(IpAddr::V6(address)), port } => write!(f, "[{address}]:{port}"),
            Self::Tcp { host: Host::Address(IpAddr::V4(address)), port } => write!(f, "{address}:{port}"),
            Self::Tcp { host: Host::Name(name), port } => write!(f, "{name}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, shown, local) in [
            (":5000", "[::]:5000", false),
            ("0.0.0.0:22625", "[::]:22625", false),
            ("[::]:22625", "[::]:22625", false),
            ("127.0.0.1:22625", "127.0.0.1:22625", true),
            ("[::1]:0", "[::1]:0", true),
            ("[::ffff:127.0.0.1]:1", "[::ffff:127.0.0.1]:1", true),
            ("192.0.2.1:80", "192.0.2.1:80", false),
            ("localhost:5000", "localhost:5000", true),
            ("registry-1.example:https", "registry-1.example:443", false),
        ] {
            let address: Result<ListenAddress, _> = text.parse();
            assert_eq!(address.as_ref().map(ToString::to_string), Ok(shown.to_owned()), "{text}");
            assert_eq!(address.map(|it| it.is_local()), Ok(local), "{text}");
        }
        for text in [
            "",
            "5000",
            "::1:5000",
            "localhost",
            "a b:1",
            "127.0.0.1:70000",
            "127.0.0.1:",
            "1.2.3:80",
            "[::1]",
            ":+1",
        ] {
            assert_eq!(text.parse::<ListenAddress>(), Err(NoAddress), "{text}");
        }
    }
}
