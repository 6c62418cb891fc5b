//! `Row`: a configuration as a table, for `larder config show`.

use std::fmt::Display;
use std::path::Path;
use std::path::PathBuf;

use crate::config::Config;
use crate::config::Setting;
use crate::config::Source;
use crate::config::duration;

/// A setting in effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its name: that of the flag, where there is one.
    pub name: &'static str,
    /// Its value as text; `None` where it is off or absent.
    pub value: Option<String>,
    /// Where the value came from.
    pub source: Source,
}

impl Config {
    /// Every setting, in the order in which people ask for them. Secrets are not shown.
    pub fn rows(&self) -> Vec<Row> {
        let mut rows = vec![
            list("root", &self.roots, paths),
            shown("access", &self.access),
            shown("listen", &self.listen),
        ];
        rows.extend(self.tls_rows());
        rows.extend(self.auth_rows());
        rows.extend(self.http_rows());
        rows.extend([
            shown("deletes", &self.deletes),
            shown("upload-purge", &self.upload_purge),
            optional("metrics-listen", self.metrics_listen.as_ref()),
            shown("metrics-path", &self.metrics_path),
            row("admin-socket", &self.admin_socket, |path| path.as_deref().map(show_path)),
        ]);
        rows.extend((!self.peers.value.is_empty()).then(|| list("peer", &self.peers, |it| words(it))));
        rows.extend(self.peer_ca.as_ref().map(|file| row("peer-ca", file, |it| Some(show_path(it)))));
        rows.extend(self.peer_auth.as_ref().map(|file| row("peer-auth", file, |it| Some(show_path(it)))));
        rows.extend([
            shown("log-level", &self.log_level),
            shown("log-format", &self.log_format),
            shown("access-log", &self.access_log),
        ]);
        rows
    }

    fn tls_rows(&self) -> Vec<Row> {
        let Some(tls) = &self.tls else {
            return vec![absent("tls-cert"), absent("tls-key")];
        };
        let mut rows = vec![
            row("tls-cert", &tls.certificate, |path| Some(show_path(path))),
            row("tls-key", &tls.key, |path| Some(show_path(path))),
            shown("tls-minimum", &tls.minimum),
        ];
        rows.extend(tls.client_cas.as_ref().map(|cas| list("tls-client-cas", cas, paths)));
        rows.extend(
            tls.cipher_suites.as_ref().map(|suites| list("tls-cipher-suites", suites, |it| words(it))),
        );
        rows
    }

    fn auth_rows(&self) -> Vec<Row> {
        let auth = &self.auth;
        let path = |name, file: &Option<Setting<PathBuf>>| match file {
            Some(file) => row(name, file, |path| Some(show_path(path))),
            None => absent(name),
        };
        let mut rows = vec![path("htpasswd", &auth.htpasswd), path("pull-secret", &auth.pull_secret)];
        rows.extend(auth.push_users.as_ref().map(|users| row("push-user", users, |it| Some(words(it)))));
        rows.extend(auth.admin_users.as_ref().map(|users| row("admin-user", users, |it| Some(words(it)))));
        rows.extend([
            list("host-name", &auth.host_names, |it| words(it)),
            row("allow-anonymous", &auth.anonymous, |rights| {
                (!rights.is_empty()).then(|| rights.to_string())
            }),
            shown("realm", &auth.realm),
            row("credentials-overlap", &auth.overlap, |it| Some(duration::show(*it))),
        ]);
        rows
    }

    fn http_rows(&self) -> Vec<Row> {
        vec![
            shown("http2", &self.http2),
            shown("prefix", &self.prefix),
            optional("external-url", self.external_url.as_ref()),
            list("headers", &self.headers, |headers| {
                headers.iter().map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>().join("; ")
            }),
            optional("secret", self.secret.as_ref()),
            row("drain-timeout", &self.drain_timeout, |it| Some(duration::show(*it))),
            shown("catalog-limit", &self.catalog_limit),
        ]
    }
}

fn row<T>(name: &'static str, setting: &Setting<T>, show: impl FnOnce(&T) -> Option<String>) -> Row {
    Row { name, value: show(&setting.value), source: setting.source.clone() }
}

fn shown<T: Display>(name: &'static str, setting: &Setting<T>) -> Row {
    row(name, setting, |value| Some(value.to_string()))
}

fn optional<T: Display>(name: &'static str, setting: Option<&Setting<T>>) -> Row {
    setting.map_or_else(|| absent(name), |setting| shown(name, setting))
}

fn list<T>(name: &'static str, setting: &Setting<Vec<T>>, show: impl FnOnce(&[T]) -> String) -> Row {
    row(name, setting, |values| (!values.is_empty()).then(|| show(values)))
}

fn absent(name: &'static str) -> Row {
    Row { name, value: None, source: Source::Default }
}

fn paths(paths: &[PathBuf]) -> String {
    words(paths.iter().map(|path| show_path(path)))
}

fn words<T: Display>(words: impl IntoIterator<Item = T>) -> String {
    words.into_iter().map(|word| word.to_string()).collect::<Vec<_>>().join(", ")
}

fn show_path(path: &Path) -> String {
    path.display().to_string()
}
