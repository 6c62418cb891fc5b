//! `ClientAuthorities`: who signs the certificates of clients, followed as the files change.
//!
//! Knows that an authority that was replaced counts for a while. Does not know what a client may do.

use std::fmt;
use std::sync::Arc;

use rustls::CertificateError;
use rustls::DigitallySignedStruct;
use rustls::DistinguishedName;
use rustls::Error;
use rustls::RootCertStore;
use rustls::SignatureScheme;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::crypto::aws_lc_rs;
use rustls::crypto::verify_tls12_signature;
use rustls::crypto::verify_tls13_signature;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::UnixTime;
use rustls::pki_types::pem::PemObject;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerified;
use rustls::server::danger::ClientCertVerifier;
use tokio::time::Instant;

use crate::reload::Succession;
use crate::reload::Watched;
use crate::server::tls::TlsError;

/// The authorities of one file.
#[derive(Clone, Debug)]
pub struct ClientAuthorities(Arc<dyn ClientCertVerifier>);

impl ClientAuthorities {
    /// Reads certificates, PEM.
    ///
    /// # Errors
    /// There are none, or one of them cannot sign.
    pub fn parse(pem: &[u8]) -> Result<Self, TlsError> {
        let refused = |error: &dyn fmt::Display| TlsError::ClientCas(error.to_string());
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            roots.add(certificate.map_err(|error| refused(&error))?).map_err(|error| refused(&error))?;
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build();
        Ok(Self(verifier.map_err(|error| refused(&error))?))
    }
}

/// Lets in whoever one of the files' authorities signed for, by what they say when a connection begins.
#[derive(Debug)]
pub(super) struct Followed {
    files: Vec<Watched<Succession<ClientAuthorities>>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Followed {
    pub(super) fn new(files: Vec<Watched<Succession<ClientAuthorities>>>) -> Self {
        Self { files, algorithms: aws_lc_rs::default_provider().signature_verification_algorithms }
    }
}

impl ClientCertVerifier for Followed {
    /// None: they would be those of one moment, and a client that finds its own not among them presents
    /// nothing.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let mut refused = Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let moment = Instant::now();
        for file in &self.files {
            let readings = file.current();
            let former = readings.former(moment).map(|(authorities, _)| authorities);
            for authorities in std::iter::once(readings.current()).chain(former) {
                match authorities.0.verify_client_cert(end_entity, intermediates, now) {
                    Ok(verified) => return Ok(verified),
                    Err(error) => refused = error,
                }
            }
        }
        Err(refused)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use rcgen::BasicConstraints;
    use rcgen::CertificateParams;
    use rcgen::CertifiedIssuer;
    use rcgen::ExtendedKeyUsagePurpose;
    use rcgen::IsCa;
    use rcgen::KeyPair;

    use super::*;

    struct Authority(CertifiedIssuer<'static, KeyPair>);

    impl Authority {
        fn new() -> Self {
            let mut parameters = CertificateParams::new(Vec::new()).unwrap();
            parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            Self(CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap())
        }

        fn client(&self) -> CertificateDer<'static> {
            let mut parameters = CertificateParams::new(vec!["client".to_owned()]).unwrap();
            parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            parameters.signed_by(&KeyPair::generate().unwrap(), &self.0).unwrap().der().clone()
        }

        fn parse(&self) -> ClientAuthorities {
            ClientAuthorities::parse(self.0.pem().as_bytes()).unwrap()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_authority_that_was_replaced_counts_for_a_while() {
        let overlap = Duration::from_secs(60);
        let [old, new, other, stranger] = [(); 4].map(|()| Authority::new());
        let readings = Succession::first(old.parse()).followed_by(new.parse(), overlap, Instant::now());
        let files = vec![Watched::fixed(readings), Watched::fixed(Succession::first(other.parse()))];
        let followed = Followed::new(files);
        let lets_in = |authority: &Authority| {
            followed.verify_client_cert(&authority.client(), &[], UnixTime::now()).is_ok()
        };
        let all = || [&old, &new, &other, &stranger].map(lets_in);
        assert_eq!(all(), [true, true, true, false]);
        tokio::time::advance(overlap).await;
        assert_eq!(all(), [false, true, true, false]);
    }

    #[test]
    fn what_is_no_authority() {
        for text in ["no certificate", "", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(ClientAuthorities::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
