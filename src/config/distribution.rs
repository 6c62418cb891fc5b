//! distribution's configuration file (`version: 0.1`), read into settings.
//!
//! Every key of distribution's `configuration.go` is named here, in its order: what it sets, or that nothing
//! a client could see depends on it, or that it has no effect, or that starting without it would be wrong.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::Access;
use crate::config::AccessLog;
use crate::config::CipherSuite;
use crate::config::Deletes;
use crate::config::Given;
use crate::config::Http2;
use crate::config::ListenAddress;
use crate::config::LogFormat;
use crate::config::LogLevel;
use crate::config::Notice;
use crate::config::Problem;
use crate::config::Secret;
use crate::config::Setting;
use crate::config::TlsVersion;
use crate::config::UploadPurge;
use crate::config::defaults;
use crate::config::duration;
use crate::config::problem::Issues;
use crate::config::section::Section;
use crate::config::tree::Node;

/// Reads a document to which the variables were applied.
pub(super) fn read(tree: Node, issues: &mut Issues) -> Given {
    let mut top = Section::root(tree, issues);
    version(&mut top, issues);
    let mut given = Given::default();
    let loglevel = top.scalar("loglevel", LEVELS, issues, level);
    log(top.section("log", issues), &mut given, issues);
    given.log_level = given.log_level.or(loglevel);
    storage(top.section_or_word("storage", issues), &mut given, issues);
    auth(top.section_or_word("auth", issues), &mut given, issues);
    http(top.section("http", issues), &mut given, issues);
    catalog(top.section("catalog", issues), &mut given, issues);
    others(&mut top, issues);
    top.finish(issues);
    given
}

const LEVELS: &str = "`error`, `warn`, `info` or `debug`";

const DURATION: &str = "a duration such as `10s`";

fn version(top: &mut Section, issues: &mut Issues) {
    let version = top.text("version", issues);
    if version.as_ref().is_none_or(|it| it.value != "0.1") {
        issues.problem(Problem::Version { found: version.map(|it| it.value) });
    }
}

fn level(text: &str) -> Option<LogLevel> {
    LogLevel::from_word(text).filter(|level| *level != LogLevel::Trace)
}

fn log(mut log: Section, given: &mut Given, issues: &mut Issues) {
    let mut access = log.section("accesslog", issues);
    given.access_log = access
        .switch("disabled", issues)
        .map(|it| it.map(|disabled| if disabled { AccessLog::Off } else { AccessLog::On }));
    access.finish(issues);
    given.log_level = log.scalar("level", LEVELS, issues, level);
    given.log_format = log.scalar("formatter", "`text`, `json` or `logstash`", issues, |text| match text {
        "logstash" => Some(LogFormat::Json),
        other => LogFormat::from_word(other),
    });
    log.no_effect("hooks", "log hooks are not supported", issues);
    log.skip(&["fields", "reportcaller"]);
    log.finish(issues);
}

fn storage(mut storage: Section, given: &mut Given, issues: &mut Issues) {
    maintenance(storage.section("maintenance", issues), given, issues);
    let mut delete = storage.section("delete", issues);
    given.deletes = delete
        .switch("enabled", issues)
        .map(|it| it.map(|enabled| if enabled { Deletes::Allowed } else { Deletes::Refused }));
    delete.finish(issues);
    storage.skip(&["cache", "redirect", "tag"]);
    let has_filesystem = storage.names().iter().any(|name| name == "filesystem");
    let mut filesystem = storage.section("filesystem", issues);
    given.roots = filesystem.text("rootdirectory", issues).map(|it| it.map(|root| vec![PathBuf::from(root)]));
    filesystem.skip(&["maxthreads"]);
    filesystem.finish(issues);
    let drivers = storage.names();
    for driver in &drivers {
        storage.unsupported_section(driver, "use `storage.filesystem`: content lies in a directory", issues);
    }
    if !has_filesystem && drivers.is_empty() {
        issues.problem(Problem::Missing { key: "storage", why: "distribution wants a driver: `filesystem`" });
    }
}

fn maintenance(mut maintenance: Section, given: &mut Given, issues: &mut Issues) {
    let mut readonly = maintenance.section("readonly", issues);
    given.access = readonly
        .switch("enabled", issues)
        .map(|it| it.map(|enabled| if enabled { Access::ReadOnly } else { Access::ReadWrite }));
    readonly.finish(issues);
    given.upload_purge = upload_purge(maintenance.section("uploadpurging", issues), issues);
    maintenance.finish(issues);
}

fn upload_purge(mut purging: Section, issues: &mut Issues) -> Option<Setting<UploadPurge>> {
    let source = purging.any_origin()?;
    let enabled = purging.switch("enabled", issues);
    let age = purging.scalar("age", DURATION, issues, duration::parse);
    let interval = purging.scalar("interval", DURATION, issues, duration::parse);
    let dry_run = purging.switch("dryrun", issues);
    purging.finish(issues);
    let off = enabled.is_some_and(|it| !it.value) || dry_run.is_some_and(|it| it.value);
    let or = |given: Option<Setting<Duration>>, default| given.map_or(default, |it| it.value);
    let (age, interval) = (or(age, defaults::UPLOAD_AGE), or(interval, defaults::UPLOAD_PURGE_INTERVAL));
    Some(Setting::new(if off { UploadPurge::Off } else { UploadPurge::Every { age, interval } }, source))
}

fn auth(mut auth: Section, given: &mut Given, issues: &mut Issues) {
    let names = auth.names();
    let mut htpasswd = auth.section("htpasswd", issues);
    given.realm = htpasswd.text("realm", issues);
    given.htpasswd = htpasswd.text("path", issues).map(|it| it.map(PathBuf::from));
    htpasswd.finish(issues);
    if names.iter().any(|name| name == "htpasswd") && given.htpasswd.is_none() {
        issues.problem(Problem::Missing {
            key: "auth.htpasswd.path",
            why: "`auth.htpasswd` names the file with users",
        });
    }
    for kind in auth.names() {
        auth.unsupported_section(
            &kind,
            "use `auth.htpasswd`, or remove the section to open the registry",
            issues,
        );
    }
}

fn http(mut http: Section, given: &mut Given, issues: &mut Issues) {
    given.listen = listen(&mut http, issues);
    given.external_url = http.scalar("host", "a URL such as `https://registry.example`", issues, url);
    given.prefix = http.scalar("prefix", "a path that begins and ends with `/`", issues, prefix);
    given.secret = http.text("secret", issues).map(|it| it.map(|text| Secret::from(text.as_str())));
    // `Location` headers are relative, which is right for every client and behind every proxy.
    http.skip(&["relativeurls"]);
    given.drain_timeout = http.scalar("draintimeout", DURATION, issues, duration::parse);
    tls(http.section("tls", issues), given, issues);
    given.headers = headers(http.section("headers", issues), issues);
    debug(http.section("debug", issues), given, issues);
    let mut http2 = http.section("http2", issues);
    given.http2 = http2
        .switch("disabled", issues)
        .map(|it| it.map(|disabled| if disabled { Http2::Disabled } else { Http2::Offered }));
    http2.finish(issues);
    http.no_effect("h2c", "HTTP/2 is offered only over TLS", issues);
    http.finish(issues);
}

fn listen(http: &mut Section, issues: &mut Issues) -> Option<Setting<ListenAddress>> {
    if http.peek("net").is_some_and(|net| net == "tcp") {
        http.skip(&["net"]);
    }
    http.unsupported("net", "listen on a TCP address of this host, such as `127.0.0.1:5000`", issues);
    http.scalar("addr", "`HOST:PORT` or `:PORT`", issues, |text| text.parse().ok())
}

fn url(text: &str) -> Option<String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
    let host = rest.strip_suffix('/').unwrap_or(rest);
    (!host.is_empty() && !host.contains(['/', '?', '#', ' '])).then(|| text.trim_end_matches('/').to_owned())
}

fn prefix(text: &str) -> Option<String> {
    (text.starts_with('/') && text.ends_with('/') && !text.contains("//")).then(|| text.to_owned())
}

fn tls(mut tls: Section, given: &mut Given, issues: &mut Issues) {
    given.tls_certificate = tls.text("certificate", issues).map(|it| it.map(PathBuf::from));
    given.tls_key = tls.text("key", issues).map(|it| it.map(PathBuf::from));
    given.tls_client_cas = tls
        .texts("clientcas", issues)
        .filter(|it| !it.value.is_empty())
        .map(|it| it.map(|paths| paths.into_iter().map(PathBuf::from).collect()));
    tls.skip(&["clientauth"]);
    given.tls_minimum = tls.scalar("minimumtls", "`tls1.2` or `tls1.3`", issues, |text| match text {
        "tls1.0" | "tls1.1" => Some(TlsVersion::Tls12),
        other => TlsVersion::from_word(other),
    });
    given.tls_cipher_suites = cipher_suites(&mut tls, issues);
    if given.tls_certificate.is_none() {
        let mut acme = tls.section("letsencrypt", issues);
        for key in acme.names() {
            acme.unsupported(
                &key,
                "name a certificate in `http.tls.certificate` and its key in `http.tls.key`",
                issues,
            );
        }
    }
    tls.skip(&["letsencrypt"]);
    tls.finish(issues);
}

/// Suites that are not spoken here are left out, unless none would remain.
fn cipher_suites(tls: &mut Section, issues: &mut Issues) -> Option<Setting<Vec<CipherSuite>>> {
    let Setting { value: names, source } = tls.texts("ciphersuites", issues)?;
    let suites: Vec<_> = names.iter().filter_map(|name| CipherSuite::from_word(name)).collect();
    let others: Vec<_> = names.iter().filter(|name| CipherSuite::from_word(name).is_none()).collect();
    let old = |name: &&String| !TLS13_SUITES.contains(&name.as_str());
    let key = || "http.tls.ciphersuites".to_owned();
    if suites.is_empty() && others.iter().copied().any(|name| old(&name)) {
        let instead = "name suites with ECDHE and AES-GCM or ChaCha20-Poly1305, or none to offer them all";
        issues.problem(Problem::Unsupported { key: key(), origin: source, instead });
        return None;
    }
    if others.iter().copied().any(|name| old(&name)) {
        let why = "the suites without ECDHE and an AEAD are not offered, the others are";
        issues.notice(Notice::NoEffect { key: key(), origin: source.clone(), why });
    }
    (!suites.is_empty()).then(|| Setting::new(suites, source))
}

const TLS13_SUITES: &[&str] =
    &["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];

/// What every response has to say rightly for itself.
const OWN_HEADERS: [&str; 11] = [
    "Connection",
    "Content-Length",
    "Content-Range",
    "Content-Type",
    "Date",
    "Docker-Content-Digest",
    "Docker-Distribution-Api-Version",
    "ETag",
    "Location",
    "Transfer-Encoding",
    "WWW-Authenticate",
];

fn headers(mut headers: Section, issues: &mut Issues) -> Option<Setting<Vec<(String, String)>>> {
    let source = headers.any_origin()?;
    let mut all = Vec::new();
    for name in headers.names() {
        if OWN_HEADERS.iter().any(|own| own.eq_ignore_ascii_case(&name)) {
            headers.no_effect(&name, "each response says this for itself", issues);
            continue;
        }
        let values = headers.texts(&name, issues).map(|it| it.value).unwrap_or_default();
        all.extend(values.into_iter().map(|value| (name.clone(), value)));
    }
    Some(Setting::new(all, source))
}

fn debug(mut debug: Section, given: &mut Given, issues: &mut Issues) {
    let addr = debug.scalar("addr", "`HOST:PORT` or `:PORT`", issues, |text| text.parse().ok());
    let mut prometheus = debug.section("prometheus", issues);
    let enabled = prometheus.switch("enabled", issues).is_some_and(|it| it.value);
    given.metrics_path = prometheus.scalar("path", "a path that begins with `/`", issues, |text| {
        text.starts_with('/').then(|| text.to_owned())
    });
    prometheus.finish(issues);
    debug.finish(issues);
    given.metrics_listen = addr.filter(|_| enabled);
}

fn catalog(mut catalog: Section, given: &mut Given, issues: &mut Issues) {
    given.catalog_limit = catalog.scalar("maxentries", "a number", issues, |text| {
        // Nothing or less means the default, as in distribution.
        text.parse::<i64>()
            .ok()
            .map(|n| usize::try_from(n).ok().filter(|n| *n > 0).unwrap_or(defaults::CATALOG_LIMIT))
    });
    catalog.finish(issues);
}

/// Sections of which nothing is read.
fn others(top: &mut Section, issues: &mut Issues) {
    let instead = "remove the section: content comes by `larder sync` or `larder copy`, not on demand";
    let mut proxy = top.section("proxy", issues);
    if proxy.origin("remoteurl").is_some() {
        proxy.unsupported("remoteurl", instead, issues);
    }
    proxy.skip(&["username", "password", "ttl", "exec"]);
    proxy.finish(issues);
    top.no_effect("middleware", "middlewares are not supported", issues);
    top.no_effect("notifications", "notifications are not supported", issues);
    top.no_effect("validation", "manifests are validated by the specification's rules", issues);
    top.no_effect("policy", "classes of repositories are not supported", issues);
    health(top.section("health", issues), issues);
    top.skip(&["reporting", "redis", "compatibility"]);
}

fn health(mut health: Section, issues: &mut Issues) {
    for key in ["file", "http", "tcp"] {
        health.no_effect(key, "only the store is checked, at `/readyz`", issues);
    }
    health.skip(&["storagedriver"]);
    health.finish(issues);
}
