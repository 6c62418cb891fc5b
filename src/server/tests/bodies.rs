//! The contract of bodies: the same bytes over every transport, whichever way they take, and the way that was
//! meant.

use super::*;
use crate::server::tests::lifecycle::until;

/// Around every border on the way: pages, what is sent inline, windows.
const LENGTHS: &[u64] = &[
    0, 1, 2, 4095, 4096, 4097, 16_383, 16_384, 16_385, 65_536, 131_071, 1_048_575, 1_048_576, 1_048_577,
    2_097_153, 5_242_880,
];

/// The longest body that goes in one write with its head.
const INLINE: u64 = 16_384;

/// Paths over everything: lengths from the beginning and up to the end, pieces in the middle, several at
/// once.
pub(super) fn paths() -> Vec<String> {
    let end = CONTENT_LEN as u64;
    let from_start = LENGTHS.iter().map(|len| format!("0-{len}"));
    let to_end = LENGTHS.iter().map(|len| format!("{}-{end}", end - len));
    let others =
        ["1-100", "4095-70000", "1000000-3000000", "1048575-1048577", "0-10,20-30", "0-100000,5-1048600,7-7"];
    from_start.chain(to_end).chain(others.map(str::to_owned)).collect()
}

/// How many bytes of a path's answer come from files that are sent by windows.
pub(super) fn by_windows(path: &str) -> u64 {
    let whole = expected(path).len() as u64;
    let files: u64 = path.split(',').map(|piece| range(piece).end - range(piece).start).sum();
    if whole > INLINE { files } else { 0 }
}

#[tokio::test]
async fn plain_connections_send_windows_by_sendfile_and_copy_nothing_else() {
    let (_stored, blob) = content_blob().await;
    let server = Running::start(blob, None).await;
    let mut client = server.connect().await;
    let (mut windows, mut copied) = (0, 0);
    for path in paths() {
        let answer = client.get(&path).await;
        assert!(answer.body == expected(&path), "{path}");
        windows += by_windows(&path);
        copied += answer.head.len() as u64 + answer.body.len() as u64 - by_windows(&path);
        assert_eq!(server.transport.sendfile.get(), windows, "{path}");
        assert_eq!(server.transport.copied.get(), copied, "a hyper that copies bodies shows here: {path}");
    }
    assert_eq!(server.transport.accepted.get(), 1, "one connection did all of it");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let (_stored, blob) = content_blob().await;
    let server = Running::start(blob, None).await;
    let mut client = server.connect().await;
    let paths = ["0-70000", "5-6", "1-2000000", "bytes/9", "0-0", "3-66000,9-80000", "0-5242880", "2-65538"];
    let requests: String =
        paths.iter().map(|path| format!("GET /{path} HTTP/1.1\r\nHost: test\r\n\r\n")).collect();
    client.send(requests).await;
    for path in paths {
        assert!(client.answer().await.body == expected(path), "{path}");
    }
}

#[tokio::test]
async fn a_head_asks_for_no_body() {
    let (_stored, blob) = content_blob().await;
    let server = Running::start(blob, None).await;
    let mut client = server.connect().await;
    client.send("HEAD /0-1048577 HTTP/1.1\r\nHost: test\r\n\r\n").await;
    assert_eq!(content_length(&client.head().await), 1_048_577);
    assert_eq!(client.get("0-3").await.body, CONTENT[..3]);
    assert_eq!(server.transport.sendfile.get(), 0);
}

/// Clients that stop reading for a while, and in the middle of windows, get the right bytes all the same,
/// also where those went out of memory meanwhile.
#[tokio::test]
async fn a_client_may_stop_reading() {
    let (stored, blob) = content_blob().await;
    let server = Running::start(blob, None).await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        let mut client = server.connect().await;
        client.send("GET /1-5242880 HTTP/1.1\r\nHost: test\r\n\r\n").await;
        clients.push(client);
    }
    let mut other = server.connect().await;
    assert_eq!(other.get("0-5").await.body, CONTENT[..5], "others are served meanwhile");
    // Longer than a window is trusted to be in memory.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let file = std::fs::File::open(&stored.file).unwrap();
    file.sync_all().unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    for mut client in clients {
        let head = client.head().await;
        let mut body = vec![0; content_length(&head)];
        let (first, second) = body.split_at_mut(100_000);
        client.stream.read_exact(first).await.unwrap();
        tokio::task::yield_now().await;
        client.stream.read_exact(second).await.unwrap();
        assert!(body == expected("1-5242880"));
    }
}

#[tokio::test]
async fn a_client_may_go_away() {
    let (_stored, blob) = content_blob().await;
    let server = Running::start(blob, None).await;
    for _ in 0..8 {
        let mut client = server.connect().await;
        client.send("GET /0-5242880 HTTP/1.1\r\nHost: test\r\n\r\n").await;
        client.head().await;
    }
    let mut client = server.connect().await;
    assert!(client.get("0-1048577").await.body == expected("0-1048577"));
    drop(client);
    until(|| server.transport.connections.get() == 0).await;
    assert_eq!(server.http.requests.in_flight(), 0);
}

/// A file that is shorter than it was must not look like the end of an answer.
#[tokio::test]
async fn a_file_that_shrinks_ends_the_connection_early() {
    for shrunk in [0, 1_500_000] {
        let (stored, blob) = content_blob().await;
        let server = Running::start(blob, None).await;
        let mut client = server.connect().await;
        assert_eq!(client.get("0-10").await.status, 200);
        let file = std::fs::File::options().write(true).open(&stored.file).unwrap();
        file.set_len(shrunk).unwrap();
        client.send("GET /0-5242880 HTTP/1.1\r\nHost: test\r\n\r\n").await;
        let received = client.rest().await.map_or(0, |rest| rest.len());
        assert!(received < 5_242_880, "{received}");
        assert_eq!(server.connect().await.get("bytes/5").await.body, CONTENT[..5], "the server goes on");
    }
}
