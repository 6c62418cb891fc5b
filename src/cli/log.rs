//! The log: where `tracing` events go and how they look.

use std::io;
use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use crate::config::AccessLog;
use crate::config::Config;
use crate::config::LogFormat;
use crate::config::LogLevel;

/// Sends events to standard error from now on. Other crates are heard only when something is wrong.
pub(super) fn start(config: &Config) {
    let lines = fmt().with_writer(io::stderr).with_env_filter(filter(config));
    match config.log_format.value {
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).init(),
        LogFormat::Text => {
            let lines = lines.with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none());
            // journald stamps each line itself (systemd.exec(5), `$JOURNAL_STREAM`).
            if std::env::var_os("JOURNAL_STREAM").is_some() {
                lines.without_time().init();
            } else {
                lines.init();
            }
        }
    }
}

fn filter(config: &Config) -> EnvFilter {
    let level = config.log_level.value;
    let others = if level == LogLevel::Trace { LogLevel::Debug } else { LogLevel::Warn.min(level) };
    let access = match config.access_log.value {
        AccessLog::On => "",
        AccessLog::Off => ",larder::access=off",
    };
    EnvFilter::new(format!("{others},larder={level}{access}"))
}
