//! Copying into a store that a server writes: the server takes the content from here.
//!
//! Knows how SOURCE is served for the time of the copy, and whether the server that answers is the one that
//! writes DESTINATION. Does not know how content is taken: that is a sync like any other, verified and
//! complete before a tag appears.

use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context as _;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::auth::Policy;
use crate::auth::Rights;
use crate::auth::UserRule;
use crate::cli::Failure;
use crate::cli::output::Format;
use crate::cli::sync;
use crate::credentials::Credentials;
use crate::credentials::Sources;
use crate::http::Api;
use crate::http::Observed;
use crate::http::Settings;
use crate::metrics::AuthMetrics;
use crate::metrics::Metrics;
use crate::peer::Job;
use crate::peer::JobRequest;
use crate::peer::JobStatus;
use crate::peer::Local;
use crate::peer::LocalError;
use crate::registry::Registry;
use crate::registry::Rules;
use crate::reload::Reports;
use crate::server::Listener;
use crate::server::Server;
use crate::store;
use crate::store::Store;

/// How many repositories a page of the catalog has.
const CATALOG_LIMIT: usize = 1000;

/// Whether the server behind `socket` is the one that writes `destination`.
///
/// # Errors
/// No server answers there, and so whoever has the lock is in the way; or it writes somewhere else.
pub(super) async fn check(socket: &Path, destination: &Path, locked: store::Error) -> Result<(), Failure> {
    /// What counts of the status document.
    #[derive(Deserialize)]
    struct Status {
        roots: Vec<PathBuf>,
    }
    const HINT: &str = "name the administration socket of the server that writes there with `--admin-socket`";
    let status = Local::new(socket.to_owned()).get("/v2/_larder/status").await;
    let status = match status {
        Ok(status) => status,
        Err(LocalError::Absent { .. }) => return Err(Failure::new(locked).with_hint(HINT)),
        Err(error) => return Err(error.into()),
    };
    let status: Status = serde_json::from_slice(&status).context("cannot read the server's answer")?;
    let wanted = destination.canonicalize()?;
    if status.roots.iter().any(|root| root.canonicalize().is_ok_and(|root| root == wanted)) {
        return Ok(());
    }
    Err(Failure::new(locked).with_hint(HINT))
}

/// Has the server behind `socket` take from `source` what `request` says.
///
/// # Errors
/// The sync's.
pub(super) async fn copy(
    source: Store,
    request: JobRequest,
    socket: PathBuf,
    output: Format,
) -> Result<JobStatus, Failure> {
    // Any free port, for whoever is on this host, who may read what is about to be served here.
    let address = "127.0.0.1:0".parse().context("the loopback address")?;
    let listener = Listener::bind(&address).await?;
    let address = listener.address().context("the listener has no address")?;
    let request = JobRequest { sources: vec![format!("http://{address}")], ..request };
    let job = Job::parse(request).map_err(|error| Failure::new(error).of_usage())?;
    let api = Api::new(Registry::new(source, Rules::default()), settings());
    let stop = CancellationToken::new();
    let _stopped = stop.clone().drop_guard();
    tokio::select! {
        taken = sync::by_server(job, Some(socket), output) => taken,
        () = Server::new(api).serve(listener, stop) => {
            Err(anyhow::anyhow!("nothing serves the source any more").into())
        }
    }
}

/// Everybody on this host may pull, and do nothing else.
fn settings() -> Settings {
    let nobody = || UserRule::Named(BTreeSet::new());
    let policy = Policy::closed(nobody(), nobody()).and_anonymous(Rights::PULL);
    let sources = Sources { policy, realm: "larder".to_owned(), htpasswd: None, pull_secret: None };
    Settings {
        credentials: Credentials::new(sources, Uuid::new_v4().as_bytes(), AuthMetrics::default()),
        external_url: None,
        prefix: String::new(),
        headers: Vec::new(),
        catalog_limit: CATALOG_LIMIT,
        observed: Observed {
            metrics: Metrics::new(env!("CARGO_PKG_VERSION")),
            files: Reports::default(),
            started: Instant::now(),
        },
    }
}
