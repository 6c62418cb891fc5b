//! Ends that nobody asked for, and one that somebody did.
//!
//! Knows how a server is killed, and what it had acknowledged by then. That the
//! bytes also outlive the kernel is the store's own test: no process can show it.

use std::io::Read as _;
use std::io::Write as _;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use fastrand::Rng;
use rustix::process::Signal;

use crate::bench::Bench;
use crate::client;
use crate::http::Endpoint;
use crate::http::Response;
use crate::image::Content;
use crate::image::Image;
use crate::process;
use crate::server::Kind;
use crate::server::Registry;
use crate::server::Setup;
use crate::server::free_address;
use crate::tree;

/// How often the server is killed.
const KILLS: u64 = 25;

/// Who pushes when it is.
const PUSHERS: u64 = 4;

/// It is killed when it has acknowledged so many things, and then some microseconds later: measured in its
/// own pace, every kind of moment is met on any machine.
const LIFE: std::ops::Range<usize> = 0..16;
const THEN: std::ops::Range<u64> = 0..20_000;

/// How long it may take to acknowledge them.
const PATIENCE: Duration = Duration::from_secs(30);

/// The blob that is on its way when the server is asked to end: more than all buffers between it and a client
/// hold.
const LONG: usize = 64 << 20;

/// What a registry said that it had.
#[derive(Debug)]
pub(crate) enum Acknowledged {
    Blob(&'static str, Content),
    Tag(&'static str, String, Content),
}

/// Killed at many moments of a push, it keeps whatever it acknowledged.
pub(crate) fn killed(bench: &Bench) -> Result<String> {
    let root = bench.directory().join("root");
    let mut random = Rng::with_seed(1);
    let mut acknowledged = Vec::new();
    for round in 0..KILLS {
        let registry = bench.registry(&Setup::new(&root)).with_context(|| format!("start {round}"))?;
        acknowledged.extend(push_until_killed(registry, round, &mut random)?);
        tree::audit(&root).with_context(|| format!("after kill {round}"))?;
    }
    ensure!(acknowledged.len() > 50, "only {} things were acknowledged", acknowledged.len());
    let registry = bench.registry(&Setup::new(&root))?;
    acknowledged.iter().try_for_each(|thing| still_there(&registry.endpoint, thing))?;
    registry.stop()?;
    Ok(format!(
        "{KILLS} kills, {} acknowledged blobs and tags all there, the tree whole each time",
        acknowledged.len()
    ))
}

fn push_until_killed(registry: Registry, round: u64, random: &mut Rng) -> Result<Vec<Acknowledged>> {
    let acknowledged = Mutex::new(Vec::new());
    let endpoint = registry.endpoint.clone();
    std::thread::scope(|scope| {
        let (endpoint, acknowledged) = (&endpoint, &acknowledged);
        for pusher in 0..PUSHERS {
            scope.spawn(move || push_forever(endpoint, round * PUSHERS + pusher, acknowledged));
        }
        let lived = live(acknowledged, random.usize(LIFE));
        std::thread::sleep(Duration::from_micros(random.u64(THEN)));
        registry.kill();
        lived
    })?;
    match acknowledged.into_inner() {
        Ok(acknowledged) => Ok(acknowledged),
        Err(_) => bail!("a pusher panicked"),
    }
}

/// Waits until so many things are acknowledged.
fn live(acknowledged: &Mutex<Vec<Acknowledged>>, life: usize) -> Result<()> {
    let began = Instant::now();
    while acknowledged.lock().is_ok_and(|list| list.len() < life) {
        ensure!(began.elapsed() < PATIENCE, "fewer than {life} things were acknowledged within {PATIENCE:?}");
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(())
}

/// Pushes images until the server is gone.
pub(crate) fn push_forever(
    endpoint: &Endpoint,
    seed: u64,
    acknowledged: &Mutex<Vec<Acknowledged>>,
) -> Result<()> {
    let mut random = Rng::with_seed(seed);
    let keep =
        |thing| acknowledged.lock().map(|mut list| list.push(thing)).map_err(|_| anyhow::anyhow!("poisoned"));
    for number in 0.. {
        let repository = if random.bool() { "openshift/release" } else { "a/b" };
        let image = Image::random(&mut random, &[3_000, 90_000])?;
        for blob in image.blobs() {
            client::push_blob(endpoint, repository, blob)?;
            keep(Acknowledged::Blob(repository, blob.clone()))?;
        }
        let tag = format!("t{seed}-{number}");
        client::push_manifest(endpoint, repository, &tag, &image.manifest)?;
        keep(Acknowledged::Tag(repository, tag, image.manifest.clone()))?;
    }
    Ok(())
}

/// Whether what was acknowledged is there.
pub(crate) fn still_there(endpoint: &Endpoint, thing: &Acknowledged) -> Result<()> {
    match thing {
        Acknowledged::Blob(repository, blob) => client::check_blob(endpoint, repository, blob),
        Acknowledged::Tag(repository, tag, manifest) => {
            let path = format!("/v2/{repository}/manifests/{tag}");
            let found = client::manifest(endpoint, "GET", &path)?.expect(200)?;
            ensure!(found.body == manifest.bytes, "{path}: another manifest");
            Ok(())
        }
    }
}

/// A second writer on the same root is refused; a reader is not.
pub(crate) fn second_writer(bench: &Bench) -> Result<String> {
    let root = bench.directory().join("root");
    let first = bench.registry(&Setup::new(&root))?;
    let image = Image::random(&mut Rng::with_seed(2), &[10_000])?;
    client::push_image(&first.endpoint, "team/app", "v1", &image)?;
    let mut second = Command::new(bench.program(Kind::Larder)?);
    second.arg("serve").arg("--root").arg(&root).arg("--listen").arg(free_address()?.to_string());
    let log = bench.directory().join("second.log");
    let refused = process::run(&second, &log, Duration::from_secs(10)).context("the second writer")?;
    ensure!(!refused.status.success(), "the second writer ended as if all was well");
    let said = refused.said();
    ensure!(said.contains(&root.display().to_string()), "its message does not name the root: {said}");
    let reader =
        bench.start(Kind::Larder, &Setup::new(&root).read_only()).context("a reader beside the writer")?;
    client::check_image(&reader.endpoint, "team/app", "v1", &image)?;
    client::push_image(&first.endpoint, "team/app", "v2", &image).context("the first writer afterwards")?;
    client::check_image(&reader.endpoint, "team/app", "v2", &image).context("what was written since")?;
    reader.stop()?;
    first.stop()?;
    Ok("refused, the message names the root; a reader beside the writer sees what it writes".into())
}

/// Asked to end, it closes the port at once, ends what is under way, and ends well.
pub(crate) fn terminated(bench: &Bench) -> Result<String> {
    let mut registry = bench.registry(&Setup::new(&bench.directory().join("root")))?;
    let blob = Content::random(&mut Rng::with_seed(3), LONG);
    client::push_blob(&registry.endpoint, "team/app", &blob)?;
    let _idle = registry.endpoint.connect()?;
    let mut download = registry.endpoint.connect()?;
    write!(download, "GET /v2/team/app/blobs/{} HTTP/1.1\r\nHost: x\r\n\r\n", blob.digest)?;
    let mut begin = vec![0; 4096];
    download.read_exact(&mut begin)?;

    registry.signal(Signal::TERM)?;
    let closed = closing(&registry)?;
    let began = Instant::now();
    let rest = Response::read(begin.as_slice().chain(download), "GET", "the download under way")?;
    ensure!(rest.expect(200)?.body == blob.bytes, "the download under way was ended with other bytes");
    let status = registry.wait(Duration::from_secs(10))?;
    ensure!(status.success(), "it ended with {status}\n{}", registry.log());
    Ok(format!("port closed within {closed:?}, download whole, ended {:?} after it", began.elapsed()))
}

/// How long the port stayed open: the cluster decides by a dial of 100 ms whether the registry is gone.
fn closing(registry: &Registry) -> Result<Duration> {
    let began = Instant::now();
    while registry.is_listening() {
        ensure!(began.elapsed() < Duration::from_secs(1), "the port is still open a second after SIGTERM");
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(began.elapsed())
}
