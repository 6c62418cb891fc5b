//! Is the port free, or ours already?

use std::io;

use serde_json::Value;

use crate::cli::preflight::Line;
use crate::config::Config;
use crate::peer::Local;
use crate::server::ListenError;
use crate::server::Listener;

const CHECK: &str = "port";

/// Listens for a moment; where somebody does already, asks whether that is a server of ours.
pub(super) async fn check(config: &Config) -> Line {
    let address = &config.listen.value;
    let error = match Listener::bind(address).await {
        Ok(_) => return Line::fine(CHECK, format!("{address} is free")),
        Err(ListenError::Bind { source, .. }) => source,
        Err(error) => return Line::problem(CHECK, error.to_string(), "see `systemctl status larder.socket`"),
    };
    match error.kind() {
        io::ErrorKind::AddrInUse => match ours(config).await {
            Some(version) => Line::fine(CHECK, format!("{address} is ours: larder {version} serves")),
            None => Line::problem(
                CHECK,
                format!("{address} is taken by another program"),
                format!(
                    "see who has it with `ss -tlnp 'sport = :{}'`, or choose another with `--listen`",
                    address.port().unwrap_or_default()
                ),
            ),
        },
        io::ErrorKind::AddrNotAvailable => {
            Line::problem(CHECK, format!("this host does not have {address}"), "see `ip address`")
        }
        io::ErrorKind::PermissionDenied => Line::problem(
            CHECK,
            format!("{address} may not be listened on"),
            "ports below 1024 need CAP_NET_BIND_SERVICE, others do not",
        ),
        _ => Line::problem(CHECK, format!("{address} cannot be listened on: {error}"), "see `ip address`"),
    }
}

/// The version of the server that answers at the administration socket.
async fn ours(config: &Config) -> Option<String> {
    let answer = Local::new(config.admin_socket.value.clone()?).get("/v2/_larder/status").await.ok()?;
    let status: Value = serde_json::from_slice(&answer).ok()?;
    Some(status.get("version")?.as_str()?.to_owned())
}
