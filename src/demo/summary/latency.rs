//! How long order events waited for their outcomes.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Latencies above a day count as a day.
const LATENCY_MAX_MS: u64 = 86_400_000;

/// Collects latencies in constant memory, exact to 0.1 %.
#[derive(Clone, Debug)]
pub struct LatencyRecorder {
    /// Milliseconds.
    histogram: Histogram<u64>,
    /// The histogram only knows the end of the bucket.
    max: u64,
}

impl Default for LatencyRecorder {
    fn default() -> Self {
        // The bounds are constants that the histogram accepts.
        #[allow(clippy::expect_used)]
        let histogram = Histogram::new_with_bounds(1, LATENCY_MAX_MS, 3).expect("valid bounds");
        Self { histogram, max: 0 }
    }
}

impl LatencyRecorder {
    /// Notes the time from an order event to one of its outcomes.
    pub fn record(&mut self, latency: Duration) {
        let milliseconds = u64::try_from(latency.as_millis()).unwrap_or(u64::MAX);
        let milliseconds = milliseconds.min(LATENCY_MAX_MS);
        self.max = self.max.max(milliseconds);
        self.histogram.saturating_record(milliseconds);
    }

    /// The percentiles; `None` if nothing was noted.
    #[must_use]
    pub fn latency(&self) -> Option<Latency> {
        let seconds = |milliseconds: u64| milliseconds as f64 / 1_000.0;
        let at = |quantile| seconds(self.histogram.value_at_quantile(quantile).min(self.max));
        (!self.histogram.is_empty()).then(|| Latency {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            max: seconds(self.max),
        })
    }
}

/// Seconds from order event to outcome.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Latency {
    /// Half were faster.
    pub p50: f64,
    /// Nine of ten were faster.
    pub p90: f64,
    /// Ninety-nine of a hundred were faster.
    pub p99: f64,
    /// The slowest.
    pub max: f64,
}
