//! distribution's configuration file, as JSON, which is YAML.

use std::net::SocketAddr;

use anyhow::Result;
use serde_json::Value;
use serde_json::json;

use super::Access;
use super::Setup;

/// What distribution must be told to serve `setup` at `address`.
pub(super) fn render(setup: &Setup, address: SocketAddr) -> Result<String> {
    let mut http = json!({
        "addr": address.to_string(),
        "secret": "conformance",
        "headers": { "X-Content-Type-Options": ["nosniff"] },
    });
    if let Some((identity, _)) = &setup.tls {
        insert(&mut http, "tls", json!({ "certificate": identity.certificate, "key": identity.key }));
    }
    let mut configuration = json!({
        "version": "0.1",
        "log": { "level": "info" },
        "storage": {
            "filesystem": { "rootdirectory": setup.root },
            "delete": { "enabled": true },
            "maintenance": maintenance(setup.access),
        },
        "http": http,
    });
    if let Some(file) = &setup.htpasswd {
        let htpasswd = json!({ "realm": "conformance", "path": file });
        insert(&mut configuration, "auth", json!({ "htpasswd": htpasswd }));
    }
    for (key, value) in &setup.members {
        insert(&mut configuration, key, serde_json::from_str(value)?);
    }
    Ok(configuration.to_string())
}

fn insert(object: &mut Value, key: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
}

fn maintenance(access: Access) -> Value {
    let purging = json!({ "enabled": false });
    match access {
        Access::ReadWrite => json!({ "uploadpurging": purging }),
        Access::ReadOnly => json!({ "uploadpurging": purging, "readonly": { "enabled": true } }),
    }
}
