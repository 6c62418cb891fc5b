//! `Share`: how much a node takes at once from those that have everything.
//!
//! Knows that they are few where many nodes fill at the same time: what one of them sends twice, nobody else
//! gets meanwhile. Does not know who they are.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

/// How long to look before more is taken: the others are seen by then.
const STEP: Duration = Duration::from_millis(200);

/// A node's share. Begins small where there are other nodes, and doubles while they do not fill too.
#[derive(Debug)]
pub(crate) struct Share {
    at_once: usize,
    allowed: usize,
    widened: Instant,
    taken: Arc<()>,
}

/// The right to take one blob from who has everything, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    _of: Arc<()>,
}

impl Share {
    /// The share of a node that takes so many blobs at once and knows so many sources.
    pub(crate) fn new(at_once: NonZeroUsize, sources: usize) -> Self {
        let at_once = at_once.get();
        let allowed = if sources > 1 { 1 } else { at_once };
        Self { at_once, allowed, widened: Instant::now(), taken: Arc::default() }
    }

    /// Adapts it: `filling` others fill too, and `whole` have everything.
    pub(crate) fn adapt(&mut self, filling: usize, whole: usize) {
        let most = (self.at_once * whole.max(1) / (1 + filling)).clamp(1, self.at_once);
        if self.widened.elapsed() >= STEP {
            self.widened = Instant::now();
            self.allowed *= 2;
        }
        self.allowed = self.allowed.min(most);
    }

    /// A turn, if one is left.
    pub(crate) fn turn(&self) -> Option<Turn> {
        (Arc::strong_count(&self.taken) <= self.allowed).then(|| Turn { _of: Arc::clone(&self.taken) })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn turns(share: &Share) -> usize {
        std::iter::from_fn(|| share.turn()).take(100).collect::<Vec<_>>().len()
    }

    #[tokio::test(start_paused = true)]
    async fn a_share_grows_while_nobody_else_fills() {
        let mut share = Share::new(NonZeroUsize::new(8).unwrap(), 8);
        for (filling, whole, expected) in
            [(0, 1, 2), (0, 1, 4), (7, 1, 1), (0, 1, 2), (3, 1, 2), (3, 2, 4), (0, 0, 8)]
        {
            assert!(turns(&share) >= 1);
            tokio::time::advance(STEP).await;
            share.adapt(filling, whole);
            assert_eq!(turns(&share), expected, "{filling} {whole}");
        }
        let turn = share.turn();
        assert_eq!(turns(&share), 7);
        drop(turn);
    }

    #[test]
    fn a_node_with_one_source_takes_all_at_once() {
        assert_eq!(turns(&Share::new(NonZeroUsize::new(8).unwrap(), 1)), 8);
    }
}
