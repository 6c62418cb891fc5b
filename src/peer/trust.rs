//! `Trust` and `Keys`: whom this node believes and what it presents when it dials.
//!
//! Knows what the operator's files say, and what they said until a moment ago: the others may have changed
//! theirs earlier, or do so later. Does not know where the files are, or how a credential is asked for.

use std::collections::HashMap;
use std::fmt;
use std::iter;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use rustls::CertificateError;
use rustls::ClientConfig;
use rustls::DigitallySignedStruct;
use rustls::Error as TlsError;
use rustls::RootCertStore;
use rustls::SignatureScheme;
use rustls::client::Resumption;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::danger::ServerCertVerified;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::crypto::aws_lc_rs;
use rustls::crypto::verify_tls12_signature;
use rustls::crypto::verify_tls13_signature;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::UnixTime;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::peer::Endpoint;
use crate::reload::Force;
use crate::reload::Succession;
use crate::reload::Watched;

/// How soon after a reading the files are not worth another: a registry that refuses everything must not keep
/// this node busy with its own files.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What this node trusts and presents when it dials, by one reading of its files.
#[derive(Clone)]
pub struct Trust {
    tls: Arc<ClientConfig>,
    /// What `tls` verifies with; `None` where there are no authorities.
    verifier: Option<Arc<WebPkiServerVerifier>>,
    credentials: HashMap<String, HeaderValue>,
}

impl Trust {
    /// Believes certificates that one of `roots` signed, and presents `credentials`: the value of
    /// `Authorization`, marked as sensitive, by host and port as in a pull secret.
    ///
    /// # Errors
    /// rustls cannot use the roots.
    pub fn new(roots: RootCertStore, credentials: HashMap<String, HeaderValue>) -> Result<Self, TlsError> {
        let (roots, provider) = (Arc::new(roots), Arc::new(aws_lc_rs::default_provider()));
        let builder = (!roots.is_empty())
            .then(|| WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider)));
        let verifier = builder.map(|it| it.build()).transpose();
        let verifier = verifier.map_err(|error| TlsError::General(error.to_string()))?;
        let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let tls = Arc::new(tls.with_root_certificates(roots).with_no_client_auth());
        Ok(Self { tls, verifier, credentials })
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").field("hosts", &self.credentials.len()).finish_non_exhaustive()
    }
}

/// The trust in force, followed as the files change. Clones follow the same files.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    trust: Watched<Succession<Trust>>,
    files: Option<Force>,
    last_read: Arc<Mutex<Option<Instant>>>,
}

impl Keys {
    pub(super) fn new(trust: Watched<Succession<Trust>>) -> Self {
        Self { trust, files: None, last_read: Arc::default() }
    }

    /// These, with the way to have the files read when a registry refuses what they said.
    pub(super) fn reread_by(self, files: Force) -> Self {
        Self { files: Some(files), ..self }
    }

    /// The reading that is in force.
    pub(super) fn current(&self) -> Arc<Succession<Trust>> {
        self.trust.current()
    }

    /// What may be presented to a registry, the newest first. What was replaced counts for its while; what
    /// was taken out of the file is presented no more.
    pub(super) fn credentials(&self, endpoint: &Endpoint) -> Vec<HeaderValue> {
        let readings = self.trust.current();
        let former = readings.former(Instant::now()).map(|(trust, _)| trust);
        let all = iter::once(readings.current()).chain(former);
        let mut credentials: Vec<_> =
            all.map_while(|trust| trust.credentials.get(endpoint.authority()).cloned()).collect();
        credentials.dedup();
        credentials
    }

    /// Has the files read, if nobody did a moment ago.
    pub(super) async fn read_again(&self) {
        let Some(files) = &self.files else { return };
        // Whoever is refused meanwhile waits for the same reading.
        let mut last = self.last_read.lock().await;
        if last.is_none_or(|last| last.elapsed() >= READ_AGAIN_AFTER) {
            files.read_all().await;
            *last = Some(Instant::now());
        }
    }
}

/// How TLS is spoken by these readings: certificates that any of them believes are believed, each reading as
/// long as it counts.
pub(super) fn tls(readings: &Arc<Succession<Trust>>) -> ClientConfig {
    let current = readings.current();
    let mut config = (*current.tls).clone();
    if readings.former(Instant::now()).next().is_some() {
        let algorithms = config.crypto_provider().signature_verification_algorithms;
        let either = AnyReading { readings: Arc::clone(readings), algorithms };
        config.dangerous().set_certificate_verifier(Arc::new(either));
        // A session that is resumed is not verified again.
        config.resumption = Resumption::disabled();
    }
    config
}

/// Believes what any reading that counts believes.
#[derive(Debug)]
struct AnyReading {
    readings: Arc<Succession<Trust>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for AnyReading {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let believed = |trust: &Trust| match &trust.verifier {
            Some(it) => it.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now),
            None => Err(CertificateError::UnknownIssuer.into()),
        };
        believed(self.readings.current()).or_else(|refused| {
            let mut former = self.readings.former(Instant::now());
            former.find_map(|(trust, _)| believed(trust).ok()).ok_or(refused)
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const OVERLAP: Duration = Duration::from_secs(60);

    fn presenting(credential: Option<&'static str>) -> Trust {
        let credentials = credential.map(|it| ("node-1:22625".to_owned(), HeaderValue::from_static(it)));
        Trust::new(RootCertStore::empty(), credentials.into_iter().collect()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_presented_to_a_registry() {
        let now = Instant::now();
        let readings = |said: &[Option<&'static str>]| {
            let (first, later) = said.split_first().unwrap();
            let first = Succession::first(presenting(*first));
            later.iter().fold(first, |it, next| it.followed_by(presenting(*next), OVERLAP, now))
        };
        let cases: [(Succession<Trust>, &[&str], &[&str]); 5] = [
            (readings(&[Some("old")]), &["old"], &["old"]),
            (readings(&[Some("old"), Some("new")]), &["new", "old"], &["new"]),
            (readings(&[Some("same"), Some("same")]), &["same"], &["same"]),
            (readings(&[Some("old"), None]), &[], &[]),
            (readings(&[Some("old"), None, Some("new")]), &["new"], &["new"]),
        ];
        let [own, other] = ["node-1:22625", "node-2:22625"].map(|it| Endpoint::parse(it).unwrap());
        let keys: Vec<_> =
            cases.into_iter().map(|it| (Keys::new(Watched::fixed(it.0)), it.1, it.2)).collect();
        for (keys, during, _) in &keys {
            assert_eq!(keys.credentials(&own), *during, "{keys:?}");
            assert_eq!(keys.credentials(&other), [""; 0], "{keys:?}");
        }
        tokio::time::advance(OVERLAP).await;
        for (keys, _, after) in &keys {
            assert_eq!(keys.credentials(&own), *after, "{keys:?}");
        }
    }
}
