//! Watching a copy: a bar for a person, a line of JSON for a program.

use std::io;
use std::io::IsTerminal as _;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use indicatif::ProgressBar;
use indicatif::ProgressStyle;
use serde::Serialize;

use crate::cli::output::Format;
use crate::maintenance::copy::Phase;
use crate::maintenance::copy::Progress;
use crate::maintenance::copy::Snapshot;

/// Shows how far a copy is.
pub(super) struct Watch {
    progress: Arc<Progress>,
    shown: Shown,
}

enum Shown {
    Nothing,
    Bar(ProgressBar),
    /// The last line that was written.
    Lines(Option<Line>),
}

/// A line for programs. An installer that shows steps of a percent has all that it needs.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Line {
    phase: &'static str,
    percent: u64,
    bytes: u64,
    total: u64,
}

impl Watch {
    /// How often it is looked at: often enough for a bar to move evenly.
    pub(super) const EVERY: Duration = Duration::from_millis(100);

    /// Progress goes to standard error: as lines where the output is for programs, as a bar where a person
    /// looks on.
    pub(super) fn new(format: Format, progress: Arc<Progress>) -> Self {
        let shown = match format {
            Format::Json => Shown::Lines(None),
            Format::Table if io::stderr().is_terminal() => Shown::Bar(bar()),
            Format::Table => Shown::Nothing,
        };
        Self { progress, shown }
    }

    pub(super) fn look(&mut self) {
        let now = self.progress.snapshot();
        match &mut self.shown {
            Shown::Nothing => {}
            Shown::Bar(bar) => {
                bar.set_length(now.total);
                bar.set_position(now.bytes);
                bar.set_message(words(now.phase));
            }
            Shown::Lines(last) => {
                let line = Line::of(&now);
                let is_news =
                    last.as_ref().is_none_or(|it| (it.phase, it.percent) != (line.phase, line.percent));
                if is_news {
                    tell(serde_json::to_string(&line));
                    *last = Some(line);
                }
            }
        }
    }

    pub(super) fn end(mut self) {
        self.look();
        if let Shown::Bar(bar) = self.shown {
            bar.finish_and_clear();
        }
    }
}

impl Line {
    fn of(now: &Snapshot) -> Self {
        let percent = match now.total {
            0 if now.phase == Phase::Done => 100,
            0 => 0,
            total => now.bytes.min(total).saturating_mul(100) / total,
        };
        Self { phase: words(now.phase), percent, bytes: now.bytes, total: now.total }
    }
}

/// Says something to who watches. Nobody is left to tell if that fails.
pub(super) fn tell(lines: impl IntoIterator<Item = String>) {
    let text: String = lines.into_iter().map(|line| line + "\n").collect();
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

fn words(phase: Phase) -> &'static str {
    match phase {
        Phase::Planning => "planning",
        Phase::Comparing => "comparing",
        Phase::Blobs => "copying",
        Phase::Links => "linking",
        Phase::Done => "done",
    }
}

fn bar() -> ProgressBar {
    let style =
        "{msg:9} [{wide_bar}] {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left";
    let style = ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::no_length().with_style(style.progress_chars("=> "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_reads_whole_percents() {
        let at = |bytes, total, phase| Line::of(&Snapshot { phase, bytes, total, skipped: 0 }).percent;
        assert_eq!(at(0, 0, Phase::Planning), 0);
        assert_eq!(at(0, 0, Phase::Done), 100);
        assert_eq!(at(999, 1000, Phase::Blobs), 99);
        assert_eq!(at(1000, 1000, Phase::Links), 100);
        let line = Line::of(&Snapshot { phase: Phase::Blobs, bytes: 5, total: 10, skipped: 0 });
        let written = serde_json::to_string(&line).unwrap_or_default();
        assert_eq!(written, r#"{"phase":"copying","percent":50,"bytes":5,"total":10}"#);
    }
}
