//! The plot: how many times as good as the others Larder is, on a logarithmic scale.
//!
//! Knows SVG. A dot is the median of the pairs' ratios and the whisker spans
//! them all; right of the line at 1 Larder is better, whichever way the measure runs.

use std::fmt::Write as _;

use crate::contender::Kind;
use crate::report::Better;
use crate::report::Measure;
use crate::report::Report;
use crate::statistics::Series;

/// What is drawn: the questions' headline measures.
const DRAWN: &[(&str, Measure)] = &[
    ("pull", Measure::CpuSecondsPerGib),
    ("small", Measure::RequestsPerSecond),
    ("ranges", Measure::CpuSecondsPerGib),
    ("push-blob", Measure::Seconds),
    ("push-images", Measure::ImagesPerSecond),
    ("memory", Measure::PeakResidentMib),
    ("start", Measure::Milliseconds),
    ("slow-medium", Measure::P99AgainstIdle),
    ("crowd", Measure::PeakResidentMib),
];

const WIDTH: f64 = 960.0;
const LABELS: f64 = 400.0;
const MARGIN: f64 = 24.0;
const TOP: f64 = 64.0;
const ROW: f64 = 20.0;

/// A row of the plot, or the title of the rows that follow.
enum Row<'r> {
    Title(String),
    Case { case: &'r str, ratios: Vec<(Kind, Series)> },
}

/// The scale of ratios, in decades.
struct Axis {
    low: f64,
    high: f64,
}

impl Axis {
    /// Whole decades around all ratios, and around 1.
    fn around(rows: &[Row<'_>]) -> Self {
        let all = rows.iter().flat_map(|row| match row {
            Row::Title(_) => &[],
            Row::Case { ratios, .. } => ratios.as_slice(),
        });
        let (mut low, mut high) = (0.5_f64, 2.0_f64);
        for (_, series) in all {
            low = low.min(series.least());
            high = high.max(series.greatest());
        }
        Self { low: low.log10().floor(), high: high.log10().ceil() }
    }

    fn x(&self, ratio: f64) -> f64 {
        let share = (ratio.log10() - self.low) / (self.high - self.low);
        LABELS + share * (WIDTH - LABELS - MARGIN)
    }
}

/// Draws a report.
pub(super) fn svg(report: &Report) -> String {
    let rows = rows(report);
    let axis = Axis::around(&rows);
    let height = TOP + ROW * rows.len() as f64 + MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    legend(&mut svg);
    grid(&mut svg, &axis, height);
    for (number, row) in rows.iter().enumerate() {
        draw(&mut svg, &axis, row, TOP + ROW * (number as f64 + 0.5));
    }
    svg + "</svg>\n"
}

fn rows(report: &Report) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    for (question, measure) in DRAWN {
        let cases: Vec<_> = report
            .cases(question)
            .into_iter()
            .map(|(case, _)| Row::Case { case, ratios: advantages(report, question, case, *measure) })
            .filter(|row| !matches!(row, Row::Case { ratios, .. } if ratios.is_empty()))
            .collect();
        if !cases.is_empty() {
            rows.push(Row::Title(format!("{question}: {}", measure.label())));
            rows.extend(cases);
        }
    }
    rows
}

/// How many times as good as each other contender Larder is.
fn advantages(report: &Report, question: &str, case: &str, measure: Measure) -> Vec<(Kind, Series)> {
    let others = Kind::ALL.into_iter().skip(1).chain([Kind::Dd]);
    let ratios = others.filter_map(|kind| {
        let ratios = report.ratio(question, case, measure, kind)?;
        let advantage = match measure.better() {
            Better::More => ratios,
            Better::Less | Better::Neither => ratios.inverse(),
        };
        Some((kind, advantage))
    });
    ratios.collect()
}

fn colour(kind: Kind) -> &'static str {
    match kind {
        Kind::Larder => "black",
        Kind::Nginx => "#009639",
        Kind::Distribution2 => "#1f77b4",
        Kind::Distribution3 => "#6baed6",
        Kind::Zot => "#d95f02",
        Kind::Dd => "#7f7f7f",
    }
}

fn legend(svg: &mut String) {
    text(
        svg,
        MARGIN,
        22.0,
        "start",
        "bold",
        "How many times as good as ... Larder is (right of 1 is better)",
    );
    let others = Kind::ALL.into_iter().skip(1).chain([Kind::Dd]);
    for (number, kind) in others.enumerate() {
        let x = MARGIN + 8.0 + 120.0 * number as f64;
        dot(svg, x, 40.0, colour(kind));
        text(svg, x + 10.0, 44.0, "start", "normal", &kind.to_string());
    }
}

fn grid(svg: &mut String, axis: &Axis, height: f64) {
    let bottom = height - MARGIN;
    for decade in axis.low as i32..=axis.high as i32 {
        let ratio = 10_f64.powi(decade);
        let x = axis.x(ratio);
        let colour = if decade == 0 { "black" } else { "#dddddd" };
        stroke(svg, (x, TOP), (x, bottom), colour, 1.0);
        text(svg, x, bottom + 16.0, "middle", "normal", &ratio.to_string());
    }
}

fn draw(svg: &mut String, axis: &Axis, row: &Row<'_>, y: f64) {
    match row {
        Row::Title(title) => text(svg, MARGIN, y + 4.0, "start", "bold", title),
        Row::Case { case, ratios } => {
            text(svg, LABELS - 12.0, y + 4.0, "end", "normal", case);
            for (kind, series) in ratios {
                let colour = colour(*kind);
                stroke(svg, (axis.x(series.least()), y), (axis.x(series.greatest()), y), colour, 2.0);
                dot(svg, axis.x(series.median()), y, colour);
            }
        }
    }
}

// Writing to a string does not fail, so the results below are of no use.

fn stroke(svg: &mut String, (x1, y1): (f64, f64), (x2, y2): (f64, f64), colour: &str, width: f64) {
    let _ = writeln!(
        svg,
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\" stroke-width=\"{width}\"/>"
    );
}

fn dot(svg: &mut String, x: f64, y: f64, colour: &str) {
    let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4.5\" fill=\"{colour}\"/>");
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, weight: &str, content: &str) {
    let content = content.replace('&', "&amp;").replace('<', "&lt;").replace('`', "");
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-weight=\"{weight}\">{content}</text>"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::report;

    #[test]
    fn what_costs_less_is_drawn_right_of_one() {
        let mut report = report(&[(Kind::Larder, 0, 1.0), (Kind::Nginx, 0, 4.0)]);
        report.samples.iter_mut().for_each(|sample| sample.question = "push-blob".to_owned());
        let rows = rows(&report);
        let axis = Axis::around(&rows);
        let Some(Row::Case { ratios, .. }) = rows.last() else { panic!("a case") };
        assert!(ratios.iter().all(|(_, ratios)| ratios.median() == 4.0 && axis.x(4.0) > axis.x(1.0)));
        assert_eq!(svg(&report).matches("<circle").count(), 1 + Kind::ALL.len());
    }
}
