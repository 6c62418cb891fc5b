//! Progress of a sync: a bar for people, lines of JSON for programs.

use indicatif::ProgressBar;
use indicatif::ProgressStyle;

use crate::cli::Failure;
use crate::cli::output;
use crate::cli::output::Format;
use crate::peer::JobStatus;
use crate::peer::State;

/// Tells progress. The bar is drawn only where there is a terminal.
pub(super) struct Bar {
    format: Format,
    bar: ProgressBar,
}

impl Bar {
    pub(super) fn new(format: Format) -> Self {
        let bar = match format {
            Format::Table => ProgressBar::new(0),
            Format::Json => ProgressBar::hidden(),
        };
        // The template is a constant; the plain bar is as good where it would not parse.
        let style =
            ProgressStyle::with_template("{msg}\n[{bar:40}] {bytes}/{total_bytes} {bytes_per_sec} {eta}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
        Self { format, bar }
    }

    /// Tells how far a job is.
    pub(super) fn show(&self, status: &JobStatus) -> Result<(), Failure> {
        match self.format {
            Format::Json => line(status),
            Format::Table => {
                self.bar.set_length(status.counts.bytes_total);
                self.bar.set_position(status.counts.bytes_done);
                self.bar.set_message(words(status));
                Ok(())
            }
        }
    }

    /// Tells how it ended.
    pub(super) fn end(&self, status: &JobStatus) -> Result<(), Failure> {
        self.bar.finish_and_clear();
        match self.format {
            Format::Json => line(status),
            Format::Table if status.state == State::Complete => {
                let (bytes, objects) = (output::bytes(status.counts.bytes_done), status.counts.objects_done);
                output::print(&format!("complete: {objects} objects, {bytes}\n"))?;
                Ok(())
            }
            Format::Table => Ok(()),
        }
    }
}

fn line(status: &JobStatus) -> Result<(), Failure> {
    output::print(&(serde_json::to_string(status)? + "\n"))?;
    Ok(())
}

fn words(status: &JobStatus) -> String {
    let (done, total) = (status.counts.objects_done, status.counts.objects_total);
    match &status.state {
        State::Queued => "waiting for another job".to_owned(),
        State::Surveying => "asking what there is".to_owned(),
        State::Copying => format!("copying {done} of {total} objects"),
        State::Publishing => format!("publishing {done} of {total} objects"),
        State::Degraded { message, .. } => format!("degraded, trying again: {message}"),
        State::Complete | State::Failed { .. } | State::Cancelled => String::new(),
    }
}
