//! Uploads: in one request, in chunks, out of order, of the wrong length, and given up.

use crate::registry::Larder;
use crate::registry::sha256;
use crate::registry::sha512;
use crate::registry::with_digest;

/// Begins an upload; gives where it is.
async fn start(larder: &Larder) -> String {
    let answer = larder.ask("POST", "/v2/a/blobs/uploads/").send().await.is(202);
    let answer = answer.has("range", "0-0").has("content-length", "0");
    let location = answer.header("location");
    assert_eq!(location, format!("/v2/a/blobs/uploads/{}", answer.header("docker-upload-uuid")));
    assert!(answer.header("oci-chunk-min-length").parse::<u64>().is_ok());
    location
}

async fn is_stored(larder: &Larder, digest: &str, content: &[u8]) {
    let path = format!("/v2/a/blobs/{digest}");
    larder.head(&path).await.is(200).has("content-length", &content.len().to_string());
    let answer = larder.get(&path).await.is(200).has("docker-content-digest", digest);
    assert_eq!(answer.bytes(), content);
}

#[tokio::test]
async fn every_form_in_every_algorithm() {
    let larder = Larder::empty();
    for (number, digest_of) in [sha256, sha512].into_iter().enumerate() {
        for (form, size) in
            [0, 1, 1024, 300_000].into_iter().flat_map(|it| (0..5).map(move |form| (form, it)))
        {
            let content = vec![u8::try_from(form * 2 + number).unwrap(); size];
            let digest = digest_of(&content);
            upload(&larder, form, &content, &digest).await;
            is_stored(&larder, &digest, &content).await;
        }
    }
}

async fn upload(larder: &Larder, form: usize, content: &[u8], digest: &str) {
    let (one, two) = content.split_at(content.len() / 2);
    let stored = match form {
        0 => {
            let path = with_digest("/v2/a/blobs/uploads/", digest);
            larder.ask("POST", &path).body(content).send().await
        }
        1 => larder.ask("PUT", &with_digest(&start(larder).await, digest)).body(content).send().await,
        2 => larder.ask("PUT", &with_digest(&start(larder).await, digest)).stream(&[one, two]).send().await,
        3 => {
            let location = start(larder).await;
            let answer = larder.ask("PATCH", &location).stream(&[one, two]).send().await.is(202);
            larder.ask("PUT", &with_digest(&answer.header("location"), digest)).body("").send().await
        }
        _ => {
            let location = start(larder).await;
            let answer = larder.ask("PATCH", &location).body(one).send().await.is(202);
            larder.ask("PUT", &with_digest(&answer.header("location"), digest)).body(two).send().await
        }
    };
    let stored = stored.is(201).has("docker-content-digest", digest);
    stored.has("location", &format!("/v2/a/blobs/{digest}"));
}

#[tokio::test]
async fn an_algorithm_may_be_announced() {
    let larder = Larder::empty();
    let digest = sha512(b"content");
    let path = "/v2/a/blobs/uploads/?digest-algorithm=sha512";
    let location = larder.ask("POST", path).send().await.is(202).header("location");
    larder.ask("PUT", &with_digest(&location, &digest)).body("content").send().await.is(201);
    is_stored(&larder, &digest, b"content").await;
    let unknown = larder.ask("POST", "/v2/a/blobs/uploads/?digest-algorithm=md5").send().await;
    unknown.fails(400, "DIGEST_INVALID");
}

#[tokio::test]
async fn chunks_go_where_they_belong() {
    let larder = Larder::empty();
    let location = start(&larder).await;
    let chunk = |range: &'static str, content: &'static str| {
        larder.ask("PATCH", &location).header("content-range", range).body(content).send()
    };
    for (wrong, content) in [("5-9", "fghij"), ("1-5", "bcdef")] {
        let answer = chunk(wrong, content).await.fails(416, "BLOB_UPLOAD_INVALID");
        answer.has("location", &location).has("range", "0-0");
    }
    chunk("0-4", "abcde").await.is(202).has("range", "0-4").has("location", &location);
    // A chunk that is sent again, or ahead, changes nothing; the URL of the beginning stays good.
    for (wrong, content) in [("0-4", "abcde"), ("6-9", "ghij")] {
        let answer = chunk(wrong, content).await.fails(416, "BLOB_UPLOAD_INVALID");
        answer.has("location", &location).has("range", "0-4");
        larder.get(&location).await.is(204).has("range", "0-4").has("location", &location);
    }
    let digest = sha256(b"abcdefghij");
    let wrong = larder.ask("PUT", &with_digest(&location, &digest)).header("content-range", "9-9").body("j");
    wrong.send().await.fails(416, "BLOB_UPLOAD_INVALID").has("range", "0-4");
    larder.get(&with_digest(&location, &digest)).await.is(204).has("range", "0-4");
    chunk("bytes 5-7/*", "fgh").await.is(202).has("range", "0-7");
    let last = larder.ask("PUT", &with_digest(&location, &digest)).header("content-range", "8-9").body("ij");
    last.send().await.is(201);
    is_stored(&larder, &digest, b"abcdefghij").await;
    larder.get(&location).await.fails(404, "BLOB_UPLOAD_UNKNOWN");
}

#[tokio::test]
async fn what_is_not_as_long_as_it_says_is_not_kept() {
    let larder = Larder::empty();
    let location = start(&larder).await;
    for (range, pieces) in [("0-9", &[&b"abc"[..]][..]), ("0-1", &[b"abc", b"def"])] {
        let answer =
            larder.ask("PATCH", &location).header("content-range", range).stream(pieces).send().await;
        answer.fails(400, "SIZE_INVALID");
        larder.get(&location).await.is(204).has("range", "0-0");
    }
    let answer = larder.ask("PATCH", &location).header("content-range", "0-9").body("abc").send().await;
    answer.fails(400, "SIZE_INVALID");
    let answer = larder.ask("PATCH", &location).header("content-range", "x").body("abc").send().await;
    answer.fails(400, "BLOB_UPLOAD_INVALID");
    larder.ask("PATCH", &location).header("content-range", "0-2").stream(&[b"a", b"bc"]).send().await.is(202);
    larder.ask("PUT", &with_digest(&location, &sha256(b"abc"))).send().await.is(201);
}

#[tokio::test]
async fn another_digest_is_refused_and_nothing_becomes_visible() {
    let larder = Larder::empty();
    let claimed = sha256(b"something else");
    let path = with_digest("/v2/a/blobs/uploads/", &claimed);
    larder.ask("POST", &path).body("content").send().await.fails(400, "DIGEST_INVALID");
    let location = start(&larder).await;
    let answer = larder.ask("PUT", &with_digest(&location, &claimed)).body("content").send().await;
    let answer = answer.fails(400, "DIGEST_INVALID");
    assert_eq!(answer.json()["errors"][0]["detail"]["computed"], sha256(b"content"));
    for digest in [claimed, sha256(b"content")] {
        larder.head(&format!("/v2/a/blobs/{digest}")).await.is(404);
    }
    for query in ["", "?digest=sha256:0", "?digest=md5:00"] {
        let location = format!("{}{query}", start(&larder).await);
        larder.ask("PUT", &location).body("content").send().await.fails(400, "DIGEST_INVALID");
    }
}

#[tokio::test]
async fn an_upload_is_given_up() {
    let larder = Larder::empty();
    let location = start(&larder).await;
    larder.ask("PATCH", &location).body("content").send().await.is(202);
    larder.delete(&location).await.is(204);
    for method in ["GET", "PATCH", "DELETE"] {
        larder.ask(method, &location).send().await.fails(404, "BLOB_UPLOAD_UNKNOWN");
    }
    let put = larder.ask("PUT", &with_digest(&location, &sha256(b"content"))).send().await;
    put.fails(404, "BLOB_UPLOAD_UNKNOWN");
    // Each upload belongs to its repository.
    let elsewhere = start(&larder).await.replace("/v2/a/", "/v2/b/");
    larder.get(&elsewhere).await.fails(404, "BLOB_UPLOAD_UNKNOWN");
    for id in ["x", "00000000-0000-0000-0000-00000000000G", "..%2F.."] {
        assert_eq!(larder.get(&format!("/v2/a/blobs/uploads/{id}")).await.status, 404);
    }
}
