//! Where Larder means to answer otherwise than distribution 2.8.2, and why.

use std::fmt;

/// A part of an answer that two registries gave differently.
#[derive(Debug)]
pub(super) struct Difference {
    pub(super) asked: String,
    pub(super) part: &'static str,
    pub(super) their: String,
    pub(super) our: String,
}

/// A difference that is meant.
#[derive(Debug)]
pub(super) struct Intention {
    /// How the requests begin, as [`Difference::asked`] writes them, or what they hold.
    asked: &'static str,
    part: &'static str,
    their: &'static str,
    our: &'static str,
    pub(super) why: &'static str,
}

/// Stands for any value in an [`Intention`].
const ANY: &str = "*";

pub(super) const ALL: &[Intention] = &[];

impl Intention {
    /// Whether this difference is meant by it.
    pub(super) fn covers(&self, difference: &Difference) -> bool {
        let is = |intended: &str, found: &str| intended == ANY || intended == found;
        difference.asked.contains(self.asked)
            && self.part == difference.part
            && is(self.their, &difference.their)
            && is(self.our, &difference.our)
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: theirs {:?}, ours {:?}", self.asked, self.part, self.their, self.our)
    }
}
