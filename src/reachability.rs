//! Reachability: which content a store must keep, as arithmetic.
//!
//! Knows the graph of manifests: what one points at, what a repository lists, and what follows for
//! collection. Does not know how a manifest is read, what time it is, or that there is a disk: documents,
//! times and sizes arrive as values, and what leaves is a list of entries that nothing needs.
//!
//! The rules, and where others went wrong:
//!
//! - What cannot be read may point at anything. A repository with a damaged manifest or link is kept whole, and named;
//!   a collection neither stops there (distribution's does) nor guesses.
//! - A manifest keeps what it points at, at any depth, in any repository; an index's children are never untagged.
//! - Links go before the blobs they lead to, so that a collection cut short leaves no link to nothing.

mod graph;
mod sweep;

pub use graph::Edges;
pub use graph::Graph;
pub use graph::Keep;
pub use graph::Reachable;
pub use graph::mark;
pub use sweep::Collection;
pub use sweep::Plan;
pub use sweep::Stored;
