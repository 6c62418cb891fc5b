//! The inner parts, timed alone: what a request passes through that is not I/O.
//!
//! These find the part that became slower; whether it matters is asked by the
//! whole comparison (`cargo bench-all`).

#![allow(missing_docs, reason = "criterion's macros make undocumented items")]
#![allow(
    clippy::unwrap_used,
    reason = "inputs are constants and fixtures; a benchmark that lacks one must stop"
)]

mod credentials;
mod documents;
mod image;
mod names;
mod requests;

use criterion::criterion_group;
use criterion::criterion_main;

criterion_group!(inner, names::bench, requests::bench, documents::bench, credentials::bench, image::bench);
criterion_main!(inner);
