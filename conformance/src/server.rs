//! Registries under test: Larder and two generations of distribution, started the same way.
//!
//! Knows how each is started and when it is ready. Does not know what is asked of it.

use std::fs;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;
use clap::ValueEnum;
use rustix::process::Signal;
use rustls::ClientConfig;

use crate::http::Endpoint;
use crate::process::Running;
use crate::tls::Identity;

mod configuration;

/// How long a registry may take to answer its first request.
const START_LIMIT: Duration = Duration::from_secs(20);

/// How often a start is tried: another process may take the free port first.
const START_TRIES: usize = 3;

/// Which registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Larder, as this tree builds it.
    Larder,
    /// distribution 2.8, as Debian ships it.
    Distribution2,
    /// distribution 3.
    Distribution3,
}

/// What a registry is told.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    root: PathBuf,
    access: Access,
    tls: Option<(Identity, Arc<ClientConfig>)>,
    htpasswd: Option<PathBuf>,
    manner: Manner,
    environment: Vec<(String, String)>,
    members: Vec<(String, String)>,
    address: Option<SocketAddr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    ReadOnly,
    ReadWrite,
}

/// How Larder is told; distribution knows only a configuration file.
#[derive(Clone, Debug)]
enum Manner {
    Configuration,
    Flags(Vec<String>),
}

impl Setup {
    /// Serves the tree under `root`, open to all, for reading and writing.
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            access: Access::ReadWrite,
            tls: None,
            htpasswd: None,
            manner: Manner::Flags(Vec::new()),
            environment: Vec::new(),
            members: Vec::new(),
            address: None,
        }
    }

    /// Only for reading.
    pub(crate) fn read_only(self) -> Self {
        Self { access: Access::ReadOnly, ..self }
    }

    /// Over TLS as `identity`; the harness speaks to it by `client`.
    pub(crate) fn tls(self, identity: &Identity, client: Arc<ClientConfig>) -> Self {
        Self { tls: Some((identity.clone(), client)), ..self }
    }

    /// Only for the users in this file.
    pub(crate) fn htpasswd(self, file: &Path) -> Self {
        Self { htpasswd: Some(file.to_owned()), ..self }
    }

    /// Larder is told by distribution's configuration file rather than by flags.
    pub(crate) fn configured(self) -> Self {
        Self { manner: Manner::Configuration, ..self }
    }

    /// Larder is told this as well, on its command line.
    pub(crate) fn flags(self, flags: &[&str]) -> Self {
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        Self { manner: Manner::Flags(flags), ..self }
    }

    /// At this address, which others know already, rather than at any that is free.
    pub(crate) fn at(self, address: SocketAddr) -> Self {
        Self { address: Some(address), ..self }
    }

    /// With this in its environment.
    pub(crate) fn env(mut self, key: &str, value: &str) -> Self {
        self.environment.push((key.to_owned(), value.to_owned()));
        self
    }

    /// With this JSON under this key of distribution's configuration file, whatever stood there.
    pub(crate) fn member(mut self, key: &str, json: &str) -> Self {
        self.members.push((key.to_owned(), json.to_owned()));
        self
    }

    /// Writes distribution's configuration file for this into `directory`.
    pub(crate) fn write_configuration(&self, address: SocketAddr, directory: &Path) -> Result<PathBuf> {
        let path = directory.join(format!("config-{}.yml", address.port()));
        fs::write(&path, configuration::render(self, address)?)?;
        Ok(path)
    }

    fn endpoint(&self, address: SocketAddr) -> Endpoint {
        let tls = self.tls.as_ref().map(|(_, client)| Arc::clone(client));
        Endpoint { tls, ..Endpoint::plain(address) }
    }

    fn command(&self, kind: Kind, program: &Path, address: SocketAddr, directory: &Path) -> Result<Command> {
        let mut command = Command::new(program);
        command.arg("serve").env("OTEL_TRACES_EXPORTER", "none");
        command.envs(self.environment.iter().map(|(key, value)| (key, value)));
        match (&self.manner, kind) {
            (Manner::Flags(more), Kind::Larder) => command.args(self.larder_flags(address)).args(more),
            _ => command.arg(self.write_configuration(address, directory)?),
        };
        Ok(command)
    }

    fn larder_flags(&self, address: SocketAddr) -> Vec<String> {
        let path = |path: &Path| path.display().to_string();
        let mut flags = vec!["--root".into(), path(&self.root), "--listen".into(), address.to_string()];
        if self.access == Access::ReadOnly {
            flags.push("--read-only".into());
        }
        if let Some((identity, _)) = &self.tls {
            flags.extend([
                "--tls-cert".into(),
                path(&identity.certificate),
                "--tls-key".into(),
                path(&identity.key),
            ]);
        }
        if let Some(file) = &self.htpasswd {
            flags.extend(["--htpasswd".into(), path(file)]);
        }
        flags
    }
}

/// A registry that serves until it is dropped.
#[derive(Debug)]
pub(crate) struct Registry {
    /// Where it is.
    pub(crate) endpoint: Endpoint,
    running: Running,
}

impl Registry {
    /// Starts one on a free port of loopback and waits until it answers; its files go to `directory`.
    ///
    /// # Errors
    /// It ends, or does not answer in time; the error quotes its log.
    pub(crate) fn start(kind: Kind, program: &Path, setup: &Setup, directory: &Path) -> Result<Self> {
        let mut tried = 1;
        loop {
            match Self::try_start(kind, program, setup, directory) {
                Err(error)
                    if tried < START_TRIES && format!("{error:?}").to_lowercase().contains("in use") =>
                {
                    tried += 1
                }
                result => return result,
            }
        }
    }

    fn try_start(kind: Kind, program: &Path, setup: &Setup, directory: &Path) -> Result<Self> {
        let address = setup.address.map_or_else(free_address, Ok)?;
        let log = directory.join(format!("{kind:?}-{}.log", address.port()).to_lowercase());
        let command = setup.command(kind, program, address, directory)?;
        let running = Running::start(&command, &log, &log)?;
        let mut registry = Self { endpoint: setup.endpoint(address), running };
        registry.wait_until_ready().with_context(|| format!("starting {kind:?}"))?;
        Ok(registry)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            if let Some(status) = self.running.ended()? {
                bail!("it ended with {status}\n{}", self.running.said());
            }
            if self.endpoint.get("/v2/").is_ok_and(|response| matches!(response.status, 200 | 401)) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                bail!("it did not answer within {START_LIMIT:?}\n{}", self.running.said());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether somebody listens on its port.
    pub(crate) fn is_listening(&self) -> bool {
        TcpStream::connect_timeout(&self.endpoint.address, Duration::from_millis(100)).is_ok()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        self.running.signal(signal)
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.running.wait(limit)
    }

    /// Asks it to end and waits until it did.
    ///
    /// # Errors
    /// It did not end within 15 seconds, or badly.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.signal(Signal::TERM)?;
        let status = self.wait(Duration::from_secs(15))?;
        // distribution 2.8 has no handler for SIGTERM unless it is told to drain.
        let gone = status.success() || crate::process::ended_by(status, Signal::TERM);
        if !gone {
            bail!("it ended with {status}\n{}", self.running.said());
        }
        Ok(())
    }

    /// Kills it at once.
    pub(crate) fn kill(mut self) {
        self.running.kill();
    }

    /// The most memory it ever held, in bytes.
    pub(crate) fn peak_memory(&self) -> Result<u64> {
        self.running.peak_memory()
    }

    /// The end of its log.
    pub(crate) fn log(&self) -> String {
        self.running.said()
    }
}

/// An address of loopback that nobody listens on just now.
pub(crate) fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?)
}
