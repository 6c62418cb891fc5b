//! What systemd is told (`sd_notify(3)`). Outside systemd all of it does nothing.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::MissedTickBehavior;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

/// Requests are being answered.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// Files are being read again; [`ready`] says that it is done.
pub fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

/// The end has begun.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// What `systemctl status` shows, in one line.
pub fn status(text: &str) {
    tell(&[NotifyState::Status(text)]);
}

/// Tells systemd that the runtime still turns, as often as the unit's `WatchdogSec` wants, until `shutdown`.
pub async fn watchdog(shutdown: CancellationToken) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    // Twice as often as needed, as `sd_watchdog_enabled(3)` recommends.
    let mut ticks = interval((limit / 2).max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => tell(&[NotifyState::Watchdog]),
        }
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "systemd cannot be told");
    }
}
