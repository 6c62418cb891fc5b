//! Writing data to standard output.

use std::io;
use std::io::Write as _;

use clap::ValueEnum;
use serde::Serialize;

use crate::cli::Exit;
use crate::cli::Failure;

/// How data is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people
    Table,
    /// For programs
    Json,
}

/// Writes text. A reader that has seen enough and went away, such as `head`, is no failure.
pub(super) fn print(text: &str) -> Result<Exit, Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(anyhow::Error::new(error).context("cannot write to standard output").into())
        }
        Ok(()) | Err(_) => Ok(Exit::Fine),
    }
}

/// Writes a JSON document and a line end.
pub(super) fn print_json(value: &impl Serialize) -> Result<Exit, Failure> {
    print(&(serde_json::to_string_pretty(value)? + "\n"))
}
