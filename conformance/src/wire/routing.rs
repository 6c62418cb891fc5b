//! Routes, methods and connections.

use std::io::Read as _;
use std::io::Write as _;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use fastrand::Rng;

use crate::checks::Check;
use crate::client;
use crate::http::Endpoint;
use crate::http::Response;
use crate::image::Image;

pub(super) const CHECKS: &[Check] = &[
    ("the roots", roots),
    ("every answer names the API", every_answer_names_the_api),
    ("repositories with the API's own words", own_words),
    ("names at the limit", names_at_the_limit),
    ("names that are none", not_names),
    ("methods that are none", not_methods),
    ("paths that are none", not_paths),
    ("extensions are listed", extensions),
    ("health is told", health),
    ("one connection, many requests", keep_alive),
    ("HTTP/1.0", http_1_0),
    ("a TLS greeting on the plain port is not left waiting", tls_greeting),
    ("long headers", long_headers),
];

fn roots(endpoint: &Endpoint) -> Result<()> {
    let base = endpoint.get("/v2/")?.expect(200)?;
    ensure!(base.header("Content-Type").is_some_and(|kind| kind.starts_with("application/json")), "not JSON");
    ensure!(base.json()?.is_object(), "{}", base.text());
    endpoint.head("/v2/")?.expect(200)?;
    let bare = endpoint.get("/v2")?;
    ensure!(
        bare.status == 200 || bare.location().is_ok_and(|to| to == "/v2/"),
        "/v2 was answered {}",
        bare.status
    );
    endpoint.get("/")?.expect(200)?;
    Ok(())
}

fn every_answer_names_the_api(endpoint: &Endpoint) -> Result<()> {
    for path in ["/v2/", "/v2/a/tags/list", "/v2/a/manifests/b", "/v2/_catalog", "/v2/a/blobs/x", "/v2/bogus"]
    {
        let answer = endpoint.get(path)?;
        answer.expect_header("Docker-Distribution-Api-Version", "registry/2.0")?;
    }
    Ok(())
}

fn own_words(endpoint: &Endpoint) -> Result<()> {
    let image = Image::random(&mut Rng::with_seed(80), &[100])?;
    for name in
        ["blobs", "a/blobs/uploads", "manifests/tags/list", "a/blobs/uploads/manifests", "referrers", "v2/v2"]
    {
        client::push_image(endpoint, name, "list", &image).with_context(|| name)?;
        client::check_image(endpoint, name, "list", &image).with_context(|| name)?;
        endpoint.get(&format!("/v2/{name}/tags/list"))?.expect(200)?;
    }
    Ok(())
}

fn names_at_the_limit(endpoint: &Endpoint) -> Result<()> {
    let image = Image::random(&mut Rng::with_seed(81), &[100])?;
    let longest = "x".repeat(255);
    let deepest = ["a"; 60].join("/");
    for name in [longest.as_str(), &deepest, "a--b", "a__b.c-d", "0/1"] {
        client::push_image(endpoint, name, "v1", &image).with_context(|| name.to_owned())?;
        client::check_image(endpoint, name, "v1", &image)?;
    }
    Ok(())
}

fn not_names(endpoint: &Endpoint) -> Result<()> {
    let long = "x".repeat(300);
    for name in
        ["UPPER", "a/B", "-a", "a-", "a//b", "a/_layers", "a/.b", "a..b", "a___b", "%61%2fb", long.as_str()]
    {
        endpoint
            .get(&format!("/v2/{name}/tags/list"))?
            .expect_any(&[400, 404])
            .with_context(|| name.to_owned())?;
        let post = endpoint.request("POST", &format!("/v2/{name}/blobs/uploads/")).send()?;
        post.expect_any(&[400, 404]).with_context(|| name.to_owned())?;
    }
    endpoint.request("POST", "/v2/UPPER/blobs/uploads/").send()?.expect_code(400, "NAME_INVALID")?;
    Ok(())
}

fn not_methods(endpoint: &Endpoint) -> Result<()> {
    for (method, path) in [
        ("POST", "/v2/a/manifests/b"),
        ("PATCH", "/v2/a/tags/list"),
        ("PUT", "/v2/_catalog"),
        ("BREW", "/v2/"),
    ] {
        let answer = endpoint.request(method, path).send()?;
        let answer = answer.expect_any(&[405, 501]).with_context(|| format!("{method} {path}"))?;
        ensure!(
            answer.status == 501 || answer.header("Allow").is_some(),
            "{method} {path}: 405 without Allow"
        );
    }
    Ok(())
}

fn not_paths(endpoint: &Endpoint) -> Result<()> {
    for path in
        ["/bogus", "/v1/search?q=x", "/v2/a", "/v2/a/bogus/b", "/v2/a/blobs/", "/v2/a/manifests/", "/v3/"]
    {
        endpoint.get(path)?.expect(404).with_context(|| path)?;
    }
    Ok(())
}

fn extensions(endpoint: &Endpoint) -> Result<()> {
    let answer = endpoint.get("/v2/_oci/ext/discover")?.expect(200)?.json()?;
    ensure!(answer.get("extensions").is_some_and(serde_json::Value::is_array), "{answer}");
    Ok(())
}

fn health(endpoint: &Endpoint) -> Result<()> {
    for path in ["/healthz", "/readyz", "/readyz?write"] {
        endpoint.get(path)?.expect(200).with_context(|| path)?;
    }
    Ok(())
}

fn keep_alive(endpoint: &Endpoint) -> Result<()> {
    let mut stream = endpoint.connect()?;
    let requests = "GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\nHEAD /v2/no/manifests/x HTTP/1.1\r\nHost: x\r\n\r\n";
    for pause in [0, 10, 1_000] {
        std::thread::sleep(Duration::from_millis(pause));
        write!(stream, "{requests}GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")?;
        let mut seen = Vec::new();
        let mut piece = [0; 4096];
        while String::from_utf8_lossy(&seen).matches("HTTP/1.1 ").count() < 3 {
            let length = stream.read(&mut piece)?;
            ensure!(length > 0, "the connection was closed");
            seen.extend_from_slice(piece.get(..length).unwrap_or_default());
        }
    }
    Ok(())
}

fn http_1_0(endpoint: &Endpoint) -> Result<()> {
    let mut stream = endpoint.connect()?;
    write!(stream, "GET /v2/ HTTP/1.0\r\n\r\n")?;
    Response::read(stream, "GET", "/v2/ over HTTP/1.0")?.expect(200)?;
    Ok(())
}

/// podman tries TLS first, wherever it is; what it needs is an end.
fn tls_greeting(endpoint: &Endpoint) -> Result<()> {
    let began = Instant::now();
    let mut stream = endpoint.connect()?;
    stream.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")?;
    stream.write_all(&[0x5a; 506])?;
    let mut answer = Vec::new();
    // A reset is an end too.
    drop(stream.read_to_end(&mut answer));
    ensure!(began.elapsed() < Duration::from_secs(5), "it was left waiting for {:?}", began.elapsed());
    ensure!(answer.starts_with(b"HTTP/1."), "no answer that tells the client what it spoke to");
    Ok(())
}

fn long_headers(endpoint: &Endpoint) -> Result<()> {
    endpoint.request("GET", "/v2/").header("X-Long", &"x".repeat(60 * 1024)).send()?.expect(200)?;
    endpoint.get(&format!("/v2/?x={}", "y".repeat(12 * 1024)))?.expect(200)?;
    Ok(())
}
