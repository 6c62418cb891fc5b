//! What keeps a store well: verifying it, mending it, and removing what nothing needs.
//!
//! Knows what a tree must hold for every manifest in it to be servable, and how to look without being
//! noticed: at the lowest priority, at a bounded rate, and without a lock that a request could wait for. Does
//! not know HTTP, who asked, or how a report is printed: each of them yields a value.

mod addition;
mod attachments;
mod background;
pub mod catalogs;
pub mod copy;
pub mod documents;
#[cfg(test)]
mod fixture;
pub mod gc;
pub mod medium;
mod pace;
pub mod releases;
pub mod removal;
pub mod repair;
pub mod scrub;
mod tree;
pub mod verify;

pub use addition::Addition;
pub use addition::Fault;
pub use attachments::ATTACHED_LIMIT;
pub use attachments::AttachError;
pub use attachments::Attachments;
pub use pace::Pace;
