//! Uploads: sessions that survive what clients and networks do to them.

use std::io::Read as _;
use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use fastrand::Rng;

use crate::checks::Check;
use crate::client;
use crate::client::start_upload;
use crate::client::with_digest;
use crate::http::Endpoint;
use crate::http::Response;
use crate::image::Content;

const REPOSITORY: &str = "wire/uploads";

pub(super) const CHECKS: &[Check] = &[
    ("an upload begins with what docker parses", begins_as_docker_parses),
    ("a chunk may name its range in either form", either_content_range),
    ("a chunk at the wrong place is refused and the session kept", wrong_place_keeps_session),
    ("a chunk of the wrong length is not kept", wrong_length_is_not_kept),
    ("the closing PUT may carry the last chunk", closing_put_carries_last_chunk),
    ("parameters that others add are tolerated", foreign_parameters),
    ("a wrong digest makes nothing visible", wrong_digest),
    ("a digest that is none is refused", malformed_digests),
    ("the algorithm may be announced", announced_algorithm),
    ("a cancelled upload is gone", cancelled),
    ("an upload belongs to its repository", belongs_to_repository),
    ("an upload that never was is unknown", never_was),
    ("two chunks at once do not mix", two_chunks_at_once),
    ("a mount that cannot be is an upload", impossible_mounts),
    ("the slash at the end may be missing", without_slash),
    ("an interrupted chunk can be gone on with", interrupted_chunk),
    ("an early error reaches a client that is still sending", early_error),
    ("a client that waits for 100 gets it", expect_continue),
    ("a body that ends early leaves no blob", body_ends_early),
];

fn blob(seed: u64) -> Content {
    Content::random(&mut Rng::with_seed(seed), 10_000)
}

fn patch(endpoint: &Endpoint, upload: &str, range: &str, bytes: &[u8]) -> Result<Response> {
    endpoint.request("PATCH", upload).header("Content-Range", range).body(bytes).send()
}

fn begins_as_docker_parses(endpoint: &Endpoint) -> Result<()> {
    let begun = endpoint.request("POST", &format!("/v2/{REPOSITORY}/blobs/uploads/")).send()?.expect(202)?;
    let begun = begun.expect_header("Range", "0-0")?.expect_header("Content-Length", "0")?;
    let id = begun.header("Docker-Upload-UUID").context("no Docker-Upload-UUID")?.to_owned();
    let upload = begun.location()?;
    let path = upload.split('?').next().unwrap_or_default();
    ensure!(path == format!("/v2/{REPOSITORY}/blobs/uploads/{id}"), "location {upload}");
    endpoint
        .get(&upload)?
        .expect(204)?
        .expect_header("Range", "0-0")?
        .expect_header("Docker-Upload-UUID", &id)?;
    Ok(())
}

fn either_content_range(endpoint: &Endpoint) -> Result<()> {
    let blob = blob(1);
    let upload = start_upload(endpoint, REPOSITORY)?;
    let (first, second) = blob.bytes.split_at(4_000);
    let upload = patch(endpoint, &upload, "0-3999", first)?
        .expect(202)?
        .expect_header("Range", "0-3999")?
        .location()?;
    let upload = patch(endpoint, &upload, "bytes 4000-9999/*", second)?.expect(202)?.location()?;
    client::finish_upload(endpoint, &upload, &blob.digest)?;
    client::check_blob(endpoint, REPOSITORY, &blob)
}

fn wrong_place_keeps_session(endpoint: &Endpoint) -> Result<()> {
    let blob = blob(2);
    let stale = start_upload(endpoint, REPOSITORY)?;
    let (first, second) = blob.bytes.split_at(4_000);
    patch(endpoint, &stale, "0-3999", first)?.expect(202)?;
    for (range, bytes) in [("0-3999", first), ("5000-10999", second), ("4001-10000", second)] {
        let refused = patch(endpoint, &stale, range, bytes)?.expect(416)?.expect_header("Range", "0-3999")?;
        ensure!(refused.header("Location").is_some(), "a 416 without Location: nobody can go on");
    }
    patch(endpoint, &stale, "4000-9999", second)?.expect(202)?;
    client::finish_upload(endpoint, &stale, &blob.digest)?;
    client::check_blob(endpoint, REPOSITORY, &blob)
}

fn wrong_length_is_not_kept(endpoint: &Endpoint) -> Result<()> {
    let blob = blob(3);
    let upload = start_upload(endpoint, REPOSITORY)?;
    for range in ["0-99", "0-20000", "9-5", "-5", "x-y", "0-18446744073709551616"] {
        patch(endpoint, &upload, range, &blob.bytes)?.expect_any(&[400, 416]).with_context(|| range)?;
        endpoint.get(&upload)?.expect(204)?.expect_header("Range", "0-0").with_context(|| range)?;
    }
    patch(endpoint, &upload, "0-9999", &blob.bytes)?.expect(202)?;
    client::finish_upload(endpoint, &upload, &blob.digest)?;
    client::check_blob(endpoint, REPOSITORY, &blob)
}

fn closing_put_carries_last_chunk(endpoint: &Endpoint) -> Result<()> {
    let blob = blob(4);
    let upload = start_upload(endpoint, REPOSITORY)?;
    let (first, second) = blob.bytes.split_at(6_000);
    let upload = endpoint.request("PATCH", &upload).chunked(first).send()?.expect(202)?.location()?;
    endpoint.request("PUT", &with_digest(&upload, &blob.digest)).chunked(second).send()?.expect(201)?;
    client::check_blob(endpoint, REPOSITORY, &blob)
}

fn foreign_parameters(endpoint: &Endpoint) -> Result<()> {
    let blob = blob(5);
    let begun =
        endpoint.request("POST", &format!("/v2/{REPOSITORY}/blobs/uploads/?ns=quay.io&x=%00")).send()?;
    let upload = begun.expect(202)?.location()?;
    let upload = format!("{upload}{}ns=quay.io&y=abc", if upload.contains('?') { '&' } else { '?' });
    endpoint.request("PATCH", &upload).body(&blob.bytes).send()?.expect(202)?;
    endpoint.get(&with_digest(&upload, &blob.digest))?.expect(204)?;
    endpoint.request("PUT", &with_digest(&upload, &blob.digest)).send()?.expect(201)?;
    let encoded = blob.digest.replace(':', "%3A");
    endpoint.get(&format!("/v2/{REPOSITORY}/blobs/{encoded}?ns=quay.io"))?.expect(200)?;
    Ok(())
}

fn wrong_digest(endpoint: &Endpoint) -> Result<()> {
    let (right, wrong) = (blob(6), blob(7));
    let upload = start_upload(endpoint, REPOSITORY)?;
    let put = endpoint.request("PUT", &with_digest(&upload, &wrong.digest)).body(&right.bytes).send()?;
    put.expect_code(400, "DIGEST_INVALID")?;
    for digest in [&right.digest, &wrong.digest] {
        let path = format!("/v2/{REPOSITORY}/blobs/{digest}");
        endpoint.get(&path)?.expect_code(404, "BLOB_UNKNOWN")?;
        let head = endpoint.head(&path)?.expect(404)?;
        ensure!(head.header("Content-Length").is_some(), "a 404 to HEAD without the length that GET has");
    }
    Ok(())
}

fn malformed_digests(endpoint: &Endpoint) -> Result<()> {
    let upload = start_upload(endpoint, REPOSITORY)?;
    let short = format!("sha256:{}", "a".repeat(63));
    let upper = format!("sha256:{}", "A".repeat(64));
    for digest in
        ["", "sha256", "sha256:", "md5:d41d8cd98f00b204e9800998ecf8427e", &short, &upper, "sha256:../../x"]
    {
        let put = endpoint.request("PUT", &with_digest(&upload, digest)).body(b"x").send()?;
        put.expect_code(400, "DIGEST_INVALID").with_context(|| digest.to_owned())?;
        let post =
            endpoint.request("POST", &with_digest(&format!("/v2/{REPOSITORY}/blobs/uploads/"), digest));
        post.body(b"x").send()?.expect_code(400, "DIGEST_INVALID").with_context(|| digest.to_owned())?;
    }
    Ok(())
}

fn announced_algorithm(endpoint: &Endpoint) -> Result<()> {
    let path = format!("/v2/{REPOSITORY}/blobs/uploads/?digest-algorithm=");
    endpoint.request("POST", &format!("{path}md5")).send()?.expect(400)?;
    let upload = endpoint.request("POST", &format!("{path}sha512")).send()?.expect(202)?.location()?;
    let digest = format!("sha512:{}", crate::image::hex(&<sha2::Sha512 as sha2::Digest>::digest(b"hello")));
    let put = endpoint.request("PUT", &with_digest(&upload, &digest)).body(b"hello").send()?.expect(201)?;
    put.expect_header("Docker-Content-Digest", &digest)?;
    endpoint.get(&format!("/v2/{REPOSITORY}/blobs/{digest}"))?.expect(200)?;
    Ok(())
}

fn cancelled(endpoint: &Endpoint) -> Result<()> {
    let upload = start_upload(endpoint, REPOSITORY)?;
    endpoint.request("PATCH", &upload).body(b"x").send()?.expect(202)?;
    endpoint.delete(&upload)?.expect(204)?;
    endpoint.get(&upload)?.expect_code(404, "BLOB_UPLOAD_UNKNOWN")?;
    let done = start_upload(endpoint, REPOSITORY)?;
    let blob = blob(8);
    endpoint.request("PUT", &with_digest(&done, &blob.digest)).body(&blob.bytes).send()?.expect(201)?;
    // oc does so after every push.
    endpoint.delete(&done)?.expect(404)?;
    client::check_blob(endpoint, REPOSITORY, &blob)
}

fn belongs_to_repository(endpoint: &Endpoint) -> Result<()> {
    let upload = start_upload(endpoint, REPOSITORY)?;
    let elsewhere = upload.replace(REPOSITORY, "wire/other");
    endpoint.get(&elsewhere)?.expect_code(404, "BLOB_UPLOAD_UNKNOWN")?;
    endpoint.request("PATCH", &elsewhere).body(b"x").send()?.expect_code(404, "BLOB_UPLOAD_UNKNOWN")?;
    Ok(())
}

fn never_was(endpoint: &Endpoint) -> Result<()> {
    for id in ["00000000-0000-4000-8000-000000000000", "none", "..%2f..%2fetc", "%2e%2e"] {
        let path = format!("/v2/{REPOSITORY}/blobs/uploads/{id}");
        for method in ["GET", "PATCH", "PUT", "DELETE"] {
            endpoint.request(method, &with_digest(&path, &blob(1).digest)).send()?.expect(404)?;
        }
    }
    Ok(())
}

fn two_chunks_at_once(endpoint: &Endpoint) -> Result<()> {
    let blob = blob(9);
    let upload = start_upload(endpoint, REPOSITORY)?;
    let (first, second) = blob.bytes.split_at(5_000);
    let mut slow = endpoint.connect()?;
    write!(slow, "PATCH {upload} HTTP/1.1\r\nHost: x\r\nContent-Length: 10000\r\n\r\n")?;
    slow.write_all(first)?;
    std::thread::sleep(Duration::from_millis(200));
    let other = endpoint.request("PATCH", &upload).body(b"other").send()?;
    ensure!(
        (400..500).contains(&other.status),
        "the second of two chunks at once was answered {}",
        other.status
    );
    slow.write_all(second)?;
    Response::read(slow, "PATCH", &upload)?.expect(202)?;
    client::finish_upload(endpoint, &upload, &blob.digest)?;
    client::check_blob(endpoint, REPOSITORY, &blob)
}

fn impossible_mounts(endpoint: &Endpoint) -> Result<()> {
    let unknown = Content::new(b"nobody has this".to_vec()).digest;
    for from in ["&from=wire/other", "&from=no/such/repository", "&from=NOT%20A%20NAME", "&from=", ""] {
        let path = format!("/v2/{REPOSITORY}/blobs/uploads/?mount={unknown}{from}");
        let upload = endpoint.request("POST", &path).send()?.expect(202)?.location()?;
        endpoint.get(&upload)?.expect(204)?;
    }
    Ok(())
}

fn without_slash(endpoint: &Endpoint) -> Result<()> {
    endpoint.request("POST", &format!("/v2/{REPOSITORY}/blobs/uploads")).send()?.expect(202)?;
    Ok(())
}

fn interrupted_chunk(endpoint: &Endpoint) -> Result<()> {
    let blob = Content::random(&mut Rng::with_seed(10), 3_000_000);
    let upload = start_upload(endpoint, REPOSITORY)?;
    let mut broken = endpoint.connect()?;
    write!(broken, "PATCH {upload} HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n")?;
    broken.write_all(blob.bytes.get(..2_000_000).unwrap_or_default())?;
    drop(broken);
    let kept = client::retried(|| {
        let range = endpoint.get(&upload)?.expect(204)?.header("Range").unwrap_or_default().to_owned();
        let last: usize = range.strip_prefix("0-").context("no range")?.parse()?;
        ensure!(last > 0, "nothing of an interrupted chunk was kept");
        Ok(last + 1)
    })?;
    let rest = blob.bytes.get(kept..).context("more was kept than sent")?;
    patch(endpoint, &upload, &format!("{kept}-2999999"), rest)?.expect(202)?;
    client::finish_upload(endpoint, &upload, &blob.digest)?;
    client::check_blob(endpoint, REPOSITORY, &blob)
}

/// Go's client reports a broken pipe, and no text, when the connection is closed on what it still sends.
fn early_error(endpoint: &Endpoint) -> Result<()> {
    let body = vec![0; 30 << 20];
    for _ in 0..5 {
        let path = format!("/v2/{REPOSITORY}/blobs/uploads/00000000-0000-4000-8000-000000000000");
        let mut stream = endpoint.connect()?;
        write!(stream, "PATCH {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len())?;
        let sent = body.chunks(64 * 1024).take(40).try_for_each(|piece| stream.write_all(piece));
        ensure!(sent.is_ok(), "the connection broke before the answer: {sent:?}");
        Response::read(stream, "PATCH", &path)?.expect_code(404, "BLOB_UPLOAD_UNKNOWN")?;
    }
    Ok(())
}

fn expect_continue(endpoint: &Endpoint) -> Result<()> {
    let upload = start_upload(endpoint, REPOSITORY)?;
    let mut stream = endpoint.connect()?;
    write!(
        stream,
        "PATCH {upload} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    )?;
    let mut interim = [0; 12];
    stream.read_exact(&mut interim)?;
    ensure!(interim.ends_with(b" 100"), "{:?}", String::from_utf8_lossy(&interim));
    let mut end = Vec::new();
    while !end.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        end.extend(byte);
    }
    stream.write_all(b"hello")?;
    Response::read(stream, "PATCH", &upload)?.expect(202)?;
    Ok(())
}

fn body_ends_early(endpoint: &Endpoint) -> Result<()> {
    let blob = blob(12);
    let upload = with_digest(&start_upload(endpoint, REPOSITORY)?, &blob.digest);
    let mut stream = endpoint.connect()?;
    write!(stream, "PUT {upload} HTTP/1.1\r\nHost: x\r\nContent-Length: 20000\r\n\r\n")?;
    stream.write_all(&blob.bytes)?;
    drop(stream);
    std::thread::sleep(Duration::from_millis(300));
    endpoint.get(&format!("/v2/{REPOSITORY}/blobs/{}", blob.digest))?.expect(404)?;
    Ok(())
}
