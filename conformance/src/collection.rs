//! What goes while others pull and push: a release that is removed, and garbage that is collected.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use fastrand::Rng;
use serde_json::Value;
use serde_json::json;

use crate::bench::Bench;
use crate::bench::from_environment;
use crate::client;
use crate::http::Endpoint;
use crate::image::Content;
use crate::image::Image;
use crate::image::Layer;
use crate::release::Release;
use crate::server::Kind;
use crate::server::Setup;
use crate::store_tree;

/// Components of each of two releases: with their images, bundles and some others, 400 images.
const COMPONENTS: usize = 190;
/// Components of each of two releases of which one is removed again and again.
const FEW: usize = 40;
/// How long after it was noted a removal is killed.
const MOMENTS: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(8), Duration::from_millis(25), Duration::from_millis(60)];
/// How long the next process may take to end it, on a busy machine.
const SOON: Duration = Duration::from_secs(20);
/// Images of nobody's release.
const OTHERS: usize = 16;
/// Clients that pull the release that stays.
const PULLERS: usize = 16;
/// How long they pull while nothing else happens.
const IDLE: Duration = Duration::from_millis(1500);
/// What a removal may cost.
#[derive(Clone, Copy)]
struct Cost {
    /// How long it may take.
    time: Duration,
    /// How much longer than on an idle node the slowest pull in a hundred may take.
    slower: u32,
    /// What is let pass in any case: a few turns of the scheduler, which runs the pullers too.
    turns: Duration,
}

/// The goals.
const GOAL: Cost = Cost { time: Duration::from_secs(2), slower: 2, turns: Duration::from_millis(5) };
/// What a machine shows that does other things too.
const BUSY: Cost = Cost { time: Duration::from_secs(15), slower: 4, turns: Duration::from_millis(50) };

/// How long pushes race garbage collection, unless `LARDER_RACE_SECONDS` says otherwise.
const RACE: Duration = Duration::from_secs(6);
/// How old garbage must be in the race: longer than any push takes.
const GRACE_SECONDS: u64 = 2;
/// Clients that push.
const PUSHERS: usize = 4;

/// When a tree that was just written is taken to be as it is.
const SETTLED: Duration = Duration::from_secs(3);
/// How many manifests there are, unless `LARDER_MANIFESTS` says otherwise.
const MANIFESTS: usize = 5_000;
/// Every so many of them have a tag, all in one repository.
const TAGGED: usize = 20;
/// How long work may take that looks at everything: the inventory and the collection of 100,000 manifests on
/// a busy disk.
const WHOLE_STORE: Duration = Duration::from_secs(600);
/// What little may cost that is asked for, however many manifests there are: a page, an image, a release.
const LITTLE: Duration = Duration::from_secs(5);
/// The most memory that a node may hold, in bytes, however many manifests there are: the goal is a bound, and
/// this is one that a control plane can spare.
const MEMORY: u64 = 256 * 1024 * 1024;

/// One of two releases that share half of their layers goes; 16 clients pull the other.
pub(crate) fn release_removed(bench: &Bench) -> Result<String> {
    removed(bench, BUSY)
}

/// The same, as fast as it should be.
pub(crate) fn rate_release_removed(bench: &Bench) -> Result<String> {
    removed(bench, GOAL)
}

fn removed(bench: &Bench, most: Cost) -> Result<String> {
    let root = bench.directory().join("root");
    let [goes, stays] = two_releases(COMPONENTS)?;
    let mut others = BTreeSet::new();
    for release in [&goes, &stays] {
        for (repository, tag, image) in &release.images {
            store_tree::write_image(&root, repository, tag, image)?;
        }
    }
    let mut random = Rng::with_seed(5);
    for number in 0..OTHERS {
        let image = Image::random(&mut random, &[1000, 2000])?;
        store_tree::write_image(&root, "mirror/other", &format!("v{number}"), &image)?;
        others.extend(digests([&image]));
    }
    let kept: BTreeSet<_> = digests(stays.images.iter().map(|it| &it.2)).union(&others).cloned().collect();
    let all = digests(goes.images.iter().map(|it| &it.2));
    let images = goes.images.len() + stays.images.len() + OTHERS;

    let registry = bench.start(Kind::Larder, &Setup::new(&root).flags(&["--access-log", "off"]))?;
    let idle = pulls(&registry.endpoint, &stays, || {
        std::thread::sleep(IDLE);
        Ok(Duration::ZERO)
    })?;
    let path = format!("/v2/_larder/releases/{}", goes.digest);
    let refused = registry.endpoint.delete(&format!("{path}?in-use={}", goes.digest))?;
    ensure!(refused.status == 409, "a release in use was answered {}", refused.status);
    let mut report = Value::Null;
    let busy = pulls(&registry.endpoint, &stays, || {
        let began = Instant::now();
        report = registry.endpoint.delete(&path)?.expect(200)?.json()?;
        Ok(began.elapsed())
    })?;
    let left = store_tree::stored(&root)?;
    let lost: Vec<_> = kept.difference(&left).collect();
    let remain: Vec<_> = left.difference(&kept).collect();
    ensure!(lost.is_empty(), "{} blobs are lost: {lost:?}", lost.len());
    ensure!(remain.is_empty(), "{} blobs of the removed release remain: {report}", remain.len());
    ensure!(report.get("spared_bytes") == Some(&json!(0)), "{report}");
    stays.check(&registry.endpoint)?;
    registry.stop()?;
    crate::tree::audit(&root)?;
    let freed = all.difference(&kept).count();
    let figures = format!(
        "{images} images: {freed} blobs of {} gone in {:.2?}; p99 of a pull {:.1?} idle, {:.1?} meanwhile ({} pulls)",
        all.len(),
        busy.took,
        idle.p99,
        busy.p99,
        busy.count
    );
    let slowest = idle.p99 * most.slower + most.turns;
    ensure!(busy.took < most.time && busy.p99 < slowest, "too slow: {figures}");
    Ok(figures)
}

/// A node is killed at several moments of a removal; the next process ends it.
pub(crate) fn removal_killed(bench: &Bench) -> Result<String> {
    let [goes, stays] = two_releases(FEW)?;
    let kept = digests(stays.images.iter().map(|it| &it.2));
    let path = format!("/v2/_larder/releases/{}", goes.digest);
    let mut left_over = Vec::new();
    for moment in MOMENTS {
        let root = bench.directory().join(format!("root{}", moment.as_millis()));
        for (repository, tag, image) in goes.images.iter().chain(&stays.images) {
            store_tree::write_image(&root, repository, tag, image)?;
        }
        let registry = bench.start(Kind::Larder, &Setup::new(&root).flags(&["--access-log", "off"]))?;
        let endpoint = registry.endpoint.clone();
        let note = root.join("larder/removal.json");
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| endpoint.delete(&path));
            until(|| Ok(is_noted(&note)))?;
            std::thread::sleep(moment);
            registry.kill();
            // It may have been answered, or not.
            drop(asked.join());
            Ok::<_, anyhow::Error>(())
        })?;
        let remained = store_tree::stored(&root)?.difference(&kept).count();
        left_over.push(format!("{moment:?}: {remained}"));
        let registry = bench.start(Kind::Larder, &Setup::new(&root).flags(&["--access-log", "off"]))?;
        until(|| Ok(!is_noted(&note))).context("the removal is not gone on with")?;
        until(|| Ok(store_tree::stored(&root)? == kept)).context("not what should stay")?;
        until(|| Ok(registry.endpoint.get(&path)?.status == 404)).context("the release is still told of")?;
        stays.check(&registry.endpoint)?;
        registry.stop()?;
        crate::tree::audit(&root)?;
    }
    Ok(format!(
        "blobs that a removal killed after so long had left, and the next process removed: {}",
        left_over.join(", ")
    ))
}

/// Whether a removal is noted as under way.
fn is_noted(note: &std::path::Path) -> bool {
    std::fs::metadata(note).is_ok_and(|it| it.len() > 0)
}

fn until(done: impl Fn() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + SOON;
    while !done()? {
        ensure!(Instant::now() < deadline, "not so after {SOON:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Two releases: of each pair of components every second shares all layers but one.
fn two_releases(components: usize) -> Result<[Release; 2]> {
    let mut random = Rng::with_seed(7);
    let base = Layer::random(&mut random, 100_000)?;
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for number in 0..components {
        let shared = Layer::random(&mut random, 10_000)?;
        for components in [&mut first, &mut second] {
            let middle = if number % 2 == 0 { shared.clone() } else { Layer::random(&mut random, 10_000)? };
            let layers = vec![base.clone(), middle, Layer::random(&mut random, 2_000)?];
            components.push((format!("part{number}"), Image::of(layers)));
        }
    }
    Ok([Release::of("4.22.1", first)?, Release::of("4.22.2", second)?])
}

fn digests<'a>(images: impl IntoIterator<Item = &'a Image>) -> BTreeSet<String> {
    let contents = images.into_iter().flat_map(|it| it.blobs().chain([&it.manifest]));
    contents.map(|it| it.digest.clone()).collect()
}

/// How pulls went while something was done.
struct Pulls {
    took: Duration,
    p99: Duration,
    count: usize,
}

/// Does something while [`PULLERS`] clients pull the blobs of a release and compare every byte.
fn pulls(endpoint: &Endpoint, release: &Release, work: impl FnOnce() -> Result<Duration>) -> Result<Pulls> {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let pullers: Vec<_> = (0..PULLERS)
            .map(|number| {
                scope.spawn({
                    let done = &done;
                    move || pull(endpoint, release, number, done)
                })
            })
            .collect();
        let took = work();
        done.store(true, Ordering::Relaxed);
        let mut times = Vec::new();
        for puller in pullers {
            match puller.join() {
                Ok(pulled) => times.extend(pulled.context("a client that pulls the release that stays")?),
                Err(_) => bail!("a puller panicked"),
            }
        }
        times.sort_unstable();
        let p99 = times.get(times.len() * 99 / 100).copied().context("nothing was pulled")?;
        Ok(Pulls { took: took?, p99, count: times.len() })
    })
}

fn pull(endpoint: &Endpoint, release: &Release, number: usize, done: &AtomicBool) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    let images = release.images.iter().cycle().skip(number * release.images.len() / PULLERS);
    for (repository, _, image) in images {
        for blob in image.blobs() {
            let began = Instant::now();
            client::check_blob(endpoint, repository, blob)?;
            times.push(began.elapsed());
            if done.load(Ordering::Relaxed) {
                return Ok(times);
            }
        }
    }
    Ok(times)
}

/// Clients push images of the same few layers, and delete some of them, while garbage is collected without a
/// pause.
pub(crate) fn race(bench: &Bench) -> Result<String> {
    let root = bench.directory().join("root");
    let registry = bench.start(Kind::Larder, &Setup::new(&root).flags(&["--access-log", "off"]))?;
    let length = from_environment("LARDER_RACE_SECONDS").map_or(RACE, Duration::from_secs);
    let mut random = Rng::with_seed(3);
    let layers: Vec<_> = (0..8).map(|_| Layer::random(&mut random, 30_000)).collect::<Result<_>>()?;
    let (until, endpoint) = (Instant::now() + length, &registry.endpoint);
    let done = AtomicBool::new(false);
    let (kept, collections, freed) = std::thread::scope(|scope| {
        let collector = scope.spawn(|| collect(endpoint, &done));
        let pushers: Vec<_> = (0..PUSHERS)
            .map(|number| {
                scope.spawn({
                    let layers = &layers;
                    move || push(endpoint, layers, number, until)
                })
            })
            .collect();
        let mut kept = Vec::new();
        let mut failed = None;
        for pusher in pushers {
            match pusher.join() {
                Ok(Ok(pushed)) => kept.extend(pushed),
                Ok(Err(error)) => failed = Some(error),
                Err(_) => failed = Some(anyhow::anyhow!("a pusher panicked")),
            }
        }
        done.store(true, Ordering::Relaxed);
        let collected = collector.join().map_err(|_| anyhow::anyhow!("the collector panicked"))?;
        if let Some(error) = failed {
            return Err(error);
        }
        let (collections, freed) = collected?;
        Ok((kept, collections, freed))
    })?;
    for (repository, tag, image) in &kept {
        client::check_image(endpoint, repository, tag, image).context("after the race")?;
    }
    ensure!(freed > 0, "nothing was collected: the race showed nothing");
    registry.stop()?;
    crate::tree::audit(&root)?;
    Ok(format!(
        "{length:?}: {} images kept and whole, {collections} collections freed {freed} blobs",
        kept.len()
    ))
}

type Kept = (String, String, Image);

fn push(endpoint: &Endpoint, layers: &[Layer], number: usize, until: Instant) -> Result<Vec<Kept>> {
    let mut random = Rng::with_seed(number as u64);
    let mut kept = Vec::new();
    for round in 0.. {
        if Instant::now() >= until {
            break;
        }
        let shared = layers.get(random.usize(..layers.len())).context("a layer")?.clone();
        let image = Image::of(vec![shared, Layer::random(&mut random, 3_000)?]);
        let (repository, tag) = (format!("race/r{}", random.u8(..3)), format!("c{number}-{round}"));
        client::push_image(endpoint, &repository, &tag, &image)?;
        client::check_image(endpoint, &repository, &tag, &image).context("just pushed")?;
        // Most are deleted again, so that the shared layers are garbage now and then.
        if round % 8 == 0 {
            kept.push((repository, tag, image));
        } else {
            let path = format!("/v2/{repository}/manifests/{}", image.manifest.digest);
            endpoint.delete(&path)?.expect(202)?;
            std::thread::sleep(Duration::from_millis(random.u64(..150)));
        }
    }
    Ok(kept)
}

fn collect(endpoint: &Endpoint, done: &AtomicBool) -> Result<(u64, u64)> {
    let request = json!({ "grace_seconds": GRACE_SECONDS, "uploads_seconds": 3600 }).to_string();
    // It goes on for as long as there is something to go through.
    let endpoint = endpoint.patiently(WHOLE_STORE);
    let (mut collections, mut freed) = (0, 0);
    while !done.load(Ordering::Relaxed) {
        let report = endpoint.request("POST", "/v2/_larder/gc").body(request.as_bytes()).send()?;
        let report = report.expect(200)?.json()?;
        collections += 1;
        freed += report.get("blobs").and_then(Value::as_u64).unwrap_or_default();
    }
    Ok((collections, freed))
}

/// Inventory, listings, releases and a collection of a store of very many manifests: how long, and in how
/// much memory.
pub(crate) fn very_many(bench: &Bench) -> Result<String> {
    let count = from_environment("LARDER_MANIFESTS").map_or(MANIFESTS, |it| it as usize);
    let root = bench.directory().join("root");
    let image = Image::random(&mut Rng::with_seed(1), &[1000])?;
    write_many(&root, count, &image)?;
    let release =
        Release::random("4.22.1", crate::release::Size { components: 10, base: 10_000, own: 1_000 }, 1)?;
    for (repository, tag, image) in &release.images {
        store_tree::write_image(&root, repository, tag, image)?;
    }
    let registry = bench.start(Kind::Larder, &Setup::new(&root).flags(&["--access-log", "off"]))?;
    let endpoint = &registry.endpoint.patiently(WHOLE_STORE);
    let mut told = Vec::new();
    let mut time = |what: &str, work: &mut dyn FnMut() -> Result<()>| {
        let began = Instant::now();
        work().with_context(|| what.to_owned())?;
        told.push(format!("{what} {:.2?}", began.elapsed()));
        Ok::<_, anyhow::Error>(())
    };
    let mut entity = String::new();
    // What was written a moment ago may change again within the tick of a clock, and has another entity tag
    // until then.
    std::thread::sleep(SETTLED);
    time("inventory", &mut || {
        let inventory = endpoint.get("/v2/_larder/sync/inventory")?.expect(200)?;
        entity = inventory.header("ETag").context("no entity tag")?.to_owned();
        let lines = inventory.body.split(|byte| *byte == b'\n').count();
        ensure!(lines > count, "{lines} lines");
        Ok(())
    })?;
    time("unchanged", &mut || {
        let again = endpoint.request("GET", "/v2/_larder/sync/inventory").header("If-None-Match", &entity);
        again.send()?.expect(304).map(drop)
    })?;
    time("of one release", &mut || {
        let path = format!("/v2/_larder/sync/inventory?release={}", release.digest);
        endpoint.get(&path)?.expect(200).map(drop)
    })?;
    time("catalog", &mut || endpoint.get("/v2/_catalog?n=1000")?.expect(200).map(drop))?;
    time("all tags", &mut || endpoint.get("/v2/many/r0/tags/list")?.expect(200).map(drop))?;
    let little = endpoint.patiently(LITTLE);
    time("ten tags", &mut || little.get("/v2/many/r0/tags/list?n=10&last=v1")?.expect(200).map(drop))?;
    time("referrers", &mut || {
        little.get(&format!("/v2/many/r0/referrers/{}", image.manifest.digest))?.expect(200).map(drop)
    })?;
    time("one release", &mut || {
        little.get(&format!("/v2/_larder/releases/{}", release.digest))?.expect(200).map(drop)
    })?;
    time("releases", &mut || {
        let list = endpoint.get("/v2/_larder/releases")?.expect(200)?.json()?;
        ensure!(list.pointer("/releases/0/present") == Some(&json!(12)), "{list}");
        Ok(())
    })?;
    time("collection", &mut || {
        let request = json!({ "grace_seconds": 3600, "uploads_seconds": 3600 }).to_string();
        let gc = endpoint.request("POST", "/v2/_larder/gc").body(request.as_bytes()).send()?;
        gc.expect(200).map(drop)
    })?;
    time("removal", &mut || {
        endpoint.delete(&format!("/v2/_larder/releases/{}", release.digest))?.expect(200).map(drop)
    })?;
    let memory = registry.peak_memory()?;
    registry.stop()?;
    let figures = format!("{count} manifests in {} MB: {}", memory / 1_000_000, told.join(", "));
    ensure!(memory < MEMORY, "too much memory: {figures}");
    Ok(figures)
}

/// So many manifests of one image, a thousand in a repository, and some of them tagged in the first.
fn write_many(root: &std::path::Path, count: usize, image: &Image) -> Result<()> {
    for number in 0..count {
        let repository = format!("many/r{}", number / 1000);
        if number % 1000 == 0 {
            store_tree::write_image(root, &repository, "latest", image)?;
        }
        let text = String::from_utf8(image.manifest.bytes.clone())?;
        let own = Content::new(with_number(&text, number)?.into_bytes());
        store_tree::write_manifest(root, &repository, &own)?;
        if number % TAGGED == 0 {
            store_tree::write_manifest(root, "many/r0", &own)?;
            store_tree::write_tag(root, "many/r0", &format!("v{number}"), &own.digest)?;
        }
    }
    Ok(())
}

/// The same manifest with an annotation that makes it another.
fn with_number(manifest: &str, number: usize) -> Result<String> {
    let mut manifest: Value = serde_json::from_str(manifest)?;
    if let Some(object) = manifest.as_object_mut() {
        object.insert("annotations".to_owned(), json!({ "number": number.to_string() }));
    }
    Ok(manifest.to_string())
}
