//! The whole API in one process: requests go in, answers come out, and the store below is a real one.
//!
//! Sockets are left out; everything a client can send over one is not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod access;
mod at_once;
mod damage;
mod hostile;
mod node;
mod pull;
mod push;
mod ranges;
mod referrers;
mod registry;
mod releases;
mod uploads;
