//! What the process is told from outside while it runs.

use std::io;

use tokio::signal::unix::Signal;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tokio_util::sync::CancellationToken;

use crate::reload::Force;
use crate::server::notify;

/// The signals that mean something to a server.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Takes them over from the system, which would end the process.
    ///
    /// # Errors
    /// The system refuses.
    pub fn install() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Cancels `shutdown` on SIGTERM or SIGINT and comes back; has files read on each SIGHUP until then.
    pub async fn obey(mut self, shutdown: &CancellationToken, files: &Force) {
        loop {
            let name = tokio::select! {
                _ = self.terminate.recv() => "SIGTERM",
                _ = self.interrupt.recv() => "SIGINT",
                _ = self.hangup.recv() => {
                    notify::reloading();
                    files.read_all().await;
                    notify::ready();
                    continue;
                }
                () = shutdown.cancelled() => return,
            };
            tracing::info!(signal = name, "shutting down");
            notify::stopping();
            notify::status("finishing what is under way");
            shutdown.cancel();
            return;
        }
    }
}
