//! How a server begins and ends.

use super::*;
use crate::server::listener::ListenError;

/// Waits for something that is about to happen.
pub(super) async fn until(mut happened: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if happened() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it did not happen");
}

#[tokio::test]
async fn the_port_closes_at_once_and_requests_are_finished() {
    let (_stored, blob) = content_blob().await;
    let mut server = Running::start(blob, None).await;
    let mut idle = server.connect().await;
    assert_eq!(idle.get("0-1").await.status, 200);
    let mut pulling = server.connect().await;
    pulling.send("GET /0-5242880 HTTP/1.1\r\nHost: test\r\n\r\n").await;
    pulling.head().await;

    server.shutdown.cancel();
    until(|| std::net::TcpStream::connect(server.address).is_err()).await;
    assert_eq!(idle.rest().await.unwrap(), b"", "an idle connection is closed");
    assert!(!server.task.is_finished(), "a pull is under way");
    assert!(pulling.rest().await.unwrap() == expected("0-5242880"));
    drop((idle, pulling));
    (&mut server.task).await.unwrap();
}

#[tokio::test]
async fn draining_is_bounded() {
    let (_stored, blob) = content_blob().await;
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.address().unwrap();
    let shutdown = CancellationToken::new();
    let server = Server::new(pieces_of(blob)).with_drain(Duration::from_millis(50));
    let task = tokio::spawn(server.serve(listener, shutdown.clone()));
    let mut client = Client::new(TcpStream::connect(address).await.unwrap());
    client.send("POST /read HTTP/1.1\r\nHost: test\r\nContent-Length: 30\r\n\r\n").await;
    client.send("so far").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    shutdown.cancel();
    tokio::time::timeout(Duration::from_secs(5), task).await.unwrap().unwrap();
    assert_eq!(client.rest().await.unwrap_or_default(), b"", "no answer is made up");
}

#[tokio::test]
async fn any_address_is_both_families() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        println!("left out: there is no IPv6 here");
        return;
    }
    for address in ["0.0.0.0:0", "[::]:0", ":0"] {
        let listener = Listener::bind(&address.parse().unwrap()).await.unwrap();
        let port = listener.address().unwrap().port();
        for host in ["127.0.0.1", "::1"] {
            let connected = std::net::TcpStream::connect((host, port));
            assert!(connected.is_ok(), "{address} as {host}: {connected:?}");
        }
    }
}

#[tokio::test]
async fn a_taken_port_is_an_error() {
    let taken = Listener::bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = taken.address().unwrap().to_string().parse().unwrap();
    assert!(matches!(Listener::bind(&address).await, Err(ListenError::Bind { .. })));
}

#[tokio::test]
async fn a_client_is_called_by_its_plain_address() {
    let service = |_: Request<RequestBody>, peer: PeerInfo| async move {
        text(200, peer.address.map(|address| address.ip().to_string()).unwrap_or_default())
    };
    let listener = Listener::bind(&":0".parse().unwrap()).await.unwrap();
    let port = listener.address().unwrap().port();
    let task = tokio::spawn(Server::new(service).serve(listener, CancellationToken::new()));
    let mut client = Client::new(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
    assert_eq!(client.get("").await.body, b"127.0.0.1");
    task.abort();
}

#[tokio::test]
async fn the_administration_socket_is_for_its_owner() {
    use std::os::unix::fs::PermissionsExt;

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let address = ListenAddress::Unix(path.clone());
    let service =
        |_: Request<RequestBody>, peer: PeerInfo| async move { text(200, format!("{:?}", peer.address)) };
    // What a server that was killed leaves behind.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let listener = Listener::bind(&address).await.unwrap();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(Listener::bind(&address).await.is_err(), "one that answers is left alone");
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(Server::new(service).serve(listener, shutdown.clone()));
    let mut client = Client::new(tokio::net::UnixStream::connect(&path).await.unwrap());
    assert_eq!(client.get("").await.body, b"None");
    drop(client);
    shutdown.cancel();
    task.await.unwrap();
    assert!(!path.exists());
    std::fs::write(&path, "precious").unwrap();
    assert!(Listener::bind(&address).await.is_err());
    assert_eq!(std::fs::read(&path).unwrap(), b"precious", "what is no socket is left alone");
}
