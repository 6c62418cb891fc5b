//! Larder: the container registry that a cluster carries with it.
//!
//! It serves the storage tree of distribution/distribution, read-only from an
//! ISO or read-write from a disk, as an OCI registry. `ARCHITECTURE.md` draws
//! the layers; a module uses only itself and what stands before it here, and
//! `tests/house.rs` keeps it so.

// Layer 1: pure. Values in, values out.
pub mod auth;
pub mod config;
pub mod iso9660;
pub mod oci;
pub mod reachability;
pub mod release;

// Layer 2: the disk, and what everyone above may count with.
pub mod clock;
pub mod credentials;
pub mod metrics;
pub mod reload;
pub mod store;

// Layer 3: the domain.
pub mod maintenance;
pub mod registry;

// Layer 4: other machines.
pub mod peer;

// Layer 5: protocols in.
pub mod http;

// Layer 6: the outermost ring.
pub mod cli;
pub mod server;
