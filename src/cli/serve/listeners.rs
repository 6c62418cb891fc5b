//! The sockets that a server listens on.

use std::path::Path;

use anyhow::Context as _;
use rustix::fs::Mode;

use crate::cli::Failure;
use crate::config::Config;
use crate::config::ListenAddress;
use crate::config::Source;
use crate::server::Listener;
use crate::server::Tls;

/// What a server listens on.
pub(super) struct Listeners {
    /// For clients.
    pub(super) clients: Listener,
    /// For whoever administers it on this host.
    pub(super) administration: Option<Listener>,
    /// For Prometheus.
    pub(super) metrics: Option<Listener>,
}

impl Listeners {
    /// Opens them all.
    pub(super) async fn open(config: &Config, tls: Option<Tls>) -> Result<Self, Failure> {
        let metrics = match &config.metrics_listen {
            Some(address) => Some(Listener::bind(&address.value).await?),
            None => None,
        };
        let (clients, administration) = (for_clients(config, tls).await?, for_administration(config).await?);
        Ok(Self { clients, administration, metrics })
    }
}

/// The socket that systemd handed over, or one of our own.
async fn for_clients(config: &Config, tls: Option<Tls>) -> Result<Listener, Failure> {
    let listener = match Listener::inherited()? {
        Some(listener) => listener,
        None => Listener::bind(&config.listen.value).await?,
    };
    Ok(match tls {
        Some(tls) => listener.with_tls(tls),
        None => listener,
    })
}

/// The administration socket. Where nobody asked for it, a server that cannot have it goes on without.
async fn for_administration(config: &Config) -> Result<Option<Listener>, Failure> {
    let Some(path) = &config.admin_socket.value else { return Ok(None) };
    match bind_administration(path).await {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if config.admin_socket.source == Source::Default => {
            tracing::warn!(path = %path.display(), error = format!("{error:#}"), "there is no administration socket");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

async fn bind_administration(path: &Path) -> anyhow::Result<Listener> {
    if let Some(directory) = path.parent().filter(|directory| !directory.exists()) {
        rustix::fs::mkdir(directory, Mode::RWXU | Mode::RGRP | Mode::XGRP)
            .with_context(|| format!("cannot make `{}`", directory.display()))?;
    }
    Ok(Listener::bind(&ListenAddress::Unix(path.to_owned())).await?)
}
