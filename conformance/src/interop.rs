//! One tree, two programs: what Larder writes distribution serves, what distribution writes Larder serves.
//!
//! Knows how to hand a tree from one to the other. An upload that one began the
//! other ends.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use fastrand::Rng;

use crate::bench::Bench;
use crate::client;
use crate::fixtures;
use crate::fixtures::Payload;
use crate::http::Endpoint;
use crate::image::Content;
use crate::image::INDEX;
use crate::image::Image;
use crate::payload;
use crate::server::Kind;
use crate::server::Setup;
use crate::server::free_address;
use crate::tree;

/// Lengths of layers: nothing much, more than a read buffer, more than a hash state's interval.
const LAYERS: [usize; 3] = [100, 70_000, 3_000_000];

/// The fixture's unfinished upload.
const UPLOAD: (&str, &str) = ("library/app", "2d89834d-ea72-4feb-998b-1b555b28116f");

/// With distribution 2.8.
pub(crate) fn with_distribution2(bench: &Bench) -> Result<String> {
    both_ways(bench, Kind::Distribution2)
}

/// With distribution 3.
pub(crate) fn with_distribution3(bench: &Bench) -> Result<String> {
    both_ways(bench, Kind::Distribution3)
}

fn both_ways(bench: &Bench, other: Kind) -> Result<String> {
    let ours = bench.against();
    hand_over(bench, ours, other).context("what Larder wrote")?;
    survive_collection(bench, ours, other).context("garbage collection")?;
    hand_over(bench, other, ours).context("what distribution wrote")?;
    resume(bench, other, ours).context("an upload begun in distribution")?;
    // distribution 2.8 knows an upload only by the state that it signed itself.
    if other == Kind::Distribution3 {
        resume(bench, ours, other).context("an upload begun in Larder")?;
    }
    resume_fixture(bench).context("the fixture's unfinished upload")?;
    Ok("served both ways, collected, uploads begun in one and ended in the other".into())
}

/// What `from` wrote, `to` serves byte for byte, and can be written on.
fn hand_over(bench: &Bench, from: Kind, to: Kind) -> Result<()> {
    let root = bench.directory().join(format!("from-{from:?}"));
    let mut random = Rng::with_seed(7);
    let (image, other) = (Image::random(&mut random, &LAYERS)?, Image::random(&mut random, &[5_000])?);
    let writer = bench.start(from, &Setup::new(&root))?;
    write_all(&writer.endpoint, &image)?;
    writer.stop()?;
    tree::audit(&root)?;
    for setup in [Setup::new(&root).read_only(), Setup::new(&root)] {
        let reader = bench.start(to, &setup)?;
        read_all(&reader.endpoint, &image)?;
        reader.stop()?;
    }
    let reader = bench.start(to, &Setup::new(&root))?;
    client::push_image(&reader.endpoint, "team/app", "v1", &other)
        .context("pushing onto the other's tree")?;
    reader.stop()?;
    let first = bench.start(from, &Setup::new(&root))?;
    client::check_image(&first.endpoint, "team/app", "v1", &other)?;
    client::check_image(&first.endpoint, "team/app", "v2", &image)?;
    first.stop()?;
    tree::audit(&root)?;
    Ok(())
}

/// Everything that a push can leave in a tree: tags moved, an index, deletions, an abandoned upload.
fn write_all(endpoint: &Endpoint, image: &Image) -> Result<()> {
    let (replaced, deleted) = passing()?;
    client::push_image(endpoint, "team/app", "v1", &replaced)?;
    client::push_image(endpoint, "team/app", "v1", image)?;
    client::push_image(endpoint, "team/app", "v2", image)?;
    client::push_image(endpoint, "a/deep/repository/with/many/parts", "v1", image)?;
    client::put_manifest(endpoint, "team/app", "multi", INDEX, &index(image).bytes)?.expect(201)?;
    client::push_image(endpoint, "team/app", "gone", &deleted)?;
    endpoint.delete(&format!("/v2/team/app/manifests/{}", deleted.manifest.digest))?.expect(202)?;
    client::start_upload(endpoint, "team/app")?;
    Ok(())
}

/// An image whose tag is moved away, and one that is deleted.
fn passing() -> Result<(Image, Image)> {
    let mut random = Rng::with_seed(8);
    Ok((Image::random(&mut random, &[2_000])?, Image::random(&mut random, &[1_000])?))
}

fn read_all(endpoint: &Endpoint, image: &Image) -> Result<()> {
    for repository in ["team/app", "a/deep/repository/with/many/parts"] {
        client::check_image(endpoint, repository, "v1", image)?;
    }
    client::check_image(endpoint, "team/app", "v2", image)?;
    let request = endpoint.request("GET", "/v2/team/app/manifests/multi").header("Accept", INDEX);
    ensure!(request.send()?.expect(200)?.body == index(image).bytes, "another index");
    let tags = endpoint.get("/v2/team/app/tags/list")?.expect(200)?.json()?;
    // distribution lists in the order in which goroutines finish.
    let listed: BTreeSet<_> = payload::strings(&tags, "tags").into_iter().collect();
    ensure!(listed == BTreeSet::from(["multi", "v1", "v2"]), "tags: {tags}");
    Ok(())
}

fn index(image: &Image) -> Content {
    let child = image.manifest.descriptor(crate::image::MANIFEST);
    let index = serde_json::json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [child] });
    Content::new(index.to_string().into_bytes())
}

/// distribution's own garbage collection finds nothing of Larder's to remove but what nothing reaches.
fn survive_collection(bench: &Bench, from: Kind, collector: Kind) -> Result<()> {
    let root = bench.directory().join(format!("from-{from:?}"));
    let mut command = Command::new(bench.program(collector)?);
    let configuration = Setup::new(&root).write_configuration(free_address()?, bench.directory())?;
    command
        .args(["garbage-collect", "--delete-untagged"])
        .arg(configuration)
        .env("OTEL_TRACES_EXPORTER", "none");
    let said = bench.run("garbage-collect", &command)?.success()?;
    ensure!(said.contains("blobs marked"), "it collected nothing: {said}");
    let reader = bench.start(from, &Setup::new(&root))?;
    read_all_after_collection(&reader.endpoint)?;
    reader.stop()?;
    tree::audit(&root)?;
    Ok(())
}

/// What is tagged is whole, what was collected is gone, and can be pushed again: distribution 2.8 removes
/// blobs and leaves the links to them.
fn read_all_after_collection(endpoint: &Endpoint) -> Result<()> {
    let image = Image::random(&mut Rng::with_seed(7), &LAYERS)?;
    client::check_image(endpoint, "team/app", "v2", &image)?;
    let (replaced, deleted) = passing()?;
    for blob in replaced.blobs().chain(deleted.blobs()) {
        endpoint.head(&format!("/v2/team/app/blobs/{}", blob.digest))?.expect(404)?;
    }
    for (tag, image) in [("replaced", &replaced), ("deleted", &deleted)] {
        client::push_image(endpoint, "team/app", tag, image)?;
        client::check_image(endpoint, "team/app", tag, image)?;
    }
    Ok(())
}

/// An upload that `from` was stopped in is ended by `to`.
fn resume(bench: &Bench, from: Kind, to: Kind) -> Result<()> {
    let root = bench.directory().join(format!("resumed-from-{from:?}"));
    let blob = Content::random(&mut Rng::with_seed(9), 400_001);
    let (first, rest) = blob.bytes.split_at(123_457);
    let writer = bench.start(from, &Setup::new(&root))?;
    let upload = client::start_upload(&writer.endpoint, "team/app")?;
    let upload = writer.endpoint.request("PATCH", &upload).body(first).send()?.expect(202)?.location()?;
    writer.stop()?;
    let reader = bench.start(to, &Setup::new(&root))?;
    let upload = path(&upload, to, &reader.endpoint)?;
    let upload = reader.endpoint.request("PATCH", &upload).body(rest).send()?.expect(202)?.location()?;
    client::finish_upload(&reader.endpoint, &upload, &blob.digest)?;
    client::check_blob(&reader.endpoint, "team/app", &blob)?;
    reader.stop()?;
    tree::audit(&root)?;
    Ok(())
}

/// Larder needs no state in the location. distribution signs its own into it, and gives it anew when asked.
fn path(upload: &str, kind: Kind, endpoint: &Endpoint) -> Result<String> {
    let bare = upload.split('?').next().unwrap_or(upload);
    match kind {
        Kind::Larder => Ok(bare.to_owned()),
        Kind::Distribution2 | Kind::Distribution3 if upload.contains("_state=") => Ok(upload.to_owned()),
        Kind::Distribution2 | Kind::Distribution3 => endpoint.get(bare)?.expect(204)?.location(),
    }
}

/// The upload that distribution 2.8.2 left in the fixture, ended in one request and in two.
fn resume_fixture(bench: &Bench) -> Result<()> {
    let (repository, id) = UPLOAD;
    let rest = Content::random(&mut Rng::with_seed(10), 70_000).bytes;
    for pieces in [vec![], vec![rest.as_slice()], rest.chunks(30_000).collect()] {
        let root = bench.directory().join(format!("fixture-{}", pieces.len()));
        fixtures::unpack_payload(&root)?;
        let data = root.join(format!("docker/registry/v2/repositories/{repository}/_uploads/{id}/data"));
        let mut whole = std::fs::read(&data)?;
        let registry = bench.registry(&Setup::new(&root))?;
        let location = format!("/v2/{repository}/blobs/uploads/{id}");
        let mut upload = path(&location, bench.against(), &registry.endpoint)?;
        for piece in &pieces {
            upload =
                registry.endpoint.request("PATCH", &upload).body(piece).send()?.expect(202)?.location()?;
            whole.extend_from_slice(piece);
        }
        let blob = Content::new(whole);
        client::finish_upload(&registry.endpoint, &upload, &blob.digest)?;
        client::check_blob(&registry.endpoint, repository, &blob)?;
        registry.stop()?;
        check_rest(&root)?;
    }
    Ok(())
}

/// The rest of the payload is what it was, and the upload is gone.
fn check_rest(root: &Path) -> Result<()> {
    let audit = tree::audit(root)?;
    let payload = Payload::read()?;
    ensure!(audit.uploads == 0, "the upload is still there");
    ensure!(
        audit.tags == payload.repositories.values().map(|repository| repository.tags.len()).sum::<usize>(),
        "tags were lost"
    );
    for digest in payload.blobs.keys() {
        payload::blob(root, digest)?;
    }
    Ok(())
}
