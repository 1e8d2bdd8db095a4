//! Traces: which there are, and where finished spans go.
//!
//! A span is made when it ends, from what is known by then; none is ever open, so a crash leaves
//! none behind. Ids of spans that a record names are derived from the record, never drawn: a
//! restarted worker goes on with the same trace. The engine knows nothing of all this.
//!
//! Exporting harms nothing: spans that find no room are dropped and counted.

mod queue;
mod sampling;
mod span;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::TraceId;
use prometheus::IntCounter;

use super::export::{Environment, Otlp, Signal, Watch};
use crate::config::TelemetryConfig;
use queue::Queue;
use sampling::Sampling;

pub(in crate::shell) use span::Span;

/// Where spans go; cheap to clone. The default goes nowhere.
#[derive(Clone, Default)]
pub struct Traces(Option<Arc<Inner>>);

struct Inner {
    queue: Queue,
    sampling: Sampling,
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Traces").field(&self.is_on()).finish()
    }
}

impl Traces {
    /// Begins to export, if a collector is named. What is wrong is logged, and nothing is exported.
    /// To be called within the runtime.
    pub(super) fn start(
        config: &TelemetryConfig,
        environment: &Environment,
        lost: IntCounter,
    ) -> Self {
        if !environment.wants(Signal::Traces, config) {
            return Self::default();
        }
        let watch = Arc::new(Watch::new("spans", config.queue_max, lost));
        let otlp = Otlp { signal: Signal::Traces, config, environment, watch: &watch };
        let exporter = match otlp.spans() {
            Ok(exporter) => exporter,
            Err(reason) => {
                tracing::error!(reason, "traces cannot be exported; the work goes on without");
                return Self::default();
            }
        };
        let (sampling, wrong) = Sampling::new(config.sample_one_in, environment);
        if let Some(wrong) = wrong {
            tracing::warn!("{wrong}");
        }
        tracing::info!(protocol = ?otlp.protocol(), "traces are exported");
        let queue = Queue::before(exporter, watch);
        Self(Some(Arc::new(Inner { queue, sampling })))
    }

    /// Whether anything is exported.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Whether a trace is sampled; `parent` is what the record says that it came with, if it came
    /// with any.
    #[must_use]
    pub(in crate::shell) fn samples(&self, trace: TraceId, parent: Option<bool>) -> bool {
        self.0.as_ref().is_some_and(|inner| inner.sampling.samples(trace, parent))
    }

    /// Whether there is room for a span; if not, it counts as lost. Asked before a span is made,
    /// so that a collector that does not keep up costs next to nothing.
    #[must_use]
    pub(in crate::shell) fn has_room(&self) -> bool {
        self.0.as_ref().is_some_and(|inner| inner.queue.has_room())
    }

    /// Hands a span over; never blocks.
    pub(in crate::shell) fn emit(&self, span: Span) {
        if let Some(inner) = &self.0 {
            inner.queue.push(span.into());
        }
    }

    /// Exports what waits, for `limit` at most. Blocks.
    pub(super) fn shutdown(&self, limit: Duration) {
        if let Some(inner) = &self.0 {
            inner.queue.shutdown(limit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_configuration_nothing_is_exported() {
        let traces = Traces::default();
        assert!(!traces.is_on() && !traces.has_room());
        assert!(!traces.samples(TraceId::from(1), Some(true)));
    }
}
