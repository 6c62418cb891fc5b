//! The peers that a configuration names, and what this node trusts and presents when it dials them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use http::HeaderValue;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio_util::sync::CancellationToken;

use crate::auth::AuthFile;
use crate::cli::Failure;
use crate::config::Config;
use crate::peer::Dialer;
use crate::peer::Endpoint;
use crate::peer::Jobs;
use crate::peer::PeerPullThrough;
use crate::peer::Trust;
use crate::reload::Succession;
use crate::reload::Watched;
use crate::reload::Watcher;
use crate::store::Store;

/// What speaks to other nodes.
pub(in crate::cli) struct Peers {
    pub(in crate::cli) jobs: Jobs,
    /// None where there is nobody to ask.
    pub(in crate::cli) pull_through: Option<Arc<PeerPullThrough>>,
}

impl Peers {
    pub(in crate::cli) fn new(
        config: &Config,
        store: &Store,
        watcher: &mut Watcher,
        shutdown: &CancellationToken,
    ) -> Result<Self, Failure> {
        let endpoints = endpoints(config)?;
        let files = (config.peer_ca.as_ref(), config.peer_auth.as_ref());
        let trust = trust(
            files.0.map(|it| it.value.clone()),
            files.1.map(|it| it.value.clone()),
            config.auth.overlap.value,
            watcher,
        )?;
        let dialer = Dialer::new(trust).reread_by(watcher.force());
        let jobs = Jobs::new(store.clone(), dialer.clone(), endpoints.clone(), shutdown.clone());
        let fetching = Arc::clone(jobs.fetching());
        let pull_through = (!endpoints.is_empty()).then(|| {
            Arc::new(PeerPullThrough::new(store.clone(), dialer, endpoints, fetching, shutdown.clone()))
        });
        Ok(Self { jobs, pull_through })
    }

    /// Waits until nothing is under way any more, after the shutdown was announced.
    pub(in crate::cli) async fn stopped(&self) {
        self.jobs.stopped().await;
        if let Some(pull_through) = &self.pull_through {
            pull_through.stopped().await;
        }
    }
}

/// The peers.
pub(in crate::cli) fn endpoints(config: &Config) -> Result<Vec<Endpoint>, Failure> {
    let parse = |text: &String| {
        let endpoint =
            Endpoint::parse(text).with_context(|| format!("`{text}` is no peer ({})", config.peers.source));
        endpoint.map_err(|error| Failure::new(error).with_hint("a peer is written https://HOST:PORT"))
    };
    config.peers.value.iter().map(parse).collect()
}

/// What is trusted and presented, by the files that are named, and followed with them; what they said before
/// they changed counts for `overlap` beside that.
pub(in crate::cli) fn trust(
    ca: Option<PathBuf>,
    auth: Option<PathBuf>,
    overlap: Duration,
    watcher: &mut Watcher,
) -> anyhow::Result<Watched<Succession<Trust>>> {
    Ok(match (ca, auth) {
        (None, None) => Watched::fixed(Succession::first(trusting(None, None)?)),
        (Some(ca), None) => {
            watcher.watch_succession("peer CA", [ca], overlap, |[ca]| trusting(Some(ca), None))?
        }
        (None, Some(auth)) => watcher
            .watch_succession("peer credentials", [auth], overlap, |[auth]| trusting(None, Some(auth)))?,
        (Some(ca), Some(auth)) => {
            watcher.watch_succession("peer CA and credentials", [ca, auth], overlap, |[ca, auth]| {
                trusting(Some(ca), Some(auth))
            })?
        }
    })
}

/// Trust in the authorities of `ca`, or else in the system's.
fn trusting(ca: Option<&[u8]>, auth: Option<&[u8]>) -> anyhow::Result<Trust> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(ca) => {
            for certificate in CertificateDer::pem_slice_iter(ca) {
                roots
                    .add(certificate.context("is not PEM")?)
                    .context("holds a certificate that cannot sign")?;
            }
            anyhow::ensure!(!roots.is_empty(), "holds no certificate");
        }
        // Certificates of the system that cannot be read are not trusted; none at all leaves plain peers
        // only.
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
    }
    let file = auth.map(AuthFile::parse).transpose()?.unwrap_or_default();
    let credentials = file.headers().map(|(host, header)| {
        let mut value = HeaderValue::try_from(header)?;
        value.set_sensitive(true);
        Ok((host.to_owned(), value))
    });
    Ok(Trust::new(roots, credentials.collect::<anyhow::Result<_>>()?)?)
}
