//! What does a pulled byte cost?
//!
//! Blobs of three sizes, all in the page cache, over one, eight and sixty-four
//! connections, plain and TLS. Counted in a window of steady state: bytes that
//! the client took and CPU time that the server used meanwhile.

use anyhow::Result;
use anyhow::bail;

use crate::bench::Bench;
use crate::bench::Measured;
use crate::client::Request;
use crate::client::Transport;
use crate::client::exchange::Exchange;
use crate::client::load::Counted;
use crate::client::load::Load;
use crate::contender::Access;
use crate::contender::Server;
use crate::contender::Site;
use crate::data::Blob;
use crate::question::Question;
use crate::report::Measure;
use crate::scale::gib;
use crate::scale::mib;
use crate::scale::size;
use crate::shelf::REPOSITORY;
use crate::shelf::Shelf;

pub(super) const QUESTION: Question = Question {
    name: "pull",
    asks: "What does a pulled byte cost: CPU seconds per GiB and throughput, by blob size, connections and transport?",
    run,
};

fn run(bench: &mut Bench) -> Result<()> {
    let shelf = bench.shelf()?;
    for transport in [Transport::Plain, Transport::Tls] {
        let (mut servers, notes) = bench.start_all(|bench, kind| {
            let root = shelf.stored.root(kind)?;
            Some(Site { transport, ..bench.site(vec![root], Access::ReadOnly) })
        });
        bench.notes.extend(notes);
        bench.keep(&mut servers, |server| verify(server, &shelf));
        for blob in &shelf.blobs {
            for connections in bench.scale.connections {
                let case = case(blob.size, transport, connections);
                bench.rounds(&case, &mut servers, |bench, server| pull(bench, server, blob, connections));
            }
        }
    }
    Ok(())
}

/// The name of a case.
pub(crate) fn case(bytes: u64, transport: Transport, connections: usize) -> String {
    let transport = match transport {
        Transport::Plain => "plain",
        Transport::Tls => "TLS",
    };
    let plural = if connections == 1 { "" } else { "s" };
    format!("{}, {transport}, {connections} connection{plural}", size(bytes))
}

fn pull(bench: &Bench, server: &Server, blob: &Blob, connections: usize) -> Result<Measured> {
    let requests = [Request::get(&server.endpoint, &server.blob(REPOSITORY, &blob.digest))];
    let load = Load { endpoint: &server.endpoint, requests: &requests, connections };
    costs(load.during(bench.scale.warm_up, bench.scale.window, || server.process.cpu())?)
}

/// What bytes cost.
pub(super) fn costs(counted: Counted) -> Result<Measured> {
    if counted.bytes == 0 {
        bail!("not a byte came in {} ms", counted.elapsed.as_millis());
    }
    Ok(vec![
        (Measure::CpuSecondsPerGib, counted.server_cpu.as_secs_f64() / gib(counted.bytes)),
        (Measure::MibPerSecond, mib(counted.bytes) / counted.elapsed.as_secs_f64()),
        (Measure::ClientCpuSecondsPerGib, counted.client_cpu.as_secs_f64() / gib(counted.bytes)),
    ])
}

/// A server that sends other bytes is not worth measuring.
fn verify(server: &Server, shelf: &Shelf) -> Result<()> {
    let mut exchange = Exchange::connect(&server.endpoint)?;
    for blob in &shelf.blobs {
        let request = Request::get(&server.endpoint, &server.blob(REPOSITORY, &blob.digest));
        let (head, digest) = exchange.digest(&request)?;
        if head.status != 200 || digest != blob.digest {
            bail!("{} answered {} with {digest} for {}", server.kind, head.status, blob.digest);
        }
    }
    Ok(())
}
