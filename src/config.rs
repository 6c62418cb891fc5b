//! What an operator decided: the text of a file, variables and flags become a `Config`.
//!
//! Knows distribution's configuration file, its `REGISTRY_*` variables, and
//! what holds when nobody says anything. Does not read a file, the environment
//! or the command line: text and values arrive, and every value in effect
//! remembers where it came from.
//!
//! The later of these wins: default, file, `REGISTRY_*` variable (only with a
//! file), `LARDER_*` variable, flag.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use crate::auth::Policy;
use crate::auth::Right;
use crate::auth::Rights;
use crate::auth::UserRule;

mod address;
pub mod defaults;
mod distribution;
pub(crate) mod duration;
mod given;
mod problem;
mod row;
mod section;
mod setting;
mod tree;
mod value;
mod variables;

pub use address::Host;
pub use address::ListenAddress;
pub use address::NoAddress;
pub use given::Given;
pub use problem::Notice;
pub use problem::Problem;
pub use row::Row;
pub use setting::Setting;
pub use setting::Source;
pub use value::Access;
pub use value::AccessLog;
pub use value::CipherSuite;
pub use value::Deletes;
pub use value::Http2;
pub use value::LogFormat;
pub use value::LogLevel;
pub use value::Secret;
pub use value::TlsVersion;
pub use value::UploadPurge;
pub use variables::CONFIGURATION_PATH;
pub use variables::PREFIX;

use problem::Issues;
use tree::Node;

/// Everything an operator can decide about `larder serve`, decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Whose rules fill what nobody said.
    pub rules: Rules,
    /// Where content lies: directories, image files, block devices. Reads look in all of them in order.
    pub roots: Setting<Vec<PathBuf>>,
    /// Whether content may change.
    pub access: Setting<Access>,
    /// Whether clients may delete.
    pub deletes: Setting<Deletes>,
    /// What becomes of uploads that nobody goes on with.
    pub upload_purge: Setting<UploadPurge>,
    /// Where the API listens.
    pub listen: Setting<ListenAddress>,
    /// The certificate and what goes with it; `None` is plain HTTP.
    pub tls: Option<Tls>,
    /// Whether HTTP/2 is offered over TLS.
    pub http2: Setting<Http2>,
    /// A path before `/v2/`; begins and ends with a slash.
    pub prefix: Setting<String>,
    /// The URL by which clients reach the registry, where requests do not tell.
    pub external_url: Option<Setting<String>>,
    /// Added to every response.
    pub headers: Setting<Vec<(String, String)>>,
    /// What tokens are signed with; `None` makes one up at every start, so tokens end with the process.
    pub secret: Option<Setting<Secret>>,
    /// How long requests under way may take after SIGTERM.
    pub drain_timeout: Setting<Duration>,
    /// The most entries in one page of the catalog.
    pub catalog_limit: Setting<usize>,
    /// Who may do what.
    pub auth: Auth,
    /// Other registries that are asked for what is missing here.
    pub peers: Setting<Vec<String>>,
    /// The authorities that the peers' certificates must be signed by, PEM; `None` is the system's.
    pub peer_ca: Option<Setting<PathBuf>>,
    /// A `.dockerconfigjson`; what is presented to the peers.
    pub peer_auth: Option<Setting<PathBuf>>,
    /// Where metrics are served.
    pub metrics_listen: Option<Setting<ListenAddress>>,
    /// Under which path.
    pub metrics_path: Setting<String>,
    /// Where the administration socket lies; `None` is none.
    pub admin_socket: Setting<Option<PathBuf>>,
    /// How much is logged.
    pub log_level: Setting<LogLevel>,
    /// How log lines are written.
    pub log_format: Setting<LogFormat>,
    /// Whether each request leaves a line.
    pub access_log: Setting<AccessLog>,
}

/// The certificate and what goes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The chain, PEM.
    pub certificate: Setting<PathBuf>,
    /// The key of its first certificate, PEM.
    pub key: Setting<PathBuf>,
    /// If given, clients must present a certificate that one of these signed, PEM.
    pub client_cas: Option<Setting<Vec<PathBuf>>>,
    /// The lowest version.
    pub minimum: Setting<TlsVersion>,
    /// The only suites of TLS 1.2; `None` is all that are spoken.
    pub cipher_suites: Option<Setting<Vec<CipherSuite>>>,
}

/// Who may do what. [`Auth::policy`] says it in one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    rules: Rules,
    /// Users and their bcrypt hashes.
    pub htpasswd: Option<Setting<PathBuf>>,
    /// What a client is asked to sign in to.
    pub realm: Setting<String>,
    /// A `.dockerconfigjson`; its entries for this registry give pull.
    pub pull_secret: Option<Setting<PathBuf>>,
    /// Names beside `localhost` and `api-int.*` that entries of the pull secret may have.
    pub host_names: Setting<Vec<String>>,
    /// What everybody may do from everywhere without a credential, beyond what the rules give.
    pub anonymous: Setting<Rights>,
    /// The only users of the htpasswd file who may push; `None` is all.
    pub push_users: Option<Setting<BTreeSet<String>>>,
    /// The users of the htpasswd file who may administer.
    pub admin_users: Option<Setting<BTreeSet<String>>>,
    /// How long a credential that was changed, in a file that clients are checked against or that peers are
    /// shown, counts beside the new one.
    pub overlap: Setting<Duration>,
}

/// Whose rules fill what nobody said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    /// Ours.
    Larder,
    /// distribution's, since its configuration file was given.
    Distribution,
}

/// What decides without an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surroundings {
    /// Where content lies when nobody says where.
    pub root: PathBuf,
    /// Where the administration socket lies when nobody says where.
    pub admin_socket: Option<PathBuf>,
}

/// distribution's configuration: the text of the file and the environment.
#[derive(Clone, Copy, Debug)]
pub struct DistributionFile<'a> {
    /// The file's text.
    pub text: &'a str,
    /// Every environment variable, by name; only `REGISTRY_*` are looked at.
    pub variables: &'a [(String, String)],
}

/// A configuration that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// What is in effect.
    pub config: Config,
    /// What is worth knowing about it.
    pub notices: Vec<Notice>,
}

/// A configuration that cannot be used: everything that is wrong with it, at least one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// What is worth knowing besides.
    pub notices: Vec<Notice>,
}

impl Config {
    /// Decides everything: `flags` win over `file`, and `surroundings` over nothing.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn load(
        file: Option<DistributionFile<'_>>,
        flags: Given,
        surroundings: &Surroundings,
    ) -> Result<Loaded, Refused> {
        let mut issues = Issues::default();
        let rules = if file.is_some() { Rules::Distribution } else { Rules::Larder };
        let from_file = file.map(|file| read_file(file, &mut issues)).unwrap_or_default();
        let config = Self::fill(rules, flags.over(from_file), surroundings, &mut issues);
        let Issues { problems, mut notices } = issues;
        if !problems.is_empty() {
            return Err(Refused { problems, notices });
        }
        notices.extend(config.remarks());
        Ok(Loaded { config, notices })
    }

    fn fill(rules: Rules, given: Given, surroundings: &Surroundings, issues: &mut Issues) -> Self {
        let root = match rules {
            Rules::Larder => surroundings.root.clone(),
            Rules::Distribution => PathBuf::from(defaults::DISTRIBUTION_ROOT),
        };
        let listen = match rules {
            Rules::Larder => defaults::LISTEN,
            Rules::Distribution => defaults::DISTRIBUTION_LISTEN,
        };
        let deletes = match rules {
            Rules::Larder => Deletes::Allowed,
            Rules::Distribution => Deletes::Refused,
        };
        let (age, interval) = (defaults::UPLOAD_AGE, defaults::UPLOAD_PURGE_INTERVAL);
        Self {
            rules,
            tls: Tls::fill(&given, issues),
            auth: Auth::fill(rules, &given, issues),
            roots: or(given.roots, vec![root]),
            access: or(given.access, Access::ReadWrite),
            deletes: or(given.deletes, deletes),
            upload_purge: or(given.upload_purge, UploadPurge::Every { age, interval }),
            listen: or(given.listen, defaults::listen(listen)),
            http2: or(given.http2, Http2::Offered),
            prefix: or(given.prefix, "/".to_owned()),
            external_url: given.external_url,
            headers: or(given.headers, Vec::new()),
            secret: given.secret,
            drain_timeout: or(given.drain_timeout, defaults::DRAIN_TIMEOUT),
            catalog_limit: or(given.catalog_limit, defaults::CATALOG_LIMIT),
            peers: or(given.peers, Vec::new()),
            peer_ca: given.peer_ca,
            peer_auth: given.peer_auth,
            metrics_listen: given.metrics_listen,
            metrics_path: or(given.metrics_path, defaults::METRICS_PATH.to_owned()),
            admin_socket: or(given.admin_socket, surroundings.admin_socket.clone()),
            log_level: or(given.log_level, LogLevel::Info),
            log_format: or(given.log_format, LogFormat::Text),
            access_log: or(given.access_log, AccessLog::On),
        }
    }

    fn remarks(&self) -> Option<Notice> {
        let policy = self.auth.policy();
        if self.access.value == Access::ReadOnly || self.listen.value.is_local() {
            None
        } else if policy.anonymous_rights().contains(Right::Push) {
            let why = match self.rules {
                Rules::Larder => "`--allow-anonymous` says so",
                Rules::Distribution => "the configuration file has no `auth` section",
            };
            Some(Notice::EverybodyPushes { why })
        } else if self.auth.pull_secret.is_some() && self.auth.htpasswd.is_none() {
            Some(Notice::NobodyPushes)
        } else {
            None
        }
    }
}

impl Tls {
    fn fill(given: &Given, issues: &mut Issues) -> Option<Self> {
        let missing = |key, why| Problem::Missing { key, why };
        let (certificate, key) = match (&given.tls_certificate, &given.tls_key) {
            (Some(certificate), Some(key)) => (certificate.clone(), key.clone()),
            (Some(_), None) => {
                issues.problem(missing("tls-key", "a certificate is of no use without its key"));
                return None;
            }
            (None, Some(_)) => {
                issues.problem(missing("tls-cert", "a key is of no use without its certificate"));
                return None;
            }
            (None, None) => {
                if given.tls_client_cas.is_some() {
                    let why = "clients can be asked for certificates only over TLS";
                    issues.problem(missing("tls-cert", why));
                }
                return None;
            }
        };
        Some(Self {
            certificate,
            key,
            client_cas: given.tls_client_cas.clone(),
            minimum: or(given.tls_minimum.clone(), TlsVersion::Tls12),
            cipher_suites: given.tls_cipher_suites.clone(),
        })
    }
}

impl Auth {
    fn fill(rules: Rules, given: &Given, issues: &mut Issues) -> Self {
        let named = given.push_users.is_some() || given.admin_users.is_some();
        if named && given.htpasswd.is_none() {
            let why = "`--push-user` and `--admin-user` name users of that file";
            issues.problem(Problem::Missing { key: "htpasswd", why });
        }
        Self {
            rules,
            htpasswd: given.htpasswd.clone(),
            realm: or(given.realm.clone(), defaults::REALM.to_owned()),
            pull_secret: given.pull_secret.clone(),
            host_names: or(given.host_names.clone(), Vec::new()),
            anonymous: or(given.anonymous.clone(), Rights::NONE),
            push_users: given.push_users.clone(),
            admin_users: given.admin_users.clone(),
            overlap: or(given.credentials_overlap.clone(), defaults::CREDENTIALS_OVERLAP),
        }
    }

    /// Who may do what, by the table of [`Policy`].
    pub fn policy(&self) -> Policy {
        let base = match (&self.htpasswd, &self.pull_secret) {
            (None, None) => match self.rules {
                Rules::Larder => Policy::without_credential_files(),
                Rules::Distribution => Policy::open(),
            },
            (Some(Setting { source, .. }), _) => Policy::closed(self.push_rule(), self.admin_rule(source)),
            (None, Some(_)) => Policy::closed(nobody(), nobody()),
        };
        base.and_anonymous(self.anonymous.value)
    }

    fn push_rule(&self) -> UserRule {
        self.push_users.as_ref().map_or(UserRule::All, |it| UserRule::Named(it.value.clone()))
    }

    /// In distribution whoever is in the file may do everything; under our rules administrators are named.
    fn admin_rule(&self, htpasswd: &Source) -> UserRule {
        let by_distribution = match htpasswd {
            Source::File { .. } => true,
            Source::Environment(name) => name.starts_with(PREFIX),
            Source::Default | Source::Flag(_) => false,
        };
        match &self.admin_users {
            Some(names) => UserRule::Named(names.value.clone()),
            None if by_distribution => UserRule::All,
            None => nobody(),
        }
    }
}

fn nobody() -> UserRule {
    UserRule::Named(BTreeSet::new())
}

fn or<T>(given: Option<Setting<T>>, default: T) -> Setting<T> {
    given.unwrap_or_else(|| Setting::default(default))
}

fn read_file(file: DistributionFile<'_>, issues: &mut Issues) -> Given {
    match Node::parse_file(file.text, issues) {
        Ok(mut tree) => {
            variables::apply(&mut tree, file.variables, issues);
            distribution::read(tree, issues)
        }
        Err(problem) => {
            issues.problem(problem);
            Given::default()
        }
    }
}

#[cfg(test)]
mod tests;
