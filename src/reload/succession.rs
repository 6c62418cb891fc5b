//! `Succession`: what a file says, and for a while what it said before.
//!
//! Knows in which order its readings came and until when each of the former counts. Does not know what
//! counting means: whoever asks for former readings decides what they still give.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

/// How many former readings count at most. Nobody rotates a secret more often within one overlap, and each
/// costs a wrong credential another bcrypt.
const FORMER_LIMIT: usize = 3;

/// A reading of a file, and those before it that still count.
#[derive(Debug)]
pub struct Succession<T> {
    current: Arc<T>,
    /// The newest first.
    former: Vec<Former<T>>,
}

#[derive(Debug)]
struct Former<T> {
    value: Arc<T>,
    until: Instant,
}

impl<T> Succession<T> {
    /// A reading that nothing came before.
    pub fn first(value: T) -> Self {
        Self { current: Arc::new(value), former: Vec::new() }
    }

    /// What the file says.
    pub fn current(&self) -> &T {
        &self.current
    }

    /// What it said before, as far as that counts at `now`, with the end of that; the newest first.
    pub fn former(&self, now: Instant) -> impl Iterator<Item = (&T, Instant)> {
        let counting = self.former.iter().filter(move |it| now < it.until);
        counting.map(|it| (&*it.value, it.until))
    }

    /// When the last of what it said before ceases to count; `None` where nothing of it counts at `now`.
    pub(crate) fn former_until(&self, now: Instant) -> Option<Instant> {
        self.former(now).map(|(_, until)| until).max()
    }

    /// The file says something else from `now` on, and what it said counts for `overlap` beside it.
    pub(crate) fn followed_by(&self, value: T, overlap: Duration, now: Instant) -> Self {
        let newest = now.checked_add(overlap).map(|until| Former { value: Arc::clone(&self.current), until });
        let counting = newest.into_iter().chain(self.former.iter().cloned()).filter(|it| now < it.until);
        Self { current: Arc::new(value), former: counting.take(FORMER_LIMIT).collect() }
    }
}

impl<T> Clone for Succession<T> {
    fn clone(&self) -> Self {
        Self { current: Arc::clone(&self.current), former: self.former.clone() }
    }
}

impl<T> Clone for Former<T> {
    fn clone(&self) -> Self {
        Self { value: Arc::clone(&self.value), until: self.until }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OVERLAP: Duration = Duration::from_secs(10);

    #[test]
    fn what_was_said_before_counts_for_a_while() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let first = Succession::first(1);
        assert_eq!(first.former(start).count(), 0);
        let second = first.followed_by(2, OVERLAP, start);
        let third = second.followed_by(3, OVERLAP, at(4));
        for (readings, now, expected) in [
            (&second, 0, vec![(1, at(10))]),
            (&second, 9, vec![(1, at(10))]),
            (&second, 10, vec![]),
            (&third, 4, vec![(2, at(14)), (1, at(10))]),
            (&third, 10, vec![(2, at(14))]),
            (&third, 14, vec![]),
        ] {
            let former: Vec<_> = readings.former(at(now)).map(|(value, until)| (*value, until)).collect();
            assert_eq!(former, expected, "{readings:?} after {now} s");
            assert_eq!(readings.former_until(at(now)), expected.first().map(|(_, until)| *until));
        }
        assert_eq!(*third.current(), 3);
        let late = third.followed_by(4, OVERLAP, at(11));
        assert_eq!(late.former.len(), 2, "what no longer counts is not kept");
    }

    #[test]
    fn without_an_overlap_nothing_former_counts() {
        let start = Instant::now();
        let readings = Succession::first(1).followed_by(2, Duration::ZERO, start);
        assert_eq!(readings.former(start).count(), 0);
        assert_eq!(readings.former.len(), 0);
    }

    #[test]
    fn there_are_never_many() {
        let start = Instant::now();
        let readings = (1..100).fold(Succession::first(0), |it, next| it.followed_by(next, OVERLAP, start));
        let former: Vec<_> = readings.former(start).map(|(value, _)| *value).collect();
        assert_eq!(former, [98, 97, 96]);
    }
}
