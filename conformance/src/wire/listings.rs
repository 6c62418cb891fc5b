//! Listings: byte order, pages, and the way from one to the next.

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use fastrand::Rng;

use crate::checks::Check;
use crate::client;
use crate::http::Endpoint;
use crate::image::Image;
use crate::image::MANIFEST;
use crate::payload::strings;

const REPOSITORY: &str = "wire/listings";

pub(super) const CHECKS: &[Check] = &[
    ("tags come in byte order, in pages of any size", tags_in_pages),
    ("the catalog comes in byte order, in pages of any size", catalog_in_pages),
    ("pages that are none", not_pages),
    ("an unknown repository has no tags", unknown_repository),
];

/// In the order of their bytes, which no dictionary has.
const TAGS: [&str; 7] = ["1.0", "1.0-a", "1.0.a", "A", "Z", "_x", "a"];

fn tags_in_pages(endpoint: &Endpoint) -> Result<()> {
    let image = Image::random(&mut Rng::with_seed(60), &[100])?;
    client::push_image(endpoint, REPOSITORY, "first", &image)?;
    endpoint.delete(&format!("/v2/{REPOSITORY}/manifests/first"))?.expect(202)?;
    for tag in TAGS.iter().rev() {
        client::put_manifest(endpoint, REPOSITORY, tag, MANIFEST, &image.manifest.bytes)?.expect(201)?;
    }
    let path = format!("/v2/{REPOSITORY}/tags/list");
    let whole = endpoint.get(&path)?.expect(200)?;
    ensure!(whole.header("Link").is_none(), "a Link where nothing follows");
    ensure!(strings(&whole.json()?, "tags") == TAGS, "{}", whole.text());
    for size in 1..=TAGS.len() + 1 {
        ensure!(pages(endpoint, &path, "tags", size)? == TAGS, "in pages of {size}");
    }
    let after = endpoint.get(&format!("{path}?last=A0"))?.expect(200)?.json()?;
    ensure!(strings(&after, "tags") == ["Z", "_x", "a"], "after one that is not there: {after}");
    Ok(())
}

fn catalog_in_pages(endpoint: &Endpoint) -> Result<()> {
    let names = ["wire/a", "wire/a-b", "wire/a.b", "wire/a/b", "wire/a0", "wire/a_b"];
    let image = Image::random(&mut Rng::with_seed(61), &[100])?;
    for name in names {
        client::push_image(endpoint, name, "v1", &image)?;
    }
    let whole = pages(endpoint, "/v2/_catalog", "repositories", 1000)?;
    ensure!(whole.is_sorted(), "{whole:?}");
    ensure!(names.iter().all(|name| whole.iter().any(|listed| listed == name)), "{whole:?}");
    for size in [1, 2, 5] {
        ensure!(pages(endpoint, "/v2/_catalog", "repositories", size)? == whole, "in pages of {size}");
    }
    Ok(())
}

/// Everything, page by page, as clients go from one to the next.
fn pages(endpoint: &Endpoint, path: &str, key: &str, size: usize) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut next = format!("{path}?n={size}");
    loop {
        let page = endpoint.get(&next)?.expect(200)?;
        let list = page.json()?;
        let items = strings(&list, key);
        ensure!(items.len() <= size, "a page of {} where {size} were asked", items.len());
        found.extend(items.into_iter().map(str::to_owned));
        let Some(link) = page.header("Link") else { return Ok(found) };
        let target = link.strip_prefix('<').and_then(|rest| rest.strip_suffix(">; rel=\"next\""));
        next = target.with_context(|| format!("Link: {link}"))?.to_owned();
        ensure!(next.starts_with("/v2/"), "a Link that a proxy would break: {link}");
        ensure!(found.len() < 10_000, "the pages have no end");
    }
}

fn not_pages(endpoint: &Endpoint) -> Result<()> {
    let path = format!("/v2/{REPOSITORY}/tags/list");
    let none = endpoint.get(&format!("{path}?n=0"))?.expect(200)?;
    ensure!(
        strings(&none.json()?, "tags").is_empty() && none.header("Link").is_none(),
        "n=0: {}",
        none.text()
    );
    for number in ["-1", "x", "99999999999999999999"] {
        let answer = endpoint.get(&format!("{path}?n={number}"))?;
        ensure!(matches!(answer.status, 200 | 400), "n={number} was answered {}", answer.status);
    }
    Ok(())
}

fn unknown_repository(endpoint: &Endpoint) -> Result<()> {
    endpoint.get("/v2/no/such/repository/tags/list")?.expect_code(404, "NAME_UNKNOWN")?;
    Ok(())
}
