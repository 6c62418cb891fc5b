//! Nodes that mend what is damaged from each other.

use storage_layout::Entry;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;

use super::*;

/// Has a node verify itself and mend from another; gives what became of each problem, by its kind.
async fn mend(node: &Node, from: SocketAddr) -> Vec<(String, String)> {
    let request =
        serde_json::json!({ "repair_from": [], "repair_from_registries": [format!("http://{from}")] });
    let request = request.to_string();
    let head = format!(
        "POST /v2/_larder/verify HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        request.len()
    );
    let mut stream = tokio::net::TcpStream::connect(node.address).await.unwrap();
    stream.write_all((head + &request).as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let report: serde_json::Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    let told = |it: &serde_json::Value, key: &str| it[key].as_str().unwrap_or_default().to_owned();
    let mut ended: Vec<_> = report["problems"].as_array().unwrap().iter().collect();
    ended.sort_by_key(|it| it.to_string());
    ended.iter().map(|it| (told(it, "kind"), told(it, "outcome"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_is_mended_from_a_registry() {
    let (whole, damaged) = (node(&[]).await, node(&[]).await);
    let layer = noise(1, 3_000_000);
    for node in [&whole, &damaged] {
        push_image(node, "app", "v1", std::slice::from_ref(&layer)).await;
        push_image(node, "app", "v2", &[noise(2, 1000)]).await;
    }
    let manifest = damaged.store.tag(&name("app"), &Tag::parse("v2").unwrap()).await.unwrap().unwrap();
    let root = damaged._root.path();
    let at = |entry: storage_layout::Entry| root.join(entry.path().as_str());
    let mut flipped = layer.clone();
    flipped[2_000_000] ^= 1;
    std::fs::write(at(Entry::Blob(digest(&layer))), flipped).unwrap();
    std::fs::remove_file(at(Entry::Blob(manifest))).unwrap();
    std::fs::write(at(Entry::TagCurrent(name("app"), Tag::parse("v1").unwrap())), "").unwrap();
    let mended = |kind: &str| (kind.to_owned(), "mended".to_owned());
    let ended = mend(&damaged, whole.address).await;
    assert_eq!(ended, ["damaged-blob", "damaged-link", "missing-blob"].map(mended));
    assert_eq!(mend(&damaged, whole.address).await, []);
    let revision = Entry::LayerLink(name("app"), manifest);
    assert!(!at(revision).exists(), "a manifest is linked as one, not as a layer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_damaged_itself_mends_nothing() {
    let (other, damaged) = (node(&[]).await, node(&[]).await);
    let layer = noise(1, 100_000);
    let digest = push_blob(&damaged, &name("app"), &layer).await;
    push_blob(&other, &name("app"), &layer).await;
    let path = |node: &Node| node._root.path().join(Entry::Blob(digest).path().as_str());
    std::fs::write(path(&damaged), noise(2, 100_000)).unwrap();
    std::fs::write(path(&other), noise(3, 100_000)).unwrap();
    let ended = mend(&damaged, other.address).await;
    assert_eq!(ended, [("damaged-blob".to_owned(), "set-aside".to_owned())]);
    assert!(!path(&damaged).exists(), "nothing wrong was taken in");
}
