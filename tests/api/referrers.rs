//! Referrers: derived from the tree, whoever changed it.

use larder::store::Access;
use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;

use crate::registry::Answer;
use crate::registry::Larder;
use crate::registry::Manifest;
use crate::registry::OCI_INDEX;
use crate::registry::sha256;
use crate::registry::sha512;

/// An artifact that refers to `subject`.
fn artifact(subject: &Value, kind: &str, number: u32) -> Manifest {
    let annotations = json!({"number": number.to_string()});
    let config = sha256(b"{}");
    let mut manifest = json!({"subject": subject, "annotations": annotations, "artifactType": format!("application/{kind}")});
    if kind == "config" {
        manifest.as_object_mut().unwrap().remove("artifactType");
    }
    Manifest::image(&config, &[], manifest)
}

fn listed(answer: &Answer) -> Vec<String> {
    let json = answer.json();
    assert_eq!((json["schemaVersion"].as_u64(), json["mediaType"].as_str()), (Some(2), Some(OCI_INDEX)));
    json["manifests"].as_array().unwrap().iter().map(|it| it["digest"].as_str().unwrap().to_owned()).collect()
}

async fn of(larder: &Larder, subject: &str, query: &str) -> Answer {
    larder.get(&format!("/v2/a/referrers/{subject}{query}")).await.is(200).has("content-type", OCI_INDEX)
}

#[tokio::test]
async fn what_refers_is_listed_with_what_it_says_of_itself() {
    let larder = Larder::empty();
    let image = Manifest::image(&larder.push_blob("a", b"{}").await, &[], json!({}));
    let subject = image.digest();
    assert!(listed(&of(&larder, &subject, "").await.has_no("oci-filters-applied")).is_empty());
    let mut expected = Vec::new();
    for (number, kind) in ["x", "y+z", "x", "config"].into_iter().enumerate() {
        let artifact = artifact(&image.descriptor(), kind, number.try_into().unwrap());
        let tag = format!("v{number}");
        let digest = artifact.digest();
        let reference = if number == 0 { &digest } else { &tag };
        larder.push_manifest("a", reference, &artifact).await.is(201).has("oci-subject", &subject);
        let kind = if kind == "config" { "x-config".to_owned() } else { kind.to_owned() };
        expected.push((digest, kind, number.to_string(), artifact.content.len()));
    }
    let index = Manifest::index(&[], json!({"subject": image.descriptor(), "annotations": {"number": "4"}}));
    larder.push_manifest("a", "index", &index).await.is(201).has("oci-subject", &subject);
    larder.push_manifest("a", "image", &image).await.is(201).has_no("oci-subject");

    let answer = of(&larder, &subject, "").await;
    assert_eq!(listed(&answer).len(), 5);
    for entry in answer.json()["manifests"].as_array().unwrap() {
        if entry["digest"] == index.digest() {
            assert!(entry.get("artifactType").is_none() && entry["mediaType"] == OCI_INDEX, "{entry}");
            continue;
        }
        let (_, kind, number, size) = expected.iter().find(|it| it.0 == entry["digest"]).unwrap();
        assert_eq!(entry["artifactType"], format!("application/{kind}"));
        assert_eq!(entry["annotations"], json!({"number": number}));
        assert_eq!(entry["size"], *size);
    }
    for (query, count) in [
        ("?artifactType=application/x", 2),
        ("?artifactType=application%2Fy%2Bz", 1),
        ("?artifactType=application/y+z", 1),
        ("?artifactType=application/x&artifactType=application/x-config", 3),
        ("?artifactType=application/none", 0),
    ] {
        let answer = of(&larder, &subject, query).await.has("oci-filters-applied", "artifactType");
        assert_eq!(listed(&answer).len(), count, "{query}");
    }
    larder.get("/v2/a/referrers/sha256:0").await.fails(400, "DIGEST_INVALID");
}

#[tokio::test]
async fn lists_come_in_pages() {
    let larder = Larder::empty();
    let image = Manifest::image(&larder.push_blob("a", b"{}").await, &[], json!({}));
    for number in 0..7 {
        larder
            .push_manifest("a", &format!("v{number}"), &artifact(&image.descriptor(), "x", number))
            .await
            .is(201);
    }
    let all = listed(&of(&larder, &image.digest(), "").await.has_no("link"));
    let (mut query, mut pages) = ("?n=3&artifactType=application/x".to_owned(), Vec::new());
    loop {
        let answer = of(&larder, &image.digest(), &query).await;
        let page = listed(&answer);
        assert!(page.len() <= 3);
        pages.extend(page);
        let Some(link) = answer.headers.get("link") else { break };
        let link = link.to_str().unwrap().strip_suffix(">; rel=\"next\"").unwrap();
        query = link.strip_prefix(&format!("</v2/a/referrers/{}", image.digest())).unwrap().to_owned();
    }
    assert_eq!(pages, all);
    assert_eq!(all.len(), 7);
}

/// Each response is one that clients read to the end, and together they hold everything.
#[tokio::test]
async fn what_is_large_is_cut_into_pages() {
    let larder = Larder::empty();
    let image = Manifest::image(&larder.push_blob("a", b"{}").await, &[], json!({}));
    for number in 0..3 {
        let annotations = json!({"number": number.to_string(), "filler": "x".repeat(3_000_000)});
        let more = json!({"subject": image.descriptor(), "annotations": annotations});
        let artifact = Manifest::image(&sha256(b"{}"), &[], more);
        larder.push_manifest("a", &artifact.digest(), &artifact).await.is(201);
    }
    let (mut path, mut count) = (format!("/v2/a/referrers/{}", image.digest()), 0);
    loop {
        let answer = larder.get(&path).await.is(200);
        assert!(answer.bytes().len() <= 4 * 1024 * 1024);
        count += listed(&answer).len();
        let Some(link) = answer.headers.get("link") else { break };
        path = link.to_str().unwrap()[1..].split_once('>').unwrap().0.to_owned();
    }
    assert_eq!(count, 3);
}

#[tokio::test]
async fn a_change_by_another_process_shows_at_once() {
    let root = TempDir::new().unwrap();
    let writer = Larder::at(root.path(), Access::ReadWrite);
    let image = Manifest::image(&writer.push_blob("a", b"{}").await, &[], json!({}));
    writer.push_manifest("a", "image", &image).await.is(201);
    let reader = Larder::at(root.path(), Access::ReadOnly);
    let subject = image.digest();
    let mut expected = Vec::new();
    for number in 0..5 {
        let artifact = artifact(&image.descriptor(), "x", number);
        assert_eq!(listed(&of(&reader, &subject, "").await), expected);
        writer.push_manifest("a", &artifact.digest(), &artifact).await.is(201);
        expected.push(artifact.digest());
        expected.sort();
        for larder in [&reader, &writer] {
            assert_eq!(listed(&of(larder, &subject, "").await), expected);
        }
    }
    let gone = expected.remove(2);
    writer.delete(&format!("/v2/a/manifests/{gone}")).await.is(202);
    for larder in [&reader, &writer] {
        assert_eq!(listed(&of(larder, &subject, "").await), expected);
    }
}

/// What clients listed under a tag before there was a referrers API counts, also where the manifest does not
/// say so.
#[tokio::test]
async fn fallback_tags_count() {
    let larder = Larder::empty();
    let config = larder.push_blob("a", b"{}").await;
    let plain =
        |number: u32| Manifest::image(&config, &[], json!({"annotations": {"number": number.to_string()}}));
    let image = Manifest::image(&config, &[], json!({}));
    let other = artifact(&plain(9).descriptor(), "x", 1);
    for manifest in [&image, &plain(1), &plain(2), &other] {
        larder.push_manifest("a", &manifest.digest(), manifest).await.is(201);
    }
    let absent = plain(3);
    for subject in [image.digest(), sha512(&image.content)] {
        let (algorithm, value) = subject.split_once(':').unwrap();
        let tag = format!("{algorithm}-{}", &value[..64]);
        let index = Manifest::index(&[&plain(1), &absent, &other], json!({}));
        larder.push_manifest("a", &tag, &index).await.is(201);
        assert_eq!(listed(&of(&larder, &subject, "").await), [plain(1).digest()]);
        // The tag moves, and nothing was added or removed.
        larder.push_manifest("a", &tag, &Manifest::index(&[&plain(2)], json!({}))).await.is(201);
        assert_eq!(listed(&of(&larder, &subject, "").await), [plain(2).digest()]);
        // An image under such a tag is a mirror's or a signature's.
        larder.push_manifest("a", &tag, &image).await.is(201);
        assert!(listed(&of(&larder, &subject, "").await).is_empty());
    }
    // A mirror's tag names the index that it points at; its images are no referrers of it.
    let index = Manifest::index(&[&image], json!({"annotations": {"mirrored": "yes"}}));
    larder.push_manifest("a", &index.digest().replace(':', "-"), &index).await.is(201);
    assert!(listed(&of(&larder, &index.digest(), "").await).is_empty());
}
