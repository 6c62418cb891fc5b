//! A registry under test, and what its answers are.

use std::convert::Infallible;
use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::Buf;
use bytes::Bytes;
use flate2::read::GzDecoder;
use http::HeaderMap;
use http::Method;
use http::Request;
use http::StatusCode;
use http::response::Parts;
use http_body::Frame;
use http_body_util::BodyExt;
use http_body_util::Full;
use http_body_util::StreamBody;
use larder::auth::Policy;
use larder::credentials::Credentials;
use larder::credentials::Sources;
use larder::http::AccessNote;
use larder::http::Answered;
use larder::http::Api;
use larder::http::Observed;
use larder::http::PeerInfo;
use larder::http::Scheme;
use larder::http::Settings;
use larder::http::body::Sending;
use larder::metrics::AuthMetrics;
use larder::metrics::Metrics;
use larder::metrics::ReloadMetrics;
use larder::registry::Registry;
use larder::registry::Rules;
use larder::reload::Watcher;
use larder::store::Access;
use larder::store::Options;
use larder::store::Store;
use serde_json::Value;
use sha2::Digest as _;
use sha2::Sha256;
use sha2::Sha512;
use tempfile::TempDir;

pub(crate) const OCI_IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const DOCKER_IMAGE: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// A registry that can be asked.
pub(crate) struct Larder {
    api: Api,
    store: Store,
    /// Where the client is.
    pub(crate) peer: SocketAddr,
    _root: Option<TempDir>,
}

impl Larder {
    /// An empty one that takes pushes from everybody.
    pub(crate) fn empty() -> Self {
        Self::with(Rules::default(), open())
    }

    /// An empty one with these rules and credentials.
    pub(crate) fn with(rules: Rules, sources: Sources) -> Self {
        let root = TempDir::new().unwrap();
        let mut larder = Self::over(root.path(), Access::ReadWrite, rules, sources);
        larder._root = Some(root);
        larder
    }

    /// One over a tree that is there, a directory or an image of one.
    pub(crate) fn at(root: &Path, access: Access) -> Self {
        Self::over(root, access, Rules::default(), open())
    }

    fn over(root: &Path, access: Access, rules: Rules, sources: Sources) -> Self {
        let options = Options { roots: vec![root.to_owned()], access, ..Options::default() };
        let store = Store::open(&options).unwrap();
        let registry = Registry::new(store.clone(), rules);
        let files = Watcher::new(ReloadMetrics::default()).reports();
        let settings = Settings {
            credentials: Credentials::new(sources, b"a secret of the tests", AuthMetrics::default()),
            external_url: None,
            prefix: String::new(),
            headers: vec![("x-content-type-options".parse().unwrap(), "nosniff".parse().unwrap())],
            catalog_limit: 1000,
            observed: Observed { metrics: Metrics::new("0"), files, started: Instant::now() },
        };
        let peer = SocketAddr::from(([192, 0, 2, 1], 1234));
        Self { api: Api::new(registry, settings), store, peer, _root: None }
    }

    /// Ends it, so that another may write where it did.
    pub(crate) async fn close(self) {
        self.store.close().await;
    }

    /// Begins a request.
    pub(crate) fn ask(&self, method: &str, path: &str) -> Ask<'_> {
        let request = Request::builder().method(method).uri(path).header("host", "registry.example:22625");
        Ask { larder: self, request, pieces: None }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path).send().await
    }

    pub(crate) async fn head(&self, path: &str) -> Answer {
        self.ask("HEAD", path).send().await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.ask("DELETE", path).send().await
    }

    /// Pushes a blob the way containers/image does, and gives its digest.
    pub(crate) async fn push_blob(&self, name: &str, content: &[u8]) -> String {
        let location =
            self.ask("POST", &format!("/v2/{name}/blobs/uploads/")).send().await.is(202).header("location");
        let location = self.ask("PATCH", &location).body(content).send().await.is(202).header("location");
        let digest = sha256(content);
        self.ask("PUT", &with_digest(&location, &digest)).send().await.is(201);
        digest
    }

    pub(crate) async fn push_manifest(&self, name: &str, reference: &str, manifest: &Manifest) -> Answer {
        let path = format!("/v2/{name}/manifests/{reference}");
        self.ask("PUT", &path)
            .header("content-type", manifest.media_type)
            .body(&manifest.content)
            .send()
            .await
    }
}

/// Everybody may do everything.
pub(crate) fn open() -> Sources {
    Sources { policy: Policy::open(), realm: "larder".into(), htpasswd: None, pull_secret: None }
}

/// A request that is being put together.
pub(crate) struct Ask<'a> {
    larder: &'a Larder,
    request: http::request::Builder,
    pieces: Option<Vec<Bytes>>,
}

impl Ask<'_> {
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    /// A body whose length is known.
    pub(crate) fn body(mut self, content: impl AsRef<[u8]>) -> Self {
        let content = Bytes::copy_from_slice(content.as_ref());
        self.request = self.request.header("content-length", content.len());
        self.pieces = Some(vec![content]);
        self
    }

    /// A body that comes in pieces, of no known length.
    pub(crate) fn stream(mut self, pieces: &[&[u8]]) -> Self {
        self.pieces = Some(pieces.iter().map(|it| Bytes::copy_from_slice(it)).collect());
        self
    }

    pub(crate) async fn send(self) -> Answer {
        let peer = PeerInfo { address: Some(self.larder.peer), scheme: Scheme::Http };
        let api = &self.larder.api;
        let is_head = self.request.method_ref() == Some(&Method::HEAD);
        let has_length = self.request.headers_ref().is_some_and(|it| it.contains_key("content-length"));
        let pieces = self.pieces.unwrap_or_default();
        let mut at_once = None;
        let response = if has_length || pieces.is_empty() {
            let body = Full::new(pieces.concat().into());
            let request = self.request.body(body).unwrap();
            if !has_length {
                at_once = api.at_once(&request, peer);
            }
            api.respond(request, peer).await
        } else {
            let frames = pieces.into_iter().map(|it| Ok::<_, Infallible>(Frame::data(it)));
            let body = StreamBody::new(futures_util::stream::iter(frames.collect::<Vec<_>>()));
            api.respond(self.request.body(body).unwrap(), peer).await
        };
        let mut answer = Answer::collect(response).await;
        answer.check_frame(is_head);
        if let Some(at_once) = at_once {
            let at_once = Answer::collect(at_once).await;
            let parts = |it: &Answer| (it.status, it.headers.clone(), it.body.clone(), it.note());
            assert_eq!(parts(&at_once), parts(&answer), "the short way and the long one");
            answer.came_at_once = true;
        }
        answer
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// The error is one that aborts the connection.
    pub(crate) body: Result<Bytes, String>,
    /// Whether the same was to be had without waiting.
    pub(crate) came_at_once: bool,
    note: AccessNote,
}

impl Answer {
    async fn collect(Answered { response, note }: Answered) -> Self {
        let (Parts { status, headers, .. }, body) = response.into_parts();
        let sent = Sending::copying(body).collect().await.map(|collected| {
            let mut buffer = collected.aggregate();
            buffer.copy_to_bytes(buffer.remaining())
        });
        let body = sent.map_err(|error| error.to_string());
        Self { status, headers, body, came_at_once: false, note }
    }

    /// What the log is told.
    fn note(&self) -> (&'static str, Option<Arc<str>>, Option<Arc<str>>) {
        let AccessNote { operation, user, error } = self.note.clone();
        (operation, user, error)
    }

    /// What holds for every answer.
    fn check_frame(&self, is_head: bool) {
        assert_eq!(self.headers["docker-distribution-api-version"], "registry/2.0");
        assert_eq!(self.headers["x-content-type-options"], "nosniff");
        let length =
            self.headers.get("content-length").map(|it| it.to_str().unwrap().parse::<usize>().unwrap());
        let may_have_body = ![StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&self.status);
        assert_eq!(length.is_some(), may_have_body, "{self:?}");
        match &self.body {
            Ok(body) if is_head => assert!(body.is_empty(), "{self:?}"),
            Ok(body) => assert_eq!(body.len(), length.unwrap_or(0), "{self:?}"),
            Err(_) => {}
        }
    }

    #[track_caller]
    pub(crate) fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    /// An error with this status and code.
    #[track_caller]
    pub(crate) fn fails(self, status: u16, code: &str) -> Self {
        let answer = self.is(status);
        assert_eq!(answer.json()["errors"][0]["code"], code, "{answer:?}");
        answer
    }

    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> String {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name} in {self:?}")).to_str().unwrap().to_owned()
    }

    #[track_caller]
    pub(crate) fn has(self, name: &str, value: &str) -> Self {
        assert_eq!(self.header(name), value);
        self
    }

    pub(crate) fn has_no(self, name: &str) -> Self {
        assert!(!self.headers.contains_key(name), "{self:?}");
        self
    }

    #[track_caller]
    pub(crate) fn bytes(&self) -> &Bytes {
        self.body.as_ref().unwrap()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(self.bytes()).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The list under `key`, as text.
    #[track_caller]
    pub(crate) fn list(&self, key: &str) -> Vec<String> {
        let json = self.json();
        json[key].as_array().unwrap().iter().map(|it| it.as_str().unwrap().to_owned()).collect()
    }
}

/// A manifest to push.
#[derive(Clone, Debug)]
pub(crate) struct Manifest {
    pub(crate) media_type: &'static str,
    pub(crate) content: Vec<u8>,
}

impl Manifest {
    /// An image of these blobs, with more members as JSON.
    pub(crate) fn image(config: &str, layers: &[&str], more: Value) -> Self {
        let descriptor = |digest: &str, media_type: &str| serde_json::json!({"mediaType": media_type, "digest": digest, "size": 1});
        let layers: Vec<Value> = layers.iter().map(|it| descriptor(it, "application/x-layer")).collect();
        let mut document = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": OCI_IMAGE,
            "config": descriptor(config, "application/x-config"),
            "layers": layers,
        });
        document.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        Self { media_type: OCI_IMAGE, content: document.to_string().into_bytes() }
    }

    /// An index of these manifests, with more members as JSON.
    pub(crate) fn index(manifests: &[&Self], more: Value) -> Self {
        let manifests: Vec<Value> = manifests.iter().map(|it| it.descriptor()).collect();
        let mut document =
            serde_json::json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests});
        document.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        Self { media_type: OCI_INDEX, content: document.to_string().into_bytes() }
    }

    pub(crate) fn descriptor(&self) -> Value {
        serde_json::json!({"mediaType": self.media_type, "digest": self.digest(), "size": self.content.len()})
    }

    pub(crate) fn digest(&self) -> String {
        sha256(&self.content)
    }
}

pub(crate) fn sha256(content: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(content)))
}

pub(crate) fn sha512(content: &[u8]) -> String {
    format!("sha512:{}", hex(&Sha512::digest(content)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|it| format!("{it:02x}")).collect()
}

/// An upload's URL with the digest that ends it, encoded as clients do.
pub(crate) fn with_digest(location: &str, digest: &str) -> String {
    let separator = if location.contains('?') { '&' } else { '?' };
    format!("{location}{separator}digest={}", digest.replace(':', "%3A"))
}

/// A tree from the fixtures, unpacked.
pub(crate) fn unpacked(archive: &str) -> TempDir {
    let directory = TempDir::new().unwrap();
    let file = File::open(fixture(archive)).unwrap();
    tar::Archive::new(GzDecoder::new(file)).unpack(directory.path()).unwrap();
    directory
}

pub(crate) fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance/fixtures").join(name)
}

/// What the fixtures hold.
pub(crate) fn payload() -> Value {
    serde_json::from_reader(File::open(fixture("payload.json")).unwrap()).unwrap()
}
