//! `Failure`: what a command could not do, why, and what to do about it.

use std::io;
use std::io::Write as _;
use std::process::ExitCode;

use crate::server::ListenError;
use crate::store;

/// Why a command failed, as a person is told: `error: ..`, `caused by: ..`, `hint: ..`.
#[derive(Debug)]
pub(super) struct Failure {
    error: anyhow::Error,
    causes: Vec<String>,
    hint: Option<String>,
    code: u8,
}

impl Failure {
    /// Something failed.
    pub(super) fn new(error: impl Into<anyhow::Error>) -> Self {
        let error = error.into();
        let causes = error.chain().skip(1).map(ToString::to_string).collect();
        let hint = hint_for(&error);
        Self { error, causes, hint, code: 3 }
    }

    /// The command was used wrongly.
    pub(super) fn usage(message: &'static str) -> Self {
        Self { code: 2, ..Self::new(anyhow::Error::msg(message)) }
    }

    /// The same, as wrong usage.
    pub(super) fn of_usage(self) -> Self {
        Self { code: 2, ..self }
    }

    /// Several things are wrong at once.
    pub(super) fn because(message: String, causes: Vec<String>) -> Self {
        Self { causes, ..Self::new(anyhow::Error::msg(message)) }
    }

    /// What to do about it.
    pub(super) fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Tells a person, and says with which code to exit.
    pub(super) fn report(&self) -> ExitCode {
        let mut text = format!("error: {}\n", self.error);
        for cause in &self.causes {
            text += &format!("caused by: {cause}\n");
        }
        if let Some(hint) = &self.hint {
            text += &format!("hint: {hint}\n");
        }
        // Nobody is left to tell if this fails.
        let _ = io::stderr().lock().write_all(text.as_bytes());
        ExitCode::from(self.code)
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(error)
    }
}

/// What usually helps, by what went wrong.
fn hint_for(error: &anyhow::Error) -> Option<String> {
    let io = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>());
    if let Some(ListenError::Bind { address, .. }) = error.downcast_ref() {
        return io.and_then(|io| hint_for_address(io, address.port()));
    }
    if let Some(store::Error::Locked { .. }) = error.downcast_ref() {
        return Some(
            "stop the other server, give this one another `--root`, or start it `--read-only`".to_owned(),
        );
    }
    match io?.kind() {
        io::ErrorKind::NotFound => Some("check the path, and whether what holds it is mounted".to_owned()),
        io::ErrorKind::PermissionDenied => {
            Some("check who owns it and its mode, and that of every directory above".to_owned())
        }
        _ => None,
    }
}

fn hint_for_address(error: &io::Error, port: Option<u16>) -> Option<String> {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            let port = port.unwrap_or_default();
            Some(format!(
                "see who has it with `ss -tlnp 'sport = :{port}'`, or choose another with `--listen`"
            ))
        }
        io::ErrorKind::AddrNotAvailable => {
            Some("this host does not have that address, see `ip address`".to_owned())
        }
        io::ErrorKind::PermissionDenied => {
            Some("ports below 1024 need CAP_NET_BIND_SERVICE, others do not".to_owned())
        }
        _ => None,
    }
}
