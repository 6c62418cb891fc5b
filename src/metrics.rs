//! The numbers this process keeps about itself: each name, help text and unit, once.
//!
//! Knows what is counted. Does not know who counts or who reads: a layer is
//! given its group, which is a handful of atomics and cheap to clone, and
//! increments it. A group that was never registered counts all the same, so
//! tests may use `Default`.
//!
//! The text is OpenMetrics 1.0. Labels have few values by construction: an
//! operation is one of a fixed list, a medium one of the configured roots,
//! never a repository, a digest, a client or a user.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use prometheus_client::registry::Unit;

mod requests;
mod tally;

pub use requests::Kind;
pub use requests::Requests;
pub use tally::Tally;

/// Every group, and the text of all. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Requests and what they moved.
    pub http: HttpMetrics,
    /// Connections, and how bytes left.
    pub transport: TransportMetrics,
    /// Who signed in and who did not.
    pub auth: AuthMetrics,
    /// The disk.
    pub store: StoreMetrics,
    /// Operators' files and what stands in them.
    pub reload: ReloadMetrics,
    registry: Arc<Registry>,
}

impl Metrics {
    /// The value of the `Content-Type` header that goes with [`Metrics::encode`].
    pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

    /// All at zero. `version` is the program's.
    pub fn new(version: &'static str) -> Self {
        let mut registry = Registry::with_prefix("larder");
        registry.register("build", "The program that answers", Info::new([("version", version)]));
        let all = Self {
            http: HttpMetrics::default(),
            transport: TransportMetrics::default(),
            auth: AuthMetrics::default(),
            store: StoreMetrics::default(),
            reload: ReloadMetrics::default(),
            registry: Arc::default(),
        };
        all.http.register(&mut registry);
        all.transport.register(&mut registry);
        all.auth.register(&mut registry);
        all.store.register(&mut registry);
        all.reload.register(&mut registry);
        Self { registry: Arc::new(registry), ..all }
    }

    /// The text that `GET /metrics` answers.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a `String` does not fail, and no label of ours refuses to be written.
        let _ = text::encode(&mut text, &self.registry);
        text
    }
}

/// Requests and what they moved.
#[derive(Clone, Debug, Default)]
pub struct HttpMetrics {
    /// Requests answered and under way.
    pub requests: Requests,
    /// Bytes of request bodies read.
    pub received: Tally,
}

impl HttpMetrics {
    fn register(&self, to: &mut Registry) {
        let Self { requests, received } = self;
        to.register_collector(Box::new(requests.clone()));
        to.register_with_unit("http_received", "Request bodies read", Unit::Bytes, received.clone());
    }
}

/// Connections, and how bytes left.
#[derive(Clone, Debug)]
pub struct TransportMetrics {
    /// Connections that are open.
    pub connections: Gauge,
    /// Connections accepted.
    pub accepted: Counter,
    /// Connections turned away because too many were open.
    pub turned_away: Counter,
    /// Connections without a request that were closed to make room for others.
    pub displaced: Counter,
    /// TLS handshakes that failed, also by a plain request.
    pub handshakes_failed: Counter,
    /// File bytes that the kernel sent from its page cache to a plain socket.
    pub sendfile: Tally,
    /// File bytes that the kernel sent from its page cache and encrypted on the way.
    pub ktls: Tally,
    /// Bytes that were copied to a plain socket.
    pub copied: Tally,
    /// Bytes that were copied and encrypted here.
    pub tls: Tally,
    sent: Family<Label, Tally>,
}

impl TransportMetrics {
    fn register(&self, to: &mut Registry) {
        to.register("connections", "Connections that are open", self.connections.clone());
        to.register("connections_accepted", "Connections accepted", self.accepted.clone());
        let help = "Connections turned away because too many were open";
        to.register("connections_turned_away", help, self.turned_away.clone());
        let help = "Connections without a request that were closed to make room for others";
        to.register("connections_displaced", help, self.displaced.clone());
        to.register("tls_handshakes_failed", "TLS handshakes that failed", self.handshakes_failed.clone());
        to.register_with_unit("sent", "Bytes sent, by how they left", Unit::Bytes, self.sent.clone());
    }
}

impl Default for TransportMetrics {
    fn default() -> Self {
        let sent = Family::<Label, Tally>::default();
        let by = |path| sent.get_or_create_owned(&[("path", path)]);
        let (connections, accepted, turned_away, displaced, handshakes_failed) = Default::default();
        Self {
            connections,
            accepted,
            turned_away,
            displaced,
            handshakes_failed,
            sendfile: by("sendfile"),
            ktls: by("ktls"),
            copied: by("copied"),
            tls: by("tls"),
            sent,
        }
    }
}

/// Who signed in and who did not.
#[derive(Clone, Debug, Default)]
pub struct AuthMetrics {
    failures: Family<Label, Counter>,
    /// Credentials that were checked by computing bcrypt.
    pub computed: Counter,
}

/// Why nobody was signed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuthFailure {
    /// The password is not that user's, or the user does not exist.
    Wrong,
    /// The header is no credential.
    Malformed,
    /// The client failed too often of late.
    Slowed,
    /// A token that was not issued here or is too old.
    Token,
}

impl AuthFailure {
    fn word(self) -> &'static str {
        match self {
            Self::Wrong => "wrong",
            Self::Malformed => "malformed",
            Self::Slowed => "slowed",
            Self::Token => "token",
        }
    }
}

impl AuthMetrics {
    /// Counts a failure.
    pub fn failed(&self, reason: AuthFailure) {
        self.failures.get_or_create(&[("reason", reason.word())]).inc();
    }

    fn register(&self, to: &mut Registry) {
        to.register("auth_failures", "Credentials refused, by why", self.failures.clone());
        to.register("auth_checks", "Credentials checked by computing bcrypt", self.computed.clone());
    }
}

/// The disk.
#[derive(Clone, Debug)]
pub struct StoreMetrics {
    uploads: Family<Label, Counter>,
    faults: Family<NamedLabel, Counter>,
    /// How long each fsync took; its count is that of fsyncs.
    pub fsync_seconds: Histogram,
    /// Bytes free for writing, as last seen.
    pub free_bytes: Gauge,
    /// Stored things found not to be what their path says.
    pub corrupt: Counter,
}

/// What became of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UploadEvent {
    /// Begun.
    Started,
    /// Published as a blob.
    Finished,
    /// Ended by its client.
    Cancelled,
    /// Refused: the bytes have another digest than was said.
    Mismatched,
    /// Removed because it was too old.
    Purged,
}

impl UploadEvent {
    fn word(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Finished => "finished",
            Self::Cancelled => "cancelled",
            Self::Mismatched => "mismatched",
            Self::Purged => "purged",
        }
    }
}

impl StoreMetrics {
    /// Counts what became of an upload.
    pub fn upload(&self, event: UploadEvent) {
        self.uploads.get_or_create(&[("event", event.word())]).inc();
    }

    /// Counts a read that the medium failed. `medium` is the name of a root.
    pub fn fault(&self, medium: &str) {
        self.faults.get_or_create(&[("medium", medium.to_owned())]).inc();
    }

    fn register(&self, to: &mut Registry) {
        to.register("store_uploads", "Uploads, by what became of them", self.uploads.clone());
        to.register("store_medium_faults", "Reads that a medium failed", self.faults.clone());
        let help = "How long each fsync took";
        to.register_with_unit("store_fsync", help, Unit::Seconds, self.fsync_seconds.clone());
        let help = "Space left where writes go, as last seen";
        to.register_with_unit("store_free", help, Unit::Bytes, self.free_bytes.clone());
        let help = "Stored things found not to be what their path says";
        to.register("store_corrupt", help, self.corrupt.clone());
    }
}

impl Default for StoreMetrics {
    fn default() -> Self {
        let (uploads, faults, free_bytes, corrupt) = Default::default();
        Self { uploads, faults, fsync_seconds: fsync_seconds(), free_bytes, corrupt }
    }
}

/// Operators' files and what stands in them.
#[derive(Clone, Debug, Default)]
pub struct ReloadMetrics {
    reloads: Family<[(&'static str, &'static str); 2], Counter>,
    certificate: Family<NamedLabel, Gauge>,
    presented: Arc<Mutex<Option<Presented>>>,
}

/// The certificate that clients are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presented {
    /// Its serial number in hexadecimal.
    pub serial: String,
    /// Until when it is valid.
    pub not_after: SystemTime,
}

/// How reading a changed file ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReloadResult {
    /// It is in force.
    InForce,
    /// It could not be read or parsed; the last good one stays.
    Refused,
}

impl ReloadResult {
    fn word(self) -> &'static str {
        match self {
            Self::InForce => "in_force",
            Self::Refused => "refused",
        }
    }
}

impl ReloadMetrics {
    /// Counts a reload. `file` is what it is for: `certificate`, `htpasswd`, `pull_secret`.
    pub fn reloaded(&self, file: &'static str, result: ReloadResult) {
        self.reloads.get_or_create(&[("file", file), ("result", result.word())]).inc();
    }

    /// The certificate that is presented from now on: its serial in hexadecimal, and until when it is valid.
    pub fn certificate(&self, serial: &str, not_after: SystemTime) {
        let seconds = not_after.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.certificate.clear();
        let gauge = self.certificate.get_or_create_owned(&[("serial", serial.to_owned())]);
        gauge.set(i64::try_from(seconds).unwrap_or(i64::MAX));
        let presented = Presented { serial: serial.to_owned(), not_after };
        *self.presented.lock().unwrap_or_else(PoisonError::into_inner) = Some(presented);
    }

    /// The certificate that was said last; `None` without TLS.
    pub fn presented(&self) -> Option<Presented> {
        self.presented.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn register(&self, to: &mut Registry) {
        to.register("reloads", "Changed files read again, by how that ended", self.reloads.clone());
        let help = "Until when the certificate that is presented is valid, in seconds since 1970";
        to.register_with_unit("tls_certificate_not_after", help, Unit::Seconds, self.certificate.clone());
    }
}

/// etcd wants 10 ms at the 99th percentile of the same disk, so that is where the steps are close.
fn fsync_seconds() -> Histogram {
    Histogram::new([0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0])
}

/// One label, of a fixed list of words.
type Label = [(&'static str, &'static str); 1];

/// One label, of a few words that a configuration or a certificate gives.
type NamedLabel = [(&'static str, String); 1];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_counted_is_told() {
        let metrics = Metrics::new("1.2.3");
        let elapsed = Duration::from_millis(3);
        metrics.http.requests.answered(Kind { operation: "GetBlob", method: "GET", status: 206 }, elapsed);
        metrics.transport.sendfile.inc_by(4096);
        metrics.auth.failed(AuthFailure::Wrong);
        metrics.store.upload(UploadEvent::Finished);
        metrics.store.fault("/dev/sr0");
        metrics.store.fsync_seconds.observe(0.004);
        metrics.reload.reloaded("htpasswd", ReloadResult::Refused);
        metrics.reload.certificate("01", UNIX_EPOCH + Duration::from_secs(10));
        metrics.reload.certificate("0a", UNIX_EPOCH + Duration::from_secs(20));
        let text = metrics.encode();
        for line in [
            r#"larder_build_info{version="1.2.3"} 1"#,
            r#"larder_http_requests_total{operation="GetBlob",method="GET",status="206"} 1"#,
            r#"larder_http_request_seconds_bucket{le="0.005",operation="GetBlob"} 1"#,
            "larder_http_received_bytes_total 0",
            r#"larder_sent_bytes_total{path="sendfile"} 4096"#,
            r#"larder_sent_bytes_total{path="ktls"} 0"#,
            r#"larder_auth_failures_total{reason="wrong"} 1"#,
            r#"larder_store_uploads_total{event="finished"} 1"#,
            r#"larder_store_medium_faults_total{medium="/dev/sr0"} 1"#,
            "larder_store_fsync_seconds_count 1",
            r#"larder_reloads_total{file="htpasswd",result="refused"} 1"#,
            r#"larder_tls_certificate_not_after_seconds{serial="0a"} 20"#,
        ] {
            assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains(r#"serial="01""#), "a certificate that was replaced is gone");
        assert_eq!(metrics.reload.presented().map(|it| it.serial), Some("0a".to_owned()));
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn every_metric_has_a_help_text_of_its_own() {
        let text = Metrics::new("0").encode();
        let helps: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# HELP ")).collect();
        assert!(helps.len() >= 12, "{text}");
        for help in helps {
            assert!(help.starts_with("larder_") && help.split_whitespace().count() > 2, "{help}");
        }
    }
}
