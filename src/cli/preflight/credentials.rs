//! Are the certificate and the credentials such that clients get in?

use std::time::Duration;
use std::time::SystemTime;

use crate::cli::preflight::Line;
use crate::cli::serve::files::Files;
use crate::config::Config;
use crate::config::Host;
use crate::config::ListenAddress;
use crate::metrics::Metrics;
use crate::server::Certificate;
use crate::server::Inspection;

const CERTIFICATE: &str = "certificate";
const CREDENTIALS: &str = "credentials";

/// How long before its end a certificate is worth a word: the cluster rotates its own with a month to go.
const SOON: Duration = Duration::from_secs(30 * DAY);
const DAY: u64 = 24 * 60 * 60;

/// The certificate, with its key: names, dates and chain. `None` where there is to be no TLS.
pub(super) fn certificate(config: &Config) -> Option<Line> {
    let tls = config.tls.as_ref()?;
    let metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
    let mut files = Files::new(&metrics);
    let (chain, key) = (tls.certificate.value.clone(), tls.key.value.clone());
    let certificate = Certificate::watch(&mut files.watcher, chain, key, metrics.reload);
    let certificate = match certificate.map_err(anyhow::Error::from).and_then(|it| {
        // What goes with it may not fit it.
        files.tls(config).map(|_| it)
    }) {
        Ok(certificate) => certificate.current(),
        Err(error) => {
            let hint = "both files must be PEM, and the key that of the first certificate";
            return Some(Line::problem(CERTIFICATE, format!("{error:#}"), hint));
        }
    };
    Some(match certificate.inspect() {
        Some(inspection) => judge(&inspection, &names(config), SystemTime::now()),
        None => Line::advice(
            CERTIFICATE,
            "it is served, but its names and dates cannot be read",
            "look at it with `openssl x509 -noout -text`",
        ),
    })
}

/// The names by which clients are known to ask.
fn names(config: &Config) -> Vec<String> {
    let own = match &config.listen.value {
        ListenAddress::Tcp { host: Host::Name(name), .. } => Some(name.clone()),
        ListenAddress::Tcp { host: Host::Address(address), .. } if !address.is_loopback() => {
            Some(address.to_string())
        }
        ListenAddress::Tcp { .. } | ListenAddress::Unix(_) => None,
    };
    config.auth.host_names.value.iter().cloned().chain(own).collect()
}

fn judge(certificate: &Inspection, hosts: &[String], now: SystemTime) -> Line {
    let Inspection { names, not_before, not_after, chain, broken_after } = certificate;
    let problem = |told: String, hint: &str| Line::problem(CERTIFICATE, told, hint);
    let days = |span: Duration| span.as_secs() / DAY;
    if let Ok(wait) = not_before.duration_since(now) {
        let told = format!("it is not valid before {} days from now", days(wait) + 1);
        return problem(told, "check this node's clock (`timedatectl`), then the certificate");
    }
    let Ok(left) = not_after.duration_since(now) else {
        let ago = now.duration_since(*not_after).unwrap_or_default();
        return problem(
            format!("it ended {} days ago", days(ago)),
            "have a new one issued, or check this node's clock",
        );
    };
    if let Some(at) = broken_after {
        let told = format!("certificate {at} of the file was not issued by the one after it");
        return problem(told, "the file must hold the certificate, then its issuer, then that one's");
    }
    if let Some(missing) = hosts.iter().find(|it| !certificate.covers(it)) {
        let told = format!("it is not for `{missing}`, but for {}", names.join(", "));
        return problem(told, "have one issued whose subject alternative names hold that name");
    }
    if names.is_empty() {
        return problem(
            "it has no subject alternative name".to_owned(),
            "clients do not look at the common name",
        );
    }
    let told = format!("for {}; valid for {} days; chain of {chain}", names.join(", "), days(left));
    match left < SOON {
        true => Line::advice(CERTIFICATE, told, "have a new one issued; it is taken up without a restart"),
        false => Line::fine(CERTIFICATE, told),
    }
}

/// The files with users and passwords.
pub(super) fn check(config: &Config) -> Option<Line> {
    let auth = &config.auth;
    if auth.htpasswd.is_none() && auth.pull_secret.is_none() {
        let told = format!("none; everybody may {}", auth.policy().anonymous_rights());
        return Some(Line::fine(CREDENTIALS, told));
    }
    let mut files = Files::new(&Metrics::new(env!("CARGO_PKG_VERSION")));
    let sources = match files.credentials(config) {
        Ok(sources) => sources,
        Err(error) => {
            let hint = "a htpasswd file is made with `htpasswd -Bc`; a pull secret must name this registry's host and port";
            return Some(Line::problem(CREDENTIALS, format!("{error:#}"), hint));
        }
    };
    let mut told = Vec::new();
    if let Some(htpasswd) = &sources.htpasswd {
        let readings = htpasswd.current();
        let htpasswd = readings.current();
        told.push(format!("{} users in the htpasswd file", htpasswd.users().count()));
        if let Some(entry) = htpasswd.refused().first() {
            let told = format!(
                "line {} of the htpasswd file ({}) cannot be used: {}",
                entry.line, entry.user, entry.why
            );
            return Some(Line::problem(CREDENTIALS, told, "make the entry again with `htpasswd -B`"));
        }
    }
    told.extend(sources.pull_secret.map(|_| "a pull secret with an entry for this registry".to_owned()));
    Some(Line::fine(CREDENTIALS, told.join("; ")))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::cli::preflight::Verdict;

    #[test]
    fn what_clients_would_refuse_is_told() {
        let at = |day: u64| UNIX_EPOCH + Duration::from_secs(day * DAY);
        let good = Inspection {
            names: vec!["registry.example".to_owned()],
            not_before: at(100),
            not_after: at(200),
            chain: 2,
            broken_after: None,
        };
        let host = ["registry.example".to_owned()];
        let other = ["other.example".to_owned()];
        for (certificate, hosts, day, verdict, said) in [
            (
                good.clone(),
                &host[..],
                110,
                Verdict::Fine,
                "for registry.example; valid for 90 days; chain of 2",
            ),
            (good.clone(), &host, 180, Verdict::Advice, "valid for 20 days"),
            (good.clone(), &host, 99, Verdict::Problem, "not valid before 2 days from now"),
            (good.clone(), &host, 203, Verdict::Problem, "it ended 3 days ago"),
            (
                good.clone(),
                &other,
                110,
                Verdict::Problem,
                "it is not for `other.example`, but for registry.example",
            ),
            (
                Inspection { broken_after: Some(1), ..good.clone() },
                &host,
                110,
                Verdict::Problem,
                "certificate 1 of",
            ),
            (Inspection { names: vec![], ..good }, &[], 110, Verdict::Problem, "no subject alternative name"),
        ] {
            let line = judge(&certificate, hosts, at(day));
            assert_eq!(line.verdict, verdict, "{line:?}");
            assert!(line.message.contains(said), "{line:?}");
        }
    }
}
