//! What clients see when something is not as it should be.

use super::*;

/// More than a socket buffer holds, so that a server that does not read makes the client wait or fail.
const LARGE: usize = 6 << 20;

#[tokio::test]
async fn an_early_answer_is_seen_by_a_client_that_is_still_sending() {
    let (_stored, blob) = content_blob().await;
    let server = Running::start(blob, None).await;
    for how in ["Content-Length: 6291456", "Transfer-Encoding: chunked"] {
        let mut client = server.connect().await;
        client.send(format!("PATCH /refuse HTTP/1.1\r\nHost: test\r\n{how}\r\n\r\n")).await;
        // As Go does it: everything is sent before anything is read.
        let body = vec![b'0'; LARGE];
        if how.starts_with("Transfer") {
            client.send(format!("{LARGE:x}\r\n")).await;
        }
        client.send(&body).await;
        let answer = client.answer().await;
        assert_eq!((answer.status, &answer.body[..]), (403, &b"not to be pushed to"[..]));
        assert!(answer.head.contains("connection: close"), "{}", answer.head);
        assert_eq!(client.rest().await.unwrap(), b"", "closed, not reset");
    }
}

#[tokio::test]
async fn a_small_unread_body_does_not_cost_the_connection() {
    let (_stored, blob) = content_blob().await;
    let server = Running::start(blob, None).await;
    let mut client = server.connect().await;
    for _ in 0..3 {
        client.send("PUT /refuse HTTP/1.1\r\nHost: test\r\nContent-Length: 3000\r\n\r\n").await;
        client.send(vec![b'x'; 3000]).await;
        let answer = client.answer().await;
        assert_eq!(answer.status, 403);
        assert!(!answer.head.contains("connection: close"), "{}", answer.head);
    }
    assert_eq!(client.get("0-4").await.body, CONTENT[..4]);
}

#[tokio::test]
async fn a_body_that_is_not_wanted_is_not_asked_for() {
    let (_stored, blob) = content_blob().await;
    let server = Running::start(blob, None).await;
    let mut client = server.connect().await;
    client
        .send("PUT /refuse HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 30\r\n\r\n")
        .await;
    let answer = client.answer().await;
    assert_eq!(answer.status, 403);
    assert!(answer.head.contains("connection: close"), "the client may or may not send it: {}", answer.head);

    let mut client = server.connect().await;
    client
        .send("PUT /read HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 30\r\n\r\n")
        .await;
    assert_eq!(client.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.send([b'x'; 30]).await;
    assert_eq!(client.answer().await.body, b"Ok(30)");
    assert_eq!(client.get("0-4").await.body, CONTENT[..4], "and the connection goes on");
}

#[tokio::test]
async fn bodies_come_in_whole() {
    let (_stored, blob) = content_blob().await;
    let server = Running::start(blob, None).await;
    let mut client = server.connect().await;
    for len in [0, 1, 70_000, LARGE] {
        client.send(format!("POST /read HTTP/1.1\r\nHost: test\r\nContent-Length: {len}\r\n\r\n")).await;
        client.send(vec![b'x'; len]).await;
        assert_eq!(client.answer().await.body, format!("Ok({len})").as_bytes());
    }
    assert_eq!(server.http.received.get(), 70_001 + LARGE as u64);
}

#[tokio::test]
async fn heads_may_be_long() {
    let (_stored, blob) = content_blob().await;
    let server = Running::start(blob, None).await;
    let mut client = server.connect().await;
    let long = "0-0,".repeat(16 << 10);
    client.send(format!("GET /0-7 HTTP/1.1\r\nHost: test\r\nRange: bytes={long}\r\n\r\n")).await;
    assert_eq!(client.answer().await.body, CONTENT[..7]);
    let endless = "x".repeat(1 << 20);
    let mut client = server.connect().await;
    // The server stops reading, so sending fails or is thrown away.
    let _ = client.stream.write_all(format!("GET /0-7 HTTP/1.1\r\nX: {endless}\r\n\r\n").as_bytes()).await;
    assert_eq!(client.answer().await.status, 431);
}

#[tokio::test]
async fn a_tls_hello_on_a_plain_port_is_answered_at_once() {
    let (_stored, blob) = content_blob().await;
    let server = Running::start(blob, None).await;
    let mut client = server.connect().await;
    let mut hello = vec![22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];
    hello.resize(517, 7);
    client.send(&hello).await;
    let answer = String::from_utf8(client.rest().await.unwrap()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
}

#[tokio::test]
async fn http_1_0_is_answered_and_closed() {
    let (_stored, blob) = content_blob().await;
    let server = Running::start(blob, None).await;
    let mut client = server.connect().await;
    client.send("GET /0-70000 HTTP/1.0\r\n\r\n").await;
    let answer = client.rest().await.unwrap();
    assert!(answer.ends_with(&expected("0-70000")));
}
