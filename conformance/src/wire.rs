//! What clients need on the wire and no suite tests.
//!
//! Knows the traps that clients of the field are known to fall into, a check
//! each. The official suites' own checks are not repeated here.

use anyhow::Result;

use crate::bench::Bench;
use crate::checks;
use crate::fixtures;
use crate::server::Setup;

mod blobs;
mod listings;
mod manifests;
mod read_only;
mod routing;
mod uploads;

/// All of them: on an empty writable store, and the read-only ones on the payload.
pub(crate) fn checked(bench: &Bench) -> Result<String> {
    let registry = bench.registry(&Setup::new(&bench.directory().join("root")))?;
    let writable = [uploads::CHECKS, blobs::CHECKS, manifests::CHECKS, listings::CHECKS, routing::CHECKS];
    let made = checks::all(&registry.endpoint, writable.into_iter().flatten());
    registry.stop()?;
    let root = bench.directory().join("payload");
    fixtures::unpack_payload(&root)?;
    let registry = bench.registry(&Setup::new(&root).read_only())?;
    let made = made? + checks::all(&registry.endpoint, read_only::CHECKS)?;
    registry.stop()?;
    Ok(format!("{made} checks"))
}
