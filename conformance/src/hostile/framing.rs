//! Requests whose framing is wrong, double, endless or enormous.

use std::io::Read as _;
use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;

use crate::checks::Check;
use crate::client;
use crate::http::Endpoint;
use crate::image::Content;

pub(super) const CHECKS: &[Check] = &[
    ("two lengths", two_lengths),
    ("a length and chunks", length_and_chunks),
    ("transfer codings that are none", not_codings),
    ("chunks that are none", not_chunks),
    ("request lines that are none", not_request_lines),
    ("heads without end", endless_heads),
    ("ranges without end", endless_ranges),
    ("a length beyond all bounds", absurd_length),
    ("a credential without end", endless_credentials),
    ("parameters without end", endless_parameters),
];

/// How long the server may think before what it has not said counts as not said.
const SILENCE: Duration = Duration::from_secs(2);

/// Sends bytes and reads until the server has nothing more to say.
fn exchange(endpoint: &Endpoint, bytes: &[u8]) -> Result<Vec<u8>> {
    let socket = TcpStream::connect(endpoint.address)?;
    socket.set_read_timeout(Some(SILENCE))?;
    socket.set_write_timeout(Some(SILENCE))?;
    // The server may have enough before everything is sent.
    drop((&socket).write_all(bytes));
    let mut answer = Vec::new();
    drop((&socket).read_to_end(&mut answer));
    Ok(answer)
}

/// The statuses of the answers in `bytes`.
fn statuses(bytes: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(bytes);
    let status = |rest: &str| rest.get(1..4).and_then(|digits| digits.parse().ok());
    text.split("HTTP/1.1").skip(1).filter_map(status).collect()
}

/// At most one answer, and an error if what follows could be taken for a second request.
fn refused(endpoint: &Endpoint, request: &str) -> Result<()> {
    let answer = exchange(endpoint, request.as_bytes())?;
    let found = statuses(&answer);
    ensure!(found.len() <= 1, "what was smuggled was answered: {found:?}");
    ensure!(found.first().is_none_or(|status| (400..=501).contains(status)), "answered {found:?}");
    Ok(())
}

const SMUGGLED: &str = "GET /v2/smuggled/tags/list HTTP/1.1\r\nHost: x\r\n\r\n";

fn two_lengths(endpoint: &Endpoint) -> Result<()> {
    for lengths in [
        "Content-Length: 0\r\nContent-Length: 50",
        "Content-Length: 0, 50",
        "Content-Length: +5",
        "Content-Length: 0x5",
    ] {
        refused(endpoint, &format!("POST /v2/ HTTP/1.1\r\nHost: x\r\n{lengths}\r\n\r\n{SMUGGLED}"))
            .context(lengths)?;
    }
    Ok(())
}

/// The standard lets a server take the chunks, if it closes the connection then.
fn length_and_chunks(endpoint: &Endpoint) -> Result<()> {
    for order in
        ["Content-Length: 5\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 5"]
    {
        let request = format!("GET /v2/ HTTP/1.1\r\nHost: x\r\n{order}\r\n\r\n0\r\n\r\n{SMUGGLED}");
        let found = statuses(&exchange(endpoint, request.as_bytes())?);
        ensure!(found.len() <= 1, "{order}: what was smuggled was answered: {found:?}");
    }
    Ok(())
}

fn not_codings(endpoint: &Endpoint) -> Result<()> {
    for coding in ["chunked, identity", "xchunked", "identity", "gzip"] {
        let head =
            format!("POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: {coding}\r\n\r\n");
        refused(endpoint, &format!("{head}0\r\n\r\n{SMUGGLED}")).with_context(|| coding)?;
    }
    Ok(())
}

fn not_chunks(endpoint: &Endpoint) -> Result<()> {
    let digest = Content::new(b"hello".to_vec()).digest;
    for body in [
        "zz\r\nhello\r\n0\r\n\r\n",
        "5\nhello\n0\n\n",
        "ffffffffffffffffff\r\nhello",
        "-5\r\nhello\r\n0\r\n\r\n",
        "5\r\nhelloworld\r\n0\r\n\r\n",
    ] {
        let upload = client::with_digest(&client::start_upload(endpoint, "hostile/app")?, &digest);
        let head = format!("PUT {upload} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
        let found = statuses(&exchange(endpoint, format!("{head}{body}").as_bytes())?);
        ensure!(found.iter().all(|status| (400..=501).contains(status)), "{body:?} was answered {found:?}");
        endpoint
            .get(&format!("/v2/hostile/app/blobs/{digest}"))?
            .expect(404)
            .with_context(|| format!("{body:?}"))?;
    }
    Ok(())
}

fn not_request_lines(endpoint: &Endpoint) -> Result<()> {
    for line in [
        "GET /v2/ HTTP/9.9\r\nHost: x\r\n\r\n",
        "GET /v2/\0/x HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET\r\n\r\n",
        "\r\n\r\n\r\n\r\nXX\r\n\r\n",
        "GET /v2/ HTTP/1.1\r\nHost x\r\n\r\n",
        "GET /v2/ HTTP/1.1\r\nHost: x\r\nA\0B: c\r\n\r\n",
        "GET /v2/ HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2p1\r\n",
    ] {
        let found = statuses(&exchange(endpoint, line.as_bytes())?);
        ensure!(found.iter().all(|status| (400..=505).contains(status)), "{line:?} was answered {found:?}");
    }
    Ok(())
}

fn endless_heads(endpoint: &Endpoint) -> Result<()> {
    let line = format!("X: {}\r\n", "y".repeat(1000));
    for head in [
        format!("GET /v2/ HTTP/1.1\r\nHost: x\r\n{}", line.repeat(8_000)),
        format!("GET /v2/ HTTP/1.1\r\nHost: x\r\n{}", "A: b\r\n".repeat(50_000)),
        format!("GET /v2/ HTTP/1.1\r\nX: {}", "z".repeat(8_000_000)),
        format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "p".repeat(8_000_000)),
    ] {
        let found = statuses(&exchange(endpoint, head.as_bytes())?);
        ensure!(found.iter().all(|status| matches!(status, 400 | 404 | 414 | 431)), "answered {found:?}");
    }
    Ok(())
}

fn endless_ranges(endpoint: &Endpoint) -> Result<()> {
    let blob = Content::random(&mut fastrand::Rng::with_seed(91), 100_000);
    client::push_blob(endpoint, "hostile/app", &blob)?;
    let path = format!("/v2/hostile/app/blobs/{}", blob.digest);
    for range in [
        "bytes=0-18446744073709551616".to_owned(),
        "bytes=18446744073709551615-18446744073709551615".to_owned(),
        format!("bytes=0-{}", "9".repeat(5_000)),
        format!("bytes={}", vec!["0-"; 6_000].join(",")),
        format!("bytes={}", ",".repeat(20_000)),
        format!("bytes={}", vec!["-1"; 1_024].join(",")),
    ] {
        let answer = endpoint.request("GET", &path).header("Range", &range).send()?;
        let shown = range.get(..40.min(range.len())).unwrap_or_default();
        ensure!(
            matches!(answer.status, 200 | 206 | 400 | 416 | 431),
            "{shown} was answered {}",
            answer.status
        );
        // One small request must not become gigabytes.
        ensure!(answer.body.len() < 64 << 20, "{shown} was answered with {} bytes", answer.body.len());
    }
    Ok(())
}

fn absurd_length(endpoint: &Endpoint) -> Result<()> {
    for (method, path) in
        [("PUT", "/v2/hostile/app/manifests/v9"), ("POST", "/v2/_larder/sync/jobs"), ("GET", "/v2/")]
    {
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 18446744073709551615\r\n\r\n");
        let found = statuses(&exchange(endpoint, head.as_bytes())?);
        let fine = |status: &u16| (400..500).contains(status) || (method == "GET" && *status == 200);
        ensure!(found.iter().all(fine), "{method} {path} was answered {found:?}");
    }
    Ok(())
}

fn endless_credentials(endpoint: &Endpoint) -> Result<()> {
    for credential in
        ["Basic", "Basic ====", "Bearer", "Bearer a.b.c", "Digest x", "\u{e4}", "Basic /////w=="]
    {
        let answer = endpoint.with_authorization(credential).get("/v2/")?;
        ensure!(matches!(answer.status, 200 | 400 | 401), "{credential:?} was answered {}", answer.status);
    }
    let long = endpoint.with_authorization(&format!("Basic {}", "QUFB".repeat(12_000)));
    ensure!(matches!(long.get("/v2/")?.status, 200 | 401 | 431), "a long credential");
    Ok(())
}

fn endless_parameters(endpoint: &Endpoint) -> Result<()> {
    let many = vec!["tag=a"; 2_000].join("&");
    for path in [
        format!("/v2/hostile/app/tags/list?{many}"),
        format!("/v2/hostile/app/tags/list?last={}", "%ff".repeat(4_000)),
        "/v2/hostile/app/tags/list?last=%00&n=5".to_owned(),
        "/v2/hostile/app/tags/list?%=%&&&==&n".to_owned(),
        "/v2/_catalog?last=../../etc&n=10".to_owned(),
    ] {
        let answer = endpoint.get(&path)?;
        ensure!(answer.status < 500, "{} was answered {}", path.get(..60).unwrap_or(&path), answer.status);
    }
    Ok(())
}
