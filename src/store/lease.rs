//! `Leases`: what somebody counts on, although nothing in the tree shows it.
//!
//! Knows what clients were told is there, so that they do not send it: until their manifest comes it must not
//! be removed. And what a job has gathered and not yet published. Does not know what needs what in the tree.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

use storage_layout::Digest;

/// What somebody counts on. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Leases {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    /// Told since `turned`, and in the time before.
    told: [Told; 2],
    turned: Instant,
    /// When it was told of last, for as many as may be remembered so.
    last: HashMap<Digest, SystemTime>,
    /// Whether something was told since `turned`, and in the time before, that found no room in `last`.
    crowded: [bool; 2],
    held: HashMap<Digest, usize>,
}

/// Keeps digests from being removed until it is dropped.
#[derive(Debug)]
pub struct Hold {
    leases: Leases,
    digests: Vec<Digest>,
}

impl Leases {
    /// How long a client may count on what it was told, at least; at most twice as long. The push of an image
    /// takes minutes.
    const TOLD_FOR: Duration = Duration::from_secs(60 * 60);
    /// Of how many it is remembered when they were told of, at about 150 bytes each: the layers of ten
    /// releases.
    const LAST_LIMIT: usize = 16 * 1024;

    pub(super) fn new() -> Self {
        let state = State {
            told: Default::default(),
            turned: Instant::now(),
            last: HashMap::new(),
            crowded: [false; 2],
            held: HashMap::new(),
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Somebody is about to be told whether this is there. To be called before looking: then either it is
    /// found, and stays, or it was gone before.
    pub(super) fn tell(&self, digest: &Digest) {
        self.tell_at(digest, Instant::now(), SystemTime::now());
    }

    fn tell_at(&self, digest: &Digest, now: Instant, time: SystemTime) {
        let mut guard = self.state();
        let state = &mut *guard;
        if now.saturating_duration_since(state.turned) >= Self::TOLD_FOR {
            let [current, before] = &mut state.told;
            std::mem::swap(current, before);
            current.clear();
            state.turned = now;
            let since = time.checked_sub(Self::TOLD_FOR).unwrap_or(SystemTime::UNIX_EPOCH);
            state.last.retain(|_, told| *told >= since);
            state.crowded = [false, state.crowded[0]];
        }
        let [current, _] = &mut state.told;
        current.insert(digest);
        if let Some(last) = state.last.get_mut(digest) {
            *last = time.max(*last);
        } else if state.last.len() < Self::LAST_LIMIT {
            state.last.insert(*digest, time);
        } else {
            state.crowded[0] = true;
        }
    }

    /// Keeps digests until the hold is dropped.
    pub(super) fn hold(&self, digests: Vec<Digest>) -> Hold {
        let mut state = self.state();
        for digest in &digests {
            *state.held.entry(*digest).or_default() += 1;
        }
        Hold { leases: self.clone(), digests }
    }

    /// Whether somebody counts on it: a hold, or whoever was told of it at `since` or later. Where that is
    /// not known any more, whoever was told of it at all.
    pub(super) fn is_leased_since(&self, digest: &Digest, since: SystemTime) -> bool {
        let state = self.state();
        let told = match state.last.get(digest) {
            Some(last) => *last >= since,
            None => state.crowded.contains(&true) && state.told.iter().any(|it| it.contains(digest)),
        };
        told || state.held.contains_key(digest)
    }

    /// Whether somebody counts on it.
    pub(super) fn is_leased(&self, digest: &Digest) -> bool {
        let state = self.state();
        state.held.contains_key(digest) || state.told.iter().any(|it| it.contains(digest))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hold {
    /// Keeps this one too.
    pub fn add(&mut self, digest: Digest) {
        *self.leases.state().held.entry(digest).or_default() += 1;
        self.digests.push(digest);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = self.leases.state();
        for digest in &self.digests {
            if let Some(count) = state.held.get_mut(digest) {
                *count -= 1;
                if *count == 0 {
                    state.held.remove(digest);
                }
            }
        }
    }
}

/// A set of digests in bounded memory (Bloom's): it may hold more than was put in, which only keeps garbage a
/// little longer. Digests are as random as any hash of them would be.
#[derive(Debug, Default)]
struct Told {
    /// Empty until something is put in: most stores are only read.
    bits: Vec<u64>,
}

impl Told {
    /// Words of bits, 128 KiB together: with 50,000 digests one in a thousand others is held by mistake.
    const WORDS: usize = 16 * 1024;

    fn clear(&mut self) {
        self.bits.fill(0);
    }

    fn insert(&mut self, digest: &Digest) {
        self.bits.resize(Self::WORDS, 0);
        for (word, bit) in Self::places(digest) {
            if let Some(word) = self.bits.get_mut(word) {
                *word |= bit;
            }
        }
    }

    fn contains(&self, digest: &Digest) -> bool {
        Self::places(digest).all(|(word, bit)| self.bits.get(word).is_some_and(|it| it & bit != 0))
    }

    /// Four bits, each by four bytes of the digest.
    fn places(digest: &Digest) -> impl Iterator<Item = (usize, u64)> {
        digest.as_bytes().chunks_exact(4).take(4).map(|chunk| {
            let number = chunk.iter().fold(0_usize, |number, byte| number << 8 | usize::from(*byte));
            (number / 64 % Self::WORDS, 1 << (number % 64))
        })
    }
}

#[cfg(test)]
mod tests {
    use storage_layout::Algorithm;

    use super::*;
    use crate::store::hash::digest_of;

    fn digest(number: u32) -> Digest {
        digest_of(Algorithm::Sha256, &number.to_be_bytes())
    }

    #[test]
    fn what_was_told_is_leased_for_an_hour_and_not_for_ever() {
        let (leases, began) = (Leases::new(), Instant::now());
        assert!(!leases.is_leased(&digest(1)));
        let tell = |number, after| leases.tell_at(&digest(number), began + after, SystemTime::now());
        tell(1, Duration::ZERO);
        assert!(leases.is_leased(&digest(1)));
        tell(2, Leases::TOLD_FOR);
        assert!(leases.is_leased(&digest(1)), "it may have been told a moment before");
        tell(3, Leases::TOLD_FOR * 2);
        assert!(!leases.is_leased(&digest(1)));
        assert!(leases.is_leased(&digest(2)) && leases.is_leased(&digest(3)));
    }

    #[test]
    fn when_something_was_told_of_is_known_or_it_is_leased() {
        let (leases, began, time) = (Leases::new(), Instant::now(), SystemTime::now());
        let later = time + Duration::from_secs(1);
        leases.tell_at(&digest(0), began, time);
        assert!(leases.is_leased_since(&digest(0), time) && !leases.is_leased_since(&digest(0), later));
        assert!(!leases.is_leased_since(&digest(1), time));
        let many = Leases::LAST_LIMIT as u32 + 1;
        (0..many).for_each(|it| leases.tell_at(&digest(it), began, time));
        assert!(!leases.is_leased_since(&digest(0), later));
        assert!(leases.is_leased_since(&digest(many - 1), later), "it found no room");
        leases.tell_at(&digest(0), began + Leases::TOLD_FOR, time + Leases::TOLD_FOR * 2);
        assert!(leases.is_leased_since(&digest(many - 1), later), "and still counts");
        leases.tell_at(&digest(0), began + Leases::TOLD_FOR * 2, time + Leases::TOLD_FOR * 2);
        assert!(!leases.is_leased_since(&digest(many - 1), later));
    }

    #[test]
    fn what_is_held_twice_is_dropped_twice() {
        let leases = Leases::new();
        let mut first = leases.hold(vec![digest(1)]);
        first.add(digest(2));
        let second = leases.hold(vec![digest(1)]);
        drop(first);
        assert!(leases.is_leased(&digest(1)) && !leases.is_leased(&digest(2)));
        drop(second);
        assert!(!leases.is_leased(&digest(1)));
    }

    #[test]
    fn little_is_held_by_mistake() {
        let leases = Leases::new();
        (0..50_000).for_each(|it| leases.tell(&digest(it)));
        assert!((0..50_000).all(|it| leases.is_leased(&digest(it))));
        let mistaken = (1_000_000..1_010_000).filter(|it| leases.is_leased(&digest(*it))).count();
        assert!(mistaken < 50, "{mistaken} of 10,000");
    }
}
