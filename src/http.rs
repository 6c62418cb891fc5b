//! The OCI distribution API: a request in, a response out.
//!
//! Knows paths, methods, headers and status codes. Does not know sockets, TLS
//! or how a file's bytes reach the wire: it answers with a [`Body`] that says
//! what to send.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;
use http::Request;
use http::Response;
use http::Uri;
use http::header::HeaderName;
use http::header::LINK;
use http::header::LOCATION;
use http::request::Parts;

use crate::credentials::Credentials;
use crate::maintenance::Attachments;
use crate::peer::Jobs;
use crate::peer::Releases;
use crate::registry::Registry;

mod access;
mod answer;
mod asked;
mod at_once;
mod base;
mod blobs;
pub mod body;
mod challenge;
mod conditional;
mod endpoints;
mod error;
mod health;
mod listings;
mod maintenance;
mod manifests;
mod multipart;
mod peers;
mod query;
mod range;
mod receive;
mod releases;
mod roots;
mod route;
mod sync;
mod token;
mod uploads;

pub use body::Body;
pub use body::Part;
pub use health::Monitor;
pub use health::Observed;

use access::Access;
use access::Signature;
use asked::Memory;
use endpoints::Call;
use endpoints::Target;
use endpoints::Verb;
use error::Error;
use query::Query;
use receive::Incoming;
use route::Route;

/// The API over one registry. Cheap to clone: every connection has its own.
#[derive(Clone, Debug)]
pub struct Api {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    registry: Registry,
    jobs: Option<Jobs>,
    attachments: Attachments,
    releases: Releases,
    access: Access,
    observed: Observed,
    headers: Vec<(HeaderName, HeaderValue)>,
    catalog_limit: usize,
    memory: Memory,
}

/// What an operator decides about answers.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who may do what.
    pub credentials: Credentials,
    /// The URL by which clients reach the registry, without what is in `prefix`; where there is none, a
    /// request tells.
    pub external_url: Option<String>,
    /// What stands before `/v2/` in every path, such as `/registry`; usually nothing (distribution's
    /// `http.prefix`).
    pub prefix: String,
    /// Added to every response (distribution's `http.headers`).
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The most repositories that one page of the catalog lists.
    pub catalog_limit: usize,
    /// What of the process can be looked at.
    pub observed: Observed,
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

/// A response, and what becomes of it beside being sent.
#[derive(Debug)]
pub struct Answered {
    /// What the client gets.
    pub response: Response<Body>,
    /// What the access log gets.
    pub note: AccessNote,
}

impl From<Response<Body>> for Answered {
    fn from(response: Response<Body>) -> Self {
        Self { response, note: AccessNote::default() }
    }
}

/// What an access log wants to know of an answer beyond its head.
#[derive(Clone, Debug, Default)]
pub struct AccessNote {
    /// Which endpoint answered (`GetManifest`); bounded in number, so that it may label a metric.
    pub operation: &'static str,
    /// Who asked, where that is known.
    pub user: Option<Arc<str>>,
    /// Why the answer is an error, in words.
    pub error: Option<Arc<str>>,
}

impl Api {
    /// Serves `registry`.
    pub fn new(registry: Registry, settings: Settings) -> Self {
        Self::with_jobs(registry, settings, None)
    }

    /// Serves `registry` and the jobs that bring it what others have.
    pub fn with_jobs(registry: Registry, settings: Settings, jobs: Option<Jobs>) -> Self {
        let Settings { credentials, external_url, prefix, headers, catalog_limit, observed } = settings;
        let external_url = external_url.map(|it| it.trim_end_matches('/').to_owned());
        let prefix = prefix.trim_end_matches('/').to_owned();
        let access = Access { credentials, external_url, prefix };
        let attachments = Attachments::new(registry.store().clone());
        let releases = Releases::new(registry.store().clone(), jobs.clone());
        let memory = Memory::new();
        let inner =
            Inner { registry, jobs, attachments, releases, access, observed, headers, catalog_limit, memory };
        Self { inner: Arc::new(inner) }
    }

    /// The releases that it tells of.
    pub fn releases(&self) -> &Releases {
        &self.inner.releases
    }

    /// Answers a request. Never fails: what goes wrong is an answer too.
    ///
    /// A request body that is not wanted, or not to its end, is dropped unread: what then becomes of the
    /// connection (a bounded drain, `Connection: close`, or RST_STREAM) is for whoever owns it.
    pub async fn respond<B>(&self, request: Request<B>, peer: PeerInfo) -> Answered
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: std::error::Error + Send + Sync,
    {
        let (mut parts, body) = request.into_parts();
        let is_below = self.strip_prefix(&mut parts);
        let path = parts.uri.path();
        let verb = Verb::of(&parts.method);
        let target = if is_below { self.target(verb, path) } else { None };
        let operation = endpoints::operation(verb, target.as_ref());
        let mut note = AccessNote { operation, ..AccessNote::default() };
        let answered = match &target {
            Some(target) => self.answer(verb, target, &parts, body, peer, &mut note).await,
            None => Err(Error::NotFound),
        };
        let response = answered.unwrap_or_else(|error| {
            let text = error::chain(&error);
            if error.is_fault() {
                tracing::error!(path, operation = note.operation, error = text, "a request failed");
            }
            note.error = Some(text.into());
            error.respond()
        });
        Answered { response: self.finish(response, verb), note }
    }

    async fn answer<B>(
        &self,
        verb: Verb,
        target: &Target<'_>,
        parts: &Parts,
        body: B,
        peer: PeerInfo,
        note: &mut AccessNote,
    ) -> Result<Response<Body>, Error>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: std::error::Error + Send + Sync,
    {
        let Inner { registry, jobs, attachments, releases, access, observed, catalog_limit, memory, .. } =
            &*self.inner;
        let query = Query::new(parts.uri.query());
        if let Some(response) = endpoints::answer_anybody(verb, target, registry, query).await {
            return Ok(response);
        }
        let signature = Signature { headers: &parts.headers, uri: &parts.uri, peer };
        let caller = access.caller(signature).await?;
        note.user = caller.identity().shared_name();
        let call = Call {
            registry,
            jobs: jobs.as_ref(),
            attachments,
            releases,
            observed,
            catalog_limit: *catalog_limit,
            headers: &parts.headers,
            path: parts.uri.path(),
            memory,
            query,
            caller,
            body: Incoming(pin!(body)),
        };
        endpoints::answer(verb, target, call).await
    }

    fn target<'a>(&self, verb: Verb, path: &'a str) -> Option<Target<'a>> {
        let known = verb.part().and_then(|part| Some(Target::Asked(self.inner.memory.find(path)?, part)));
        known.or_else(|| Route::parse(path).map(Target::Route))
    }

    /// Takes the prefix off the path of a request; `false` where the path does not begin with it.
    fn strip_prefix(&self, parts: &mut Parts) -> bool {
        let prefix = self.inner.access.prefix.as_str();
        if prefix.is_empty() {
            return true;
        }
        let rest = parts.uri.path_and_query().and_then(|it| it.as_str().strip_prefix(prefix));
        let Some(Ok(rest)) = rest.map(str::parse) else { return false };
        let mut uri = parts.uri.clone().into_parts();
        uri.path_and_query = Some(rest);
        match Uri::from_parts(uri) {
            Ok(uri) => parts.uri = uri,
            Err(_) => return false,
        }
        true
    }

    /// What every response has in common.
    fn finish(&self, mut response: Response<Body>, verb: Verb) -> Response<Body> {
        if verb == Verb::Head {
            // The head says how long the body is that a GET would have had.
            *response.body_mut() = Body::Empty;
        }
        let headers = response.headers_mut();
        answer::insert_version(headers);
        for (name, value) in &self.inner.headers {
            headers.append(name, value.clone());
        }
        if !self.inner.access.prefix.is_empty() {
            for (name, start) in [(LOCATION, ""), (LINK, "<")] {
                prepend(headers.get_mut(name), start, &self.inner.access.prefix);
            }
        }
        response
    }
}

/// Puts a prefix before the path in a header that begins with `start`.
fn prepend(value: Option<&mut HeaderValue>, start: &str, prefix: &str) {
    let Some(value) = value else { return };
    if let Some(rest) = value.to_str().ok().and_then(|it| it.strip_prefix(start)) {
        *value = answer::value(format!("{start}{prefix}{rest}"));
    }
}
