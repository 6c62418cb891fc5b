//! A blob that is in memory, out of an image and out of a directory, in turn.

use std::io::Read as _;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use fastrand::Rng;

use crate::bench::Bench;
use crate::http::Endpoint;
use crate::image::Content;
use crate::server::Registry;
use crate::server::Setup;

/// How long the blob is: as long as one that is hashed before it is sent for the first time.
const LEN: usize = 64 << 20;

/// How often each is read.
const PAIRS: usize = 15;

/// What the ratio may not fall below on a machine that does other things meanwhile. The goal is 0.95 on one
/// that does not.
const LEAST: f64 = 0.7;

/// How much is read at a time.
const PIECE: usize = 1 << 20;

/// The blob.
pub(super) fn blob() -> Content {
    Content::random(&mut Rng::with_seed(9), LEN)
}

/// How fast the blob comes from `of_image`, as a part of how fast it comes from the directory `tree`: the
/// median over pairs, each read right after the other.
pub(super) fn compare(
    bench: &Bench,
    of_image: &Registry,
    tree: &Path,
    (name, digest): (&str, &str),
) -> Result<f64> {
    let of_tree = bench.registry(&Setup::new(tree).read_only())?;
    let path = format!("/v2/{name}/blobs/{digest}");
    let mut ratios = Vec::new();
    for pair in 0..=PAIRS {
        let (tree, image) = match pair % 2 {
            0 => (time(&of_tree.endpoint, &path)?, time(&of_image.endpoint, &path)?),
            _ => {
                let image = time(&of_image.endpoint, &path)?;
                (time(&of_tree.endpoint, &path)?, image)
            }
        };
        // The first brings it into memory.
        if pair > 0 {
            ratios.push(tree.as_secs_f64() / image.as_secs_f64());
        }
    }
    of_tree.stop()?;
    ratios.sort_by(f64::total_cmp);
    let median = ratios.get(ratios.len() / 2).copied().context("there are pairs")?;
    ensure!(median >= LEAST, "a hot blob comes at {median:.2} of its rate from a directory: {ratios:.2?}");
    Ok(median)
}

fn time(endpoint: &Endpoint, path: &str) -> Result<Duration> {
    let began = Instant::now();
    let len = get(endpoint, path, |_| ())?;
    ensure!(len == LEN as u64, "{len} bytes came");
    Ok(began.elapsed())
}

/// Reads a body piece by piece, which may be larger than memory; gives its length.
pub(super) fn get(endpoint: &Endpoint, path: &str, mut each: impl FnMut(&[u8])) -> Result<u64> {
    let mut stream = endpoint.connect()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", endpoint.host())?;
    let mut piece = vec![0; PIECE];
    let mut head = Vec::new();
    let body = loop {
        let read = stream.read(&mut piece)?;
        ensure!(read > 0, "no response came");
        head.extend_from_slice(piece.get(..read).unwrap_or_default());
        if let Some(end) = head.windows(4).position(|it| it == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let mut len = 0;
    let mut take = |bytes: &[u8]| {
        len += bytes.len() as u64;
        each(bytes);
    };
    ensure!(
        head.starts_with(b"HTTP/1.1 200 "),
        "{}",
        String::from_utf8_lossy(head.get(..60).unwrap_or(&head))
    );
    take(head.get(body..).unwrap_or_default());
    loop {
        match stream.read(&mut piece)? {
            0 => return Ok(len),
            read => take(piece.get(..read).unwrap_or_default()),
        }
    }
}
