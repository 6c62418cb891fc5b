//! Nodes that feed each other, over real sockets on loopback.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use larder::auth::Policy;
use larder::credentials::Credentials;
use larder::credentials::Sources;
use larder::http::Api;
use larder::metrics::AuthMetrics;
use larder::peer::Dialer;
use larder::peer::Endpoint;
use larder::peer::Job;
use larder::peer::JobRequest;
use larder::peer::Jobs;
use larder::peer::PeerPullThrough;
use larder::peer::State;
use larder::peer::Trust;
use larder::registry::Registry;
use larder::registry::Rules;
use larder::reload::Succession;
use larder::reload::Watched;
use larder::server::Listener;
use larder::server::Server;
use larder::store;
use larder::store::Store;
use sha2::Digest as _;
use storage_layout::Algorithm;
use storage_layout::Digest;
use storage_layout::RepositoryName;
use storage_layout::Tag;
use tokio_util::sync::CancellationToken;

#[path = "sync/mending.rs"]
mod mending;

/// A node: a store, its server, its jobs.
struct Node {
    store: Store,
    jobs: Jobs,
    address: SocketAddr,
    stop: CancellationToken,
    _root: tempfile::TempDir,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn dialer() -> Dialer {
    let trust = Trust::new(rustls::RootCertStore::empty(), HashMap::new()).unwrap();
    Dialer::new(Watched::fixed(Succession::first(trust)))
}

/// Everything is open to everybody.
fn settings() -> larder::http::Settings {
    let sources = Sources { policy: Policy::open(), realm: "test".into(), htpasswd: None, pull_secret: None };
    larder::http::Settings {
        credentials: Credentials::new(sources, b"secret", AuthMetrics::default()),
        external_url: None,
        prefix: String::new(),
        headers: Vec::new(),
        catalog_limit: 1000,
        observed: larder::http::Observed {
            metrics: larder::metrics::Metrics::new("test"),
            files: larder::reload::Reports::default(),
            started: std::time::Instant::now(),
        },
    }
}

/// Starts a node whose peers are `peers`.
async fn node(peers: &[SocketAddr]) -> Node {
    let root = tempfile::tempdir().unwrap();
    let options = store::Options {
        roots: vec![root.path().to_owned()],
        access: store::Access::ReadWrite,
        ..store::Options::default()
    };
    let store = tokio::task::spawn_blocking(move || Store::open(&options)).await.unwrap().unwrap();
    let stop = CancellationToken::new();
    let peers: Vec<Endpoint> =
        peers.iter().map(|it| Endpoint::parse(&format!("http://{it}")).unwrap()).collect();
    let jobs = Jobs::new(store.clone(), dialer(), peers.clone(), stop.clone());
    let through = PeerPullThrough::new(store.clone(), dialer(), peers, jobs.fetching().clone(), stop.clone());
    let registry = Registry::with_pull_through(store.clone(), Rules::default(), Some(Arc::new(through)));
    let api = Api::with_jobs(registry, settings(), Some(jobs.clone()));
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.address().unwrap();
    tokio::spawn(Server::new(api).serve(listener, stop.clone()));
    Node { store, jobs, address, stop, _root: root }
}

fn name(text: &str) -> RepositoryName {
    RepositoryName::parse(text).unwrap()
}

fn digest(content: &[u8]) -> Digest {
    Digest::from_bytes(Algorithm::Sha256, &sha2::Sha256::digest(content)).unwrap()
}

async fn push_blob(node: &Node, name: &RepositoryName, content: &[u8]) -> Digest {
    let writer = node.store.writer().unwrap();
    let id = writer.start_upload(name, None).await.unwrap();
    let mut append = writer.append(name, id).await.unwrap().unwrap();
    append.write(Bytes::copy_from_slice(content)).await.unwrap();
    append.close().await.unwrap();
    let digest = digest(content);
    assert_eq!(writer.finish_upload(name, id, &digest).await.unwrap(), store::Finish::Stored);
    digest
}

/// Pushes an image of a config and `layers`, under a tag.
async fn push_image(node: &Node, repository: &str, tag: &str, layers: &[Vec<u8>]) -> Digest {
    let name = name(repository);
    let config = format!("{{\"of\":\"{repository}:{tag}\"}}").into_bytes();
    push_blob(node, &name, &config).await;
    let mut descriptors = Vec::new();
    for layer in layers {
        let digest = push_blob(node, &name, layer).await;
        descriptors.push(serde_json::json!({
            "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest.to_string(), "size": layer.len(),
        }));
    }
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": digest(&config).to_string(), "size": config.len(),
        },
        "layers": descriptors,
    })
    .to_string();
    let digest = digest(manifest.as_bytes());
    let tags = [Tag::parse(tag).unwrap()];
    node.store.writer().unwrap().put_manifest(&name, &digest, manifest.into(), &tags).await.unwrap();
    digest
}

/// Bytes that are the same in each run and unlike those of another seed.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}

/// A release of some components over a shared layer, in the tree's names.
async fn push_release(node: &Node, seed: u64) -> Digest {
    let base = noise(seed, 300_000);
    let release =
        push_image(node, "openshift/release-images", "placeholder", std::slice::from_ref(&base)).await;
    let tag = Tag::parse(release.hex().as_ref()).unwrap();
    let writer = node.store.writer().unwrap();
    writer.put_tag(&name("openshift/release-images"), &tag, &release).await.unwrap();
    writer.delete_tag(&name("openshift/release-images"), &Tag::parse("placeholder").unwrap()).await.unwrap();
    for component in 0..6 {
        let layers = [base.clone(), noise(seed * 100 + component, 50_000)];
        push_image(node, "openshift/release", &format!("{}-part{component}", release.hex()), &layers).await;
    }
    push_image(node, "openshift/release-bundles", &format!("ocp-release-bundle-4.{seed}.0-x86_64"), &[])
        .await;
    release
}

fn from(source: SocketAddr) -> JobRequest {
    JobRequest { sources: vec![format!("http://{source}")], ..JobRequest::default() }
}

/// Runs a job to its end.
async fn sync(node: &Node, request: JobRequest) -> State {
    let job = Job::parse(request).unwrap();
    let id = job.id().clone();
    node.jobs.submit(job).await.unwrap();
    let mut state = node.jobs.watch(&id).unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(60), state.wait_for(State::is_final)).await;
    ended.expect("the job ends").unwrap().clone()
}

async fn tags(node: &Node, repository: &str) -> Vec<String> {
    let tags = node.store.tags(&name(repository)).await.unwrap();
    tags.iter().flat_map(|it| it.iter()).map(|it| it.as_str().to_owned()).collect()
}

async fn assert_same(a: &Node, b: &Node) {
    for repository in ["openshift/release", "openshift/release-images", "openshift/release-bundles"] {
        assert_eq!(tags(a, repository).await, tags(b, repository).await, "{repository}");
        for digest in a.store.layers(&name(repository)).await.unwrap() {
            let here = b.store.content(&digest, u64::MAX).await.unwrap();
            assert_eq!(here, a.store.content(&digest, u64::MAX).await.unwrap(), "{digest}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_node_becomes_equal_to_its_source_and_asks_for_nothing_twice() {
    let source = node(&[]).await;
    push_release(&source, 18).await;
    let empty = node(&[]).await;
    assert_eq!(sync(&empty, from(source.address)).await, State::Complete);
    assert_same(&source, &empty).await;
    assert_eq!(sync(&empty, from(source.address)).await, State::Complete);
    let counts = empty.jobs.list()[0].counts.clone();
    assert_eq!((counts.bytes_done, counts.objects_done), (0, 0), "nothing was left to do");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_release_of_two() {
    let source = node(&[]).await;
    let first = push_release(&source, 18).await;
    let second = push_release(&source, 19).await;
    let empty = node(&[]).await;
    let request = JobRequest { releases: vec![second.to_string()], ..from(source.address) };
    assert_eq!(sync(&empty, request).await, State::Complete);
    assert_eq!(tags(&empty, "openshift/release-images").await, [second.hex().to_string()]);
    assert_eq!(tags(&empty, "openshift/release").await.len(), 6);
    let none_of_first = format!("{}-part0", first.hex());
    assert!(!tags(&empty, "openshift/release").await.contains(&none_of_first));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_is_gone_degrades_the_job_and_cancelling_ends_it() {
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let empty = node(&[]).await;
    let job = Job::parse(from(gone)).unwrap();
    let id = job.id().clone();
    empty.jobs.submit(job).await.unwrap();
    let mut state = empty.jobs.watch(&id).unwrap();
    let degraded =
        |it: &State| matches!(it, State::Degraded { reason, .. } if reason == "RegistryUnreachable");
    tokio::time::timeout(Duration::from_secs(20), state.wait_for(degraded)).await.unwrap().unwrap();
    assert!(empty.jobs.cancel(&id));
    let ended = tokio::time::timeout(Duration::from_secs(20), state.wait_for(State::is_final)).await.unwrap();
    assert_eq!(*ended.unwrap(), State::Cancelled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_missing_is_pulled_through_once() {
    let source = node(&[]).await;
    let layer = noise(7, 3_000_000);
    push_image(&source, "a/b", "v1", std::slice::from_ref(&layer)).await;
    let empty = node(&[source.address]).await;
    let pull = async |path: &str| get(empty.address, path).await;
    let manifest = pull("/v2/a/b/manifests/v1").await;
    assert_eq!(manifest.0, 200);
    let blob = pull(&format!("/v2/a/b/blobs/{}", digest(&layer))).await;
    assert_eq!((blob.0, blob.1.len()), (200, layer.len()));
    assert_eq!(blob.1, layer);
    // The last bytes leave when everything is stored.
    assert!(empty.store.has_layer(&name("a/b"), &digest(&layer)).await.unwrap());
    assert_eq!(tags(&empty, "a/b").await, Vec::<String>::new(), "no tag appears because somebody asked");
    source.stop.cancel();
    let again = pull(&format!("/v2/a/b/blobs/{}", digest(&layer))).await;
    assert_eq!(again.1, layer, "the next pull is local");
    assert_eq!(pull(&format!("/v2/a/b/blobs/{}", digest(b"nowhere"))).await.0, 404);
}

/// A GET with nothing but the standard library's sockets: the status and the body.
async fn get(address: SocketAddr, path: &str) -> (u16, Vec<u8>) {
    use tokio::io::AsyncReadExt as _;
    use tokio::io::AsyncWriteExt as _;
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(Duration::from_secs(20), socket.read_to_end(&mut answer)).await.unwrap().unwrap();
    let end = answer.windows(4).position(|it| it == b"\r\n\r\n").unwrap();
    let status = std::str::from_utf8(&answer[9..12]).unwrap().parse().unwrap();
    (status, answer.split_off(end + 4))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_nodes_fill_each_other() {
    let source = node(&[]).await;
    push_release(&source, 18).await;
    let mut nodes: Vec<Node> = Vec::new();
    for _ in 0..7 {
        let peers: Vec<_> = nodes.iter().map(|it| it.address).collect();
        nodes.push(node(&peers).await);
    }
    let syncs = nodes.iter().map(|it| sync(it, from(source.address)));
    let ends = futures_join(syncs).await;
    assert!(ends.iter().all(|it| *it == State::Complete), "{ends:?}");
    for node in &nodes {
        assert_same(&source, node).await;
    }
}

async fn futures_join<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut pending: Vec<_> = futures.map(Box::pin).collect();
    let mut done: Vec<Option<T>> = pending.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, slot) in pending.iter_mut().zip(&mut done) {
            if slot.is_none()
                && let std::task::Poll::Ready(value) = future.as_mut().poll(context)
            {
                *slot = Some(value);
            }
        }
        if done.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}

/// A layer with a payload's own list, as the last of a release image holds it.
fn payload_layer(version: &str, components: &[(String, Digest)]) -> Vec<u8> {
    let tags: Vec<_> = components
        .iter()
        .map(|(name, digest)| {
            serde_json::json!({"name": name, "from": {"kind": "DockerImage", "name": format!("quay.io/a/b@{digest}")}})
        })
        .collect();
    let list = serde_json::json!({"kind": "ImageStream", "apiVersion": "image.openshift.io/v1",
        "metadata": {"name": version}, "spec": {"tags": tags}});
    let list = list.to_string();
    let mut header = tar::Header::new_gnu();
    header.set_size(list.len() as u64);
    header.set_mode(0o644);
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_data(&mut header, "release-manifests/image-references", list.as_bytes()).unwrap();
    archive.into_inner().unwrap()
}

/// A release whose payload lists its components, and `more` that nobody has.
async fn push_listed_release(node: &Node, version: &str, more: &[Digest]) -> Digest {
    let base = noise(77, 100_000);
    let mut listed = Vec::new();
    for component in 0..4 {
        let layers = [base.clone(), format!("{version}/{component}").into_bytes()];
        let tag = format!("part{component}");
        let digest = push_image(node, "openshift/release", &tag, &layers).await;
        listed.push((tag, digest));
    }
    let all: Vec<_> = listed.iter().cloned().chain(more.iter().map(|it| ("more".to_owned(), *it))).collect();
    let layers = [base, payload_layer(version, &all)];
    let release = push_image(node, "openshift/release-images", "placeholder", &layers).await;
    let writer = node.store.writer().unwrap();
    let tag = |text: &str| Tag::parse(text).unwrap();
    let images = name("openshift/release-images");
    writer.put_tag(&images, &tag(release.hex().as_ref()), &release).await.unwrap();
    writer.delete_tag(&images, &tag("placeholder")).await.unwrap();
    for (component, digest) in listed {
        let components = name("openshift/release");
        writer.put_tag(&components, &tag(&format!("{}-{component}", release.hex())), &digest).await.unwrap();
        writer.delete_tag(&components, &tag(&component)).await.unwrap();
    }
    let bundle = format!("ocp-release-bundle-{version}-x86_64");
    push_image(node, "openshift/release-bundles", &bundle, &[]).await;
    release
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_by_any_of_its_names() {
    let source = node(&[]).await;
    let other = push_listed_release(&source, "4.22.0", &[]).await;
    let release = push_listed_release(&source, "4.22.1", &[]).await;
    let bundle = "ocp-release-bundle-4.22.1-x86_64";
    for called in ["4.22.1", bundle, release.hex().as_ref(), &release.to_string()] {
        let empty = node(&[]).await;
        let request = JobRequest { releases: vec![called.to_owned()], ..from(source.address) };
        assert_eq!(sync(&empty, request).await, State::Complete, "{called}");
        assert_eq!(tags(&empty, "openshift/release-bundles").await, [bundle], "{called}");
        assert_eq!(tags(&empty, "openshift/release-images").await, [release.hex().to_string()], "{called}");
        assert_eq!(tags(&empty, "openshift/release").await.len(), 4, "{called}");
        assert!(!empty.store.has_revision(&name("openshift/release-images"), &other).await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_that_lacks_what_its_payload_lists_is_not_seen() {
    let source = node(&[]).await;
    push_listed_release(&source, "4.22.1", &[digest(b"nowhere")]).await;
    let empty = node(&[]).await;
    let job = Job::parse(from(source.address)).unwrap();
    let id = job.id().clone();
    empty.jobs.submit(job).await.unwrap();
    let mut state = empty.jobs.watch(&id).unwrap();
    let incomplete = |it: &State| matches!(it, State::Degraded { .. });
    let waited = tokio::time::timeout(Duration::from_secs(20), state.wait_for(incomplete)).await;
    let State::Degraded { reason, message } = waited.unwrap().unwrap().clone() else { panic!("degraded") };
    assert_eq!(reason, "ReleaseImageNotAvailable");
    assert!(message.contains("component more"), "{message}");
    for repository in ["openshift/release-images", "openshift/release-bundles"] {
        assert_eq!(tags(&empty, repository).await, Vec::<String>::new(), "{repository}");
    }
    empty.jobs.cancel(&id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_that_nobody_has_is_said_to_be_missing() {
    let source = node(&[]).await;
    push_listed_release(&source, "4.22.1", &[]).await;
    let empty = node(&[]).await;
    let request = JobRequest { releases: vec!["4.23.0".to_owned()], ..from(source.address) };
    let job = Job::parse(request).unwrap();
    let id = job.id().clone();
    empty.jobs.submit(job).await.unwrap();
    let mut state = empty.jobs.watch(&id).unwrap();
    let missing =
        |it: &State| matches!(it, State::Degraded { reason, .. } if reason == "ReleaseImageNotFound");
    tokio::time::timeout(Duration::from_secs(20), state.wait_for(missing)).await.unwrap().unwrap();
    empty.jobs.cancel(&id);
}

/// A registry that accepts connections and never says a word.
async fn silent(stop: CancellationToken) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Some(Ok((socket, _))) = stop.run_until_cancelled(listener.accept()).await {
            held.push(socket);
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_says_nothing_does_not_hold_up_a_pull() {
    let source = node(&[]).await;
    let layer = noise(9, 500_000);
    push_image(&source, "a/b", "v1", std::slice::from_ref(&layer)).await;
    let silent = silent(source.stop.clone()).await;
    let empty = node(&[silent, source.address]).await;
    let began = std::time::Instant::now();
    assert_eq!(get(empty.address, "/v2/a/b/manifests/v1").await.0, 200);
    let blob = get(empty.address, &format!("/v2/a/b/blobs/{}", digest(&layer))).await;
    assert_eq!(blob.1, layer);
    assert!(began.elapsed() < Duration::from_secs(6), "it took {:?}", began.elapsed());
}
