//! How much memory does a server take from the node?
//!
//! Idle after its first answer; while sixty-four connections pull the largest
//! blob to its end, plain and TLS; while sixty-four push a blob each. Two
//! figures: `VmHWM`, the peak of all that was resident, pages of files and of
//! the program among it; and the peak of `RssAnon`, which is what the server
//! allocated and nobody else can use. Each server is started anew for each.

use std::fs::File;
use std::thread;

use anyhow::Result;
use anyhow::anyhow;
use sha2::Digest as _;
use storage_layout::Digest;

use crate::bench::Bench;
use crate::bench::Measured;
use crate::client::Endpoint;
use crate::client::Request;
use crate::client::Transport;
use crate::client::exchange::Exchange;
use crate::client::exchange::Payload;
use crate::client::load::Load;
use crate::client::push;
use crate::contender::Access;
use crate::contender::Contender;
use crate::contender::Server;
use crate::contender::Site;
use crate::data;
use crate::data::Blob;
use crate::question::Question;
use crate::question::pull;
use crate::report::Measure;
use crate::scale::mib;
use crate::scale::size;
use crate::shelf::REPOSITORY;
use crate::shelf::Shelf;

pub(super) const QUESTION: Question = Question {
    name: "memory",
    asks: "How much memory at most: idle, during 64 pulls of 1 GiB, during 64 pushes of 256 MiB?",
    run,
};

fn run(bench: &mut Bench) -> Result<()> {
    let shelf = bench.shelf()?;
    let mut contenders = bench.fleet.contenders.clone();
    bench.rounds("idle", &mut contenders, |bench, contender| {
        let server = contender.start(&reading(bench, contender, &shelf, Transport::Plain)?)?;
        figures(&server, |_| Ok(()))
    });
    let connections = bench.scale.memory_connections;
    for transport in [Transport::Plain, Transport::Tls] {
        let case = format!("pulls of {}", pull::case(shelf.largest()?.size, transport, connections));
        bench.once(&case, &mut contenders, |bench, contender| {
            let server = contender.start(&reading(bench, contender, &shelf, transport)?)?;
            figures(&server, |server| pull_all(server, &shelf, connections))
        });
    }
    let mut registries = contenders;
    registries.retain(|contender| contender.kind.is_registry());
    let pushed = Pushed::new(bench)?;
    let case = format!("pushes of {}, {connections} connections", size(bench.scale.memory_push));
    bench.once(&case, &mut registries, |bench, contender| {
        let root = bench.directory()?;
        let server = contender.start(&bench.site(vec![root.path().join("store")], Access::ReadWrite))?;
        figures(&server, |server| pushed.push_all(&server.endpoint, connections))
    });
    Ok(())
}

fn reading<'b>(
    bench: &'b Bench,
    contender: &Contender,
    shelf: &Shelf,
    transport: Transport,
) -> Result<Site<'b>> {
    let root = shelf.stored.root(contender.kind).ok_or_else(|| anyhow!("it has no store"))?;
    Ok(Site { transport, ..bench.site(vec![root], Access::ReadOnly) })
}

/// The memory of a server while something is done with it.
fn figures(server: &Server, act: impl FnOnce(&Server) -> Result<()>) -> Result<Measured> {
    let watch = server.process.watch_memory();
    let acted = act(server);
    let peak = watch.finish()?;
    acted?;
    Ok(vec![
        (Measure::PeakResidentMib, mib(peak.peak_resident)),
        (Measure::PeakAnonymousMib, mib(peak.anonymous)),
    ])
}

fn pull_all(server: &Server, shelf: &Shelf, connections: usize) -> Result<()> {
    let target = server.blob(REPOSITORY, &shelf.largest()?.digest);
    let requests = [Request::get(&server.endpoint, &target)];
    let load = Load { endpoint: &server.endpoint, requests: &requests, connections };
    load.to_the_end(1, || server.process.cpu()).map(drop)
}

/// Blobs that differ only at their end, so that they need not be made one by one.
struct Pushed {
    _directory: tempfile::TempDir,
    common: Blob,
    hash: sha2::Sha256,
}

impl Pushed {
    fn new(bench: &Bench) -> Result<Self> {
        let directory = bench.directory()?;
        let common = data::blob(directory.path(), 11, bench.scale.memory_push - size_of::<u64>() as u64)?;
        let hash = data::hash_of(&common.path)?;
        Ok(Self { _directory: directory, common, hash })
    }

    fn push_all(&self, endpoint: &Endpoint, connections: usize) -> Result<()> {
        thread::scope(|scope| {
            let pushers: Vec<_> = (0..connections as u64)
                .map(|number| scope.spawn(move || self.push(endpoint, number)))
                .collect();
            pushers
                .into_iter()
                .try_for_each(|pusher| pusher.join().map_err(|_| anyhow!("a pusher panicked"))?)
        })
    }

    fn push(&self, endpoint: &Endpoint, number: u64) -> Result<()> {
        let tail = number.to_le_bytes();
        let digest = self.digest(&tail)?;
        let file = File::open(&self.common.path)?;
        let content = Payload::File { file: &file, length: self.common.size, tail: &tail };
        push::blob(&mut Exchange::connect(endpoint)?, &format!("bench/image-{number}"), &digest, content)
    }

    fn digest(&self, tail: &[u8]) -> Result<Digest> {
        let mut hash = self.hash.clone();
        hash.update(tail);
        data::digest_of(hash)
    }
}
