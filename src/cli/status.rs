//! `larder status`: what the server on this host holds and does.

use std::io;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::Value;

use crate::cli::Exit;
use crate::cli::Failure;
use crate::cli::output;
use crate::cli::output::Format;
use crate::cli::root;
use crate::cli::surroundings;
use crate::cli::table;
use crate::config::duration;
use crate::maintenance::documents::AttachedRoot;
use crate::peer::Local;

/// Show what the server on this host holds and does
///
/// Exits with 1 if the server cannot read its content, and with 3 if none answers.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The server's administration socket
    #[arg(long, value_name = "PATH", env = "LARDER_ADMIN_SOCKET", hide_env_values = true)]
    admin_socket: Option<PathBuf>,
    /// Show it again and again
    #[arg(long)]
    watch: bool,
    /// How to write it; with `--watch`, JSON is one document a line
    #[arg(long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// How often `--watch` asks: as fast as a person reads numbers.
const INTERVAL: Duration = Duration::from_secs(2);

/// Where the answer is.
const PATH: &str = "/v2/_larder/status";

pub(super) fn run(args: Args) -> Result<Exit, Failure> {
    let socket = surroundings::admin_socket(args.admin_socket)?;
    let runtime = surroundings::runtime()?;
    runtime.block_on(async {
        let server = Local::new(socket);
        if !args.watch {
            return show(&server.get(PATH).await?, args.output, Frame::Once);
        }
        loop {
            show(&server.get(PATH).await?, args.output, Frame::Next)?;
            tokio::time::sleep(INTERVAL).await;
        }
    })
}

/// Whether this is all or one of many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Frame {
    Once,
    Next,
}

fn show(answer: &[u8], format: Format, frame: Frame) -> Result<Exit, Failure> {
    let value: Value = serde_json::from_slice(answer).context("cannot read the server's answer")?;
    let status = Status::deserialize(&value).context("cannot read the server's answer")?;
    match (format, frame) {
        (Format::Json, Frame::Once) => output::print_json(&value)?,
        (Format::Json, Frame::Next) => output::print(&format!("{value}\n"))?,
        (Format::Table, Frame::Once) => output::print(&status.table())?,
        // Clears the screen and goes to its top, where there is one.
        (Format::Table, Frame::Next) if io::stdout().is_terminal() => {
            output::print(&format!("\x1b[H\x1b[2J{}", status.table()))?
        }
        (Format::Table, Frame::Next) => output::print(&format!("{}\n", status.table()))?,
    };
    Ok(if status.readable.ok { Exit::Fine } else { Exit::ProblemFound })
}

/// What is shown of the answer; a newer server may say more.
#[derive(Deserialize)]
struct Status {
    version: String,
    uptime_seconds: u64,
    roots: Vec<PathBuf>,
    #[serde(default)]
    attached: Vec<AttachedRoot>,
    readable: Health,
    writable: Health,
    /// Those that failed a read.
    #[serde(default)]
    media: Vec<Medium>,
    free_bytes: Option<u64>,
    connections: i64,
    requests: i64,
    certificate: Option<Certificate>,
    files: Vec<File>,
}

/// The one that a client is shown who connects now.
#[derive(Deserialize)]
struct Certificate {
    serial: String,
    not_after: String,
}

#[derive(Deserialize)]
struct Medium {
    medium: String,
    faults: u64,
    last: Option<String>,
}

#[derive(Deserialize)]
struct Health {
    ok: bool,
    problem: Option<String>,
}

#[derive(Deserialize)]
struct File {
    what: String,
    paths: Vec<PathBuf>,
    problem: Option<String>,
    /// Until when an overlap lasts: what it said before counts too, for whoever was in it all the time.
    former_until: Option<String>,
}

impl Status {
    fn table(&self) -> String {
        let mut rows = vec![
            ["version".to_owned(), self.version.clone()],
            ["up".to_owned(), duration::show(Duration::from_secs(self.uptime_seconds))],
        ];
        let is_attached = |root: &&PathBuf| self.attached.iter().any(|it| it.path == **root);
        let lasting = self.roots.iter().filter(|root| !is_attached(root));
        rows.extend(lasting.map(|root| ["root".to_owned(), root.display().to_string()]));
        let attached = self.attached.iter();
        rows.extend(
            attached.map(|it| ["attached".to_owned(), format!("{}: {}", it.path.display(), root::word(it))]),
        );
        rows.extend([
            ["readable".to_owned(), self.readable.word()],
            ["writable".to_owned(), self.writable.word()],
        ]);
        rows.extend(self.media.iter().map(|it| ["medium".to_owned(), it.word()]));
        rows.extend(self.free_bytes.map(|free| ["free".to_owned(), output::bytes(free)]));
        rows.extend([
            ["connections".to_owned(), self.connections.to_string()],
            ["requests".to_owned(), self.requests.to_string()],
        ]);
        let presented = self.certificate.iter();
        rows.extend(
            presented.map(|it| ["serial".to_owned(), format!("{}, until {}", it.serial, it.not_after)]),
        );
        rows.extend(self.files.iter().map(|file| [file.what.clone(), file.word()]));
        table::lay_out(["WHAT", "STATE"], &rows)
    }
}

impl Medium {
    fn word(&self) -> String {
        let last = self.last.as_ref().map(|last| format!("; the last: {last}")).unwrap_or_default();
        format!("{} failed {} reads{last}", self.medium, self.faults)
    }
}

impl Health {
    fn word(&self) -> String {
        match (&self.problem, self.ok) {
            (Some(problem), _) => format!("no: {problem}"),
            (None, true) => "yes".to_owned(),
            (None, false) => "no".to_owned(),
        }
    }
}

impl File {
    fn word(&self) -> String {
        let paths: Vec<_> = self.paths.iter().map(|path| path.display().to_string()).collect();
        let state = match &self.problem {
            Some(problem) => format!("the last good one is in force: {problem}"),
            None => paths.join(", "),
        };
        let overlap = self.former_until.as_ref().map(|until| format!("; in an overlap until {until}"));
        state + &overlap.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_table_of_an_answer() {
        let answer = r#"{"version":"1.2.3","uptime_seconds":3720,"roots":["/a","/b.iso","/dev/sr0"],"attached":[{"path":"/dev/sr0","releases":[{"digest":"sha256:ab",
            "version":"4.19.1","complete":true}]}],"readable":{"ok":true},
            "writable":{"ok":false,"problem":"the registry is read-only"},"media":[{"medium":"/b.iso","faults":2,"last":"a sector"}],"free_bytes":1610612736,"connections":3,
            "requests":1,"certificate":{"serial":"0a1b","not_after":"2036-01-01T00:00:00Z"},"files":[{"what":"htpasswd","paths":["/h"],"former_until":"2026-11-23T10:00:00Z"},
            {"what":"certificate","paths":["/c","/k"],"problem":"cannot read certificate `/c`"}],"newer":1}"#;
        let status: Status = serde_json::from_str(answer).unwrap();
        assert_eq!(
            status.table(),
            "\
WHAT         STATE
version      1.2.3
up           1h2m
root         /a
root         /b.iso
attached     /dev/sr0: 4.19.1
readable     yes
writable     no: the registry is read-only
medium       /b.iso failed 2 reads; the last: a sector
free         1.5 GiB
connections  3
requests     1
serial       0a1b, until 2036-01-01T00:00:00Z
htpasswd     /h; in an overlap until 2026-11-23T10:00:00Z
certificate  the last good one is in force: cannot read certificate `/c`
"
        );
    }
}
