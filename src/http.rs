//! The OCI distribution API as a `tower::Service`.
//!
//! Knows paths, methods, headers and status codes. Does not know sockets, TLS
//! or how a file's bytes reach the wire: it answers with a [`Body`] that says
//! what to send.

pub mod body;

pub use body::Body;
