//! Larder, by flags.

use std::path::Path;
use std::process::Command;

use crate::client::Endpoint;
use crate::client::Transport;
use crate::contender::Access;
use crate::contender::Auth;
use crate::contender::Site;

pub(super) fn command(program: &Path, site: &Site<'_>, endpoint: &Endpoint) -> Command {
    let mut command = Command::new(program);
    command.arg("serve").args(["--listen", &endpoint.address.to_string()]);
    for root in &site.roots {
        command.arg("--root").arg(root);
    }
    command.args(["--access-log", "off", "--log-level", "error"]);
    if site.access == Access::ReadOnly {
        command.arg("--read-only");
    }
    if site.transport == Transport::Tls {
        command.arg("--tls-cert").arg(&site.secrets.certificate).arg("--tls-key").arg(&site.secrets.key);
    }
    if site.auth == Auth::Htpasswd {
        command.arg("--htpasswd").arg(&site.secrets.htpasswd);
    }
    command
}
