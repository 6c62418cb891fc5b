//! How fast a release moves, beside skopeo and distribution, and through a node that has nothing yet.
//!
//! Times are compared within one run, on one machine, on loopback, and asserted with a wide margin: the
//! machine may be busy. What is printed is what was measured.

use std::fs;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;

use crate::bench::Bench;
use crate::http::Endpoint;
use crate::release::BUNDLES;
use crate::release::COMPONENTS;
use crate::release::IMAGES;
use crate::release::Release;
use crate::release::Size;
use crate::server::Kind;
use crate::server::Registry;
use crate::server::Setup;
use crate::tools::Tool;

/// How many times as fast as skopeo.
#[derive(Clone, Copy)]
struct Faster {
    /// With everything to do.
    cold: f64,
    /// With nothing to do.
    nothing: f64,
}

/// The goals.
const GOAL: Faster = Faster { cold: 6.0, nothing: 20.0 };
/// What a machine shows that does other things too.
const BUSY: Faster = Faster { cold: 1.5, nothing: 4.0 };
/// How often something short is measured; the best counts.
const TRIES: usize = 3;

/// A release of 62 images from one registry to an empty one, and once more with nothing to do.
pub(crate) fn against_skopeo(bench: &Bench) -> Result<String> {
    compared(bench, Size::LIGHT, BUSY)
}

/// The same with 131 MB.
pub(crate) fn rate_against_skopeo(bench: &Bench) -> Result<String> {
    compared(bench, Size::WHOLE, GOAL)
}

fn compared(bench: &Bench, size: Size, least: Faster) -> Result<String> {
    let release = Release::random("4.22.1", size, 1)?;
    let directory = bench.directory();
    let source = bench.start(Kind::Distribution2, &Setup::new(&directory.join("source")))?;
    release.push(&source.endpoint)?;
    let empty = bench.start(Kind::Distribution2, &Setup::new(&directory.join("distribution")))?;
    let (from, to) = (source.endpoint.host(), empty.endpoint.host());
    fs::write(directory.join("tags.yml"), tags(&from))?;
    let skopeo = skopeo(bench, &to)?;
    let theirs = (timed(bench, "skopeo-cold", &skopeo)?, best(bench, "skopeo-again", &skopeo)?);
    release.check(&empty.endpoint)?;
    source.stop()?;
    empty.stop()?;

    let source = bench.start(Kind::Larder, &Setup::new(&directory.join("source")).read_only())?;
    let (empty, sync) = larder(bench, &source, "larder")?;
    let ours = (timed(bench, "larder-cold", &sync)?, best(bench, "larder-again", &sync)?);
    release.check(&empty.endpoint)?;
    source.stop()?;
    empty.stop()?;

    let faster = Faster { cold: ratio(theirs.0, ours.0), nothing: ratio(theirs.1, ours.1) };
    let figures = format!(
        "62 images, {} MB: {:.2?} to skopeo's {:.2?}, {:.1} times; nothing to do {:.3?} to {:.2?}, {:.1} times",
        release.bytes() / 1_000_000,
        ours.0,
        theirs.0,
        faster.cold,
        ours.1,
        theirs.1,
        faster.nothing
    );
    ensure!(faster.cold >= least.cold && faster.nothing >= least.nothing, "too slow: {figures}");
    Ok(figures)
}

/// podman pulls a component through a node that has nothing, then once more from a node whose peer is gone.
pub(crate) fn pulled_through(bench: &Bench) -> Result<String> {
    let release = Release::random("4.22.1", Size { components: 1, base: 20_000_000, own: 5_000_000 }, 1)?;
    let peer = bench.start(Kind::Larder, &Setup::new(&bench.directory().join("peer")))?;
    release.push(&peer.endpoint)?;
    let url = format!("http://{}", peer.endpoint.host());
    let setup = Setup::new(&bench.directory().join("root")).flags(&["--peer", &url]);
    let node = bench.start(Kind::Larder, &setup)?;
    let (_, tag, image) = release.images.first().context("a release without images")?;
    let reference =
        |endpoint: &Endpoint| format!("{}/{COMPONENTS}@{}", endpoint.host(), image.manifest.digest);
    let direct = timed(bench, "direct", &podman(bench, "direct", &reference(&peer.endpoint))?)?;
    let through = timed(bench, "through", &podman(bench, "through", &reference(&node.endpoint))?)?;
    peer.stop()?;
    let local = timed(bench, "local", &podman(bench, "local", &reference(&node.endpoint))?)?;
    for blob in image.blobs() {
        crate::client::check_blob(&node.endpoint, COMPONENTS, blob)?;
    }
    let listed = node.endpoint.get(&format!("/v2/{COMPONENTS}/tags/list"))?;
    ensure!(!String::from_utf8_lossy(&listed.body).contains(tag), "a tag appeared because somebody asked");
    ensure!(
        through < direct * 3 + Duration::from_secs(1),
        "{through:?} through the node, {direct:?} from the peer"
    );
    Ok(format!(
        "46 MB: {direct:.2?} from the peer, {through:.2?} through a node, {local:.2?} from it with the peer gone"
    ))
}

/// An empty Larder, and the command that fills it.
fn larder(bench: &Bench, source: &Registry, name: &str) -> Result<(Registry, Command)> {
    let socket = bench.directory().join(format!("{name}.sock"));
    let path = socket.display().to_string();
    let setup =
        Setup::new(&bench.directory().join(name)).flags(&["--admin-socket", &path, "--access-log", "off"]);
    let empty = bench.start(Kind::Larder, &setup)?;
    let mut sync = Command::new(bench.program(Kind::Larder)?);
    sync.args(["sync", "--from", &format!("http://{}", source.endpoint.host()), "--admin-socket", &path]);
    Ok((empty, sync))
}

fn skopeo(bench: &Bench, to: &str) -> Result<Command> {
    let mut skopeo = Command::new(bench.tools().path(Tool::Skopeo)?);
    skopeo.current_dir(bench.directory()).env("HOME", bench.directory());
    skopeo.args(["--insecure-policy", "sync", "--src", "yaml", "--dest", "docker", "--preserve-digests"]);
    skopeo.args(["--dest-tls-verify=false", "tags.yml", &format!("{to}/openshift")]);
    Ok(skopeo)
}

/// All tags of the three repositories, as skopeo wants to be told.
fn tags(from: &str) -> String {
    let repositories = [COMPONENTS, IMAGES, BUNDLES].map(|it| format!("    {it}: []\n")).concat();
    format!("\"{from}\":\n  tls-verify: false\n  images:\n{repositories}")
}

fn podman(bench: &Bench, store: &str, reference: &str) -> Result<Command> {
    let mut podman = Command::new(bench.tools().path(Tool::Podman)?);
    podman
        .current_dir(bench.directory())
        .env("HOME", bench.directory())
        .env("XDG_RUNTIME_DIR", bench.directory());
    podman.args(["--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--root", store]);
    podman.arg(format!("--runroot={store}-run"));
    podman.args(["pull", "--quiet", "--tls-verify=false", reference]);
    Ok(podman)
}

fn timed(bench: &Bench, name: &str, command: &Command) -> Result<Duration> {
    let began = Instant::now();
    bench.run(name, command)?.success()?;
    Ok(began.elapsed())
}

fn best(bench: &Bench, name: &str, command: &Command) -> Result<Duration> {
    let mut best = Duration::MAX;
    for number in 0..TRIES {
        best = best.min(timed(bench, &format!("{name}-{number}"), command)?);
    }
    Ok(best)
}

fn ratio(theirs: Duration, ours: Duration) -> f64 {
    theirs.as_secs_f64() / ours.as_secs_f64()
}
