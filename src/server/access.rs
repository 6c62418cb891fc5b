//! `Record`: what one request leaves in the metrics and in the log; `Ledger`: those of one connection.

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use bytes::Buf;
use http::Method;
use http::StatusCode;
use http::Uri;
use http_body::Frame;

use crate::http::AccessNote;
use crate::http::PeerInfo;
use crate::http::body;
use crate::http::body::Chunk;
use crate::metrics::HttpMetrics;
use crate::metrics::Kind;
use crate::metrics::Tally;
use crate::server::progress::Progress;

/// What the records of one connection have in common.
#[derive(Debug)]
pub(super) struct Ledger {
    peer: PeerInfo,
    progress: Arc<Progress>,
    metrics: Arc<HttpMetrics>,
}

/// What becomes known of a request while it is answered. Counted and logged when it is dropped, which hyper
/// does as soon as it has the whole answer, or when there is nobody to send it to.
#[derive(Debug)]
pub(super) struct Record {
    began: Instant,
    method: Method,
    target: Uri,
    status: Option<StatusCode>,
    bytes: u64,
    end: End,
    note: AccessNote,
    ledger: Arc<Ledger>,
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// All of it was handed over.
    Whole,
    /// Its body could not be read to the end.
    Failed,
    /// The client went away.
    Left,
}

impl Ledger {
    pub(super) fn new(peer: PeerInfo, progress: Arc<Progress>, metrics: Arc<HttpMetrics>) -> Self {
        Self { peer, progress, metrics }
    }

    /// The other end of the connection.
    pub(super) fn peer(&self) -> PeerInfo {
        self.peer
    }

    /// What the connection does.
    pub(super) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Counts the bytes of request bodies.
    pub(super) fn received(&self) -> &Tally {
        &self.metrics.received
    }

    /// Opens the record of a request.
    pub(super) fn begin(self: &Arc<Self>) -> Record {
        self.progress.request();
        self.metrics.requests.begun();
        Record {
            began: Instant::now(),
            method: Method::default(),
            target: Uri::default(),
            status: None,
            bytes: 0,
            end: End::Left,
            note: AccessNote::default(),
            ledger: Arc::clone(self),
        }
    }
}

impl Record {
    /// What the request asks of what.
    pub(super) fn of(&mut self, method: Method, target: Uri) {
        self.method = method;
        self.target = target;
    }

    /// The answer's head is known, and whether that is all of it.
    pub(super) fn answered(&mut self, status: StatusCode, note: AccessNote, has_body: HasBody) {
        self.status = Some(status);
        self.note = note;
        if has_body == HasBody::No {
            self.end = End::Whole;
        }
    }

    /// hyper was given a piece of the body, or its end.
    pub(super) fn sent(&mut self, frame: Option<&Result<Frame<Chunk>, body::Error>>, has_body: HasBody) {
        match frame {
            Some(Ok(frame)) => self.bytes += frame.data_ref().map_or(0, |data| data.remaining() as u64),
            Some(Err(error)) => {
                let error = error as &dyn Error;
                tracing::error!(target = %self.target, bytes = self.bytes, error, "cannot send the rest of a body");
                self.end = End::Failed;
            }
            None => self.end = End::Whole,
        }
        if has_body == HasBody::No && self.end == End::Left {
            self.end = End::Whole;
        }
    }

    fn log(&self) {
        let Self { method, target, bytes, note, ledger, .. } = self;
        tracing::info!(
            target: "larder::access",
            peer = ledger.peer.address.map(tracing::field::display),
            %method,
            path = target.path_and_query().map(|path| path.as_str()),
            status = self.status.map(|status| status.as_u16()),
            bytes,
            elapsed = ?self.began.elapsed(),
            user = note.user.as_deref(),
            error = note.error.as_deref(),
            end = self.end.word(),
            "answered",
        );
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let Ledger { progress, metrics, .. } = &*self.ledger;
        progress.answered();
        match self.status {
            Some(status) => {
                let (operation, method) = (self.note.operation, method_word(&self.method));
                let kind = Kind { operation, method, status: status.as_u16() };
                metrics.requests.answered(kind, self.began.elapsed());
            }
            None => metrics.requests.abandoned(),
        }
        self.log();
    }
}

/// Whether a body has anything left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HasBody {
    Yes,
    No,
}

impl End {
    /// Said only where it is not what everybody expects.
    fn word(self) -> Option<&'static str> {
        match self {
            Self::Whole => None,
            Self::Failed => Some("failed"),
            Self::Left => Some("client left"),
        }
    }
}

/// A method as the label of a metric: anybody may make up others.
fn method_word(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}
