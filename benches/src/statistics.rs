//! Medians, spreads and percentiles.
//!
//! Knows numbers. Does not know what they measure.

use std::time::Duration;

/// Repeated measurements of one quantity, in ascending order and never empty.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    ascending: Vec<f64>,
}

impl Series {
    /// `None` where nothing was measured.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut ascending: Vec<f64> = values.into_iter().collect();
        ascending.sort_by(f64::total_cmp);
        (!ascending.is_empty()).then_some(Self { ascending })
    }

    /// The middle value; the mean of the two middle ones where their number is even.
    pub(crate) fn median(&self) -> f64 {
        let middle = self.ascending.len() / 2;
        let upper = self.at(middle);
        if self.ascending.len().is_multiple_of(2) {
            (self.at(middle.saturating_sub(1)) + upper) / 2.0
        } else {
            upper
        }
    }

    /// The smallest value.
    pub(crate) fn least(&self) -> f64 {
        self.at(0)
    }

    /// The greatest value.
    pub(crate) fn greatest(&self) -> f64 {
        self.at(self.ascending.len() - 1)
    }

    /// One over each value.
    pub(crate) fn inverse(&self) -> Self {
        Self { ascending: self.ascending.iter().rev().map(|value| 1.0 / value).collect() }
    }

    fn at(&self, index: usize) -> f64 {
        self.ascending.get(index).copied().unwrap_or(f64::NAN)
    }
}

/// The duration that `fraction` of all durations do not exceed (nearest rank); zero of none.
pub(crate) fn percentile(durations: &mut [Duration], fraction: f64) -> Duration {
    durations.sort_unstable();
    let rank = (durations.len() as f64 * fraction).ceil() as usize;
    durations.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn medians() {
        for (values, median, least, greatest) in [
            (vec![3.0], 3.0, 3.0, 3.0),
            (vec![3.0, 1.0], 2.0, 1.0, 3.0),
            (vec![9.0, 1.0, 2.0], 2.0, 1.0, 9.0),
            (vec![4.0, 1.0, 3.0, 2.0], 2.5, 1.0, 4.0),
        ] {
            let series = Series::of(values).unwrap();
            assert_eq!((series.median(), series.least(), series.greatest()), (median, least, greatest));
        }
        assert!(Series::of([]).is_none());
        let inverse = Series::of([2.0, 4.0]).unwrap().inverse();
        assert_eq!((inverse.least(), inverse.greatest()), (0.25, 0.5));
    }

    #[test]
    fn percentiles_are_nearest_rank() {
        let mut hundred: Vec<_> = (1..=100).rev().map(Duration::from_millis).collect();
        assert_eq!(percentile(&mut hundred, 0.99), Duration::from_millis(99));
        assert_eq!(percentile(&mut hundred, 0.5), Duration::from_millis(50));
        assert_eq!(percentile(&mut hundred, 1.0), Duration::from_millis(100));
        assert_eq!(percentile(&mut [Duration::from_millis(7)], 0.99), Duration::from_millis(7));
        assert_eq!(percentile(&mut [], 0.99), Duration::ZERO);
    }
}
