//! The flags that decide about a server, shared by `serve` and `config`.

use std::collections::BTreeSet;
use std::env;
use std::path::PathBuf;
use std::time::Duration;

use clap::ArgMatches;
use clap::parser::ValueSource;

use crate::auth::Right;
use crate::cli::Failure;
use crate::cli::surroundings;
use crate::config::Access;
use crate::config::AccessLog;
use crate::config::CONFIGURATION_PATH;
use crate::config::Config;
use crate::config::DistributionFile;
use crate::config::Given;
use crate::config::ListenAddress;
use crate::config::Loaded;
use crate::config::LogFormat;
use crate::config::LogLevel;
use crate::config::Refused;
use crate::config::Setting;
use crate::config::Source;
use crate::config::defaults::LONGEST_CREDENTIALS_OVERLAP;
use crate::config::duration;
use crate::metrics::ReloadMetrics;
use crate::reload::Watcher;

/// The flags.
#[derive(Debug, clap::Args)]
pub(super) struct Settings {
    /// A configuration file of distribution's (`version: 0.1`); `REGISTRY_*` variables override it, and flags
    /// override both
    #[arg(value_name = "CONFIG", env = CONFIGURATION_PATH, hide_env_values = true)]
    config: Option<PathBuf>,

    /// Where content lies: a directory, an ISO image, a block device, or the first part of a split image. May
    /// be given again: reads look in all of them in order, writes go to the first writable directory
    #[arg(long, value_name = "PATH", env = "LARDER_ROOT", hide_env_values = true, help_heading = STORE)]
    root: Vec<PathBuf>,
    /// Change nothing: not one write is made
    #[arg(long, env = "LARDER_READ_ONLY", hide_env_values = true, help_heading = STORE)]
    read_only: bool,

    /// Where to listen; `0.0.0.0:PORT`, `[::]:PORT` and `:PORT` are all addresses, IPv4 and IPv6
    /// [default: 127.0.0.1:22625]
    #[arg(long, value_name = "ADDR", env = "LARDER_LISTEN", hide_env_values = true, help_heading = NETWORK)]
    listen: Option<ListenAddress>,
    /// The certificate, PEM; read again when it changes
    #[arg(long, value_name = "FILE", env = "LARDER_TLS_CERT", hide_env_values = true, help_heading = NETWORK)]
    tls_cert: Option<PathBuf>,
    /// The certificate's key, PEM
    #[arg(long, value_name = "FILE", env = "LARDER_TLS_KEY", hide_env_values = true, help_heading = NETWORK)]
    tls_key: Option<PathBuf>,
    /// Where to serve metrics (`/metrics`) and health (`/healthz`, `/readyz`) without TLS
    #[arg(long, value_name = "ADDR", env = "LARDER_METRICS_LISTEN", hide_env_values = true, help_heading = NETWORK)]
    metrics_listen: Option<ListenAddress>,
    /// Where the administration socket lies, or `none`
    #[arg(long, value_name = "PATH", env = "LARDER_ADMIN_SOCKET", hide_env_values = true, help_heading = NETWORK)]
    admin_socket: Option<PathBuf>,
    /// How long requests under way may take after SIGTERM, such as `30s` [default: 8s]
    #[arg(long, value_name = "TIME", env = "LARDER_DRAIN_TIMEOUT", hide_env_values = true, help_heading = NETWORK)]
    #[arg(value_parser = parse_duration)]
    drain_timeout: Option<Duration>,

    /// Users and their bcrypt hashes (`htpasswd -B`); they may pull and push. Read again when it changes
    #[arg(long, value_name = "FILE", env = "LARDER_HTPASSWD", hide_env_values = true, help_heading = RIGHTS)]
    htpasswd: Option<PathBuf>,
    /// A `.dockerconfigjson`; its entries for this registry give pull. Read again when it changes
    #[arg(long, value_name = "FILE", env = "LARDER_PULL_SECRET", hide_env_values = true, help_heading = RIGHTS)]
    pull_secret: Option<PathBuf>,
    /// A name by which the pull secret knows this registry, beside `localhost` and `api-int.*`
    #[arg(long, value_name = "NAME", env = "LARDER_HOST_NAME", hide_env_values = true, help_heading = RIGHTS)]
    host_name: Vec<String>,
    /// Let only these users of the htpasswd file push [default: all of them]
    #[arg(long, value_name = "USER", env = "LARDER_PUSH_USER", hide_env_values = true, help_heading = RIGHTS)]
    push_user: Vec<String>,
    /// Let these users of the htpasswd file administer: sync, releases, garbage collection [default: none]
    #[arg(long, value_name = "USER", env = "LARDER_ADMIN_USER", hide_env_values = true, help_heading = RIGHTS)]
    admin_user: Vec<String>,
    /// How long a password that was changed in any of these files counts beside the new one, such as `30m`;
    /// at most `168h`. Who is removed is out at once, and a restart ends it [default: 0s]
    #[arg(long, value_name = "TIME", env = "LARDER_CREDENTIALS_OVERLAP", hide_env_values = true)]
    #[arg(help_heading = RIGHTS, value_parser = parse_overlap)]
    credentials_overlap: Option<Duration>,
    /// Let everybody do this from everywhere without a credential: `pull`, `push`, `administer`. Without any
    /// credential file everybody may pull, and who is on this host may do everything
    #[arg(long, value_name = "RIGHT", value_delimiter = ',', help_heading = RIGHTS)]
    #[arg(env = "LARDER_ALLOW_ANONYMOUS", hide_env_values = true)]
    allow_anonymous: Vec<Right>,

    /// Another registry to ask for what is missing here, such as `https://node-2:22625`. May be given again
    #[arg(long, value_name = "URL", env = "LARDER_PEER", hide_env_values = true, help_heading = PEERS)]
    #[arg(value_delimiter = ',')]
    peer: Vec<String>,
    /// The authorities that sign the peers' certificates, PEM [default: the system's]. Read again when it
    /// changes
    #[arg(long, value_name = "FILE", env = "LARDER_PEER_CA", hide_env_values = true, help_heading = PEERS)]
    peer_ca: Option<PathBuf>,
    /// A `.dockerconfigjson`; its entries are what the peers are shown. Read again when it changes
    #[arg(long, value_name = "FILE", env = "LARDER_PEER_AUTH", hide_env_values = true, help_heading = PEERS)]
    peer_auth: Option<PathBuf>,

    /// How much to log: `error`, `warn`, `info`, `debug` or `trace` [default: info]
    #[arg(long, value_name = "LEVEL", env = "LARDER_LOG_LEVEL", hide_env_values = true, help_heading = LOGGING)]
    #[arg(value_parser = parse_level)]
    log_level: Option<LogLevel>,
    /// How to write log lines: `text` or `json` [default: text]
    #[arg(long, value_name = "FORMAT", env = "LARDER_LOG_FORMAT", hide_env_values = true, help_heading = LOGGING)]
    #[arg(value_parser = parse_format)]
    log_format: Option<LogFormat>,
    /// Whether each request leaves a line in the log: `on` or `off` [default: on]
    #[arg(long, value_name = "WHETHER", env = "LARDER_ACCESS_LOG", hide_env_values = true, help_heading = LOGGING)]
    #[arg(value_parser = parse_access_log)]
    access_log: Option<AccessLog>,
}

const STORE: &str = "Content";
const NETWORK: &str = "Network";
const RIGHTS: &str = "Rights";
const PEERS: &str = "Peers";
const LOGGING: &str = "Log";

impl Settings {
    /// Which configuration file was named.
    pub(super) fn file(&self) -> Option<&PathBuf> {
        // An empty variable names none.
        self.config.as_ref().filter(|path| !path.as_os_str().is_empty())
    }

    /// Reads the file, if one was named, and decides everything.
    pub(super) fn load(&self, matches: &ArgMatches) -> Result<Result<Loaded, Refused>, Failure> {
        let variables: Vec<(String, String)> = env::vars_os()
            .filter_map(|(name, value)| {
                Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
            })
            .collect();
        let text = self.file().map(|path| read_text(path.clone())).transpose()?;
        let file = text.as_deref().map(|text| DistributionFile { text, variables: &variables });
        Ok(Config::load(file, self.given(&Origins(matches)), &surroundings::find()))
    }

    fn given(&self, origins: &Origins<'_>) -> Given {
        let set =
            |values: &[String]| (!values.is_empty()).then(|| values.iter().cloned().collect::<BTreeSet<_>>());
        let some = |value: bool| value.then_some(());
        Given {
            roots: origins.of("root", some(!self.root.is_empty())).map(|it| {
                let from_environment = matches!(it.source, Source::Environment(_));
                it.map(|()| if from_environment { split_paths(&self.root) } else { self.root.clone() })
            }),
            access: origins.of("read_only", self.read_only.then_some(Access::ReadOnly)),
            listen: origins.of("listen", self.listen.clone()),
            tls_certificate: origins.of("tls_cert", self.tls_cert.clone()),
            tls_key: origins.of("tls_key", self.tls_key.clone()),
            metrics_listen: origins.of("metrics_listen", self.metrics_listen.clone()),
            admin_socket: origins
                .of("admin_socket", self.admin_socket.clone())
                .map(|it| it.map(|path| Some(path).filter(|path| path.as_os_str() != "none"))),
            drain_timeout: origins.of("drain_timeout", self.drain_timeout),
            htpasswd: origins.of("htpasswd", self.htpasswd.clone()),
            pull_secret: origins.of("pull_secret", self.pull_secret.clone()),
            host_names: origins
                .of("host_name", some(!self.host_name.is_empty()).map(|()| self.host_name.clone())),
            push_users: origins.of("push_user", set(&self.push_user)),
            admin_users: origins.of("admin_user", set(&self.admin_user)),
            anonymous: origins.of(
                "allow_anonymous",
                some(!self.allow_anonymous.is_empty())
                    .map(|()| self.allow_anonymous.iter().copied().collect()),
            ),
            credentials_overlap: origins.of("credentials_overlap", self.credentials_overlap),
            peers: origins.of("peer", some(!self.peer.is_empty()).map(|()| self.peer.clone())),
            peer_ca: origins.of("peer_ca", self.peer_ca.clone()),
            peer_auth: origins.of("peer_auth", self.peer_auth.clone()),
            log_level: origins.of("log_level", self.log_level),
            log_format: origins.of("log_format", self.log_format),
            access_log: origins.of("access_log", self.access_log),
            ..Given::default()
        }
    }
}

/// Which values came from a flag and which from a variable.
struct Origins<'a>(&'a ArgMatches);

impl Origins<'_> {
    fn of<T>(&self, id: &str, value: Option<T>) -> Option<Setting<T>> {
        let source = match self.0.value_source(id) {
            Some(ValueSource::EnvVariable) => Source::Environment(format!("LARDER_{}", id.to_uppercase())),
            _ => Source::Flag(format!("--{}", id.replace('_', "-"))),
        };
        value.map(|value| Setting { value, source })
    }
}

/// Reads a text file of an operator's.
fn read_text(path: PathBuf) -> Result<String, Failure> {
    let mut once = Watcher::new(ReloadMetrics::default());
    let text = once.watch("the configuration file", path, |bytes| String::from_utf8(bytes.to_vec()))?;
    Ok(text.current().as_ref().clone())
}

/// A variable holds one value, so several paths have colons between them, as in `PATH`.
fn split_paths(paths: &[PathBuf]) -> Vec<PathBuf> {
    paths.iter().flat_map(env::split_paths).filter(|path| !path.as_os_str().is_empty()).collect()
}

fn parse_duration(text: &str) -> Result<Duration, &'static str> {
    duration::parse(text).ok_or("expected a duration such as `10s`")
}

fn parse_overlap(text: &str) -> Result<Duration, &'static str> {
    let overlap = parse_duration(text)?;
    let is_short = overlap <= LONGEST_CREDENTIALS_OVERLAP;
    is_short.then_some(overlap).ok_or("a password that was changed counts for `168h` at most")
}

fn parse_level(text: &str) -> Result<LogLevel, &'static str> {
    LogLevel::from_word(text).ok_or("expected `error`, `warn`, `info`, `debug` or `trace`")
}

fn parse_format(text: &str) -> Result<LogFormat, &'static str> {
    LogFormat::from_word(text).ok_or("expected `text` or `json`")
}

fn parse_access_log(text: &str) -> Result<AccessLog, &'static str> {
    AccessLog::from_word(text).ok_or("expected `on` or `off`")
}
