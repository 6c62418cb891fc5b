//! `Own`: something that each thread has for itself, until it is said not to count any more.
//!
//! Threads that look into one cache, or count references to one thing, wait for each other at every request.
//!
//! Knows when what a thread has counts no more. Does not know what it is.

use std::cell::RefCell;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use thread_local::ThreadLocal;

/// What each thread has.
pub(super) struct Own<T: Send> {
    generation: AtomicU64,
    threads: ThreadLocal<RefCell<(Generation, T)>>,
    make: Box<dyn Fn() -> T + Send + Sync>,
}

/// What was found before something was [revoked](Own::revoke) counts no more after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Generation(u64);

impl<T: Send> Own<T> {
    /// Each thread begins with what `make` gives, and so it does after each time that something was revoked.
    pub(super) fn new(make: impl Fn() -> T + Send + Sync + 'static) -> Self {
        Self { generation: AtomicU64::new(0), threads: ThreadLocal::new(), make: Box::new(make) }
    }

    /// To be asked before anything is looked up that a thread is to [have](Own::with_of).
    pub(super) fn generation(&self) -> Generation {
        Generation(self.generation.load(Ordering::Acquire))
    }

    /// Does something with what this thread has now. What is done must not come back to the same `Own`.
    pub(super) fn with<R>(&self, act: impl FnOnce(&mut T) -> R) -> R {
        self.with_of(self.generation(), act)
    }

    /// [`with`](Own::with) for what was found in a generation: of what is of another, older or newer, the thread lets go.
    pub(super) fn with_of<R>(&self, generation: Generation, act: impl FnOnce(&mut T) -> R) -> R {
        let fresh = || (generation, (self.make)());
        let mut own = self.threads.get_or(|| RefCell::new(fresh())).borrow_mut();
        if own.0 != generation {
            *own = fresh();
        }
        act(&mut own.1)
    }

    /// Has every thread let go of what it has, when it next looks.
    pub(super) fn revoke(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }
}

impl<T: Send> fmt::Debug for Own<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Own").field("generation", &self.generation).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn each_thread_has_its_own_until_it_is_revoked() {
        let own = Own::new(Vec::new);
        let push = |item: char| {
            own.with(|it| {
                it.push(item);
                it.iter().collect::<String>()
            })
        };
        assert_eq!([push('a'), push('b')], ["a", "ab"]);
        std::thread::scope(|scope| assert_eq!(scope.spawn(|| push('c')).join().unwrap(), "c"));
        let before = own.generation();
        own.revoke();
        assert_eq!(push('d'), "d");
        own.with_of(before, |it| it.push('e'));
        assert_eq!(push('f'), "f", "what was found before is not had after");
    }
}
