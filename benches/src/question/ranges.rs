//! What do ranges of one blob cost?
//!
//! Container runtimes fetch a large layer in parallel pieces, and lazy pullers
//! in very many small ones. Asked: 64 connections that each take 4 MiB pieces
//! of the largest blob, and one request for a thousand small ranges.

use std::fmt::Write as _;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;

use crate::bench::Bench;
use crate::bench::Measured;
use crate::client::Request;
use crate::client::exchange::Exchange;
use crate::client::load::Load;
use crate::contender::Access;
use crate::contender::Server;
use crate::data::Blob;
use crate::question::Question;
use crate::question::pull::costs;
use crate::shelf::REPOSITORY;

pub(super) const QUESTION: Question = Question {
    name: "ranges",
    asks: "What do ranges of one blob cost: 4 MiB pieces over 64 connections, and 1,024 ranges of 64 KiB in one request over 8?",
    run,
};

const PIECE: u64 = 4 << 20;
const PIECE_CONNECTIONS: usize = 64;
const MANY_CONNECTIONS: usize = 8;
const SMALL: u64 = 64 << 10;

fn run(bench: &mut Bench) -> Result<()> {
    let shelf = bench.shelf()?;
    let blob = shelf.largest()?;
    let (mut servers, notes) =
        bench.start_all(|bench, kind| Some(bench.site(vec![shelf.stored.root(kind)?], Access::ReadOnly)));
    bench.notes.extend(notes);
    let pieces = pieces(blob.size);
    bench.rounds("pieces of 4 MiB", &mut servers, |bench, server| {
        ask(bench, server, blob, &pieces, PIECE_CONNECTIONS)
    });
    let many = [many(blob.size, bench.scale.ranges)];
    let case = format!("{} ranges in one request", bench.scale.ranges);
    bench.rounds(&case, &mut servers, |bench, server| {
        check_parts(server, blob, &many)?;
        ask(bench, server, blob, &many, MANY_CONNECTIONS)
    });
    Ok(())
}

fn ask(
    bench: &Bench,
    server: &Server,
    blob: &Blob,
    ranges: &[String],
    connections: usize,
) -> Result<Measured> {
    let target = server.blob(REPOSITORY, &blob.digest);
    let requests: Vec<_> =
        ranges.iter().map(|range| Request::ranges(&server.endpoint, &target, range)).collect();
    let load = Load { endpoint: &server.endpoint, requests: &requests, connections };
    costs(load.during(bench.scale.warm_up, bench.scale.window, || server.process.cpu())?)
}

/// A server may decline many ranges; then it is not compared with those that do the work.
fn check_parts(server: &Server, blob: &Blob, ranges: &[String]) -> Result<()> {
    let ranges = ranges.first().context("no ranges")?;
    let request = Request::ranges(&server.endpoint, &server.blob(REPOSITORY, &blob.digest), ranges);
    let (head, _) = Exchange::connect(&server.endpoint)?.digest(&request)?;
    let kind = head.content_type.unwrap_or_default();
    if head.status != 206 || !kind.starts_with("multipart/byteranges") {
        bail!("answered {} with `{kind}`", head.status);
    }
    Ok(())
}

/// Every piece of a blob, as ranges.
fn pieces(size: u64) -> Vec<String> {
    let piece = PIECE.min(size);
    (0..size / piece).map(|number| format!("{}-{}", number * piece, (number + 1) * piece - 1)).collect()
}

/// So many ranges, evenly spread, with gaps between them.
fn many(size: u64, count: u64) -> String {
    let stride = size / count;
    let length = SMALL.min(stride / 2);
    let mut ranges = String::new();
    for number in 0..count {
        let start = number * stride;
        let comma = if number == 0 { "" } else { "," };
        // Writing to a string does not fail.
        let _ = write!(ranges, "{comma}{start}-{}", start + length - 1);
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_stay_inside() {
        assert_eq!(pieces(8 << 20), ["0-4194303", "4194304-8388607"]);
        assert_eq!(pieces(10), ["0-9"]);
        assert_eq!(many(1000, 2), "0-249,500-749");
    }
}
