//! Other registries: what they have, and how it comes here.
//!
//! Knows how to ask peers and any OCI registry, and how to take in a release so that nobody sees it before it
//! is whole. Does not know how a peer's request reaches this node: that is `http`'s.

mod challenge;
pub mod client;
mod endpoint;
mod error;
pub mod inventory;
pub mod rate;

pub use client::Client;
pub use endpoint::Endpoint;
pub use endpoint::EndpointError;
pub use error::Error;
