//! Blobs: headers exact, ranges of every kind.

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use fastrand::Rng;

use crate::checks::Check;
use crate::client;
use crate::http::Endpoint;
use crate::http::Response;
use crate::image::Content;

const REPOSITORY: &str = "wire/blobs";

/// The most ranges that a client of zstd:chunked images asks for in one request.
const RANGES: usize = 1024;

pub(super) const CHECKS: &[Check] = &[
    ("HEAD has the headers of GET and no body", head_as_get),
    ("what a client has is not sent again", conditional),
    ("ranges that are none are ignored", not_ranges),
    ("a range beyond the end is told the length", beyond_the_end),
    ("a range for another version is not used", if_range),
    ("as many ranges as a client asks for", many_ranges),
    ("a blob belongs to its repositories", belongs_to_repository),
    ("no content is ever encoded", no_encoding),
    ("a deleted blob is gone at once", deleted),
];

fn pushed(endpoint: &Endpoint, seed: u64) -> Result<(Content, String)> {
    let blob = Content::random(&mut Rng::with_seed(seed), 200_000);
    client::push_blob(endpoint, REPOSITORY, &blob)?;
    let path = format!("/v2/{REPOSITORY}/blobs/{}", blob.digest);
    Ok((blob, path))
}

fn head_as_get(endpoint: &Endpoint) -> Result<()> {
    let (blob, path) = pushed(endpoint, 20)?;
    for method in ["HEAD", "GET"] {
        let answer = endpoint.request(method, &path).send()?.expect(200)?;
        let answer = answer.expect_header("Content-Length", "200000")?;
        let answer = answer.expect_header("Content-Type", "application/octet-stream")?;
        let answer = answer
            .expect_header("Docker-Content-Digest", &blob.digest)?
            .expect_header("Accept-Ranges", "bytes")?;
        let answer = answer.expect_header("ETag", &format!("\"{}\"", blob.digest))?;
        ensure!(answer.all("Content-Length").count() == 1, "Content-Length twice");
        ensure!(answer.header("Content-Encoding").is_none(), "Content-Encoding on a blob");
    }
    Ok(())
}

fn conditional(endpoint: &Endpoint) -> Result<()> {
    let (blob, path) = pushed(endpoint, 21)?;
    for tag in [
        format!("\"{}\"", blob.digest),
        format!("W/\"{}\"", blob.digest),
        format!("\"x\", \"{}\"", blob.digest),
        "*".into(),
    ] {
        for method in ["GET", "HEAD"] {
            let answer = endpoint.request(method, &path).header("If-None-Match", &tag).send()?.expect(304)?;
            ensure!(answer.header("ETag").is_some(), "a 304 without ETag");
        }
    }
    endpoint.request("GET", &path).header("If-None-Match", "\"x\"").send()?.expect(200)?;
    Ok(())
}

fn not_ranges(endpoint: &Endpoint) -> Result<()> {
    let (_, path) = pushed(endpoint, 22)?;
    for range in ["bytes=", "items=0-5", "bytes", "bytes=a-b", "bytes=-", "0-5"] {
        let answer = endpoint.request("GET", &path).header("Range", range).send()?;
        answer.expect(200).with_context(|| range)?.expect_header("Content-Length", "200000")?;
    }
    Ok(())
}

fn beyond_the_end(endpoint: &Endpoint) -> Result<()> {
    let (_, path) = pushed(endpoint, 23)?;
    for range in [
        "bytes=200000-",
        "bytes=500-0",
        "bytes=-0",
        "bytes=99999999999999999999-",
        "bytes=200000-200001,300000-",
    ] {
        let answer = endpoint
            .request("GET", &path)
            .header("Range", range)
            .send()?
            .expect(416)
            .with_context(|| range)?;
        let answer = answer.expect_header("Content-Range", "bytes */200000")?;
        ensure!(answer.body.len() < 10_000, "a 416 with {} bytes", answer.body.len());
    }
    Ok(())
}

fn if_range(endpoint: &Endpoint) -> Result<()> {
    let (blob, path) = pushed(endpoint, 24)?;
    for (tag, status) in [(format!("\"{}\"", blob.digest), 206), ("\"other\"".into(), 200)] {
        let request = endpoint.request("GET", &path).header("Range", "bytes=0-9").header("If-Range", &tag);
        request.send()?.expect(status)?;
    }
    Ok(())
}

/// One part per range, in the order asked, none merged: a client counts them.
fn many_ranges(endpoint: &Endpoint) -> Result<()> {
    let (blob, path) = pushed(endpoint, 25)?;
    for count in [2, 17, RANGES] {
        let ranges: Vec<_> = (0..count).map(|number| (number * 190, number * 190 + number % 190)).collect();
        let text: Vec<_> = ranges.iter().map(|(first, last)| format!("{first}-{last}")).collect();
        let answer =
            endpoint.request("GET", &path).header("Range", &format!("bytes={}", text.join(","))).send()?;
        let parts = parts(&answer.expect(206)?)?;
        ensure!(parts.len() == count, "{} parts for {count} ranges", parts.len());
        for ((head, body), (first, last)) in parts.iter().zip(&ranges) {
            ensure!(
                head.contains(&format!("bytes {first}-{last}/200000")),
                "part {head:?} for {first}-{last}"
            );
            ensure!(
                Some(body.as_slice()) == blob.bytes.get(*first..=*last),
                "other bytes for {first}-{last}"
            );
        }
    }
    Ok(())
}

/// The parts of a multipart body: heads and bodies.
fn parts(answer: &Response) -> Result<Vec<(String, Vec<u8>)>> {
    let kind = answer.header("Content-Type").unwrap_or_default();
    let boundary = kind
        .strip_prefix("multipart/byteranges; boundary=")
        .with_context(|| format!("Content-Type {kind}"))?;
    ensure!(answer.header("Content-Range").is_none(), "a multipart answer with a Content-Range of its own");
    let delimiter = format!("--{}", boundary.trim_matches('"'));
    let mut parts = Vec::new();
    let mut rest = answer.body.as_slice();
    loop {
        let start = find(rest, delimiter.as_bytes()).context("no boundary")? + delimiter.len();
        rest = rest.get(start..).unwrap_or_default();
        if rest.starts_with(b"--") {
            return Ok(parts);
        }
        let blank = find(rest, b"\r\n\r\n").context("a part without a head")?;
        let head = String::from_utf8_lossy(rest.get(..blank).unwrap_or_default()).into_owned();
        rest = rest.get(blank + 4..).unwrap_or_default();
        let end = find(rest, format!("\r\n{delimiter}").as_bytes()).context("a part without an end")?;
        parts.push((head, rest.get(..end).unwrap_or_default().to_vec()));
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

fn belongs_to_repository(endpoint: &Endpoint) -> Result<()> {
    let (_, path) = pushed(endpoint, 26)?;
    endpoint.get(&path.replace(REPOSITORY, "wire/other"))?.expect_code(404, "BLOB_UNKNOWN")?;
    Ok(())
}

fn no_encoding(endpoint: &Endpoint) -> Result<()> {
    let (blob, path) = pushed(endpoint, 27)?;
    let answer = endpoint
        .request("GET", &path)
        .header("Accept-Encoding", "gzip, zstd, br, deflate")
        .send()?
        .expect(200)?;
    ensure!(answer.header("Content-Encoding").is_none() && answer.body == blob.bytes, "the blob was encoded");
    Ok(())
}

fn deleted(endpoint: &Endpoint) -> Result<()> {
    let (blob, path) = pushed(endpoint, 28)?;
    endpoint.delete(&path)?.expect(202)?;
    endpoint.head(&path)?.expect(404)?;
    endpoint.delete(&path)?.expect_code(404, "BLOB_UNKNOWN")?;
    client::push_blob(endpoint, REPOSITORY, &blob)?;
    client::check_blob(endpoint, REPOSITORY, &blob)
}
