//! The OCI distribution API: a request in, a response out.
//!
//! Knows paths, methods, headers and status codes. Does not know sockets, TLS
//! or how a file's bytes reach the wire: it answers with a [`Body`] that says
//! what to send.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;
use http::Request;
use http::Response;
use http::header::CONTENT_TYPE;
use http::header::HeaderName;

use crate::registry::Registry;

pub mod body;

pub use body::Body;
pub use body::Part;

/// The API over one registry. Cheap to clone: every connection has its own.
#[derive(Clone, Debug)]
pub struct Api {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    #[expect(dead_code, reason = "the operations arrive with the endpoint table")]
    registry: Registry,
    settings: Settings,
}

/// What an operator decides about answers.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Added to every response (distribution's `http.headers`).
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// The other end of a connection, as far as an answer depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerInfo {
    /// Where the client is; `None` on the administration socket.
    pub address: Option<SocketAddr>,
    /// How it spoke to the listener.
    pub scheme: Scheme,
}

/// How a client reaches the listener: decides the scheme of the URLs that it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Without TLS.
    Http,
    /// Over TLS.
    Https,
}

/// What an access log wants to know of an answer beyond its head. Every response carries one as an extension.
#[derive(Clone, Debug, Default)]
pub struct AccessNote {
    /// Which endpoint answered, in the words of the endpoint table (`GetManifest`); bounded in number, so that it
    /// may label a metric.
    pub operation: &'static str,
    /// Who asked, where that is known.
    pub user: Option<Arc<str>>,
    /// Why the answer is an error, in words.
    pub error: Option<Arc<str>>,
}

impl Api {
    /// Serves `registry`.
    pub fn new(registry: Registry, settings: Settings) -> Self {
        Self { inner: Arc::new(Inner { registry, settings }) }
    }

    /// Answers a request. Never fails: what goes wrong is an answer too.
    ///
    /// A request body that is not wanted, or not to its end, is dropped unread: what then becomes of the connection
    /// (a bounded drain, `Connection: close`, or RST_STREAM) is for whoever owns it.
    pub async fn respond<B>(&self, request: Request<B>, peer: PeerInfo) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: std::error::Error + Send + Sync,
    {
        let _ = peer;
        let mut response = match request.uri().path() {
            "/v2" | "/v2/" => base(),
            _ => not_found(),
        };
        for (name, value) in &self.inner.settings.headers {
            response.headers_mut().append(name, value.clone());
        }
        response.extensions_mut().insert(AccessNote { operation: "Base", ..AccessNote::default() });
        response
    }
}

fn base() -> Response<Body> {
    let mut response = Response::new(Body::Bytes(Bytes::from_static(b"{}")));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn not_found() -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = http::StatusCode::NOT_FOUND;
    response
}
