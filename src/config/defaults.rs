//! What holds when nobody says anything, each with the reason for that value.

use std::time::Duration;

use crate::config::ListenAddress;

/// Where a registry of one's own listens: only this host, until somebody says otherwise. The port is the one
/// under which every node of a cluster carries its registry.
pub const LISTEN: &str = "127.0.0.1:22625";

/// Where distribution's packaged configuration listens.
pub const DISTRIBUTION_LISTEN: &str = ":5000";

/// Where distribution's filesystem driver keeps content (`defaultRootDirectory`).
pub const DISTRIBUTION_ROOT: &str = "/var/lib/registry";

/// What a client is asked to sign in to.
pub const REALM: &str = "larder";

/// How long requests under way may take after SIGTERM. podman and Kubernetes' static pods are killed 10 s and
/// more after it, so this leaves time to close the store.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(8);

/// How long a credential that was changed counts beside the new one: not at all, until somebody says so in so
/// many words. Whoever changes a password because somebody else knows it expects it to be of no use from then
/// on.
pub const CREDENTIALS_OVERLAP: Duration = Duration::ZERO;

/// The longest that it may. No rollout to a cluster's nodes takes a week; a longer while is a second
/// password.
pub const LONGEST_CREDENTIALS_OVERLAP: Duration = Duration::from_secs(7 * 24 * 3600);

/// distribution's default for `uploadpurging.age`.
pub const UPLOAD_AGE: Duration = Duration::from_secs(168 * 3600);

/// distribution's default for `uploadpurging.interval`.
pub const UPLOAD_PURGE_INTERVAL: Duration = Duration::from_secs(24 * 3600);

/// The most entries in one page of the catalog; distribution's default for `catalog.maxentries`.
pub const CATALOG_LIMIT: usize = 1000;

/// Where Prometheus expects metrics.
pub const METRICS_PATH: &str = "/metrics";

/// [`LISTEN`] or [`DISTRIBUTION_LISTEN`], parsed.
pub(super) fn listen(text: &str) -> ListenAddress {
    text.parse().unwrap_or(ListenAddress::Tcp { host: crate::config::Host::Any, port: 0 })
}
