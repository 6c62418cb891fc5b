//! What there is to say of a certificate before clients say it.

use std::net::IpAddr;
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// A certificate and the ones after it, as a client looks at them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// The names and addresses that it is for.
    pub names: Vec<String>,
    /// From when it is valid.
    pub not_before: SystemTime,
    /// Until when.
    pub not_after: SystemTime,
    /// How many certificates there are, itself included.
    pub chain: usize,
    /// The first certificate, counted from one, that the one after it did not issue.
    pub broken_after: Option<usize>,
}

impl Inspection {
    /// `None` for certificates that break a rule which clients may not mind.
    pub(super) fn of(chain: &[CertificateDer<'_>]) -> Option<Self> {
        let all: Vec<_> =
            chain.iter().map(|it| x509_cert::Certificate::from_der(it).ok()).collect::<Option<_>>()?;
        let own = all.first()?.tbs_certificate();
        let validity = own.validity();
        let is_broken = |pair: &[x509_cert::Certificate]| match pair {
            [issued, issuer] => issued.tbs_certificate().issuer() != issuer.tbs_certificate().subject(),
            _ => false,
        };
        let names = own.get_extension::<SubjectAltName>().ok().flatten();
        Some(Self {
            names: names.map(|(_, names)| names.0.iter().filter_map(name).collect()).unwrap_or_default(),
            not_before: validity.not_before.to_system_time(),
            not_after: validity.not_after.to_system_time(),
            chain: all.len(),
            broken_after: all.windows(2).position(is_broken).map(|at| at + 1),
        })
    }

    /// Whether it is for this host name or address. A `*` stands for one label (RFC 6125, 6.4.3).
    pub fn covers(&self, host: &str) -> bool {
        let is_it = |name: &String| match name.strip_prefix("*.") {
            Some(rest) => host.split_once('.').is_some_and(|(_, domain)| domain.eq_ignore_ascii_case(rest)),
            None => name.eq_ignore_ascii_case(host),
        };
        self.names.iter().any(is_it)
    }
}

fn name(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(name.to_string()),
        GeneralName::IpAddress(octets) => {
            let octets = octets.as_bytes();
            let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
            let address = v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from));
            address.ok().map(|it| it.to_string())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn a_star_stands_for_one_label() {
        let names = ["registry.example", "*.apps.example", "192.0.2.1"].map(str::to_owned).to_vec();
        let (not_before, not_after) = (UNIX_EPOCH, UNIX_EPOCH);
        let inspection = Inspection { names, not_before, not_after, chain: 1, broken_after: None };
        for (host, is_covered) in [
            ("registry.example", true),
            ("Registry.Example", true),
            ("a.apps.example", true),
            ("a.b.apps.example", false),
            ("apps.example", false),
            ("192.0.2.1", true),
            ("192.0.2.2", false),
        ] {
            assert_eq!(inspection.covers(host), is_covered, "{host}");
        }
    }
}
