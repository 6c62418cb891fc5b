//! distribution, both majors: one configuration does for either.
//!
//! The descriptor cache is on, as in the configuration it ships with; the
//! access log, purging and tracing are off.

use std::path::Path;
use std::process::Command;

use anyhow::Context;
use anyhow::Result;

use crate::client::Endpoint;
use crate::client::Transport;
use crate::contender::Access;
use crate::contender::Auth;
use crate::contender::Site;
use crate::contender::only_root;

pub(super) fn command(
    program: &Path,
    site: &Site<'_>,
    endpoint: &Endpoint,
    scratch: &Path,
) -> Result<Command> {
    let file = scratch.join("config.yml");
    std::fs::write(&file, configuration(site, endpoint)?).context("writing distribution's configuration")?;
    let mut command = Command::new(program);
    command
        .arg("serve")
        .arg(file)
        .env("GOMAXPROCS", site.workers.to_string())
        .env("OTEL_TRACES_EXPORTER", "none");
    Ok(command)
}

fn configuration(site: &Site<'_>, endpoint: &Endpoint) -> Result<String> {
    let root = only_root(site)?.display();
    let address = endpoint.address;
    let read_only = site.access == Access::ReadOnly;
    let tls = match site.transport {
        Transport::Plain => String::new(),
        Transport::Tls => format!(
            "  tls: {{certificate: {}, key: {}}}\n",
            site.secrets.certificate.display(),
            site.secrets.key.display()
        ),
    };
    let auth = match site.auth {
        Auth::Open => String::new(),
        Auth::Htpasswd => {
            format!("auth:\n  htpasswd: {{realm: benches, path: {}}}\n", site.secrets.htpasswd.display())
        }
    };
    Ok(format!(
        "version: 0.1
log:
  level: error
  accesslog: {{disabled: true}}
storage:
  filesystem: {{rootdirectory: {root}}}
  cache: {{blobdescriptor: inmemory}}
  maintenance:
    uploadpurging: {{enabled: false}}
    readonly: {{enabled: {read_only}}}
http:
  addr: {address}
  secret: not-a-secret
{tls}{auth}"
    ))
}
