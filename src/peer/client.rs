//! `Client`: the one place that dials another registry.
//!
//! Knows how to ask an OCI registry for tags, manifests and blobs, and how to answer its challenges. Does not
//! know why they are wanted or what becomes of them: whatever comes back is data, bounded here and verified
//! by the caller.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::HeaderValue;
use http::Method;
use http::Request;
use http::Response;
use http::StatusCode;
use http::header;
use http_body_util::BodyExt;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioTimer;
use storage_layout::Digest;
use storage_layout::RepositoryName;
use storage_layout::Tag;
use tokio::time::timeout;

use crate::peer::Endpoint;
use crate::peer::Error;
use crate::peer::challenge::Token;
use crate::peer::trust;
use crate::peer::trust::Keys;
use crate::peer::trust::Trust;
use crate::reload::Succession;

mod sign_in;
mod stream;

pub use stream::BlobStream;
pub(crate) use stream::Lines;

/// How long a connection may take: a node that is down must not hold up a pull (spegel's users lost 30 s to
/// it).
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the head of an answer may take; a registry on a slow medium needs several seconds for a first
/// byte.
const HEAD_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a connection is kept for the next request.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// The largest manifest that is taken: what registries and clients agree on.
const MANIFEST_LIMIT: u64 = 4 * 1024 * 1024;
/// The largest page of tags or repositories: 1,000 names of 255 bytes each, with room to spare.
const PAGE_LIMIT: u64 = 1024 * 1024;
/// The most pages that are followed: 10 million names.
const PAGES_LIMIT: usize = 10_000;
/// How many names are asked for at once; distribution answers 400 to more.
const PAGE_SIZE: usize = 1000;
/// The most of an error's text that is kept.
const DETAIL_LIMIT: u64 = 4 * 1024;
/// What manifests may be, one after the other as containers/image asks.
const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json, */*;q=0.1";
/// Says that the asker is itself a peer: what is missing is answered with 404 and not looked for at other
/// peers.
pub const NO_PULL_THROUGH: &str = "larder-no-pull-through";

/// A registry that is asked. Cheap to clone; connections are pooled.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

type Connector = HttpsConnector<HttpConnector>;
type Pool = hyper_util::client::legacy::Client<Connector, Full<Bytes>>;

#[derive(Debug)]
struct Inner {
    endpoint: Endpoint,
    keys: Keys,
    line: std::sync::Mutex<Line>,
    token: std::sync::Mutex<Option<Token>>,
    /// The credential that was taken last.
    taken: std::sync::Mutex<Option<HeaderValue>>,
    busy: AtomicUsize,
}

/// The connections to a registry, and by which trust they were made. Replaced when that changes, and when one
/// of them was found to be dead: the others are, too, and each would be waited for. What is under way goes
/// on.
#[derive(Debug)]
struct Line {
    pool: Pool,
    trust: Arc<Succession<Trust>>,
}

/// A manifest as it came: its bytes, what its sender calls it, and what it hashes to.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The bytes.
    pub content: Bytes,
    /// The sender's `Content-Type`.
    pub media_type: Option<String>,
}

/// Reading what a registry holds. Absence (404) is `None`.
impl Client {
    /// A client of the registry at `endpoint`. Dials nobody yet.
    pub(super) fn new(endpoint: Endpoint, keys: Keys) -> Self {
        let line = std::sync::Mutex::new(Line::new(keys.current()));
        let (token, taken, busy) = (std::sync::Mutex::default(), std::sync::Mutex::default(), 0.into());
        Self { inner: Arc::new(Inner { endpoint, keys, line, token, taken, busy }) }
    }

    /// Who is asked.
    pub fn endpoint(&self) -> &Endpoint {
        &self.inner.endpoint
    }

    /// How many blobs are being taken from it now.
    pub fn busy(&self) -> usize {
        self.inner.busy.load(Ordering::Relaxed)
    }

    /// The manifest under a tag or a digest.
    pub async fn manifest(&self, name: &RepositoryName, reference: &str) -> Result<Option<Manifest>, Error> {
        let path = format!("/v2/{name}/manifests/{reference}");
        let Some(response) = self.get(name, &path, as_peer()).await? else { return Ok(None) };
        let media_type = response.headers().get(header::CONTENT_TYPE);
        let media_type = media_type.and_then(|it| it.to_str().ok()).map(str::to_owned);
        let content = self.collect(response, &path, MANIFEST_LIMIT).await?;
        Ok(Some(Manifest { content, media_type }))
    }

    /// What a tag points at, as the registry says.
    pub async fn resolve(&self, name: &RepositoryName, tag: &Tag) -> Result<Option<Digest>, Error> {
        let path = format!("/v2/{name}/manifests/{tag}");
        let request = self.request(Method::HEAD, &path, as_peer())?;
        let Some(response) = self.send(name, request).await? else { return Ok(None) };
        let digest = response.headers().get("docker-content-digest").and_then(|it| it.to_str().ok());
        Ok(digest.and_then(|it| Digest::parse(it).ok()))
    }

    /// The tags of a repository, in the registry's order.
    pub async fn tags(&self, name: &RepositoryName) -> Result<Option<Vec<Tag>>, Error> {
        let first = format!("/v2/{name}/tags/list?n={PAGE_SIZE}");
        let names = self.pages(name, first, "tags").await?;
        Ok(names.map(|it| it.iter().filter_map(|tag| Tag::parse(tag).ok()).collect()))
    }

    /// The repositories, in the registry's order; `None` where it has no catalog.
    pub async fn repositories(&self) -> Result<Option<Vec<RepositoryName>>, Error> {
        let first = format!("/v2/_catalog?n={PAGE_SIZE}");
        let names = self.paged("registry:catalog:*", first, "repositories").await?;
        Ok(names.map(|it| it.iter().filter_map(|name| RepositoryName::parse(name).ok()).collect()))
    }

    /// The length of a blob that the registry holds in a repository, without asking its own peers.
    pub async fn blob_size(&self, name: &RepositoryName, digest: &Digest) -> Result<Option<u64>, Error> {
        let request = self.request(Method::HEAD, &format!("/v2/{name}/blobs/{digest}"), as_peer())?;
        let Some(response) = self.send(name, request).await? else { return Ok(None) };
        let length =
            response.headers().get(header::CONTENT_LENGTH).and_then(|it| it.to_str().ok()?.parse().ok());
        length.map(Some).ok_or_else(|| self.protocol("it does not say how long a blob is"))
    }

    /// The bytes of a blob from `offset` on.
    pub async fn blob(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        offset: u64,
    ) -> Result<Option<BlobStream>, Error> {
        let mut headers = as_peer();
        if offset > 0 {
            let range = HeaderValue::try_from(format!("bytes={offset}-"));
            headers.insert(header::RANGE, range.map_err(|error| self.protocol(error))?);
        }
        let path = format!("/v2/{name}/blobs/{digest}");
        let Some(response) = self.get(name, &path, headers).await? else { return Ok(None) };
        BlobStream::new(self.clone(), response, offset).map(Some)
    }

    /// Any other resource, as lines of at most [`Lines::LIMIT`] bytes; `None` for 404, and for 304 to
    /// `if_none_match`.
    pub(crate) async fn lines(
        &self,
        path: &str,
        if_none_match: Option<&str>,
    ) -> Result<Option<Lines>, Error> {
        let mut headers = as_peer();
        if let Some(tag) = if_none_match.and_then(|it| HeaderValue::try_from(it).ok()) {
            headers.insert(header::IF_NONE_MATCH, tag);
        }
        let request = self.request(Method::GET, path, headers)?;
        let response = self.send_scoped("registry:catalog:*", request).await?;
        Ok(response.filter(|it| it.status() == StatusCode::OK).map(|it| Lines::new(self.clone(), it)))
    }

    /// A JSON document of at most `limit` bytes; `None` for 404.
    pub(crate) async fn document<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        limit: u64,
    ) -> Result<Option<T>, Error> {
        let request = self.request(Method::GET, path, as_peer())?;
        let Some(response) = self.send_scoped("registry:catalog:*", request).await? else { return Ok(None) };
        let body = self.collect(response, path, limit).await?;
        serde_json::from_slice(&body).map(Some).map_err(|error| self.protocol(error))
    }

    /// Sends JSON and takes JSON; `None` for 404.
    pub(crate) async fn post(&self, path: &str, body: Vec<u8>, limit: u64) -> Result<Option<Bytes>, Error> {
        let mut request = self.request(Method::POST, path, as_peer())?;
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        *request.body_mut() = Full::new(Bytes::from(body));
        let Some(response) = self.send_scoped("registry:catalog:*", request).await? else { return Ok(None) };
        self.collect(response, path, limit).await.map(Some)
    }
}

/// Pages and requests.
impl Client {
    async fn pages(
        &self,
        name: &RepositoryName,
        first: String,
        key: &str,
    ) -> Result<Option<Vec<String>>, Error> {
        self.paged(&pull_scope(name), first, key).await
    }

    async fn paged(&self, scope: &str, first: String, key: &str) -> Result<Option<Vec<String>>, Error> {
        let mut names = Vec::new();
        let mut next = Some(first);
        for _ in 0..PAGES_LIMIT {
            let Some(path) = next else { return Ok(Some(names)) };
            let request = self.request(Method::GET, &path, HeaderMap::new())?;
            let Some(response) = self.send_scoped(scope, request).await? else { return Ok(None) };
            next = response.headers().get(header::LINK).and_then(|it| it.to_str().ok()).and_then(next_page);
            let page = self.collect(response, &path, PAGE_LIMIT).await?;
            let mut page: serde_json::Value =
                serde_json::from_slice(&page).map_err(|error| self.protocol(error))?;
            if let Some(serde_json::Value::Array(items)) = page.get_mut(key).map(serde_json::Value::take) {
                names.extend(items.into_iter().filter_map(|it| it.as_str().map(str::to_owned)));
            }
        }
        Err(self.protocol("its listing does not end"))
    }

    async fn get(
        &self,
        name: &RepositoryName,
        path: &str,
        headers: HeaderMap,
    ) -> Result<Option<Response<Incoming>>, Error> {
        let request = self.request(Method::GET, path, headers)?;
        self.send(name, request).await
    }

    fn request(&self, method: Method, path: &str, headers: HeaderMap) -> Result<Request<Full<Bytes>>, Error> {
        let uri = self.inner.endpoint.uri(path).map_err(|error| self.protocol(error))?;
        let mut request = Request::new(Full::default());
        (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) = (method, uri, headers);
        request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static(ACCEPT));
        request.headers_mut().insert(
            header::USER_AGENT,
            HeaderValue::from_static(concat!("larder/", env!("CARGO_PKG_VERSION"))),
        );
        Ok(request)
    }

    async fn send(
        &self,
        name: &RepositoryName,
        request: Request<Full<Bytes>>,
    ) -> Result<Option<Response<Incoming>>, Error> {
        self.send_scoped(&pull_scope(name), request).await
    }

    async fn dial(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Error> {
        let endpoint = || self.inner.endpoint.clone();
        let pool = self.pool();
        match timeout(HEAD_TIMEOUT, pool.request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(source)) => Err(Error::Unreachable { endpoint: endpoint(), source: Box::new(source) }),
            Err(_) => Err(self.stalled(HEAD_TIMEOUT)),
        }
    }

    /// The connections by the trust that is in force.
    fn pool(&self) -> Pool {
        let trust = self.inner.keys.current();
        let mut line = self.inner.line.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !Arc::ptr_eq(&line.trust, &trust) {
            *line = Line::new(trust);
        }
        line.pool.clone()
    }

    /// Silence for so long. Whoever asks next dials anew, and hears at once if nobody is there.
    fn stalled(&self, after: Duration) -> Error {
        let mut line = self.inner.line.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *line = Line::new(Arc::clone(&line.trust));
        Error::Stalled { endpoint: self.inner.endpoint.clone(), after }
    }

    async fn accept(
        &self,
        response: Response<Incoming>,
        request: &Request<Full<Bytes>>,
    ) -> Result<Option<Response<Incoming>>, Error> {
        let status = response.status();
        if status.is_success() || status == StatusCode::NOT_MODIFIED {
            return Ok(Some(response));
        }
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let request = format!("{} {}", request.method(), request.uri().path());
        let detail = self.collect(response, &request, DETAIL_LIMIT).await.ok();
        let detail =
            detail.map(|it| String::from_utf8_lossy(&it).trim().to_owned()).filter(|it| !it.is_empty());
        Err(Error::Refused {
            endpoint: self.inner.endpoint.clone(),
            status: status.as_u16(),
            request,
            detail,
        })
    }

    async fn collect(&self, response: Response<Incoming>, request: &str, limit: u64) -> Result<Bytes, Error> {
        let mut body = response.into_body();
        let mut whole = bytes::BytesMut::new();
        while let Some(data) = self.next_data(&mut body).await? {
            if whole.len() as u64 + data.len() as u64 > limit {
                let endpoint = self.inner.endpoint.clone();
                return Err(Error::TooLarge { endpoint, request: request.to_owned(), limit });
            }
            whole.extend_from_slice(&data);
        }
        Ok(whole.freeze())
    }

    /// The next bytes of a body, within the time that silence is borne.
    async fn next_data(&self, body: &mut Incoming) -> Result<Option<Bytes>, Error> {
        let endpoint = || self.inner.endpoint.clone();
        loop {
            match timeout(stream::STALL_TIMEOUT, body.frame()).await {
                Err(_) => return Err(self.stalled(stream::STALL_TIMEOUT)),
                Ok(None) => return Ok(None),
                Ok(Some(Err(source))) => {
                    return Err(Error::Unreachable { endpoint: endpoint(), source: Box::new(source) });
                }
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    fn protocol(&self, why: impl std::fmt::Display) -> Error {
        Error::Protocol { endpoint: self.inner.endpoint.clone(), why: why.to_string() }
    }
}

impl Line {
    /// Dials nobody yet.
    fn new(trust: Arc<Succession<Trust>>) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(trust::tls(&trust))
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let pool = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_timer(TokioTimer::new())
            .build(connector);
        Self { pool, trust }
    }
}

fn pull_scope(name: &RepositoryName) -> String {
    format!("repository:{name}:pull")
}

fn as_peer() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(NO_PULL_THROUGH, HeaderValue::from_static("1"));
    headers
}

/// The path and query of a `Link` header's target. Its host is ignored: a listing does not lead elsewhere.
fn next_page(link: &str) -> Option<String> {
    let target = link.trim().strip_prefix('<')?.split_once('>')?.0;
    let path = match target.split_once("://") {
        Some((_, rest)) => rest.split_once('/').map(|(_, path)| format!("/{path}"))?,
        None => target.to_owned(),
    };
    path.starts_with("/v2/").then_some(path)
}

#[cfg(test)]
mod tests {
    use super::next_page;

    #[test]
    fn the_next_page_is_on_the_same_host() {
        let check = |link: &str, want: Option<&str>| assert_eq!(next_page(link).as_deref(), want, "{link}");
        check(r#"</v2/_catalog?last=a&n=5>; rel="next""#, Some("/v2/_catalog?last=a&n=5"));
        check(r#"<https://elsewhere/v2/x/tags/list?last=a>; rel="next""#, Some("/v2/x/tags/list?last=a"));
        check(r#"<http://metadata/secret>; rel="next""#, None);
        check("garbage", None);
    }
}
