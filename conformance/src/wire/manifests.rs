//! Manifests: stored bytes whatever is asked, limits, tags by query, what refers to what.

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use fastrand::Rng;
use serde_json::Value;
use serde_json::json;

use crate::checks::Check;
use crate::client;
use crate::client::put_manifest;
use crate::http::Endpoint;
use crate::image::Content;
use crate::image::INDEX;
use crate::image::Image;
use crate::image::MANIFEST;

const REPOSITORY: &str = "wire/manifests";

/// The longest manifest that clients read.
const LIMIT: usize = 4 << 20;

pub(super) const CHECKS: &[Check] = &[
    ("the stored bytes, whatever the Accept", whatever_the_accept),
    ("what a client has is not sent again", conditional),
    ("4 MiB are accepted, one byte more is not", limit),
    ("what is no manifest is refused", not_manifests),
    ("bytes that are not those of the digest are refused", other_digest),
    ("references that are none", not_references),
    ("tags by query", tags_by_query),
    ("a deleted manifest takes its tags along, a deleted tag leaves it", deleted),
    ("what is missing is MANIFEST_UNKNOWN, whatever else is", unknown),
    ("referrers of what nobody knows", referrers_of_nothing),
    ("referrers that a fallback tag names", referrers_of_fallback_tag),
];

fn pushed(endpoint: &Endpoint, seed: u64, tag: &str) -> Result<Image> {
    let image = Image::random(&mut Rng::with_seed(seed), &[500])?;
    client::push_image(endpoint, REPOSITORY, tag, &image)?;
    Ok(image)
}

fn path(reference: &str) -> String {
    format!("/v2/{REPOSITORY}/manifests/{reference}")
}

fn whatever_the_accept(endpoint: &Endpoint) -> Result<()> {
    let image = pushed(endpoint, 40, "accept")?;
    for accept in [
        None,
        Some("*/*"),
        Some("text/plain"),
        Some(INDEX),
        Some("application/json;q=0.1, image/png"),
        Some(",;,"),
    ] {
        for (method, reference) in
            [("GET", "accept"), ("HEAD", "accept"), ("GET", image.manifest.digest.as_str())]
        {
            let request = endpoint.request(method, &path(reference));
            let request = accept.iter().fold(request, |request, accept| request.header("Accept", accept));
            let answer = request.send()?.expect(200)?.expect_header("Content-Type", MANIFEST)?;
            let answer = answer.expect_header("Docker-Content-Digest", &image.manifest.digest)?;
            let answer = answer.expect_header("Content-Length", &image.manifest.bytes.len().to_string())?;
            ensure!(method == "HEAD" || answer.body == image.manifest.bytes, "{accept:?}: other bytes");
        }
    }
    Ok(())
}

fn conditional(endpoint: &Endpoint) -> Result<()> {
    let image = pushed(endpoint, 41, "conditional")?;
    let tag = format!("\"{}\"", image.manifest.digest);
    endpoint.get(&path("conditional"))?.expect(200)?.expect_header("ETag", &tag)?;
    endpoint.request("GET", &path("conditional")).header("If-None-Match", &tag).send()?.expect(304)?;
    endpoint.request("HEAD", &path("conditional")).header("If-None-Match", &tag).send()?.expect(304)?;
    Ok(())
}

fn limit(endpoint: &Endpoint) -> Result<()> {
    let image = pushed(endpoint, 42, "limit")?;
    let mut manifest: Value = serde_json::from_slice(&image.manifest.bytes)?;
    let mut padded = |length: usize| -> Result<Vec<u8>> {
        let pad = |filler: usize, manifest: &mut Value| -> Result<Vec<u8>> {
            let object = manifest.as_object_mut().context("an object")?;
            object.insert("annotations".into(), json!({ "filler": "x".repeat(filler) }));
            Ok(serde_json::to_vec(manifest)?)
        };
        let frame = pad(0, &mut manifest)?.len();
        pad(length - frame, &mut manifest)
    };
    let (most, more) = (padded(LIMIT)?, padded(LIMIT + 1)?);
    put_manifest(endpoint, REPOSITORY, "limit", MANIFEST, &most)?.expect(201)?;
    ensure!(endpoint.get(&path("limit"))?.expect(200)?.body == most, "other bytes");
    put_manifest(endpoint, REPOSITORY, "limit", MANIFEST, &more)?.expect(413)?;
    let chunked = endpoint.request("PUT", &path("limit")).header("Content-Type", MANIFEST).chunked(&more);
    chunked.send()?.expect(413)?;
    Ok(())
}

fn not_manifests(endpoint: &Endpoint) -> Result<()> {
    let deep = |open: &str, close: &str| [open.repeat(100_000), close.repeat(100_000)].concat();
    let image = pushed(endpoint, 43, "whole")?;
    let of_other_type = String::from_utf8(image.manifest.bytes)?;
    for (media_type, text) in [
        (MANIFEST, String::new()),
        (MANIFEST, "not JSON".into()),
        (MANIFEST, "[]".into()),
        (MANIFEST, "null".into()),
        (MANIFEST, "{}".into()),
        (MANIFEST, deep("[", "]")),
        (
            MANIFEST,
            format!("{{\"schemaVersion\":2,\"config\":{}}}", deep("{\"a\":", "}").replace(":}", ":1}")),
        ),
        (MANIFEST, r#"{"schemaVersion":2,"config":5,"layers":{}}"#.into()),
        (
            MANIFEST,
            r#"{"schemaVersion":2,"config":{"mediaType":"a/b","digest":"sha256:..","size":2},"layers":[]}"#
                .into(),
        ),
        (INDEX, of_other_type),
    ] {
        let answer = put_manifest(endpoint, REPOSITORY, "broken", media_type, text.as_bytes())?;
        answer
            .expect_code(400, "MANIFEST_INVALID")
            .with_context(|| text.chars().take(60).collect::<String>())?;
    }
    client::manifest(endpoint, "GET", &path("broken"))?.expect(404)?;
    Ok(())
}

fn other_digest(endpoint: &Endpoint) -> Result<()> {
    let image = pushed(endpoint, 44, "right")?;
    let other = Content::new(b"other".to_vec()).digest;
    let answer = put_manifest(endpoint, REPOSITORY, &other, MANIFEST, &image.manifest.bytes)?;
    answer.expect_code(400, "DIGEST_INVALID")?;
    endpoint.get(&path(&other))?.expect(404)?;
    Ok(())
}

fn not_references(endpoint: &Endpoint) -> Result<()> {
    let image = pushed(endpoint, 45, "right")?;
    for reference in [".dot", "-dash", &"x".repeat(129), "a%20b", "a%00b"] {
        for method in ["GET", "HEAD"] {
            endpoint
                .request(method, &path(reference))
                .send()?
                .expect(404)
                .with_context(|| reference.to_owned())?;
        }
        let put = put_manifest(endpoint, REPOSITORY, reference, MANIFEST, &image.manifest.bytes)?;
        put.expect_any(&[400, 404]).with_context(|| reference.to_owned())?;
    }
    put_manifest(endpoint, REPOSITORY, &"x".repeat(128), MANIFEST, &image.manifest.bytes)?.expect(201)?;
    put_manifest(endpoint, REPOSITORY, "sha256:short", MANIFEST, &image.manifest.bytes)?.expect(400)?;
    endpoint.get(&path("sha256:short"))?.expect_any(&[400, 404])?;
    Ok(())
}

fn tags_by_query(endpoint: &Endpoint) -> Result<()> {
    let image = pushed(endpoint, 46, "first")?;
    let tags: Vec<_> = (0..12).map(|number| format!("by-query-{number}")).collect();
    let query = tags.iter().map(|tag| format!("tag={tag}")).collect::<Vec<_>>().join("&");
    let reference = format!("{}?{query}", image.manifest.digest);
    let answer =
        put_manifest(endpoint, REPOSITORY, &reference, MANIFEST, &image.manifest.bytes)?.expect(201)?;
    let accepted: Vec<_> = answer.all("OCI-Tag").flat_map(|line| line.split(',')).map(str::trim).collect();
    for tag in &tags {
        ensure!(accepted.contains(&tag.as_str()), "OCI-Tag does not name {tag}: {accepted:?}");
        ensure!(endpoint.get(&path(tag))?.expect(200)?.body == image.manifest.bytes, "{tag}: other bytes");
    }
    Ok(())
}

fn deleted(endpoint: &Endpoint) -> Result<()> {
    let image = pushed(endpoint, 47, "one")?;
    put_manifest(endpoint, REPOSITORY, "two", MANIFEST, &image.manifest.bytes)?.expect(201)?;
    let digest = &image.manifest.digest;
    endpoint.delete(&path("one"))?.expect(202)?;
    endpoint.get(&path("one"))?.expect(404)?;
    endpoint.get(&path(digest))?.expect(200)?;
    endpoint.delete(&path(digest))?.expect(202)?;
    for reference in ["two", digest] {
        endpoint.head(&path(reference))?.expect(404)?;
        endpoint.delete(&path(reference))?.expect_code(404, "MANIFEST_UNKNOWN")?;
    }
    let tags = endpoint.get(&format!("/v2/{REPOSITORY}/tags/list"))?.expect(200)?.json()?;
    ensure!(
        !crate::payload::strings(&tags, "tags").contains(&"two"),
        "a tag of a deleted manifest is listed: {tags}"
    );
    Ok(())
}

fn unknown(endpoint: &Endpoint) -> Result<()> {
    let nothing = Content::new(b"nothing".to_vec()).digest;
    for repository in [REPOSITORY, "no/such/repository"] {
        for reference in ["none", nothing.as_str(), "sha256-0000.sig"] {
            let path = format!("/v2/{repository}/manifests/{reference}");
            endpoint.get(&path)?.expect_code(404, "MANIFEST_UNKNOWN")?;
            let head = endpoint.head(&path)?.expect(404)?;
            ensure!(head.body.is_empty(), "HEAD has a body");
        }
    }
    Ok(())
}

fn referrers_of_nothing(endpoint: &Endpoint) -> Result<()> {
    let nothing = Content::new(b"nothing".to_vec()).digest;
    for repository in [REPOSITORY, "no/such/repository"] {
        let path = format!("/v2/{repository}/referrers/{nothing}");
        let answer = endpoint.get(&path)?.expect(200)?.expect_header("Content-Type", INDEX)?;
        ensure!(answer.json()?.get("manifests") == Some(&json!([])), "{}", answer.text());
        ensure!(answer.header("OCI-Filters-Applied").is_none(), "a filter that nobody asked for");
        let filtered = endpoint.get(&format!("{path}?artifactType=a%2Fb&artifactType=c%2Fd"))?.expect(200)?;
        filtered.expect_header("OCI-Filters-Applied", "artifactType")?;
    }
    endpoint.get(&format!("/v2/{REPOSITORY}/referrers/sha256:short"))?.expect(400)?;
    Ok(())
}

/// What clients left behind on a registry without the referrers API: an index under a tag.
fn referrers_of_fallback_tag(endpoint: &Endpoint) -> Result<()> {
    let (subject, referrer) = (pushed(endpoint, 48, "subject")?, pushed(endpoint, 49, "referrer")?);
    let mut entry = referrer.manifest.descriptor(MANIFEST);
    entry
        .as_object_mut()
        .context("an object")?
        .insert("artifactType".into(), "application/vnd.example".into());
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [entry] }).to_string();
    let tag = subject.manifest.digest.replace(':', "-");
    put_manifest(endpoint, REPOSITORY, &tag, INDEX, index.as_bytes())?.expect(201)?;
    let answer =
        endpoint.get(&format!("/v2/{REPOSITORY}/referrers/{}", subject.manifest.digest))?.expect(200)?;
    ensure!(answer.text().contains(&referrer.manifest.digest), "not among the referrers: {}", answer.text());
    Ok(())
}
