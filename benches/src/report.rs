//! The report: every sample, and what follows from them.
//!
//! Knows measures, their units and which way is better. Does not know how any
//! of them is taken.

use std::path::Path;

use anyhow::Context;
use anyhow::Result;
use serde::Deserialize;
use serde::Serialize;

use crate::contender::Kind;
use crate::machine::Machine;
use crate::statistics::Series;

pub(crate) mod goals;
mod markdown;
mod plot;
mod readme;

/// What a value is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Measure {
    CpuSecondsPerGib,
    MibPerSecond,
    /// How little the client costs, to be judged with the others.
    ClientCpuSecondsPerGib,
    RequestsPerSecond,
    CpuMicrosPerRequest,
    Seconds,
    ImagesPerSecond,
    CpuMillisPerImage,
    Milliseconds,
    PeakResidentMib,
    PeakAnonymousMib,
    P99Micros,
    P99AgainstIdle,
}

/// Which way a measure is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Better {
    Less,
    More,
    /// Says something about the measurement, not about the server.
    Neither,
}

impl Measure {
    /// What it is, in words.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::CpuSecondsPerGib => "CPU seconds per GiB",
            Self::MibPerSecond => "MiB per second",
            Self::ClientCpuSecondsPerGib => "CPU seconds per GiB of the client",
            Self::RequestsPerSecond => "requests per second",
            Self::CpuMicrosPerRequest => "CPU microseconds per request",
            Self::Seconds => "seconds",
            Self::ImagesPerSecond => "images per second",
            Self::CpuMillisPerImage => "CPU milliseconds per image",
            Self::Milliseconds => "milliseconds",
            Self::PeakResidentMib => "peak resident memory (VmHWM), MiB",
            Self::PeakAnonymousMib => "peak allocated memory (RssAnon), MiB",
            Self::P99Micros => "p99, microseconds",
            Self::P99AgainstIdle => "p99 against idle",
        }
    }

    /// Its unit, short.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::CpuSecondsPerGib | Self::ClientCpuSecondsPerGib => "s/GiB",
            Self::MibPerSecond => "MiB/s",
            Self::RequestsPerSecond => "/s",
            Self::CpuMicrosPerRequest | Self::P99Micros => "us",
            Self::Seconds => "s",
            Self::ImagesPerSecond => "images/s",
            Self::Milliseconds | Self::CpuMillisPerImage => "ms",
            Self::PeakResidentMib => "MiB (HWM)",
            Self::PeakAnonymousMib => "MiB (anon)",
            Self::P99AgainstIdle => "times idle",
        }
    }

    /// Which way is better.
    pub(crate) fn better(self) -> Better {
        match self {
            Self::MibPerSecond | Self::RequestsPerSecond | Self::ImagesPerSecond => Better::More,
            Self::ClientCpuSecondsPerGib => Better::Neither,
            Self::CpuSecondsPerGib
            | Self::CpuMicrosPerRequest
            | Self::Seconds
            | Self::CpuMillisPerImage
            | Self::Milliseconds
            | Self::PeakResidentMib
            | Self::PeakAnonymousMib
            | Self::P99Micros
            | Self::P99AgainstIdle => Better::Less,
        }
    }
}

/// One value of one turn.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Sample {
    pub(crate) question: String,
    pub(crate) case: String,
    pub(crate) contender: Kind,
    pub(crate) pair: usize,
    pub(crate) measure: Measure,
    pub(crate) value: f64,
}

/// Why a contender has no values for a case.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Note {
    pub(crate) question: String,
    pub(crate) case: String,
    pub(crate) contender: Kind,
    pub(crate) text: String,
}

/// A contender as it took part, or why it did not.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Participant {
    pub(crate) contender: Kind,
    pub(crate) version: Option<String>,
    pub(crate) left_out: Option<String>,
}

/// Everything that a run found out.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) command: String,
    pub(crate) pairs: usize,
    pub(crate) participants: Vec<Participant>,
    pub(crate) questions: Vec<(String, String)>,
    pub(crate) notes: Vec<Note>,
    pub(crate) samples: Vec<Sample>,
}

impl Report {
    /// Stores the samples, the tables and the plot, and brings the figures in a README beside them up to
    /// date.
    pub(crate) fn store(&self, directory: &Path) -> Result<()> {
        std::fs::create_dir_all(directory).context("making a directory for the report")?;
        let write = |name: &str, text: &str| {
            std::fs::write(directory.join(name), text).with_context(|| format!("writing {name}"))
        };
        write("samples.json", &(serde_json::to_string_pretty(self)? + "\n"))?;
        write("tables.md", &self.tables())?;
        write("ratios.svg", &plot::svg(self))?;
        readme::renew(&directory.with_file_name("README.md"), &self.summary())
    }

    /// The tables of all questions.
    pub(crate) fn tables(&self) -> String {
        markdown::tables(self)
    }

    /// The machine and the goals.
    pub(crate) fn summary(&self) -> String {
        markdown::summary(self)
    }

    /// Values of a case by contender.
    pub(crate) fn series(&self, question: &str, case: &str, measure: Measure, kind: Kind) -> Option<Series> {
        Series::of(self.of(question, case, measure, kind).map(|sample| sample.value))
    }

    /// Larder's value over another's, pair by pair.
    pub(crate) fn ratio(&self, question: &str, case: &str, measure: Measure, to: Kind) -> Option<Series> {
        let own = self.of(question, case, measure, Kind::Larder);
        quotients(own, self.of(question, case, measure, to))
    }

    /// Larder's value over its own in another case, pair by pair.
    pub(crate) fn ratio_to_case(
        &self,
        question: &str,
        case: &str,
        measure: Measure,
        to: &str,
    ) -> Option<Series> {
        let [own, other] = [case, to].map(|case| self.of(question, case, measure, Kind::Larder));
        quotients(own, other)
    }

    /// The cases of a question in the order in which they came, each with its measures.
    pub(crate) fn cases(&self, question: &str) -> Vec<(&str, Vec<Measure>)> {
        let mut cases: Vec<(&str, Vec<Measure>)> = Vec::new();
        for sample in self.samples.iter().filter(|sample| sample.question == question) {
            match cases.iter_mut().find(|(case, _)| *case == sample.case) {
                Some((_, measures)) if measures.contains(&sample.measure) => {}
                Some((_, measures)) => measures.push(sample.measure),
                None => cases.push((&sample.case, vec![sample.measure])),
            }
        }
        cases
    }

    fn of(&self, question: &str, case: &str, measure: Measure, kind: Kind) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(move |sample| {
            sample.measure == measure
                && sample.contender == kind
                && sample.question == question
                && sample.case == case
        })
    }
}

/// Values over those of the same pair.
fn quotients<'s>(
    values: impl Iterator<Item = &'s Sample>,
    to: impl Iterator<Item = &'s Sample>,
) -> Option<Series> {
    let others: Vec<_> = to.collect();
    Series::of(values.filter_map(|sample| {
        let other = others.iter().find(|other| other.pair == sample.pair)?;
        (other.value > 0.0).then_some(sample.value / other.value)
    }))
}

/// All values of a case, by measure and contender.
pub(crate) fn series_of(samples: &[Sample], question: &str, case: &str) -> Vec<(Measure, Kind, Series)> {
    let of_case = || samples.iter().filter(|sample| sample.question == question && sample.case == case);
    let mut keys: Vec<_> = of_case().map(|sample| (sample.measure, sample.contender)).collect();
    keys.sort_unstable();
    keys.dedup();
    let series = keys.into_iter().filter_map(|(measure, kind)| {
        let values = of_case().filter(|sample| (sample.measure, sample.contender) == (measure, kind));
        Some((measure, kind, Series::of(values.map(|sample| sample.value))?))
    });
    series.collect()
}

/// A number with three digits that mean something.
pub(crate) fn figure(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        size if size >= 0.1 => format!("{value:.3}"),
        _ => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A report on one measure of one case: contender, pair, value.
    pub(super) fn report(values: &[(Kind, usize, f64)]) -> Report {
        let samples = values.iter().map(|(contender, pair, value)| Sample {
            question: "q".to_owned(),
            case: "c".to_owned(),
            contender: *contender,
            pair: *pair,
            measure: Measure::Seconds,
            value: *value,
        });
        Report {
            machine: Machine::default(),
            command: "bench-all".to_owned(),
            pairs: 3,
            participants: Vec::new(),
            questions: vec![("q".to_owned(), "What?".to_owned())],
            notes: Vec::new(),
            samples: samples.collect(),
        }
    }

    #[test]
    fn figures_have_three_digits() {
        let cases =
            [(57123.4, "57123"), (99.94, "99.9"), (1.234, "1.23"), (0.2189, "0.219"), (0.012, "0.0120")];
        for (value, text) in cases {
            assert_eq!(figure(value), text);
        }
    }

    #[test]
    fn ratios_are_of_the_same_pair() {
        let report = report(&[(Kind::Nginx, 1, 4.0), (Kind::Larder, 0, 9.0), (Kind::Larder, 1, 2.0)]);
        let ratios = report.ratio("q", "c", Measure::Seconds, Kind::Nginx).map(|ratios| ratios.median());
        assert_eq!(ratios, Some(0.5));
    }
}
