//! `Slowdown`: who failed to sign in waits before the next attempt.
//!
//! Knows addresses and times. Does not know credentials, nor how to wait.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

/// What each client address has to wait before its next attempt. Attempts of one address queue up behind each
/// other, so that trying from many connections at once is no faster.
#[derive(Debug, Default)]
pub(super) struct Slowdown {
    clients: Mutex<HashMap<IpAddr, Client>>,
}

#[derive(Clone, Copy, Debug)]
struct Client {
    failures: u32,
    next: Instant,
    last: Instant,
}

impl Slowdown {
    /// How many failures cost nothing: people mistype.
    const FREE: u32 = 3;
    /// The wait after the first failure that costs something; it doubles with each one after it.
    const FIRST: Duration = Duration::from_millis(250);
    /// The longest wait between two attempts.
    const LONGEST: Duration = Duration::from_secs(5);
    /// How far ahead attempts may queue up. Who would have to wait longer is sent away.
    const PATIENCE: Duration = Duration::from_secs(5);
    /// After so long without a failure all is forgotten.
    const MEMORY: Duration = Duration::from_secs(300);
    /// How many addresses are remembered, at about 100 bytes each. When there are more, the oldest half is
    /// forgotten: an attacker with so many addresses is not slowed by any list of them.
    const CAPACITY: usize = 8192;

    /// Books the next attempt of a client: how long it has to wait for it.
    ///
    /// # Errors
    /// There are too many attempts before it; gives how long to stay away.
    pub(super) fn book(&self, address: IpAddr, now: Instant) -> Result<Duration, Duration> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(client) = clients.get_mut(&network(address)) else { return Ok(Duration::ZERO) };
        let wait = client.next.saturating_duration_since(now);
        if wait > Self::PATIENCE {
            return Err(wait);
        }
        client.next = now + wait + Self::penalty(client.failures);
        Ok(wait)
    }

    /// Takes note of a failure.
    pub(super) fn failed(&self, address: IpAddr, now: Instant) {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if clients.len() >= Self::CAPACITY {
            forget(&mut clients, now);
        }
        let client = clients.entry(network(address)).or_insert(Client { failures: 0, next: now, last: now });
        if now.saturating_duration_since(client.last) > Self::MEMORY {
            client.failures = 0;
        }
        client.failures = client.failures.saturating_add(1);
        client.last = now;
        client.next = client.next.max(now + Self::penalty(client.failures));
    }

    fn penalty(failures: u32) -> Duration {
        match failures.checked_sub(Self::FREE) {
            None | Some(0) => Duration::ZERO,
            Some(costly) => Self::FIRST.saturating_mul(1 << (costly - 1).min(8)).min(Self::LONGEST),
        }
    }
}

fn forget(clients: &mut HashMap<IpAddr, Client>, now: Instant) {
    clients.retain(|_, client| now.saturating_duration_since(client.last) <= Slowdown::MEMORY);
    if clients.len() < Slowdown::CAPACITY {
        return;
    }
    let mut times: Vec<Instant> = clients.values().map(|client| client.last).collect();
    let middle = times.len() / 2;
    let (_, median, _) = times.select_nth_unstable(middle);
    let median = *median;
    clients.retain(|_, client| client.last > median);
}

/// What one client can choose its addresses from: all of an IPv6 network is usually one machine's.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) >> 64 << 64).into()),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn failures_cost_more_and_more() {
        let slowdown = Slowdown::default();
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        let mut now = Instant::now();
        let mut waits = Vec::new();
        for _ in 0..10 {
            let wait = slowdown.book(address, now).unwrap();
            waits.push(wait.as_millis());
            now += wait;
            slowdown.failed(address, now);
        }
        assert_eq!(waits, [0, 0, 0, 0, 250, 500, 1000, 2000, 4000, 5000]);
        assert_eq!(slowdown.book("192.0.2.2".parse().unwrap(), now), Ok(Duration::ZERO));
        now += Slowdown::MEMORY + Slowdown::LONGEST;
        slowdown.failed(address, now);
        assert_eq!(slowdown.book(address, now), Ok(Duration::ZERO));
    }

    #[test]
    fn attempts_at_once_queue_up_and_are_then_sent_away() {
        let slowdown = Slowdown::default();
        let address: IpAddr = "2001:db8::1".parse().unwrap();
        let now = Instant::now();
        (0..7).for_each(|_| slowdown.failed(address, now));
        let neighbour: IpAddr = "2001:db8::2".parse().unwrap();
        assert_eq!(slowdown.book(neighbour, now), Ok(Duration::from_secs(2)));
        assert_eq!(slowdown.book(address, now), Ok(Duration::from_secs(4)));
        assert_eq!(slowdown.book(address, now), Err(Duration::from_secs(6)));
    }

    #[test]
    fn memory_is_bounded() {
        let slowdown = Slowdown::default();
        let now = Instant::now();
        for it in 0..u32::try_from(Slowdown::CAPACITY).unwrap() * 3 {
            slowdown.failed(IpAddr::from(it.to_be_bytes()), now + Duration::from_micros(it.into()));
        }
        assert!(slowdown.clients.lock().unwrap().len() <= Slowdown::CAPACITY);
    }
}
