//! What servers need to prove who they are and to ask who is there.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Result;

pub(crate) const USER: &str = "larder";
pub(crate) const PASSWORD: &str = "a-password-of-the-benches";

/// The cost of `htpasswd -B` when none is asked for.
const BCRYPT_COST: u32 = 5;

/// Files that every contender is given alike.
#[derive(Debug)]
pub(crate) struct Secrets {
    /// An ECDSA P-256 certificate: the cheapest handshake that all of them can do.
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) htpasswd: PathBuf,
}

impl Secrets {
    /// Makes them in a directory.
    pub(crate) fn create(directory: &Path) -> Result<Self> {
        let secrets = Self {
            certificate: directory.join("tls.crt"),
            key: directory.join("tls.key"),
            htpasswd: directory.join("htpasswd"),
        };
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certified = rcgen::generate_simple_self_signed(names)?;
        fs::write(&secrets.certificate, certified.cert.pem())?;
        fs::write(&secrets.key, certified.signing_key.serialize_pem())?;
        let hash = bcrypt::hash_with_result(PASSWORD, BCRYPT_COST)?.format_for_version(bcrypt::Version::TwoY);
        fs::write(&secrets.htpasswd, format!("{USER}:{hash}\n"))?;
        Ok(secrets)
    }
}
