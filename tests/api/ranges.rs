//! Parts of a blob, one and many.

use crate::registry::Answer;
use crate::registry::Larder;

/// A blob in which every position can be told from its neighbours.
fn content() -> Vec<u8> {
    (0..2048_u32).map(|it| (it * 7 + it / 256) as u8).collect()
}

async fn part(larder: &Larder, path: &str, range: &str) -> Answer {
    larder.ask("GET", path).header("range", range).send().await
}

#[tokio::test]
async fn one_range() {
    let larder = Larder::empty();
    let content = content();
    let digest = larder.push_blob("a", &content).await;
    let path = format!("/v2/a/blobs/{digest}");
    for (range, first, last) in [
        ("bytes=500-1499", 500, 1499),
        ("bytes=500-", 500, 2047),
        ("bytes=-500", 1548, 2047),
        ("bytes=2000-5000", 2000, 2047),
        ("bytes=0-", 0, 2047),
    ] {
        let answer = part(&larder, &path, range).await.is(206).has("docker-content-digest", &digest);
        let answer = answer.has("content-range", &format!("bytes {first}-{last}/2048"));
        assert_eq!(answer.has("content-type", "application/octet-stream").bytes(), &content[first..=last]);
    }
    for range in ["bytes=500-0", "bytes=5000-10000", "bytes=-0"] {
        part(&larder, &path, range).await.is(416).has("content-range", "bytes */2048");
    }
    for range in ["bytes=", "bytes=x", "items=0-1", "bytes=0-,0-"] {
        assert_eq!(part(&larder, &path, range).await.is(200).bytes(), &content);
    }
    larder.ask("HEAD", &path).header("range", "bytes=0-0").send().await.is(200).has("content-length", "2048");
    let tag = format!("\"{digest}\"");
    for (condition, expected) in [(tag.as_str(), 206), ("\"other\"", 200)] {
        let ask = larder.ask("GET", &path).header("range", "bytes=0-0").header("if-range", condition);
        ask.send().await.is(expected);
    }
    let empty = larder.push_blob("a", b"").await;
    part(&larder, &format!("/v2/a/blobs/{empty}"), "bytes=0-").await.is(200).has("content-length", "0");
}

#[tokio::test]
async fn many_ranges_are_as_many_parts() {
    let larder = Larder::empty();
    let content = content();
    let path = format!("/v2/a/blobs/{}", larder.push_blob("a", &content).await);
    let thousand: Vec<(usize, usize)> = (0..1024).map(|it| (it * 2, it * 2)).collect();
    for ranges in [
        &[(0, 1), (10, 19)][..],
        &[(10, 19), (0, 1)],
        &[(0, 99), (50, 149)],
        &[(2040, 2047), (0, 0)],
        &thousand,
    ] {
        let list: Vec<String> = ranges.iter().map(|(first, last)| format!("{first}-{last}")).collect();
        let answer = part(&larder, &path, &format!("bytes={}", list.join(","))).await.is(206);
        let parts = parts(&answer);
        assert_eq!(parts.len(), ranges.len());
        for ((first, last), (range, bytes)) in ranges.iter().zip(&parts) {
            assert_eq!(range, &format!("bytes {first}-{last}/2048"));
            assert_eq!(bytes, &content[*first..=*last]);
        }
        answer.has_no("content-range");
    }
    let too_many: Vec<String> = (0..1025).map(|it| format!("{it}-{it}")).collect();
    part(&larder, &path, &format!("bytes={}", too_many.join(","))).await.fails(400, "SIZE_INVALID");
    part(&larder, &path, "bytes=9000-,-0").await.is(416);
    assert_eq!(parts(&part(&larder, &path, "bytes=1-2,9000-").await.is(206)).len(), 1);
}

/// The parts of a `multipart/byteranges` body, read as strictly as it is written.
fn parts(answer: &Answer) -> Vec<(String, Vec<u8>)> {
    let content_type = answer.header("content-type");
    let boundary = content_type.strip_prefix("multipart/byteranges; boundary=").unwrap();
    assert!(boundary.len() <= 70 && boundary.bytes().all(|it| it.is_ascii_alphanumeric()));
    let mut rest = answer.bytes().as_ref();
    let mut parts = Vec::new();
    let mut delimiter = format!("--{boundary}\r\n");
    while let Some(after) = rest.strip_prefix(delimiter.as_bytes()) {
        let end = after.windows(4).position(|it| it == b"\r\n\r\n").unwrap();
        let head = std::str::from_utf8(&after[..end]).unwrap();
        let (content_type, range) = head.split_once("\r\n").unwrap();
        assert_eq!(content_type, "Content-Type: application/octet-stream");
        let range = range.strip_prefix("Content-Range: ").unwrap();
        let (first, last) = range[6..].split_once('/').unwrap().0.split_once('-').unwrap();
        let len = last.parse::<usize>().unwrap() - first.parse::<usize>().unwrap() + 1;
        let (bytes, after) = after[end + 4..].split_at(len);
        parts.push((range.to_owned(), bytes.to_vec()));
        rest = after;
        delimiter = format!("\r\n--{boundary}\r\n");
    }
    assert_eq!(rest, format!("\r\n--{boundary}--\r\n").as_bytes());
    parts
}
