//! How fast does a release go in?
//!
//! Images that share layers, into one repository, by eight connections that
//! take the next image from one list: for each blob a HEAD, an upload where it
//! is missing, then the manifest by tag. Every answer is durable.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Instant;

use anyhow::Result;
use anyhow::anyhow;
use storage_layout::Digest;

use crate::bench::Bench;
use crate::bench::Measured;
use crate::client::Endpoint;
use crate::client::exchange::Exchange;
use crate::contender::Access;
use crate::contender::Contender;
use crate::data::image;
use crate::data::image::Image;
use crate::question::Question;
use crate::report::Measure;
use crate::shelf::REPOSITORY;
use crate::shelf::push_image;

pub(super) const QUESTION: Question = Question {
    name: "push-images",
    asks: "How long do 400 images that share layers take to be pushed, durably, by 8 connections?",
    run,
};

const CONNECTIONS: usize = 8;

/// A base that all share, some middles that many share, and a layer of its own: as images of a release do.
const BASE: usize = 4 << 20;
const MIDDLES: u64 = 20;
const MIDDLE: usize = 1 << 20;
const OWN: usize = 256 << 10;

fn run(bench: &mut Bench) -> Result<()> {
    let images = images(bench.scale.pushed_images)?;
    let mut registries: Vec<_> =
        bench.fleet.contenders.iter().filter(|contender| contender.kind.is_registry()).cloned().collect();
    let case = format!("{} images, {CONNECTIONS} connections", images.len());
    bench.rounds(&case, &mut registries, |bench, registry| push(bench, registry, &images));
    Ok(())
}

fn images(count: usize) -> Result<Vec<Image>> {
    type Layer = (Digest, Arc<[u8]>);
    let base = image::layer(1, BASE)?;
    let middles =
        (0..MIDDLES).map(|number| image::layer(100 + number, MIDDLE)).collect::<Result<Vec<Layer>>>()?;
    let mut images = Vec::with_capacity(count);
    for (number, middle) in (0..count).zip(middles.iter().cycle()) {
        let seed = 1000 + 2 * number as u64;
        let layers = [base.clone(), middle.clone(), image::layer(seed, OWN)?];
        images.push(Image::over(&layers, seed + 1)?);
    }
    Ok(images)
}

fn push(bench: &Bench, registry: &Contender, images: &[Image]) -> Result<Measured> {
    let root = bench.directory()?;
    rustix::fs::sync();
    let server = registry.start(&bench.site(vec![root.path().join("store")], Access::ReadWrite))?;
    let cpu = server.process.cpu()?;
    let start = Instant::now();
    push_together(&server.endpoint, images)?;
    let took = start.elapsed().as_secs_f64();
    let cpu = server.process.cpu()?.saturating_sub(cpu).as_secs_f64();
    let count = images.len() as f64;
    Ok(vec![
        (Measure::Seconds, took),
        (Measure::ImagesPerSecond, count / took),
        (Measure::CpuMillisPerImage, cpu * 1e3 / count),
    ])
}

fn push_together(endpoint: &Endpoint, images: &[Image]) -> Result<()> {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        let workers: Vec<_> =
            (0..CONNECTIONS).map(|_| scope.spawn(|| push_next(endpoint, images, &next))).collect();
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| anyhow!("a pusher panicked"))?)
    })
}

fn push_next(endpoint: &Endpoint, images: &[Image], next: &AtomicUsize) -> Result<()> {
    let mut exchange = Exchange::connect(endpoint)?;
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let Some(image) = images.get(number) else { return Ok(()) };
        push_image(&mut exchange, REPOSITORY, &format!("image-{number}"), image)?;
    }
}
