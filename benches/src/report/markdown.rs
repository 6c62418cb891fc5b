//! The report as Markdown.
//!
//! Knows tables. Each gives medians, and behind another's value the ratio of
//! Larder's to it with the least and the greatest ratio of all pairs.

use std::fmt::Write as _;

use crate::contender::Kind;
use crate::report::Measure;
use crate::report::Report;
use crate::report::figure;
use crate::report::goals;
use crate::report::goals::Against;
use crate::report::goals::Bound;
use crate::report::goals::Goal;
use crate::report::goals::Verdict;
use crate::statistics::Series;

/// The machine, who took part, and the goals.
pub(super) fn summary(report: &Report) -> String {
    let machine = &report.machine;
    let kernel_tls = if machine.kernel_tls { "with" } else { "without" };
    let mut text = format!(
        "Measured {} at commit `{}` with `{}`, {} pairs, on {} cores of {}, {}, {} {kernel_tls} kernel TLS, \
         data on {}; load average before the run {}.\n\n",
        machine.when,
        machine.commit,
        report.command,
        report.pairs,
        machine.cores,
        machine.processor,
        machine.memory,
        machine.kernel,
        machine.file_system,
        machine.load_before,
    );
    for participant in &report.participants {
        let state = match (&participant.version, &participant.left_out) {
            (_, Some(why)) => format!("**left out**: {why}"),
            (version, None) => version.clone().unwrap_or_default(),
        };
        line(&mut text, &format!("- {}: {state}", participant.contender));
    }
    text + "\n" + &goal_table(report)
}

/// The tables of all questions, behind the summary.
pub(super) fn tables(report: &Report) -> String {
    let mut text = format!("# Measurements\n\n{}", summary(report));
    for (name, asks) in &report.questions {
        let _ = write!(text, "\n## {name}\n\n{asks}\n");
        text += &question(report, name);
        for note in report.notes.iter().filter(|note| note.question == *name) {
            let _ = write!(text, "\n- {}, {}: {}", note.contender, note.case, note.text);
        }
    }
    text + "\n"
}

fn goal_table(report: &Report) -> String {
    let mut text = String::from("| goal | | of all pairs | |\n|---|---|---|---|\n");
    for goal in goals::ALL {
        let (value, spread, verdict) = match goal.judge(report) {
            Verdict::Met(series) => (figure(series.median()), spread(&series), "met"),
            Verdict::Missed(series) => (figure(series.median()), spread(&series), "**missed**"),
            Verdict::NotMeasured => ("-".to_owned(), String::new(), "not measured"),
        };
        line(&mut text, &format!("| {} | {value} | {spread} | {verdict} |", aim(goal)));
    }
    text
}

fn aim(goal: &Goal) -> String {
    let against = match goal.against {
        Against::Nothing => String::new(),
        Against::Contender(kind) => format!(" against {kind}"),
        Against::Case(case) => format!(" against {case}"),
    };
    let bound = match goal.bound {
        Bound::AtMost(limit) => format!("at most {limit}"),
        Bound::AtLeast(limit) => format!("at least {limit}"),
    };
    format!("{}, {}: {}{against} {bound}", goal.question, goal.case, goal.measure.label())
}

fn question(report: &Report, name: &str) -> String {
    let cases = report.cases(name);
    let mut measures: Vec<Measure> = cases.iter().flat_map(|(_, measures)| measures).copied().collect();
    measures.sort_unstable();
    measures.dedup();
    let mut text = String::new();
    for measure in measures {
        let rows: Vec<&str> =
            cases.iter().filter(|(_, measures)| measures.contains(&measure)).map(|(case, _)| *case).collect();
        text += &table(report, name, measure, &rows);
    }
    text
}

fn table(report: &Report, question: &str, measure: Measure, cases: &[&str]) -> String {
    let kinds: Vec<Kind> = Kind::ALL
        .into_iter()
        .chain([Kind::Dd])
        .filter(|kind| cases.iter().any(|case| report.series(question, case, measure, *kind).is_some()))
        .collect();
    let mut text = format!("\n| {} |", measure.label());
    kinds.iter().for_each(|kind| text += &format!(" {kind} |"));
    text += "\n|---|";
    kinds.iter().for_each(|_| text += "---|");
    text.push('\n');
    for case in cases {
        let cells = kinds.iter().map(|kind| cell(report, question, case, measure, *kind));
        line(&mut text, &format!("| {case} | {} |", cells.collect::<Vec<_>>().join(" | ")));
    }
    text
}

fn cell(report: &Report, question: &str, case: &str, measure: Measure, kind: Kind) -> String {
    let Some(series) = report.series(question, case, measure, kind) else { return "-".to_owned() };
    let median = figure(series.median());
    match report.ratio(question, case, measure, kind) {
        _ if kind == Kind::Larder => format!("{median} ({})", spread(&series)),
        Some(ratios) => format!("{median}, x{} ({})", figure(ratios.median()), spread(&ratios)),
        None => median,
    }
}

fn spread(series: &Series) -> String {
    format!("{} to {}", figure(series.least()), figure(series.greatest()))
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::report;

    #[test]
    fn a_row_has_the_median_and_the_ratio_with_its_spread() {
        let report = report(&[
            (Kind::Larder, 0, 1.0),
            (Kind::Nginx, 0, 2.0),
            (Kind::Larder, 1, 1.0),
            (Kind::Nginx, 1, 4.0),
        ]);
        let text = tables(&report);
        assert!(text.contains("| seconds | larder | nginx |"), "{text}");
        assert!(text.contains("| c | 1.00 (1.00 to 1.00) | 3.00, x0.375 (0.250 to 0.500) |"), "{text}");
        assert!(text.contains("not measured"), "{text}");
    }
}
