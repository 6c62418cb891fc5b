//! What a run tells: a line when a step begins and ends, a table, and the closing count.
//!
//! The only module that prints.

#![expect(clippy::print_stdout, reason = "the report is the harness's data, and this is where it is printed")]

use std::time::Duration;

use anyhow::Error;

use crate::step::CAUSE;
use crate::step::Ended;
use crate::step::Outcome;
use crate::step::Step;

/// Tells of a part of a step that takes long. Such a step runs beside others, so its lines say whose they are.
pub(crate) fn tell(step: &str, line: &str) {
    println!("    {step}: {line}");
}

/// The steps that ran, in order.
#[derive(Debug, Default)]
pub(crate) struct Report {
    lines: Vec<Line>,
}

#[derive(Debug)]
struct Line {
    name: &'static str,
    outcome: Outcome,
    elapsed: Duration,
}

impl Report {
    /// Runs a step and keeps how it ended.
    pub(crate) fn record(&mut self, step: &'static Step, run: impl FnOnce() -> Ended) {
        println!("==> {}: {}", step.name, step.shows);
        let Ended { outcome, elapsed } = run();
        if let Outcome::Failed(error) = &outcome {
            println!("{error}");
        }
        let line = Line { name: step.name, outcome, elapsed };
        println!("{line}\n");
        self.lines.push(line);
    }

    /// Prints the table and, alone on the last line, the count.
    pub(crate) fn close(&self) {
        println!("{:-<110}", "");
        for line in &self.lines {
            println!("{line}");
        }
        println!("{:-<110}", "");
        println!("{}", self.count());
    }

    /// Whether nothing failed.
    pub(crate) fn is_clean(&self) -> bool {
        !self.lines.iter().any(|line| matches!(line.outcome, Outcome::Failed(_)))
    }

    fn count(&self) -> String {
        let of = |kind: fn(&Outcome) -> bool| self.lines.iter().filter(|line| kind(&line.outcome)).count();
        let passed = of(|outcome| matches!(outcome, Outcome::Passed(_)));
        let failed = of(|outcome| matches!(outcome, Outcome::Failed(_)));
        match of(|outcome| matches!(outcome, Outcome::LeftOut(_))) {
            0 => format!("{passed} passed, {failed} failed"),
            skipped => format!("{passed} passed, {failed} failed, {skipped} skipped"),
        }
    }
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (word, text) = match &self.outcome {
            Outcome::Passed(summary) => ("ok", summary.clone()),
            Outcome::Failed(error) => ("FAILED", in_one_line(error)),
            Outcome::LeftOut(why) => ("left out", why.clone()),
        };
        write!(f, "{:<22} {word:<8} {:>7.1} s  {text}", self.name, self.elapsed.as_secs_f64())
    }
}

/// The first line of an error and of each of its causes.
fn in_one_line(error: &str) -> String {
    let causes = error.split(CAUSE).map(|cause| cause.lines().next().unwrap_or_default());
    causes.collect::<Vec<_>>().join(": ")
}

/// Says why nothing was run.
#[expect(clippy::print_stderr, reason = "what is wrong with the command line is for people")]
pub(crate) fn refuse(error: &Error) {
    eprintln!("error: {error:#}");
}

/// Prints the name of every step and what it shows.
pub(crate) fn list(steps: &[Step]) {
    for step in steps {
        println!("{:<22} {}", step.name, step.shows);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(outcomes: Vec<Outcome>) -> Report {
        let line = |outcome| Line { name: "a", outcome, elapsed: Duration::ZERO };
        Report { lines: outcomes.into_iter().map(line).collect() }
    }

    #[test]
    fn the_closing_line_names_what_was_left_out_only_when_something_was() {
        let passed = || Outcome::Passed(String::new());
        assert_eq!(report(vec![passed(), passed()]).count(), "2 passed, 0 failed");
        let outcomes = vec![passed(), Outcome::Failed("x".into()), Outcome::LeftOut("y".into())];
        assert_eq!(report(outcomes).count(), "1 passed, 1 failed, 1 skipped");
    }

    #[test]
    fn one_failure_is_not_clean() {
        assert!(!report(vec![Outcome::Failed("x".into())]).is_clean());
        assert!(report(vec![Outcome::LeftOut("x".into())]).is_clean());
    }
}
