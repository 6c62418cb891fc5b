//! How many small requests does a core answer?
//!
//! A manifest of 3 KiB by digest and by tag, its HEAD, and a blob of the same
//! size, over sixteen connections, with and without credentials. nginx answers
//! each with a file of the same bytes and never asks for credentials.

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;

use crate::bench::Bench;
use crate::bench::Measured;
use crate::client::Request;
use crate::client::load::Load;
use crate::contender::Access;
use crate::contender::Auth;
use crate::contender::Server;
use crate::contender::Site;
use crate::question::Question;
use crate::report::Measure;
use crate::shelf::REPOSITORY;
use crate::shelf::Shelf;
use crate::shelf::TAG;

pub(super) const QUESTION: Question = Question {
    name: "small",
    asks: "How many requests a second for 3 KiB, over 16 connections: a manifest by digest, by tag, HEAD, a blob; open and with htpasswd?",
    run,
};

const CONNECTIONS: usize = 16;

/// How many turns each server has in a round, each a part of what it would have in one: what a shared machine gives
/// changes by a tenth within seconds.
const TURNS: usize = 4;

fn run(bench: &mut Bench) -> Result<()> {
    let shelf = bench.shelf()?;
    for auth in [Auth::Open, Auth::Htpasswd] {
        let (mut servers, notes) = bench.start_all(|bench, kind| {
            let root = shelf.stored.root(kind)?;
            Some(Site { auth, ..bench.site(vec![root], Access::ReadOnly) })
        });
        bench.notes.extend(notes);
        for (what, request) in REQUESTS {
            let case = format!("{what}, {}", if auth == Auth::Open { "open" } else { "htpasswd" });
            bench.short_turns(TURNS, &case, &mut servers, |bench, server| {
                ask(bench, server, request(server, &shelf)?)
            });
        }
    }
    Ok(())
}

type Make = fn(&Server, &Shelf) -> Result<Request>;

const REQUESTS: [(&str, Make); 4] = [
    ("manifest by digest", |server, shelf| {
        let digest = &shelf.image.digest;
        Ok(Request::get(&server.endpoint, &server.manifest(REPOSITORY, &digest.to_string(), digest)))
    }),
    ("manifest by tag", |server, shelf| {
        Ok(Request::get(&server.endpoint, &server.manifest(REPOSITORY, TAG, &shelf.image.digest)))
    }),
    ("HEAD of a manifest by tag", |server, shelf| {
        Ok(Request::head(&server.endpoint, &server.manifest(REPOSITORY, TAG, &shelf.image.digest)))
    }),
    ("blob", |server, shelf| {
        let (digest, _) = shelf.image.blobs.first().context("an image has a layer")?;
        Ok(Request::get(&server.endpoint, &server.blob(REPOSITORY, digest)))
    }),
];

fn ask(bench: &Bench, server: &Server, request: Request) -> Result<Measured> {
    let requests = [request];
    let load = Load { endpoint: &server.endpoint, requests: &requests, connections: CONNECTIONS };
    let [warm_up, window] = [bench.scale.warm_up, bench.scale.window].map(|time| time / TURNS as u32);
    let counted = load.during(warm_up, window, || server.process.cpu())?;
    if counted.responses == 0 {
        bail!("not one answer in {} ms", counted.elapsed.as_millis());
    }
    Ok(vec![
        (Measure::RequestsPerSecond, counted.responses as f64 / counted.elapsed.as_secs_f64()),
        (Measure::CpuMicrosPerRequest, counted.server_cpu.as_secs_f64() * 1e6 / counted.responses as f64),
    ])
}
