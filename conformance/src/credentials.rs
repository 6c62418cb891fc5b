//! Who may do what in a test, in the files that servers and clients read.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Result;
use serde_json::json;

use crate::http::base64;

/// The user that the cluster's registry knows.
pub(crate) const USER: &str = "openshift";
/// Their password, with what URLs and shells trip over.
pub(crate) const PASSWORD: &str = "p4ss/word:with+signs";

/// bcrypt's cost here: the least that it allows twice over, since the tests measure no brute force.
const COST: u32 = 5;

/// Writes an htpasswd file with that user, among comments, empty lines and an older password.
pub(crate) fn write_htpasswd(directory: &Path) -> Result<PathBuf> {
    let path = directory.join("htpasswd");
    let line = |password: &str| Ok::<_, anyhow::Error>(format!("{USER}:{}\n", bcrypt::hash(password, COST)?));
    fs::write(&path, format!("# users\n\n{}{}", line("before")?, line(PASSWORD)?))?;
    Ok(path)
}

/// Writes a pull secret, which is also a client's `auth.json`, for these hosts.
pub(crate) fn write_pull_secret(path: &Path, hosts: &[&str]) -> Result<()> {
    let auth = base64(&format!("{USER}:{PASSWORD}"));
    let auths: serde_json::Map<_, _> =
        hosts.iter().map(|host| ((*host).to_owned(), json!({ "auth": auth }))).collect();
    Ok(fs::write(path, json!({ "auths": auths }).to_string())?)
}

/// Puts a new file in the place of an old one, as a careful editor does.
pub(crate) fn replace(path: &Path, content: &str) -> Result<()> {
    fs::write(path.with_extension("new"), content)?;
    Ok(fs::rename(path.with_extension("new"), path)?)
}
