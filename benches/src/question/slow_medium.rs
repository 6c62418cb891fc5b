//! Does anyone notice that a medium hangs?
//!
//! The store lies on a medium that takes two seconds for every read, as a
//! BMC's virtual media can. `/v2/` is asked over one connection, again and
//! again, first while nothing else goes on, then while sixty-four pulls of
//! different blobs hang on the medium. For Larder also with a second root on
//! the disk, of which a hot blob is asked meanwhile.

use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use storage_layout::RepositoryName;

use crate::bench::Bench;
use crate::bench::Measured;
use crate::client::Request;
use crate::client::exchange::Exchange;
use crate::client::load::Load;
use crate::contender::Access;
use crate::contender::Contender;
use crate::contender::Kind;
use crate::contender::Server;
use crate::data;
use crate::data::Blob;
use crate::data::tree::Tree;
use crate::question::Question;
use crate::report::Measure;
use crate::shelf::REPOSITORY;
use crate::shelf::Shelf;
use crate::slow_medium::SlowMedium;
use crate::statistics::percentile;

pub(super) const QUESTION: Question = Question {
    name: "slow-medium",
    asks: "What is the p99 of `/v2/` while 64 pulls hang on a medium of 2 s a read, against idle?",
    run,
};

const PULLS: usize = 64;
const BLOB: u64 = 1 << 20;

/// How much longer than one read of the medium each p99 is taken over.
const READS_WATCHED: u32 = 2;

fn run(bench: &mut Bench) -> Result<()> {
    let shelf = bench.shelf()?;
    let directory = bench.directory()?;
    let repository = RepositoryName::parse(REPOSITORY).context("a valid name")?;
    let tree = Tree::create(&directory.path().join("tree"))?;
    let made =
        (0..PULLS as u64).map(|seed| tree.take(&repository, data::blob(directory.path(), 500 + seed, BLOB)?));
    let blobs = made.collect::<Result<Vec<_>>>()?;

    let mut contenders = bench.fleet.contenders.clone();
    contenders.retain(|contender| contender.kind != Kind::Zot);
    bench.rounds("`/v2/`", &mut contenders, |bench, contender| {
        let medium = SlowMedium::mount(tree.root(), bench.scale.slow_read)?;
        let server = start(bench, contender, &[medium.path()])?;
        let request = Request::get(&server.endpoint, "/v2/");
        against_idle(bench, &server, &blobs, &request)
    });
    contenders.retain(|contender| contender.kind == Kind::Larder);
    bench.rounds("hot blob of 64 KiB on a disk beside it", &mut contenders, |bench, contender| {
        let medium = SlowMedium::mount(tree.root(), bench.scale.slow_read)?;
        let server = start(bench, contender, &[&shelf.stored.tree, medium.path()])?;
        let request = hot(&server, &shelf)?;
        against_idle(bench, &server, &blobs, &request)
    });
    Ok(())
}

fn start(bench: &Bench, contender: &Contender, roots: &[&Path]) -> Result<Server> {
    let roots = roots.iter().map(|root| root.to_path_buf()).collect();
    contender.start(&bench.site(roots, Access::ReadOnly))
}

fn hot(server: &Server, shelf: &Shelf) -> Result<Request> {
    let smallest = shelf.blobs.last().context("the shelf is empty")?;
    Ok(Request::get(&server.endpoint, &server.blob(REPOSITORY, &smallest.digest)))
}

fn against_idle(bench: &Bench, server: &Server, blobs: &[Blob], request: &Request) -> Result<Measured> {
    let watched = bench.scale.slow_read * READS_WATCHED;
    let idle = p99(server, request, watched)?;
    let hanging = std::thread::scope(|scope| {
        let pulls = scope.spawn(|| hang(bench, server, blobs));
        let hanging = p99(server, request, watched)?;
        match pulls.join() {
            Ok(result) => result.map(|()| hanging),
            Err(_) => bail!("a puller panicked"),
        }
    })?;
    Ok(vec![
        (Measure::P99Micros, hanging.as_secs_f64() * 1e6),
        (Measure::P99AgainstIdle, hanging.as_secs_f64() / idle.as_secs_f64()),
    ])
}

/// Pulls all blobs at once for as long as the p99 is taken; whatever has come by then is dropped.
fn hang(bench: &Bench, server: &Server, blobs: &[Blob]) -> Result<()> {
    let requests: Vec<_> = blobs
        .iter()
        .map(|blob| Request::get(&server.endpoint, &server.blob(REPOSITORY, &blob.digest)))
        .collect();
    let load = Load { endpoint: &server.endpoint, requests: &requests, connections: requests.len() };
    let window = bench.scale.slow_read * READS_WATCHED;
    load.during(Duration::ZERO, window, || server.process.cpu()).map(drop)
}

/// The 99th percentile of an answer's time over one connection, asked without pause.
fn p99(server: &Server, request: &Request, watched: Duration) -> Result<Duration> {
    let mut exchange = Exchange::connect(&server.endpoint)?;
    let mut times = Vec::new();
    let end = Instant::now() + watched;
    while Instant::now() < end {
        let (status, time) = exchange.time(request)?;
        if status != request.status {
            bail!("answered {status}");
        }
        times.push(time);
    }
    Ok(percentile(&mut times, 0.99))
}
