//! The goals, as ratios and limits, and whether a run met them.
//!
//! Knows what Larder is to reach. A goal of whose case a run has no values is
//! said to be not measured, never met.

use crate::contender::Kind;
use crate::report::Measure;
use crate::report::Report;
use crate::statistics::Series;

/// Something to reach.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Goal {
    pub(crate) question: &'static str,
    pub(crate) case: &'static str,
    pub(crate) measure: Measure,
    pub(crate) against: Against,
    pub(crate) bound: Bound,
}

/// What Larder's value is divided by.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Against {
    Nothing,
    Contender(Kind),
    /// Larder itself, in another case of the question.
    Case(&'static str),
}

/// On which side of a number is good.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
        }
    }
}

/// How a goal fared.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    Met(Series),
    Missed(Series),
    NotMeasured,
}

impl Goal {
    /// Compares a run with the goal.
    pub(crate) fn judge(&self, report: &Report) -> Verdict {
        match self.values(report) {
            None => Verdict::NotMeasured,
            Some(series) if self.bound.holds(series.median()) => Verdict::Met(series),
            Some(series) => Verdict::Missed(series),
        }
    }

    fn values(&self, report: &Report) -> Option<Series> {
        match self.against {
            Against::Nothing => report.series(self.question, self.case, self.measure, Kind::Larder),
            Against::Contender(kind) => report.ratio(self.question, self.case, self.measure, kind),
            Against::Case(case) => report.ratio_to_case(self.question, self.case, self.measure, case),
        }
    }
}

const NGINX: Against = Against::Contender(Kind::Nginx);
const DISTRIBUTION: Against = Against::Contender(Kind::Distribution2);
const DD: Against = Against::Contender(Kind::Dd);

const fn goal(
    question: &'static str,
    case: &'static str,
    measure: Measure,
    against: Against,
    bound: Bound,
) -> Goal {
    Goal { question, case, measure, against, bound }
}

/// All goals.
pub(crate) const ALL: &[Goal] = {
    use Bound::AtLeast;
    use Bound::AtMost;
    use Measure as M;
    const PLAIN_1: &str = "1 GiB, plain, 1 connection";
    const PLAIN_8: &str = "1 GiB, plain, 8 connections";
    const PLAIN_64: &str = "1 GiB, plain, 64 connections";
    const TLS_1: &str = "1 GiB, TLS, 1 connection";
    const TLS_8: &str = "1 GiB, TLS, 8 connections";
    const TLS_64: &str = "1 GiB, TLS, 64 connections";
    const PULLS: &str = "pulls of 1 GiB, plain, 64 connections";
    const PULLS_TLS: &str = "pulls of 1 GiB, TLS, 64 connections";
    const PUSHES: &str = "pushes of 256 MiB, 64 connections";
    const IMAGES: &str = "400 images, 8 connections";
    const CROWD: &str = "1000 pulls of 16 MiB";
    &[
        goal("pull", PLAIN_1, M::CpuSecondsPerGib, NGINX, AtMost(0.9)),
        goal("pull", PLAIN_8, M::CpuSecondsPerGib, NGINX, AtMost(0.9)),
        goal("pull", PLAIN_64, M::CpuSecondsPerGib, NGINX, AtMost(0.9)),
        goal("pull", PLAIN_8, M::CpuSecondsPerGib, DISTRIBUTION, AtMost(0.4)),
        goal("pull", TLS_1, M::CpuSecondsPerGib, NGINX, AtMost(1.0)),
        goal("pull", TLS_8, M::CpuSecondsPerGib, NGINX, AtMost(1.0)),
        goal("pull", TLS_64, M::CpuSecondsPerGib, NGINX, AtMost(1.0)),
        goal("pull", TLS_8, M::CpuSecondsPerGib, DISTRIBUTION, AtMost(0.7)),
        goal("small", "manifest by digest, htpasswd", M::RequestsPerSecond, NGINX, AtLeast(1.0)),
        goal("small", "manifest by tag, htpasswd", M::RequestsPerSecond, NGINX, AtLeast(1.0)),
        goal("small", "blob, htpasswd", M::RequestsPerSecond, NGINX, AtLeast(1.0)),
        goal("small", "manifest by digest, open", M::RequestsPerSecond, DISTRIBUTION, AtLeast(40.0)),
        goal("small", "blob, open", M::RequestsPerSecond, DISTRIBUTION, AtLeast(40.0)),
        goal("push-blob", "1 GiB", M::Seconds, DD, AtMost(1.15)),
        goal("push-blob", "1 GiB", M::Seconds, DISTRIBUTION, AtMost(0.6)),
        goal("push-images", IMAGES, M::ImagesPerSecond, DISTRIBUTION, AtLeast(2.0)),
        goal("memory", "idle", M::PeakResidentMib, Against::Nothing, AtMost(12.0)),
        goal("memory", PULLS, M::PeakResidentMib, Against::Nothing, AtMost(24.0)),
        goal("memory", PULLS_TLS, M::PeakResidentMib, Against::Nothing, AtMost(24.0)),
        goal("memory", PUSHES, M::PeakResidentMib, Against::Nothing, AtMost(64.0)),
        goal("start", "20000 images stored", M::Milliseconds, Against::Case("0 images stored"), AtMost(1.2)),
        goal("start", "20000 images stored", M::Milliseconds, Against::Nothing, AtMost(50.0)),
        goal("slow-medium", "`/v2/`", M::P99AgainstIdle, Against::Nothing, AtMost(2.0)),
        goal("crowd", CROWD, M::PeakResidentMib, Against::Nothing, AtMost(64.0)),
        goal("crowd", CROWD, M::P99Micros, Against::Nothing, AtMost(50_000.0)),
    ]
};

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::report::Sample;
    use crate::report::tests::report;

    #[test]
    fn goals_are_judged_by_the_median_of_the_ratios() {
        let report = report(&[
            (Kind::Larder, 0, 0.8),
            (Kind::Nginx, 0, 1.0),
            (Kind::Larder, 1, 0.9),
            (Kind::Nginx, 1, 1.0),
            (Kind::Larder, 2, 3.0),
            (Kind::Nginx, 2, 1.0),
        ]);
        let judge = |bound| goal("q", "c", Measure::Seconds, NGINX, bound).judge(&report);
        assert!(matches!(judge(Bound::AtMost(0.9)), Verdict::Met(ratios) if ratios.greatest() == 3.0));
        assert!(matches!(judge(Bound::AtMost(0.8)), Verdict::Missed(_)));
        assert!(matches!(judge(Bound::AtLeast(0.8)), Verdict::Met(_)));
        let other = goal("q", "c", Measure::Seconds, DISTRIBUTION, Bound::AtMost(9.0));
        assert!(matches!(other.judge(&report), Verdict::NotMeasured));
    }

    #[test]
    fn a_case_is_compared_with_another_pair_by_pair() {
        let mut report = report(&[
            (Kind::Larder, 0, 2.0),
            (Kind::Larder, 1, 9.0),
            (Kind::Larder, 2, 6.0),
            (Kind::Nginx, 0, 1.0),
        ]);
        let empty = report.samples.clone().into_iter().map(|it| {
            let value = it.value / (it.pair + 1) as f64;
            Sample { case: "empty".to_owned(), value, ..it }
        });
        report.samples.extend(empty);
        let goal = goal("q", "c", Measure::Seconds, Against::Case("empty"), Bound::AtMost(2.0));
        let Verdict::Met(ratios) = goal.judge(&report) else { unreachable!() };
        assert_eq!([ratios.least(), ratios.median(), ratios.greatest()], [1.0, 2.0, 3.0]);
    }
}
