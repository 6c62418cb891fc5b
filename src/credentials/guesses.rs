//! `Guesses`: who has been presenting wrong credentials, and how long they wait for it.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::Instant;

/// Attempts by address. Every new credential counts as wrong until one turns out right, so that many at once
/// are not cheaper than one after the other. A credential that was seen before is no attempt: a client that
/// was set up with an old password sends the same one for ever and guesses nothing.
#[derive(Default)]
pub(super) struct Guesses {
    records: Mutex<HashMap<IpAddr, Record>>,
}

/// How many addresses are remembered. Who comes from more than that is slowed by bcrypt alone.
const CAPACITY: usize = 4096;

/// How many attempts cost nothing: a person tries some passwords before looking one up.
const FREE: u32 = 5;

/// How far the next attempt is put off after the free ones; with each further one twice as far.
const FIRST_DELAY: Duration = Duration::from_millis(250);

/// How far an attempt is put off at most. 15 a minute are no use for guessing.
const LONGEST_DELAY: Duration = Duration::from_secs(4);

/// What is too long to wait for one's turn: clients give up after 15 to 30 s. It also bounds how many
/// attempts of one address are waiting.
const TOO_LONG: Duration = Duration::from_secs(12);

/// How long an attempt is held against its sender.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(15 * 60);

#[derive(Clone, Copy)]
struct Record {
    attempts: u32,
    /// When the next attempt may be made.
    next: Instant,
}

impl Guesses {
    /// How long a new credential from `address` has to wait before it is checked; `None` if that is too long.
    pub(super) fn next_turn(&self, address: IpAddr) -> Option<Duration> {
        let now = Instant::now();
        let mut records = self.records();
        let known = records.get(&address).copied().filter(|record| !record.is_forgotten(now));
        let Record { attempts, next } = known.unwrap_or(Record { attempts: 0, next: now });
        let turn = next.max(now);
        if turn - now > TOO_LONG {
            return None;
        }
        if known.is_none() && records.len() >= CAPACITY {
            make_room(&mut records, now);
        }
        let attempts = attempts.saturating_add(1);
        records.insert(address, Record { attempts, next: turn + delay_after(attempts) });
        Some(turn - now)
    }

    /// A right credential came from `address`: whoever is there knows a password.
    pub(super) fn forgive(&self, address: IpAddr) {
        self.records().remove(&address);
    }

    fn records(&self) -> MutexGuard<'_, HashMap<IpAddr, Record>> {
        // Nothing that holds the lock can panic half-way through a change.
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Record {
    fn is_forgotten(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.next) >= FORGOTTEN_AFTER
    }
}

/// How far apart the attempt after `attempts` of them is.
fn delay_after(attempts: u32) -> Duration {
    let Some(doublings) = attempts.checked_sub(FREE) else { return Duration::ZERO };
    FIRST_DELAY.saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX)).min(LONGEST_DELAY)
}

/// Drops what is forgotten, and where nothing is, whoever may try again soonest.
fn make_room(records: &mut HashMap<IpAddr, Record>, now: Instant) {
    records.retain(|_, record| !record.is_forgotten(now));
    if records.len() >= CAPACITY {
        let soonest = records.iter().min_by_key(|(_, record)| record.next).map(|(address, _)| *address);
        soonest.map(|address| records.remove(&address));
    }
}

impl fmt::Debug for Guesses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Guesses({} addresses)", self.records().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn millis(turn: Option<Duration>) -> Option<u128> {
        turn.map(|delay| delay.as_millis())
    }

    #[tokio::test(start_paused = true)]
    async fn many_at_once_take_turns() {
        let guesses = Guesses::default();
        let turns: Vec<_> = (0..12).map(|_| millis(guesses.next_turn(HERE))).collect();
        let some = [0, 0, 0, 0, 0, 250, 750, 1750, 3750, 7750, 11750].map(Some);
        assert_eq!(turns, some.into_iter().chain([None]).collect::<Vec<_>>());
        assert_eq!(millis(guesses.next_turn(THERE)), Some(0));
    }

    #[tokio::test(start_paused = true)]
    async fn one_after_the_other_is_slowed_and_forgotten() {
        let guesses = Guesses::default();
        for delay in [0, 0, 0, 0, 0, 250, 500, 1000, 2000, 4000, 4000] {
            let turn = guesses.next_turn(HERE);
            assert_eq!(millis(turn), Some(delay));
            tokio::time::advance(turn.unwrap_or_default()).await;
        }
        tokio::time::advance(LONGEST_DELAY + FORGOTTEN_AFTER).await;
        assert_eq!(millis(guesses.next_turn(HERE)), Some(0));
        assert_eq!(millis(guesses.next_turn(HERE)), Some(0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_right_one_ends_it() {
        let guesses = Guesses::default();
        while guesses.next_turn(HERE).is_some() {}
        assert_eq!(guesses.next_turn(HERE), None);
        guesses.forgive(HERE);
        assert_eq!(millis(guesses.next_turn(HERE)), Some(0));
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded() {
        let guesses = Guesses::default();
        while guesses.next_turn(HERE).is_some() {}
        for address in 0..10_000_u32 {
            assert_eq!(millis(guesses.next_turn(IpAddr::V4(address.into()))), Some(0));
        }
        assert_eq!(guesses.records().len(), CAPACITY);
        assert_eq!(guesses.next_turn(HERE), None, "who waits longest is remembered longest");
    }
}
