//! The files that a configuration names, opened and followed.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;

use crate::auth::HostNames;
use crate::auth::Htpasswd;
use crate::auth::HtpasswdError;
use crate::auth::PullSecret;
use crate::config::Auth;
use crate::config::Config;
use crate::config::Host;
use crate::config::ListenAddress;
use crate::credentials::Sources;
use crate::metrics::Metrics;
use crate::metrics::ReloadMetrics;
use crate::reload;
use crate::reload::Succession;
use crate::reload::Watched;
use crate::reload::Watcher;
use crate::server::Certificate;
use crate::server::ClientAuthorities;
use crate::server::Tls;
use crate::server::TlsSettings;

/// Opens files and keeps following them.
pub(in crate::cli) struct Files {
    pub(in crate::cli) watcher: Watcher,
    metrics: ReloadMetrics,
}

impl Files {
    /// None yet.
    pub(in crate::cli) fn new(metrics: &Metrics) -> Self {
        Self { watcher: Watcher::new(metrics.reload.clone()), metrics: metrics.reload.clone() }
    }

    /// The certificate and what goes with it.
    pub(in crate::cli) fn tls(&mut self, config: &Config) -> anyhow::Result<Option<Tls>> {
        let Some(tls) = &config.tls else { return Ok(None) };
        let (chain, key) = (tls.certificate.value.clone(), tls.key.value.clone());
        let certificate = Certificate::watch(&mut self.watcher, chain, key, self.metrics.clone())?;
        let overlap = config.auth.overlap.value;
        let client_cas = tls.client_cas.as_ref().map(|paths| paths.value.as_slice()).unwrap_or_default();
        let settings = TlsSettings {
            minimum: tls.minimum.value,
            suites: tls.cipher_suites.as_ref().map(|suites| suites.value.clone()),
            client_cas: client_cas
                .iter()
                .map(|path| self.client_authorities(path, overlap))
                .collect::<Result<_, _>>()?,
            http2: config.http2.value,
        };
        Ok(Some(Tls::new(certificate, &settings)?))
    }

    /// Who may sign in.
    pub(in crate::cli) fn credentials(&mut self, config: &Config) -> anyhow::Result<Sources> {
        let overlap = config.auth.overlap.value;
        let htpasswd = config
            .auth
            .htpasswd
            .as_ref()
            .map(|path| self.htpasswd(path.value.clone(), overlap))
            .transpose()?;
        let hosts = host_names(&config.auth, &config.listen.value);
        let pull_secret = match &config.auth.pull_secret {
            Some(path) => Some(self.pull_secret(path.value.clone(), hosts, overlap)?),
            None => None,
        };
        let (policy, realm) = (config.auth.policy(), config.auth.realm.value.clone());
        Ok(Sources { policy, realm, htpasswd, pull_secret })
    }

    fn client_authorities(
        &mut self,
        path: &Path,
        overlap: Duration,
    ) -> Result<Watched<Succession<ClientAuthorities>>, reload::Error> {
        let parse = |[pem]: &[Vec<u8>; 1]| ClientAuthorities::parse(pem);
        self.watcher.watch_succession("client authorities", [path.to_owned()], overlap, parse)
    }

    fn htpasswd(
        &mut self,
        path: PathBuf,
        overlap: Duration,
    ) -> Result<Watched<Succession<Htpasswd>>, reload::Error> {
        self.watcher.watch_succession("htpasswd", [path], overlap, |[text]| {
            let htpasswd = Htpasswd::parse(text)?;
            for entry in htpasswd.refused() {
                tracing::warn!(file = "htpasswd", line = entry.line, user = %entry.user, "{}", entry.why);
            }
            Ok::<_, HtpasswdError>(htpasswd)
        })
    }

    fn pull_secret(
        &mut self,
        path: PathBuf,
        hosts: HostNames,
        overlap: Duration,
    ) -> anyhow::Result<Watched<Succession<PullSecret>>> {
        let parse = move |[text]: &[Vec<u8>; 1]| PullSecret::parse(text, &hosts);
        let watched = self.watcher.watch_succession("pull secret", [path], overlap, parse);
        watched.context("nobody could sign in")
    }
}

/// The names by which a pull secret may know this registry: those that were given, and the address it listens
/// on.
fn host_names(auth: &Auth, listen: &ListenAddress) -> HostNames {
    let own = match listen {
        ListenAddress::Tcp { host: Host::Address(address), .. } => Some(address.to_string()),
        ListenAddress::Tcp { host: Host::Name(name), .. } => Some(name.clone()),
        ListenAddress::Tcp { host: Host::Any, .. } | ListenAddress::Unix(_) => None,
    };
    HostNames::new(listen.port().unwrap_or_default(), auth.host_names.value.iter().cloned().chain(own))
}
