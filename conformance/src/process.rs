//! Processes: what runs to its end within a limit, and what serves until it is dropped.
//!
//! Knows nothing of registries. Every process is the head of its own group, ends
//! with its group, and dies with the harness.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;
use rustix::process::Pid;
use rustix::process::Signal;

/// How much of a log an error quotes, in lines: enough for a compiler's error or a test's panic.
const QUOTED_LINES: usize = 60;

/// How often an ending is looked for.
const POLL: Duration = Duration::from_millis(10);

/// What a process that ran to its end left behind.
#[derive(Debug)]
pub(crate) struct Finished {
    /// How it ended.
    pub(crate) status: ExitStatus,
    /// Its standard output.
    pub(crate) stdout: String,
    /// Its standard error.
    pub(crate) stderr: String,
    command: String,
}

impl Finished {
    /// Its standard output, if it ended well.
    ///
    /// # Errors
    /// It did not; the error quotes the end of what it said.
    pub(crate) fn success(self) -> Result<String> {
        if self.status.success() {
            return Ok(self.stdout);
        }
        bail!("`{}` ended with {}\n{}", self.command, self.status, self.said())
    }

    /// The end of everything it said.
    pub(crate) fn said(&self) -> String {
        format!("{}\n{}", tail(&self.stdout), tail(&self.stderr)).trim().to_owned()
    }
}

/// Runs `command` to its end; both outputs also stay in `log` (`.out` and `.err`).
///
/// # Errors
/// It cannot be started, or does not end within `limit` (then its whole group is killed).
pub(crate) fn run(command: &Command, log: &Path, limit: Duration) -> Result<Finished> {
    let (out, err) = (log.with_extension("out"), log.with_extension("err"));
    let mut running = Running::start(command, &out, &err)?;
    let status = running.wait(limit)?;
    let read = |path: &Path| std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Ok(Finished { status, stdout: read(&out)?, stderr: read(&err)?, command: describe(command) })
}

/// A process that is killed, with its group, when this is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    command: String,
    err: PathBuf,
}

impl Running {
    /// Starts `command`, its outputs going to the files `out` and `err` (which may be the same).
    pub(crate) fn start(command: &Command, out: &Path, err: &Path) -> Result<Self> {
        let stdout = File::create(out).with_context(|| format!("creating `{}`", out.display()))?;
        let stderr = if out == err { stdout.try_clone()? } else { File::create(err)? };
        let mut bound = dying_with_us(command);
        bound.stdin(Stdio::null()).stdout(stdout).stderr(stderr).process_group(0);
        let child = bound.spawn().with_context(|| format!("starting `{}`", describe(command)))?;
        Ok(Self { child, command: describe(command), err: err.to_owned() })
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It still runs after `limit`; it is killed then.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                self.kill();
                bail!("`{}` still ran after {limit:?}\n{}", self.command, self.said());
            }
            std::thread::sleep(POLL);
        }
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Sends a signal to the process itself, not to its group.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        rustix::process::kill_process(self.pid()?, signal).context("sending a signal")
    }

    /// Kills the group, as a power cut would, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        if let Ok(pid) = self.pid() {
            // The group may be gone already, which is what is wanted.
            let _gone = rustix::process::kill_process_group(pid, Signal::KILL);
        }
        drop(self.child.wait());
    }

    /// The most memory it ever held, in bytes (`VmHWM`).
    pub(crate) fn peak_memory(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM line")?;
        let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kibibytes * 1024)
    }

    /// The end of what it said on standard error.
    pub(crate) fn said(&self) -> String {
        tail(&String::from_utf8_lossy(&std::fs::read(&self.err).unwrap_or_default()))
    }

    fn pid(&self) -> Result<Pid> {
        let id = i32::try_from(self.child.id())?;
        Pid::from_raw(id).context("a process without an id")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Whether an ending was this signal's doing.
pub(crate) fn ended_by(status: ExitStatus, signal: Signal) -> bool {
    status.signal() == Some(signal.as_raw())
}

/// The same command behind `setpriv --pdeathsig`, which becomes it: whatever ends the harness ends it too.
fn dying_with_us(command: &Command) -> Command {
    let mut bound = Command::new("setpriv");
    bound.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program()).args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => bound.env(key, value),
            None => bound.env_remove(key),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        bound.current_dir(directory);
    }
    bound
}

fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines.get(lines.len().saturating_sub(QUOTED_LINES)..).unwrap_or_default().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_overstays_is_killed_with_its_children() {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 60 & echo $!; wait"]);
        let log = directory.path().join("log");
        run(&command, &log, Duration::from_millis(300)).unwrap_err();
        let child: u32 = std::fs::read_to_string(log.with_extension("out")).unwrap().trim().parse().unwrap();
        let gone = || !Path::new(&format!("/proc/{child}/exe")).exists();
        assert!((0..100).any(|_| gone() || {
            std::thread::sleep(POLL);
            false
        }));
    }

    #[test]
    fn a_failure_quotes_what_was_said() {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo no luck >&2; exit 3"]);
        let finished = run(&command, &directory.path().join("log"), Duration::from_secs(10)).unwrap();
        let error = finished.success().unwrap_err().to_string();
        assert!(error.contains("no luck"), "{error}");
    }
}
