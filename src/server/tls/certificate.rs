//! `Certificate`: a chain and its key, as they lie in two PEM files.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem;
use rustls::pki_types::pem::PemObject;
use rustls::server::ClientHello;
use rustls::server::ResolvesServerCert;
use rustls::sign::CertifiedKey;
use x509_cert::der::Decode;

use crate::metrics::ReloadMetrics;
use crate::reload;
use crate::reload::Watched;
use crate::reload::Watcher;

mod inspection;

pub use inspection::Inspection;

/// A certificate with the ones that lead to its root, and its key.
#[derive(Debug)]
pub struct Certificate {
    key: Arc<CertifiedKey>,
    details: Option<Details>,
}

/// What an operator wants to know of a certificate.
#[derive(Debug)]
struct Details {
    serial: String,
    not_after: SystemTime,
}

/// Why two files are not a certificate and its key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// The certificate is not PEM.
    #[error("no certificate in PEM form")]
    Chain(#[source] pem::Error),
    /// The key is not PEM, or of a form that is not known. PKCS#1, PKCS#8 and SEC1 are.
    #[error("no private key in PEM form")]
    Key(#[source] pem::Error),
    /// The key cannot be used, or is that of another certificate.
    #[error("the key cannot be used with the certificate")]
    Unfit(#[source] rustls::Error),
}

impl Certificate {
    /// Reads a chain and a key, PEM.
    ///
    /// # Errors
    /// They are not that, or do not belong to each other.
    pub fn parse(chain: &[u8], key: &[u8]) -> Result<Self, CertificateError> {
        let chain = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<Vec<_>, _>>()
            .and_then(|chain| if chain.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(chain) })
            .map_err(CertificateError::Chain)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(CertificateError::Key)?;
        let details = chain.first().and_then(Details::of);
        let key = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider());
        Ok(Self { key: Arc::new(key.map_err(CertificateError::Unfit)?), details })
    }

    /// Follows the two files, and says in `metrics` which certificate is in force.
    ///
    /// # Errors
    /// They cannot be read, or are not a certificate and its key.
    pub fn watch(
        watcher: &mut Watcher,
        chain: PathBuf,
        key: PathBuf,
        metrics: ReloadMetrics,
    ) -> Result<Watched<Self>, reload::Error> {
        watcher.watch_group("certificate", [chain, key], move |[chain, key]| {
            let certificate = Self::parse(chain, key)?;
            if let Some(details) = &certificate.details {
                metrics.certificate(&details.serial, details.not_after);
            }
            Ok::<_, CertificateError>(certificate)
        })
    }

    /// Its serial number in hexadecimal, as `openssl x509 -serial` shows it but in lower case.
    pub fn serial(&self) -> Option<&str> {
        self.details.as_ref().map(|details| details.serial.as_str())
    }

    /// What a client would look at; `None` where it cannot be read so far.
    pub fn inspect(&self) -> Option<Inspection> {
        Inspection::of(&self.key.cert)
    }

    /// Until when it is valid.
    pub fn not_after(&self) -> Option<SystemTime> {
        self.details.as_ref().map(|details| details.not_after)
    }
}

impl Details {
    /// `None` for a certificate that breaks a rule which clients may not mind: it is served all the same.
    fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let certificate = x509_cert::Certificate::from_der(certificate).ok()?;
        let content = certificate.tbs_certificate();
        let serial = content.serial_number().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        Some(Self { serial, not_after: content.validity().not_after.to_system_time() })
    }
}

/// Presents the certificate that is in force.
#[derive(Debug)]
pub(super) struct Resolver {
    certificate: Watched<Certificate>,
}

impl Resolver {
    pub(super) fn new(certificate: Watched<Certificate>) -> Self {
        Self { certificate }
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.certificate.current().key))
    }
}
