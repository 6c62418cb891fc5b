//! distribution's configuration file, as JSON, which is YAML.

use std::net::SocketAddr;

use anyhow::Result;
use serde_json::Value;
use serde_json::json;

use super::Access;
use super::Setup;

/// What distribution must be told to serve `setup` at `address`.
pub(super) fn render(setup: &Setup, address: SocketAddr) -> Result<String> {
    let mut configuration = json!({
        "version": "0.1",
        "log": { "level": "info" },
        "storage": {
            "filesystem": { "rootdirectory": setup.root },
            "delete": { "enabled": true },
            "maintenance": maintenance(setup.access),
        },
        "http": {
            "addr": address.to_string(),
            "secret": "conformance",
            "headers": { "X-Content-Type-Options": ["nosniff"] },
        },
    });
    if let Some((identity, _)) = &setup.tls {
        configuration["http"]["tls"] = json!({ "certificate": identity.certificate, "key": identity.key });
    }
    if let Some(file) = &setup.htpasswd {
        configuration["auth"] = json!({ "htpasswd": { "realm": "conformance", "path": file } });
    }
    for (key, value) in &setup.members {
        configuration[key] = serde_json::from_str(value)?;
    }
    Ok(configuration.to_string())
}

fn maintenance(access: Access) -> Value {
    let purging = json!({ "enabled": false });
    match access {
        Access::ReadWrite => json!({ "uploadpurging": purging }),
        Access::ReadOnly => json!({ "uploadpurging": purging, "readonly": { "enabled": true } }),
    }
}
