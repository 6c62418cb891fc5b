//! `Qmp`: qemu's monitor, by which disks and discs come and go.

use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use serde_json::Value;
use serde_json::json;

/// How long qemu may take for a command or an event: a guest in software emulation answers within seconds.
const LIMIT: Duration = Duration::from_secs(30);

/// A connection to the monitor.
#[derive(Debug)]
pub(crate) struct Qmp {
    reader: BufReader<UnixStream>,
}

impl Qmp {
    /// Connects, once the socket is there.
    pub(crate) fn connect(socket: &Path) -> Result<Self> {
        let stream = connect(socket)?;
        stream.set_read_timeout(Some(LIMIT))?;
        let mut qmp = Self { reader: BufReader::new(stream) };
        qmp.receive().context("qemu's greeting")?;
        qmp.execute("qmp_capabilities", &json!({}))?;
        Ok(qmp)
    }

    /// Has a command done; gives what it returns.
    pub(crate) fn execute(&mut self, command: &str, arguments: &Value) -> Result<Value> {
        let line = json!({"execute": command, "arguments": arguments}).to_string();
        writeln!(self.reader.get_mut(), "{line}").with_context(|| format!("telling qemu `{command}`"))?;
        loop {
            let mut answer = self.receive().with_context(|| format!("qemu's answer to `{command}`"))?;
            if let Some(error) = answer.get("error") {
                bail!("qemu refuses `{line}`: {error}");
            }
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
        }
    }

    /// Waits for an event.
    pub(crate) fn wait_for(&mut self, event: &str) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let told = self.receive().with_context(|| format!("waiting for {event}"))?;
            if told.get("event").and_then(Value::as_str) == Some(event) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "qemu did not tell of {event} within {LIMIT:?}");
        }
    }

    fn receive(&mut self) -> Result<Value> {
        let mut line = String::new();
        ensure!(self.reader.read_line(&mut line)? > 0, "qemu has ended");
        Ok(serde_json::from_str(&line)?)
    }
}

/// Connects to a socket that qemu is about to make.
pub(crate) fn connect(socket: &Path) -> Result<UnixStream> {
    let deadline = Instant::now() + LIMIT;
    loop {
        match UnixStream::connect(socket) {
            Ok(stream) => return Ok(stream),
            Err(error) if Instant::now() >= deadline => {
                return Err(error).with_context(|| format!("connecting to `{}`", socket.display()));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}
