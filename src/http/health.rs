//! What operators and orchestrators ask: is it alive, is it ready, what does it
//! do, what did it count.
//!
//! Knows what can be asked. Does not know who may: the endpoint table does.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use std::time::SystemTime;

use http::Request;
use http::Response;
use http::StatusCode;
use serde::Serialize;

use crate::http::AccessNote;
use crate::http::Answered;
use crate::http::Body;
use crate::http::answer;
use crate::http::error::Error;
use crate::http::error::chain;
use crate::http::query::Query;
use crate::maintenance::Attachments;
use crate::maintenance::documents::AttachedRoot;
use crate::metrics::Metrics;
use crate::metrics::Presented;
use crate::registry::Registry;
use crate::reload::Report;
use crate::reload::Reports;

/// What of the process can be looked at. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Observed {
    /// What it counts.
    pub metrics: Metrics,
    /// What became of operators' files.
    pub files: Reports,
    /// When it began.
    pub started: Instant,
}

/// What is answered on the port for metrics. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Monitor {
    registry: Registry,
    metrics: Metrics,
    path: Arc<str>,
}

impl Monitor {
    /// Answers `path` with the metrics, and whether the process is alive and ready.
    pub fn new(registry: Registry, metrics: Metrics, path: &str) -> Self {
        Self { registry, metrics, path: path.into() }
    }

    /// Answers a request, whatever is in it.
    pub async fn respond<B>(&self, request: Request<B>) -> Answered {
        let (path, query) = (request.uri().path(), Query::new(request.uri().query()));
        let response = match path {
            _ if !request.method().is_safe() => Error::Method { allow: "GET, HEAD" }.respond(),
            "/healthz" => alive(),
            "/readyz" => ready(&self.registry, query).await,
            path if path == &*self.path => answer::document(Metrics::CONTENT_TYPE, self.metrics.encode()),
            _ => Error::NotFound.respond(),
        };
        Answered { response, note: AccessNote { operation: "Monitor", ..AccessNote::default() } }
    }
}

/// `GET /healthz`: it runs.
pub(super) fn alive() -> Response<Body> {
    answer::document("text/plain; charset=utf-8", "ok\n")
}

/// `GET /readyz`: it can serve. `GET /readyz?write`: it can take pushes as well.
pub(super) async fn ready(registry: &Registry, query: Query<'_>) -> Response<Body> {
    let checked = match readable(registry).await {
        Ok(()) if query.first("write").is_some_and(|it| it != "false") => writable(registry).await,
        checked => checked,
    };
    match checked {
        // It is ready: everything else is served. Who asks is told all the same.
        Ok(()) => answer::document("text/plain; charset=utf-8", {
            let faults = faults(registry).into_iter().map(|it| it.to_string() + "\n");
            std::iter::once("ok\n".to_owned()).chain(faults).collect::<String>()
        }),
        Err(why) => {
            let mut response = answer::document("text/plain; charset=utf-8", format!("{why}\n"));
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            response
        }
    }
}

/// `GET /v2/_larder/status`: what `larder status` shows.
pub(super) async fn status(
    registry: &Registry,
    attachments: &Attachments,
    observed: &Observed,
) -> Response<Body> {
    let Observed { metrics, files, started } = observed;
    let files = files.all().into_iter();
    answer::json(&Status {
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: started.elapsed().as_secs(),
        roots: registry.store().roots(),
        attached: attachments.list().await,
        readable: Health::of(readable(registry).await),
        writable: Health::of(writable(registry).await),
        media: faults(registry),
        free_bytes: registry.store().writer().map(|_| metrics.store.free_bytes.get()),
        connections: metrics.transport.connections.get(),
        requests: metrics.http.requests.in_flight(),
        certificate: metrics.reload.presented().map(PresentedCertificate::from),
        files: files.map(WatchedFile::from).collect(),
    })
}

/// What is read are media, so what cannot be read is the medium's fault.
async fn readable(registry: &Registry) -> Result<(), String> {
    registry.store().check_readable().await.map_err(|error| format!("medium: {}", chain(&error)))
}

/// What media did that can be read all the same, but for some of it.
fn faults(registry: &Registry) -> Vec<MediumFaults> {
    let faulty = registry.store().faults().into_iter().filter(|it| it.count > 0);
    faulty.map(|it| MediumFaults { medium: it.medium, faults: it.count, last: it.last }).collect()
}

async fn writable(registry: &Registry) -> Result<(), String> {
    match registry.store().writer() {
        Some(writer) => writer.check_writable().await.map_err(|error| chain(&error)),
        None => Err("the registry is read-only".to_owned()),
    }
}

#[derive(Serialize)]
struct Status {
    version: &'static str,
    uptime_seconds: u64,
    roots: Vec<PathBuf>,
    /// Those of the roots that came after the start, and the releases that they hold.
    attached: Vec<AttachedRoot>,
    readable: Health,
    writable: Health,
    /// Those that failed a read.
    media: Vec<MediumFaults>,
    #[serde(skip_serializing_if = "Option::is_none")]
    free_bytes: Option<i64>,
    connections: i64,
    requests: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<PresentedCertificate>,
    files: Vec<WatchedFile>,
}

/// The certificate that a client is shown who connects now.
#[derive(Serialize)]
struct PresentedCertificate {
    serial: String,
    not_after: String,
}

impl From<Presented> for PresentedCertificate {
    fn from(Presented { serial, not_after }: Presented) -> Self {
        Self { serial, not_after: humantime::format_rfc3339_seconds(not_after).to_string() }
    }
}

#[derive(Serialize)]
struct Health {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

impl Health {
    fn of(checked: Result<(), String>) -> Self {
        Self { ok: checked.is_ok(), problem: checked.err() }
    }
}

#[derive(Serialize)]
struct MediumFaults {
    medium: String,
    faults: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<String>,
}

impl fmt::Display for MediumFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { medium, faults, last } = self;
        write!(f, "medium: {medium} failed {faults} reads")?;
        last.iter().try_for_each(|last| write!(f, "; the last: {last}"))
    }
}

#[derive(Serialize)]
struct WatchedFile {
    what: &'static str,
    paths: Vec<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    /// Until when an overlap lasts: what it said before counts too, for whoever was in it all the time.
    #[serde(skip_serializing_if = "Option::is_none")]
    former_until: Option<String>,
}

impl From<Report> for WatchedFile {
    fn from(Report { what, paths, problem, former_until }: Report) -> Self {
        // The report may be older than the end: of a file that cannot be looked at any more it is the last.
        let left = former_until
            .and_then(|it| it.into_std().checked_duration_since(Instant::now()))
            .filter(|left| !left.is_zero());
        let former_until =
            left.map(|left| humantime::format_rfc3339_seconds(SystemTime::now() + left).to_string());
        Self { what, paths, problem, former_until }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use super::*;

    #[test]
    fn an_overlap_is_told_of_until_it_ends() {
        let told = |until: Option<Instant>| {
            let former_until = until.map(Into::into);
            let report = Report { what: "htpasswd", paths: Vec::new(), problem: None, former_until };
            WatchedFile::from(report).former_until
        };
        let now = Instant::now();
        assert_eq!(told(None), None);
        assert_eq!(told(Some(now)), None, "a report that is older than the end");
        let until = humantime::parse_rfc3339(&told(Some(now + Duration::from_secs(3600))).unwrap()).unwrap();
        let left = until.duration_since(SystemTime::now()).unwrap();
        assert!(left.abs_diff(Duration::from_secs(3600)) < Duration::from_secs(60), "{left:?}");
    }
}
