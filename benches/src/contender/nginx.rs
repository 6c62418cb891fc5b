//! nginx, as a server of the plain files that blobs are.
//!
//! Its configuration is Debian's (`sendfile`, `tcp_nopush`), with the access
//! log off, connections that are never closed for having been used much, and
//! room for the head of a request for a thousand ranges.

use std::path::Path;
use std::process::Command;

use anyhow::Context;
use anyhow::Result;

use crate::client::Endpoint;
use crate::client::Transport;
use crate::contender::Site;
use crate::contender::only_root;

pub(super) fn command(
    program: &Path,
    site: &Site<'_>,
    endpoint: &Endpoint,
    scratch: &Path,
) -> Result<Command> {
    let file = scratch.join("nginx.conf");
    std::fs::write(&file, configuration(site, endpoint, scratch)?)
        .context("writing nginx's configuration")?;
    let mut command = Command::new(program);
    command.arg("-c").arg(file).arg("-p").arg(scratch).args(["-e", "stderr"]);
    Ok(command)
}

fn configuration(site: &Site<'_>, endpoint: &Endpoint, scratch: &Path) -> Result<String> {
    let workers = site.workers;
    let root = only_root(site)?.display();
    let scratch = scratch.display();
    let listen = match site.transport {
        Transport::Plain => format!("listen {};", endpoint.address),
        Transport::Tls => format!(
            "listen {} ssl; ssl_protocols TLSv1.3; ssl_certificate {}; ssl_certificate_key {};",
            endpoint.address,
            site.secrets.certificate.display(),
            site.secrets.key.display()
        ),
    };
    Ok(format!(
        "daemon off;
user root;
worker_processes {workers};
pid {scratch}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    default_type application/octet-stream;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    large_client_header_buffers 4 64k;
    client_body_temp_path {scratch}/body;
    proxy_temp_path {scratch}/proxy;
    fastcgi_temp_path {scratch}/fastcgi;
    uwsgi_temp_path {scratch}/uwsgi;
    scgi_temp_path {scratch}/scgi;
    server {{
        {listen}
        root {root};
        location = /v2/ {{ return 200; }}
    }}
}}
"
    ))
}
