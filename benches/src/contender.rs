//! The contenders: Larder, and what it is measured against.
//!
//! Knows what each is called, where it comes from and how it is started so that
//! the comparison is fair: as many workers, no access log, writes synced where
//! the server can, and for reading the very same files. Does not know the questions.

use std::fmt;
use std::net::TcpListener;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde::Serialize;
use storage_layout::Digest;
use storage_layout::Entry;
use tempfile::TempDir;

use crate::client::Endpoint;
use crate::client::Request;
use crate::client::Transport;
use crate::client::exchange::Exchange;
use crate::process::Process;

mod distribution;
pub(crate) mod fleet;
mod go;
mod larder;
mod nginx;
pub(crate) mod secrets;
mod zot;

/// A server that has not answered after this long is not going to.
const START: Duration = Duration::from_secs(120);

/// Which server.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    Larder,
    Nginx,
    #[value(name = "distribution-2")]
    #[serde(rename = "distribution-2")]
    Distribution2,
    #[value(name = "distribution-3")]
    #[serde(rename = "distribution-3")]
    Distribution3,
    Zot,
    /// Not a server: the disk itself, written by `dd conv=fsync`.
    #[value(skip)]
    Dd,
}

impl Kind {
    /// All servers, Larder first.
    pub(crate) const ALL: [Self; 5] =
        [Self::Larder, Self::Nginx, Self::Distribution2, Self::Distribution3, Self::Zot];

    /// Whether it takes pushes.
    pub(crate) fn is_registry(self) -> bool {
        !matches!(self, Self::Nginx | Self::Dd)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Larder => "larder",
            Self::Nginx => "nginx",
            Self::Distribution2 => "distribution 2",
            Self::Distribution3 => "distribution 3",
            Self::Zot => "zot",
            Self::Dd => "dd",
        })
    }
}

/// A server that can be started.
#[derive(Clone, Debug)]
pub(crate) struct Contender {
    pub(crate) kind: Kind,
    pub(crate) program: PathBuf,
    pub(crate) version: String,
}

/// What a server is started for.
#[derive(Clone, Debug)]
pub(crate) struct Site<'a> {
    /// Where it finds or puts its data; the first is the one that is written.
    pub(crate) roots: Vec<PathBuf>,
    pub(crate) access: Access,
    pub(crate) transport: Transport,
    pub(crate) auth: Auth,
    pub(crate) secrets: &'a secrets::Secrets,
    /// How many threads serve: workers of nginx, `GOMAXPROCS` of those in Go. Larder decides for itself.
    pub(crate) workers: usize,
}

/// Whether a server is to take pushes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    ReadOnly,
    ReadWrite,
}

/// Whether a server asks who is there. nginx never does: as a file server it would run bcrypt for every
/// request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Auth {
    Open,
    Htpasswd,
}

/// A server that answers. Ended when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) kind: Kind,
    pub(crate) endpoint: Endpoint,
    pub(crate) process: Process,
    _scratch: TempDir,
}

impl Contender {
    /// Starts it and waits for the first answer.
    pub(crate) fn start(&self, site: &Site<'_>) -> Result<Server> {
        self.start_timed(site).map(|(server, _)| server)
    }

    /// Starts it and tells how long it took from `exec` to the first answer.
    pub(crate) fn start_timed(&self, site: &Site<'_>) -> Result<(Server, Duration)> {
        let scratch = tempfile::tempdir().context("making a directory for a server's configuration")?;
        let endpoint = self.endpoint(site)?;
        let mut command = self.command(site, &endpoint, scratch.path())?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log(scratch.path())?);
        let start = Instant::now();
        let mut process = Process::spawn(&mut command)?;
        first_answer(&mut process, &endpoint, start)
            .with_context(|| format!("{} said: {}", self.kind, said(scratch.path())))?;
        let took = start.elapsed();
        Ok((Server { kind: self.kind, endpoint, process, _scratch: scratch }, took))
    }

    fn endpoint(&self, site: &Site<'_>) -> Result<Endpoint> {
        let authorization = match (site.auth, self.kind) {
            (Auth::Open, _) | (_, Kind::Nginx) => None,
            (Auth::Htpasswd, _) => {
                let pair = format!("{}:{}", secrets::USER, secrets::PASSWORD);
                Some(format!("Basic {}", BASE64_STANDARD.encode(pair)))
            }
        };
        // The port is free again when the listener is dropped, and the server takes it before anyone else
        // does.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        Ok(Endpoint { address, transport: site.transport, authorization })
    }

    fn command(&self, site: &Site<'_>, endpoint: &Endpoint, scratch: &Path) -> Result<Command> {
        match self.kind {
            Kind::Larder => Ok(larder::command(&self.program, site, endpoint)),
            Kind::Nginx => nginx::command(&self.program, site, endpoint, scratch),
            Kind::Distribution2 | Kind::Distribution3 => {
                distribution::command(&self.program, site, endpoint, scratch)
            }
            Kind::Zot => zot::command(&self.program, site, endpoint, scratch),
            Kind::Dd => bail!("`dd` is not a server"),
        }
    }
}

impl Server {
    /// The path of a blob: nginx knows no repositories and serves the file.
    pub(crate) fn blob(&self, repository: &str, digest: &Digest) -> String {
        match self.kind {
            Kind::Nginx => file(digest),
            _ => format!("/v2/{repository}/blobs/{digest}"),
        }
    }

    /// The path of a manifest by `reference`, whose bytes have `digest`.
    pub(crate) fn manifest(&self, repository: &str, reference: &str, digest: &Digest) -> String {
        match self.kind {
            Kind::Nginx => file(digest),
            _ => format!("/v2/{repository}/manifests/{reference}"),
        }
    }
}

fn file(digest: &Digest) -> String {
    format!("/{}", Entry::Blob(*digest).path().as_str())
}

/// Waits for 200 from `/v2/`.
fn first_answer(process: &mut Process, endpoint: &Endpoint, start: Instant) -> Result<()> {
    let request = Request::get(endpoint, "/v2/");
    loop {
        if !process.is_alive() {
            bail!("it ended before it answered");
        }
        let answer = Exchange::connect(endpoint).and_then(|mut exchange| exchange.time(&request));
        match answer {
            Ok((200, _)) => return Ok(()),
            Ok((status, _)) => bail!("`/v2/` answered {status}"),
            Err(error) if start.elapsed() > START => return Err(error.context("it never answered")),
            Err(_) => std::thread::sleep(Duration::from_micros(200)),
        }
    }
}

fn log(scratch: &Path) -> Result<std::fs::File> {
    std::fs::File::create(scratch.join("stderr")).context("making a server's log")
}

/// The end of what a server wrote to its standard error.
fn said(scratch: &Path) -> String {
    let text = std::fs::read_to_string(scratch.join("stderr")).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(5)..).unwrap_or_default().join(" | ")
}

/// The root of a server that has but one.
fn only_root<'s>(site: &'s Site<'_>) -> Result<&'s Path> {
    match site.roots.as_slice() {
        [root] => Ok(root),
        roots => bail!("this server takes one root, not {}", roots.len()),
    }
}
