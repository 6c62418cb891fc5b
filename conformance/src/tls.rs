//! Certificates that the harness makes, and clients that trust them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use anyhow::Result;
use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::CertifiedIssuer;
use rcgen::IsCa;
use rcgen::KeyPair;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;

/// The names that a registry on a node goes by.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// A certificate authority of one test.
#[derive(Debug)]
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, as the files that a server is given.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// The certificate, PEM.
    pub(crate) certificate: PathBuf,
    /// Its key, PEM.
    pub(crate) key: PathBuf,
}

impl Authority {
    /// A new authority.
    pub(crate) fn new() -> Result<Self> {
        let mut parameters = CertificateParams::new(Vec::new())?;
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(rcgen::DnType::CommonName, "conformance");
        Ok(Self { issuer: CertifiedIssuer::self_signed(parameters, KeyPair::generate()?)? })
    }

    /// Writes `tls.crt` and `tls.key` for `localhost` into `directory`, with a new key.
    pub(crate) fn issue(&self, directory: &Path) -> Result<Identity> {
        let key = KeyPair::generate()?;
        fs::create_dir_all(directory)?;
        let parameters = CertificateParams::new(NAMES.map(String::from))?;
        let certificate = parameters.signed_by(&key, &self.issuer)?;
        let identity = Identity { certificate: directory.join("tls.crt"), key: directory.join("tls.key") };
        fs::write(&identity.certificate, certificate.pem()).context("writing a certificate")?;
        fs::write(&identity.key, key.serialize_pem())?;
        Ok(identity)
    }

    /// Writes a certificate and its key as the mount of a Secret shows them: by a symlink to `version` of it,
    /// which [`swap`](crate::handshake::swap) replaces.
    pub(crate) fn mount(&self, mount: &Path, version: &str) -> Result<Identity> {
        self.issue(&mount.join(version))?;
        symlink(version, mount.join("..data"))?;
        for file in ["tls.crt", "tls.key"] {
            symlink(format!("..data/{file}"), mount.join(file))?;
        }
        Ok(Identity { certificate: mount.join("tls.crt"), key: mount.join("tls.key") })
    }

    /// Writes the authority's own certificate to `path`.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        fs::create_dir_all(path.parent().context("a file has a directory")?)?;
        Ok(fs::write(path, self.issuer.pem())?)
    }

    /// A client that trusts this authority and nobody else, and speaks `protocols` by ALPN.
    pub(crate) fn client(&self, protocols: &[&str]) -> Result<Arc<ClientConfig>> {
        trusting(&[self], protocols)
    }

    /// This authority alone.
    pub(crate) fn roots(&self) -> Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(self.issuer.der().to_vec()))?;
        Ok(roots)
    }
}

/// A client that trusts these authorities and nobody else, and speaks `protocols` by ALPN.
pub(crate) fn trusting(authorities: &[&Authority], protocols: &[&str]) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.extend(authority.roots()?.roots);
    }
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    Ok(Arc::new(config))
}
