//! `Requests`: how many requests were answered and how long that took, counted by each thread for itself and put
//! together when somebody looks.
//!
//! Threads that count in one place wait for each other at every request: of a small answer's 11 us that was a
//! tenth.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::EncodeMetric as _;
use prometheus_client::encoding::NoLabelSet;
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use thread_local::ThreadLocal;

/// What kind of request was answered, as far as they are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
pub struct Kind {
    /// The endpoint, one of a fixed list.
    pub operation: &'static str,
    /// The method, one of those that are routed, or `other`.
    pub method: &'static str,
    /// The answer's status code.
    pub status: u16,
}

/// Requests answered and under way. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    threads: Arc<ThreadLocal<Mutex<Counts>>>,
}

/// What one thread counted, or all of them.
#[derive(Debug, Default)]
struct Counts {
    /// A request may end on another thread than it began on, so this may be negative.
    in_flight: i64,
    /// A handful: a search is as fast as a hash.
    answered: Vec<(Kind, Durations)>,
}

/// How long answers took.
#[derive(Clone, Copy, Debug, Default)]
struct Durations {
    count: u64,
    sum: f64,
    buckets: [u64; BOUNDS.len()],
}

/// Upper bounds in seconds, from an answer out of memory to a large layer over a slow line, and longer.
const BOUNDS: [f64; 10] = [0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0, 300.0, f64::INFINITY];

impl Requests {
    /// A request's head is there.
    pub fn begun(&self) {
        self.own().in_flight += 1;
    }

    /// There is nobody to answer any more.
    pub fn abandoned(&self) {
        self.own().in_flight -= 1;
    }

    /// A request's answer has been sent, `elapsed` after its head was there.
    pub fn answered(&self, kind: Kind, elapsed: Duration) {
        let mut own = self.own();
        own.in_flight -= 1;
        own.durations(kind).observe(elapsed.as_secs_f64());
    }

    /// Requests whose answer has not been sent whole.
    pub fn in_flight(&self) -> i64 {
        self.total().in_flight
    }

    fn own(&self) -> MutexGuard<'_, Counts> {
        lock(self.threads.get_or_default())
    }

    fn total(&self) -> Counts {
        self.threads.iter().fold(Counts::default(), |mut total, thread| {
            let counts = lock(thread);
            total.in_flight += counts.in_flight;
            for (kind, durations) in &counts.answered {
                total.durations(*kind).add(durations);
            }
            total
        })
    }
}

impl Counts {
    fn durations(&mut self, kind: Kind) -> &mut Durations {
        let place = self.answered.iter().position(|(known, _)| *known == kind).unwrap_or_else(|| {
            self.answered.push((kind, Durations::default()));
            self.answered.len() - 1
        });
        #[expect(clippy::indexing_slicing, reason = "it was found there, or put there")]
        &mut self.answered[place].1
    }
}

impl Durations {
    fn observe(&mut self, seconds: f64) {
        self.count += 1;
        self.sum += seconds;
        if let Some((_, count)) = BOUNDS.iter().zip(&mut self.buckets).find(|(bound, _)| seconds <= **bound) {
            *count += 1;
        }
    }

    fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.sum += other.sum;
        self.buckets.iter_mut().zip(other.buckets).for_each(|(count, more)| *count += more);
    }
}

impl Collector for Requests {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Counts { in_flight, mut answered } = self.total();
        answered.sort_unstable_by_key(|(kind, _)| *kind);

        let (name, help) = ("http_requests", "Requests answered");
        let mut requests = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (kind, durations) in &answered {
            ConstCounter::new(durations.count).encode(requests.encode_family(kind)?)?;
        }

        let (name, help) = ("http_request", "From a request's head to the end of its answer's body");
        let unit = Some(&Unit::Seconds);
        let mut seconds = encoder.encode_descriptor(name, help, unit, MetricType::Histogram)?;
        for (operation, durations) in by_operation(&answered) {
            let Durations { count, sum, buckets } = durations;
            let buckets: Vec<_> = BOUNDS.into_iter().zip(buckets).collect();
            let labels = [("operation", operation)];
            seconds.encode_family(&labels)?.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }

        let (name, help) = ("http_requests_in_flight", "Requests being answered");
        let gauge = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(in_flight).encode(gauge)
    }
}

fn by_operation(answered: &[(Kind, Durations)]) -> BTreeMap<&'static str, Durations> {
    answered.iter().fold(BTreeMap::new(), |mut all, (kind, durations)| {
        all.entry(kind.operation).or_insert_with(Durations::default).add(durations);
        all
    })
}

fn lock(counts: &Mutex<Counts>) -> MutexGuard<'_, Counts> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn threads_count_together() {
        let metrics = Metrics::new("0");
        let requests = &metrics.http.requests;
        let [get, head] = ["GET", "HEAD"].map(|method| Kind { operation: "Base", method, status: 200 });
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    (0..4).for_each(|_| requests.begun());
                    requests.answered(get, Duration::from_micros(10));
                    requests.answered(head, Duration::from_secs(1));
                });
            }
        });
        assert_eq!(requests.in_flight(), 6);
        (0..5).for_each(|_| requests.abandoned());
        let text = metrics.encode();
        for line in [
            r#"larder_http_requests_total{operation="Base",method="GET",status="200"} 3"#,
            r#"larder_http_requests_total{operation="Base",method="HEAD",status="200"} 3"#,
            r#"larder_http_request_seconds_bucket{le="0.001",operation="Base"} 3"#,
            r#"larder_http_request_seconds_bucket{le="0.5",operation="Base"} 3"#,
            r#"larder_http_request_seconds_bucket{le="2.5",operation="Base"} 6"#,
            r#"larder_http_request_seconds_bucket{le="+Inf",operation="Base"} 6"#,
            r#"larder_http_request_seconds_count{operation="Base"} 6"#,
            "larder_http_requests_in_flight 1",
        ] {
            assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
        }
    }
}
