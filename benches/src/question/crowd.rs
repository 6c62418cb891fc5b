//! What of a thousand slow clients?
//!
//! A thousand connections pull 16 MiB at once, each no faster than 1 MiB/s.
//! Asked: do all complete, how much memory do they take, and what is the p99 of
//! a manifest meanwhile.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;

use crate::bench::Bench;
use crate::bench::Measured;
use crate::client::Request;
use crate::client::crowd;
use crate::client::exchange::Exchange;
use crate::contender::Access;
use crate::contender::Contender;
use crate::contender::Server;
use crate::data::Blob;
use crate::question::Question;
use crate::report::Measure;
use crate::scale::mib;
use crate::scale::size;
use crate::shelf::REPOSITORY;
use crate::shelf::Shelf;
use crate::statistics::percentile;

pub(super) const QUESTION: Question = Question {
    name: "crowd",
    asks: "Do 1,000 pulls of 16 MiB, each throttled to 1 MiB/s by its client, complete, in how much memory, and what is the p99 of a manifest meanwhile?",
    run,
};

const BYTES_PER_SECOND: u64 = 1 << 20;

/// A manifest is asked this often.
const ASK_EVERY: Duration = Duration::from_millis(5);

fn run(bench: &mut Bench) -> Result<()> {
    let shelf = bench.shelf()?;
    let size_wanted = bench.scale.crowd_blob;
    let blob =
        shelf.blobs.iter().find(|blob| blob.size == size_wanted).context("the shelf has no such blob")?;
    let mut contenders = bench.fleet.contenders.clone();
    let case = format!("{} pulls of {}", bench.scale.crowd, size(blob.size));
    bench.once(&case, &mut contenders, |bench, contender| serve(bench, contender, &shelf, blob));
    Ok(())
}

fn serve(bench: &Bench, contender: &Contender, shelf: &Shelf, blob: &Blob) -> Result<Measured> {
    let root = shelf.stored.root(contender.kind).context("it has no store")?;
    let server = contender.start(&bench.site(vec![root], Access::ReadOnly))?;
    let watch = server.process.watch_memory();
    let over = AtomicBool::new(false);
    let (pulled, asked) = thread::scope(|scope| {
        let asker = scope.spawn(|| ask_manifests(&server, shelf, &over));
        let pulled = pull(bench, &server, blob);
        over.store(true, Ordering::Relaxed);
        (pulled, asker.join())
    });
    let took = pulled?;
    let Ok(times) = asked else { bail!("the asker of manifests panicked") };
    let peak = watch.finish()?;
    Ok(vec![
        (Measure::Seconds, took.as_secs_f64()),
        (Measure::PeakResidentMib, mib(peak.peak_resident)),
        (Measure::PeakAnonymousMib, mib(peak.anonymous)),
        (Measure::P99Micros, percentile(&mut times?, 0.99).as_secs_f64() * 1e6),
    ])
}

fn pull(bench: &Bench, server: &Server, blob: &Blob) -> Result<Duration> {
    let request = Request::get(&server.endpoint, &server.blob(REPOSITORY, &blob.digest));
    // Twice the time that the throttle alone takes, and some for the slowest machine.
    let allowed = Duration::from_secs(2 * blob.size.div_ceil(BYTES_PER_SECOND) + 30);
    crowd::pull(&server.endpoint, &request, bench.scale.crowd, BYTES_PER_SECOND, allowed)
}

fn ask_manifests(server: &Server, shelf: &Shelf, over: &AtomicBool) -> Result<Vec<Duration>> {
    let digest = &shelf.image.digest;
    let request = Request::get(&server.endpoint, &server.manifest(REPOSITORY, &digest.to_string(), digest));
    let mut exchange = Exchange::connect(&server.endpoint)?;
    let mut times = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let (status, time) = exchange.time(&request)?;
        if status != 200 {
            bail!("a manifest was answered {status}");
        }
        times.push(time);
        thread::sleep(ASK_EVERY);
    }
    Ok(times)
}
