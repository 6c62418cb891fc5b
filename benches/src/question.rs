//! The questions. Each is a module that says what it asks and how.

use anyhow::Result;

use crate::bench::Bench;

mod crowd;
mod memory;
mod pull;
mod push_blob;
mod push_images;
mod ranges;
mod slow_medium;
mod small;
mod start;

/// A question.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question {
    pub(crate) name: &'static str,
    /// What it asks, in a sentence.
    pub(crate) asks: &'static str,
    pub(crate) run: fn(&mut Bench) -> Result<()>,
}

/// All, in the order in which they are asked.
pub(crate) const ALL: &[Question] = &[
    pull::QUESTION,
    small::QUESTION,
    ranges::QUESTION,
    push_blob::QUESTION,
    push_images::QUESTION,
    memory::QUESTION,
    start::QUESTION,
    slow_medium::QUESTION,
    crowd::QUESTION,
];
