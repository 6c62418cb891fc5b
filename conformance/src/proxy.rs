//! A network that breaks: a TCP proxy that cuts connections at seeded points.
//!
//! Knows bytes and nothing of HTTP. A cut is a reset, in both directions at
//! once, as when a cable is pulled and a NAT forgets.

use std::io;
use std::io::Read as _;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::net::Shutdown;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use fastrand::Rng;

/// How much is carried at once: small, so that a cut lies where it was meant to.
const PIECE: usize = 8 * 1024;

/// When connections break.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    /// Where the randomness begins.
    pub(crate) seed: u64,
    /// One connection in so many is cut.
    pub(crate) one_in: u64,
    /// A cut lies before this many bytes, both directions counted together.
    pub(crate) within: u64,
}

/// A proxy that runs until it is dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct State {
    target: SocketAddr,
    stopped: AtomicBool,
    cuts: AtomicU64,
}

impl Proxy {
    /// Carries connections from a free port of loopback to `target`.
    pub(crate) fn start(target: SocketAddr, weather: Weather) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let state = Arc::new(State { target, stopped: AtomicBool::new(false), cuts: AtomicU64::new(0) });
        let shared = Arc::clone(&state);
        let accepting = Some(thread::spawn(move || accept(&listener, &shared, weather)));
        Ok(Self { address, state, accepting })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections it cut so far.
    pub(crate) fn cuts(&self) -> u64 {
        self.state.cuts.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.stopped.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts; it may be gone already.
        drop(TcpStream::connect_timeout(&self.address, Duration::from_secs(1)));
        if let Some(accepting) = self.accepting.take() {
            drop(accepting.join());
        }
    }
}

/// Accepts until told to stop, then waits for what is under way.
fn accept(listener: &TcpListener, state: &State, weather: Weather) {
    let mut random = Rng::with_seed(weather.seed);
    thread::scope(|scope| {
        while let Ok((client, _)) = listener.accept() {
            if state.stopped.load(Ordering::Relaxed) {
                return;
            }
            let cut = (random.u64(0..weather.one_in) == 0).then(|| random.u64(0..weather.within));
            let budget = cut.unwrap_or(u64::MAX);
            scope.spawn(move || carry(&client, state, budget));
        }
    });
}

/// Carries both directions until one ends or the budget is used up.
fn carry(client: &TcpStream, state: &State, budget: u64) {
    let Ok(server) = TcpStream::connect(state.target) else { return };
    let carried = AtomicU64::new(0);
    let one_way = |from: &TcpStream, to: &TcpStream| {
        let ended = copy(from, to, &carried, budget);
        // An error here means that the connection is gone, which is what both sides then see.
        drop(to.shutdown(Shutdown::Write));
        ended
    };
    thread::scope(|scope| {
        let down = scope.spawn(|| one_way(&server, client));
        let up = one_way(client, &server);
        if matches!(up, Ok(End::Cut)) | matches!(down.join(), Ok(Ok(End::Cut))) {
            state.cuts.fetch_add(1, Ordering::Relaxed);
        }
    });
}

enum End {
    Closed,
    Cut,
}

fn copy(mut from: &TcpStream, mut to: &TcpStream, carried: &AtomicU64, budget: u64) -> io::Result<End> {
    let mut piece = vec![0; PIECE];
    loop {
        let length = from.read(&mut piece)?;
        let before = carried.fetch_add(length as u64, Ordering::Relaxed);
        let allowed = usize::try_from(budget.saturating_sub(before)).unwrap_or(usize::MAX).min(length);
        to.write_all(piece.get(..allowed).unwrap_or_default())?;
        if allowed < length {
            reset(from)?;
            reset(to)?;
            return Ok(End::Cut);
        }
        if length == 0 {
            return Ok(End::Closed);
        }
    }
}

/// Breaks a connection off: the other side sees a reset, not an end.
fn reset(socket: &TcpStream) -> io::Result<()> {
    rustix::net::sockopt::set_socket_linger(socket, Some(Duration::ZERO))?;
    socket.shutdown(Shutdown::Both)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends back what it gets, on every connection.
    fn echo() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                thread::spawn(move || io::copy(&mut &socket, &mut &socket));
            }
        });
        address
    }

    fn exchange(proxy: &Proxy, length: usize) -> io::Result<usize> {
        let mut socket = TcpStream::connect(proxy.address())?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        socket.write_all(&vec![7; length])?;
        socket.shutdown(Shutdown::Write)?;
        let mut back = Vec::new();
        socket.read_to_end(&mut back)?;
        Ok(back.len())
    }

    #[test]
    fn in_fair_weather_everything_arrives() {
        let weather = Weather { seed: 1, one_in: u64::MAX, within: 1 };
        let proxy = Proxy::start(echo(), weather).unwrap();
        assert_eq!(exchange(&proxy, 100_000).unwrap(), 100_000);
        assert_eq!(proxy.cuts(), 0);
    }

    #[test]
    fn in_foul_weather_nothing_arrives_whole() {
        let proxy = Proxy::start(echo(), Weather { seed: 1, one_in: 1, within: 50_000 }).unwrap();
        for _ in 0..10 {
            assert!(exchange(&proxy, 100_000).map_or(true, |length| length < 100_000));
        }
    }
}
