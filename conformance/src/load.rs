//! Load as the ISO builder makes it: clients that push at once onto the same repositories while connections
//! break.
//!
//! The tool that fills the ISO mirrors several images at a time and several
//! layers of each; the images share layers, and the builder's network is what
//! it is. The registry that shipped fails here.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use fastrand::Rng;

use crate::bench::Bench;
use crate::client;
use crate::http::Endpoint;
use crate::image::Image;
use crate::image::Layer;
use crate::image::digest;
use crate::proxy::Proxy;
use crate::proxy::Weather;
use crate::server::Setup;
use crate::tree;

/// Images at once.
const CLIENTS: usize = 4;

/// Layers of an image, pushed at once: half of them shared with every other image.
const LAYERS: usize = 4;

/// How often every client pushes to every repository.
const ROUNDS: usize = 6;

/// What they push to.
const REPOSITORIES: [&str; 3] =
    ["openshift/release", "openshift/release-images", "redhat/redhat-operator-index"];

/// Every third connection breaks within its first 600 kB.
const WEATHER: Weather = Weather { seed: 22_625, one_in: 3, within: 600_000 };

/// The layers that all images begin with, pushed anew by everybody in every round.
const SHARED: [usize; 2] = [300_000, 1_200_000];

/// The layers that an image has of its own.
const OWN: [usize; LAYERS - SHARED.len()] = [40_000, 500_000];

/// Every push ends well, everything is there, and the tree is whole.
pub(crate) fn pushed_through_bad_weather(bench: &Bench) -> Result<String> {
    let root = bench.directory().join("root");
    let registry = bench.registry(&Setup::new(&root))?;
    let proxy = Proxy::start(registry.endpoint.address, WEATHER)?;
    let mut pushed = 0;
    for round in 0..ROUNDS {
        pushed += push_round(&registry.endpoint, &proxy, round).with_context(|| format!("round {round}"))?;
        // Blobs that lie there would not be pushed again: every other round begins on a tree without them.
        if round % 2 == 0 {
            forget_shared(&registry.endpoint, round)?;
        }
    }
    let cuts = proxy.cuts();
    ensure!(cuts > 10, "the weather was too fair to show anything: {cuts} cuts");
    drop(proxy);
    registry.stop()?;
    let audit = tree::audit(&root)?;
    Ok(format!(
        "{pushed} images, {cuts} connections cut, {} blobs and {} tags whole",
        audit.blobs.len(),
        audit.tags
    ))
}

/// All clients at once: each pushes through the proxy, then pulls past it; and somebody reads what they move.
fn push_round(direct: &Endpoint, proxy: &Proxy, round: usize) -> Result<usize> {
    let broken = direct.at(proxy.address());
    let shared = layers(1_000_000 + round as u64 / 2, &SHARED)?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| read_latest(direct, &done));
        let client = |number| {
            let (broken, shared) = (&broken, &shared);
            scope.spawn(move || push_as(number, round, shared, direct, broken))
        };
        let clients: Vec<_> = (0..CLIENTS).map(client).collect();
        let pushed = clients.into_iter().try_fold(0, |sum, client| match client.join() {
            Ok(pushed) => Ok(sum + pushed?),
            Err(_) => bail!("a client panicked"),
        });
        done.store(true, Ordering::Relaxed);
        match reader.join() {
            Ok(read) => read.context("reading a tag that is being moved")?,
            Err(_) => bail!("the reader panicked"),
        }
        pushed
    })
}

/// A tag that moves is at every moment one image or another, never nothing and never half.
fn read_latest(direct: &Endpoint, done: &AtomicBool) -> Result<()> {
    let mut seen = [false; REPOSITORIES.len()];
    while !done.load(Ordering::Relaxed) {
        for (repository, seen) in REPOSITORIES.iter().zip(&mut seen) {
            let manifest = client::manifest(direct, "GET", &format!("/v2/{repository}/manifests/latest"))?;
            if manifest.status == 404 && !*seen {
                continue;
            }
            let manifest = manifest.expect(200)?;
            let named = manifest.header("Docker-Content-Digest");
            ensure!(named == Some(digest(&manifest.body).as_str()), "{repository}:latest is half a manifest");
            *seen = true;
        }
    }
    Ok(())
}

fn push_as(
    number: usize,
    round: usize,
    shared: &[Layer],
    direct: &Endpoint,
    broken: &Endpoint,
) -> Result<usize> {
    for (place, repository) in REPOSITORIES.iter().enumerate() {
        let seed = (round * CLIENTS + number) * REPOSITORIES.len() + place;
        let image = Image::of(shared.iter().cloned().chain(layers(seed as u64, &OWN)?).collect());
        let tag = format!("r{round}-c{number}");
        for tag in [tag.as_str(), "latest"] {
            client::retried(|| client::push_image(broken, repository, tag, &image)).context("pushing")?;
        }
        client::check_image(direct, repository, &tag, &image).context("pulling what was pushed")?;
    }
    Ok(REPOSITORIES.len())
}

/// Unlinks the shared layers from the last repository, as somebody who tidies up would.
fn forget_shared(direct: &Endpoint, round: usize) -> Result<()> {
    let [.., repository] = REPOSITORIES;
    for number in 0..CLIENTS {
        let manifest =
            client::manifest(direct, "HEAD", &format!("/v2/{repository}/manifests/r{round}-c{number}"))?;
        let digest = manifest.expect(200)?.header("Docker-Content-Digest").context("no digest")?.to_owned();
        direct.delete(&format!("/v2/{repository}/manifests/{digest}"))?.expect(202)?;
    }
    for layer in layers(1_000_000 + round as u64 / 2, &SHARED)? {
        direct.delete(&format!("/v2/{repository}/blobs/{}", layer.content.digest))?.expect(202)?;
    }
    Ok(())
}

fn layers(seed: u64, lengths: &[usize]) -> Result<Vec<Layer>> {
    let mut random = Rng::with_seed(seed);
    lengths.iter().map(|length| Layer::random(&mut random, *length)).collect()
}
