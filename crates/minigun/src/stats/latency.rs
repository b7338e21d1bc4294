//! How long attempts took: a histogram per stage, and what of it is told.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::meter::Timing;

/// How long the attempts at a block's items took: its steps, without waiting for room behind them.
///
/// Times are kept with two significant digits (to 1 %), the longest exactly. Items of less than about 20 µs are
/// timed in groups, and each counts with its share. Attempts that failed count as well; those that their worker
/// did not survive do not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Latency {
    /// Attempts that were timed.
    pub count: u64,
    /// Half of them took at most this long.
    pub p50: Duration,
    /// Nine of ten took at most this long.
    pub p90: Duration,
    /// 99 of 100 took at most this long.
    pub p99: Duration,
    /// The longest.
    pub max: Duration,
}

/// Significant digits that are kept: [`PRECISION`](crate::meter::PRECISION) is what they need.
const DIGITS: u8 = 2;

/// What is longer counts as this, in nanoseconds.
const LONGEST: u64 = 1 << 56;

/// The times of one stage's attempts.
#[derive(Default)]
pub(crate) struct Latencies {
    /// Made with the first; grows with the longest.
    histogram: Option<Histogram<u64>>,
    longest: u64,
}

impl Latencies {
    pub(crate) fn add(&mut self, timing: &Timing) {
        self.longest = self.longest.max(timing.longest);
        if timing.spans.is_empty() {
            return;
        }
        if self.histogram.is_none() {
            // It refuses only more digits than these.
            self.histogram = Histogram::new(DIGITS).ok();
        }
        if let Some(histogram) = &mut self.histogram {
            for (nanos, items) in &timing.spans {
                // It grows for any time, if there is memory; more than two years are two years.
                let _ = histogram.record_n((*nanos).min(LONGEST), *items);
            }
        }
    }

    pub(crate) fn read(&self) -> Latency {
        let Some(histogram) = self.histogram.as_ref() else { return Latency::default() };
        let at = |quantile| Duration::from_nanos(histogram.value_at_quantile(quantile).min(self.longest));
        Latency {
            count: histogram.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            max: Duration::from_nanos(self.longest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(spans: &[(u64, u64)]) -> Latency {
        let longest = spans.iter().map(|(nanos, _)| *nanos).max().unwrap_or(0);
        let mut latencies = Latencies::default();
        latencies.add(&Timing { spans: spans.to_vec(), longest, ..Timing::default() });
        latencies.read()
    }

    #[test]
    fn percentiles_are_exact_to_two_digits_and_the_longest_is_exact() {
        let hundred: Vec<_> = (1..=100).map(|n| (n * 1_234_567, 3)).collect();
        let read = read(&hundred);
        assert_eq!((read.count, read.max.as_nanos()), (300, 123_456_700));
        for (is, should) in [(read.p50, 50), (read.p90, 90), (read.p99, 99)] {
            let (is, should) = (is.as_nanos() as f64, f64::from(should) * 1_234_567.0);
            assert!((is / should - 1.0).abs() < 0.01, "{is} is not {should}");
        }
    }

    #[test]
    fn no_times_are_no_latency() {
        assert_eq!(read(&[]), Latency::default());
    }

    #[test]
    fn no_time_is_too_long_to_be_kept() {
        let read = read(&[(u64::MAX, 1)]);
        assert_eq!((read.count, read.max), (1, Duration::from_nanos(u64::MAX)));
    }
}
