//! `Progress`: when one connection last moved, and therefore when to give it up.
//!
//! Limits are by progress, never on a whole request: a release pulled at 1 MiB/s takes hours and is welcome
//! to.
//!
//! Knows times and limits. Does not know how a connection is closed.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::Notify;

use crate::clock::Tick;

/// How long a connection may stay open without a request. Go's clients keep idle connections for 90 s and
/// cannot replay the body of a request that meets a closing connection, so the client has to be the one that
/// closes.
pub(super) const IDLE_LIMIT: Duration = Duration::from_secs(120);

/// How long the head of a request may take from its first byte, or the first byte from the opening of the
/// connection. Heads are sent in one piece; who drips them holds connections open on purpose.
pub(super) const HEAD_LIMIT: Duration = Duration::from_secs(30);

/// How long a client may take no byte of an answer, or send none of a body that is wanted. A client that
/// unpacks layers to a slow disk while it reads may well stop for minutes.
pub(super) const STALL_LIMIT: Duration = Duration::from_secs(300);

/// What one connection did when. Times are milliseconds since it began.
#[derive(Debug)]
pub(super) struct Progress {
    began: Tick,
    /// When the head that has not arrived whole began to arrive; zero when none is expected.
    head_at: AtomicU64,
    wrote_at: AtomicU64,
    answered_at: AtomicU64,
    is_blocked: AtomicBool,
    /// Whether bytes of a head have arrived that is not there whole.
    is_in_head: AtomicBool,
    /// Whether an answer was sent although its request has not been read to the end.
    has_unread: AtomicBool,
    under_way: AtomicUsize,
    speaks_http2: AtomicBool,
    displaced: Notify,
}

/// What a connection that waits has been good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Merit {
    /// Nothing yet.
    NeverAsked,
    /// At least one request.
    WasAnswered,
}

/// What is to become of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Look again after this long.
    Wait(Duration),
    /// It had no request for [`IDLE_LIMIT`].
    Idle,
    /// A head has not arrived within [`HEAD_LIMIT`].
    SlowHead,
    /// The client took nothing for [`STALL_LIMIT`].
    Stalled,
}

impl Progress {
    /// A connection was opened, and is taken for one of HTTP/1.1 until it is known better.
    pub(super) fn begin() -> Self {
        Self {
            began: Tick::now(),
            head_at: AtomicU64::new(1),
            wrote_at: AtomicU64::new(0),
            answered_at: AtomicU64::new(0),
            is_blocked: AtomicBool::new(false),
            is_in_head: AtomicBool::new(false),
            has_unread: AtomicBool::new(false),
            under_way: AtomicUsize::new(0),
            speaks_http2: AtomicBool::new(false),
            displaced: Notify::new(),
        }
    }

    /// It speaks HTTP/2: bytes between requests may as well be pings and window updates.
    pub(super) fn speaks_http2(&self) {
        self.speaks_http2.store(true, Ordering::Relaxed);
        self.head_at.store(0, Ordering::Relaxed);
    }

    /// Bytes came in.
    pub(super) fn read(&self) {
        let is_between = self.under_way.load(Ordering::Relaxed) == 0;
        if is_between && !self.speaks_http2.load(Ordering::Relaxed) {
            self.is_in_head.store(true, Ordering::Relaxed);
            let now = self.now();
            let _ = self.head_at.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Bytes went out.
    pub(super) fn wrote(&self) {
        self.is_blocked.store(false, Ordering::Relaxed);
    }

    /// Bytes would go out if the client took them.
    pub(super) fn blocked(&self) {
        if !self.is_blocked.swap(true, Ordering::Relaxed) {
            self.wrote_at.store(self.now(), Ordering::Relaxed);
        }
    }

    /// A request's head is there.
    pub(super) fn request(&self) {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        self.is_in_head.store(false, Ordering::Relaxed);
        self.head_at.store(0, Ordering::Relaxed);
    }

    /// A request was answered although its body has not been read to the end.
    pub(super) fn left_unread(&self) {
        self.has_unread.store(true, Ordering::Relaxed);
    }

    /// A request has been answered, as far as hyper has to be fed.
    pub(super) fn answered(&self) {
        self.answered_at.store(self.now(), Ordering::Relaxed);
        self.under_way.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether everything that came in has been answered.
    pub(super) fn is_idle(&self) -> bool {
        self.is_waiting()
            && !self.is_in_head.load(Ordering::Relaxed)
            && !self.has_unread.load(Ordering::Relaxed)
    }

    /// Whether no request is under way, and nothing waits to be taken by the client.
    pub(super) fn is_waiting(&self) -> bool {
        self.under_way.load(Ordering::Relaxed) == 0 && !self.is_blocked.load(Ordering::Relaxed)
    }

    /// How easily it is given up for another connection; `None` for one that works. The less is the first to
    /// go: who never asked anything before who did, and then who has been waiting longest.
    pub(super) fn rank(&self) -> Option<(Merit, Tick)> {
        let answered_at = self.answered_at.load(Ordering::Relaxed);
        let merit = if answered_at == 0 { Merit::NeverAsked } else { Merit::WasAnswered };
        let since = match self.head_at.load(Ordering::Relaxed) {
            0 => answered_at,
            head_at => head_at,
        };
        self.is_waiting().then(|| (merit, self.began.after(Duration::from_millis(since))))
    }

    /// It is to make room for another connection.
    pub(super) fn displace(&self) {
        self.displaced.notify_one();
    }

    /// Ready when it is to make room.
    pub(super) async fn displaced(&self) {
        self.displaced.notified().await;
    }

    pub(super) fn verdict(&self) -> Verdict {
        self.verdict_at(self.now())
    }

    fn verdict_at(&self, now: u64) -> Verdict {
        let head_at = self.head_at.load(Ordering::Relaxed);
        if self.is_blocked.load(Ordering::Relaxed) {
            judge(now, self.wrote_at.load(Ordering::Relaxed), STALL_LIMIT, Verdict::Stalled)
        } else if self.under_way.load(Ordering::Relaxed) > 0 {
            // The handler is at work, or waits for a body, which has a limit of its own.
            Verdict::Wait(HEAD_LIMIT)
        } else if head_at > 0 {
            judge(now, head_at, HEAD_LIMIT, Verdict::SlowHead)
        } else {
            judge(now, self.answered_at.load(Ordering::Relaxed), IDLE_LIMIT, Verdict::Idle)
        }
    }

    /// Milliseconds since the connection began, counted from one: zero means never.
    fn now(&self) -> u64 {
        // A connection does not live for half a billion years.
        1 + self.began.elapsed().as_millis() as u64
    }
}

/// `verdict` once `limit` has passed since `since`, and when to look again until then. A connection is looked at
/// at least every [`HEAD_LIMIT`], since what it does may change meanwhile.
fn judge(now: u64, since: u64, limit: Duration, verdict: Verdict) -> Verdict {
    let passed = Duration::from_millis(now.saturating_sub(since));
    match limit.checked_sub(passed) {
        Some(left) if !left.is_zero() => Verdict::Wait(left.min(HEAD_LIMIT)),
        _ => verdict,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of a connection `after` it last did something.
    fn check(protocol: Protocol, act: impl Fn(&Progress), after: Duration, expected: Verdict) {
        let progress = protocol.begin();
        act(&progress);
        assert_eq!(progress.verdict_at(progress.now() + after.as_millis() as u64), expected);
    }

    #[derive(Clone, Copy)]
    enum Protocol {
        Http1,
        Http2,
    }

    impl Protocol {
        fn begin(self) -> Progress {
            let progress = Progress::begin();
            if let Self::Http2 = self {
                progress.speaks_http2();
            }
            progress
        }
    }

    const MARGIN: Duration = Duration::from_secs(2);

    fn is_kept(protocol: Protocol, act: impl Fn(&Progress), after: Duration) {
        let progress = protocol.begin();
        act(&progress);
        let verdict = progress.verdict_at(progress.now() + after.as_millis() as u64);
        assert!(matches!(verdict, Verdict::Wait(_)), "{verdict:?}");
    }

    #[test]
    fn gives_up_what_does_not_move() {
        use Protocol::Http1;
        use Protocol::Http2;
        let nothing = |_: &Progress| {};
        check(Http1, nothing, HEAD_LIMIT + MARGIN, Verdict::SlowHead);
        check(Http2, nothing, IDLE_LIMIT + MARGIN, Verdict::Idle);
        let one_request = |progress: &Progress| {
            progress.read();
            progress.request();
            progress.answered();
        };
        is_kept(Http1, one_request, IDLE_LIMIT - MARGIN);
        check(Http1, one_request, IDLE_LIMIT + MARGIN, Verdict::Idle);
        let half_a_head = |progress: &Progress| {
            one_request(progress);
            progress.read();
        };
        check(Http1, half_a_head, HEAD_LIMIT + MARGIN, Verdict::SlowHead);
        is_kept(Http2, half_a_head, HEAD_LIMIT + MARGIN);
    }

    #[test]
    fn limits_no_request_as_a_whole() {
        let working = |progress: &Progress| progress.request();
        is_kept(Protocol::Http1, working, IDLE_LIMIT * 1000);
        let blocked = |progress: &Progress| {
            progress.request();
            progress.blocked();
        };
        is_kept(Protocol::Http1, blocked, STALL_LIMIT - MARGIN);
        check(Protocol::Http1, blocked, STALL_LIMIT + MARGIN, Verdict::Stalled);
        let moved = |progress: &Progress| {
            blocked(progress);
            progress.wrote();
        };
        is_kept(Protocol::Http1, moved, STALL_LIMIT + MARGIN);
    }

    #[test]
    fn is_idle_when_all_was_answered() {
        let progress = Progress::begin();
        assert!(progress.is_idle(), "nothing was said");
        progress.read();
        assert!(!progress.is_idle(), "a head has begun");
        progress.request();
        assert!(!progress.is_idle() && progress.rank().is_none(), "a request is under way");
        progress.blocked();
        progress.answered();
        assert!(!progress.is_idle() && progress.rank().is_none(), "the answer is on its way");
        progress.wrote();
        assert!(progress.is_idle());
        progress.left_unread();
        assert!(!progress.is_idle(), "the client still sends");
    }
}
