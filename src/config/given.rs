//! `Given`: what somebody said, whether in a file or by flags, before defaults fill the rest.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use crate::auth::Rights;
use crate::config::Access;
use crate::config::AccessLog;
use crate::config::CipherSuite;
use crate::config::Deletes;
use crate::config::Http2;
use crate::config::ListenAddress;
use crate::config::LogFormat;
use crate::config::LogLevel;
use crate::config::Secret;
use crate::config::Setting;
use crate::config::TlsVersion;
use crate::config::UploadPurge;

/// Settings that somebody gave; the rest is left to others. The fields are those of
/// [`Config`](crate::config::Config).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is explained where it is in effect, in `Config`")]
pub struct Given {
    pub roots: Option<Setting<Vec<PathBuf>>>,
    pub access: Option<Setting<Access>>,
    pub deletes: Option<Setting<Deletes>>,
    pub upload_purge: Option<Setting<UploadPurge>>,
    pub listen: Option<Setting<ListenAddress>>,
    pub tls_certificate: Option<Setting<PathBuf>>,
    pub tls_key: Option<Setting<PathBuf>>,
    pub tls_client_cas: Option<Setting<Vec<PathBuf>>>,
    pub tls_minimum: Option<Setting<TlsVersion>>,
    pub tls_cipher_suites: Option<Setting<Vec<CipherSuite>>>,
    pub http2: Option<Setting<Http2>>,
    pub prefix: Option<Setting<String>>,
    pub external_url: Option<Setting<String>>,
    pub headers: Option<Setting<Vec<(String, String)>>>,
    pub secret: Option<Setting<Secret>>,
    pub drain_timeout: Option<Setting<Duration>>,
    pub catalog_limit: Option<Setting<usize>>,
    pub htpasswd: Option<Setting<PathBuf>>,
    pub realm: Option<Setting<String>>,
    pub pull_secret: Option<Setting<PathBuf>>,
    pub host_names: Option<Setting<Vec<String>>>,
    pub anonymous: Option<Setting<Rights>>,
    pub push_users: Option<Setting<BTreeSet<String>>>,
    pub admin_users: Option<Setting<BTreeSet<String>>>,
    pub credentials_overlap: Option<Setting<Duration>>,
    pub peers: Option<Setting<Vec<String>>>,
    pub peer_ca: Option<Setting<PathBuf>>,
    pub peer_auth: Option<Setting<PathBuf>>,
    pub metrics_listen: Option<Setting<ListenAddress>>,
    pub metrics_path: Option<Setting<String>>,
    pub admin_socket: Option<Setting<Option<PathBuf>>>,
    pub log_level: Option<Setting<LogLevel>>,
    pub log_format: Option<Setting<LogFormat>>,
    pub access_log: Option<Setting<AccessLog>>,
}

/// `over` wins over `under`, field by field.
macro_rules! overlay {
    ($over:ident, $under:ident: $($field:ident)*) => { Given { $($field: $over.$field.or($under.$field)),* } };
}

impl Given {
    /// These, and `under` where nothing was said here.
    #[must_use]
    pub fn over(self, under: Self) -> Self {
        let over = self;
        overlay!(over, under:
            roots access deletes upload_purge listen tls_certificate tls_key tls_client_cas tls_minimum
            tls_cipher_suites http2 prefix external_url headers secret drain_timeout catalog_limit
            htpasswd realm pull_secret host_names anonymous push_users admin_users credentials_overlap peers peer_ca peer_auth metrics_listen metrics_path
            admin_socket log_level log_format access_log)
    }
}
