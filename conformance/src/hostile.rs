//! What strangers send who mean no good, or no HTTP.
//!
//! Knows nothing of what is served but that it must go on being served, right
//! and within bounds.

use std::path::Path;

use anyhow::Result;
use anyhow::ensure;

use crate::bench::Bench;
use crate::checks;
use crate::client;
use crate::image::Image;
use crate::server::Kind;
use crate::server::Setup;

mod crowds;
mod framing;
mod paths;
mod planted;

/// The most memory that the server may have held when all of this is over: ten thousand connections at a few
/// KiB each, and room for what is under way.
const MEMORY: u64 = 512 << 20;

/// Framing, paths, ranges and bodies, by a stranger without credentials.
pub(crate) fn requests(bench: &Bench) -> Result<String> {
    let registry = bench.registry(&Setup::new(&bench.directory().join("root")))?;
    let image = Image::random(&mut fastrand::Rng::with_seed(90), &[50_000])?;
    client::push_image(&registry.endpoint, "hostile/app", "v1", &image)?;
    let made = checks::all(&registry.endpoint, [framing::CHECKS, paths::CHECKS].into_iter().flatten())?;
    client::check_image(&registry.endpoint, "hostile/app", "v1", &image)?;
    let memory = registry.peak_memory()?;
    ensure!(memory < MEMORY, "it held {} MiB", memory >> 20);
    registry.stop()?;
    Ok(format!("{made} checks, at most {} MiB held", memory >> 20))
}

/// Links in the tree that lead out of it.
pub(crate) fn planted_links(bench: &Bench) -> Result<String> {
    let root = bench.directory().join("root");
    let planted = planted::plant(&root, &bench.directory().join("secret"))?;
    for setup in [Setup::new(&root).read_only(), Setup::new(&root)] {
        let registry = bench.registry(&setup)?;
        planted.check(&registry.endpoint)?;
        registry.stop()?;
    }
    planted.check_untouched()?;
    Ok(format!("{planted} links that lead out of the tree, none followed"))
}

/// Ten thousand connections, and some that dribble.
pub(crate) fn crowd(bench: &Bench) -> Result<String> {
    let registry = bench.registry(&Setup::new(&bench.directory().join("root")))?;
    let told = crowds::come(&registry.endpoint)?;
    let memory = registry.peak_memory()?;
    ensure!(bench.against() != Kind::Larder || memory < MEMORY, "it held {} MiB", memory >> 20);
    registry.stop()?;
    Ok(format!("{told}, at most {} MiB held", memory >> 20))
}

/// Whether `text` holds what must not get out.
fn holds(text: &[u8], secret: &str) -> bool {
    text.windows(secret.len()).any(|window| window == secret.as_bytes())
}

/// A file that must not get out.
fn write_secret(path: &Path, secret: &str) -> Result<()> {
    Ok(std::fs::write(path, secret)?)
}
