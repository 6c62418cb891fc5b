//! zot without its extensions.
//!
//! It keeps OCI layouts, not distribution's tree, so its store is filled by
//! pushing. Collection and deduplication are off, as the others do neither
//! while they serve; `commit` makes it sync what it was pushed, as they do.

use std::path::Path;
use std::process::Command;

use anyhow::Context;
use anyhow::Result;
use serde_json::json;

use crate::client::Endpoint;
use crate::client::Transport;
use crate::contender::Auth;
use crate::contender::Site;
use crate::contender::only_root;

pub(super) fn command(
    program: &Path,
    site: &Site<'_>,
    endpoint: &Endpoint,
    scratch: &Path,
) -> Result<Command> {
    let file = scratch.join("config.json");
    let text = configuration(site, endpoint)?.to_string();
    std::fs::write(&file, text).context("writing zot's configuration")?;
    let mut command = Command::new(program);
    command.arg("serve").arg(file).env("GOMAXPROCS", site.workers.to_string());
    Ok(command)
}

fn configuration(site: &Site<'_>, endpoint: &Endpoint) -> Result<serde_json::Value> {
    let mut http = json!({
        "address": endpoint.address.ip().to_string(),
        "port": endpoint.address.port().to_string(),
    });
    if let Some(http) = http.as_object_mut() {
        if site.transport == Transport::Tls {
            http.insert("tls".into(), json!({ "cert": site.secrets.certificate, "key": site.secrets.key }));
        }
        if site.auth == Auth::Htpasswd {
            http.insert("auth".into(), json!({ "htpasswd": { "path": site.secrets.htpasswd } }));
        }
    }
    let root = only_root(site)?;
    Ok(json!({
        "storage": { "rootDirectory": root, "gc": false, "dedupe": false, "commit": true },
        "http": http,
        "log": { "level": "error" },
    }))
}
