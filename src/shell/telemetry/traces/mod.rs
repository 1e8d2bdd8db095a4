//! Traces: which there are, and where finished spans go.
//!
//! A span is made when it ends, from what is known by then; none is ever open, so a crash leaves
//! none behind. Ids of spans that a record names are derived from the record, never drawn: a
//! restarted worker goes on with the same trace. The engine knows nothing of all this.
//!
//! Exporting harms nothing: spans that find no room are dropped and counted, and the end of the
//! process waits for the collector for [`SHUTDOWN_MAX`] at most.

mod export;
mod span;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::TraceId;

use crate::config::TelemetryConfig;
use export::Queue;

pub(in crate::shell) use span::Span;

/// How long the end of the process waits for the collector.
pub const SHUTDOWN_MAX: Duration = Duration::from_secs(3);

/// Where spans go; cheap to clone. The default goes nowhere.
#[derive(Clone, Default)]
pub struct Traces(Option<Arc<Inner>>);

struct Inner {
    queue: Queue,
    sample_one_in: u64,
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Traces").field(&self.is_on()).finish()
    }
}

impl Traces {
    /// Begins to export, if the configuration or OpenTelemetry's variables name a collector. What
    /// is wrong with them is logged, and nothing is exported. To be called within the runtime.
    #[must_use]
    pub fn start(config: &TelemetryConfig) -> Self {
        if !export::is_wanted(config) {
            return Self::default();
        }
        match Queue::start(config) {
            Ok(queue) => {
                tracing::info!(protocol = ?config.otlp_protocol, "traces are exported");
                let sample_one_in = u64::from(config.sample_one_in.max(1));
                Self(Some(Arc::new(Inner { queue, sample_one_in })))
            }
            Err(reason) => {
                tracing::error!(reason, "traces cannot be exported; the work goes on without");
                Self::default()
            }
        }
    }

    /// Whether anything is exported.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Spans that were lost so far: for want of room, or since the collector did not take them.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.0.as_ref().map_or(0, |inner| inner.queue.lost())
    }

    /// Whether a trace that this worker begins is sampled: the same in every process and for every
    /// SDK of OpenTelemetry with the same share.
    #[must_use]
    pub(in crate::shell) fn samples(&self, trace: TraceId) -> bool {
        self.0.as_ref().is_some_and(|inner| is_in_share(trace, inner.sample_one_in))
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

    /// Exports what waits, for [`SHUTDOWN_MAX`] at most.
    pub async fn shutdown(&self) {
        let Some(inner) = self.0.clone() else { return };
        let closing = tokio::task::spawn_blocking(move || inner.queue.shutdown(SHUTDOWN_MAX));
        if closing.await.is_err() {
            tracing::error!("ending the export of traces panicked");
        }
        if self.lost() > 0 {
            tracing::warn!(spans = self.lost(), "spans that were lost in all");
        }
    }
}

fn is_in_share(trace: TraceId, one_in: u64) -> bool {
    let mut low = [0; 8];
    low.copy_from_slice(&trace.to_bytes()[8..]);
    u64::from_be_bytes(low) >> 1 <= (u64::MAX >> 1) / one_in
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::headers::TraceParent;

    #[test]
    fn one_trace_in_so_many_is_sampled_and_the_same_everywhere() {
        let traces: Vec<TraceId> =
            (0..10_000).map(|n| TraceParent::of(&n.to_string()).trace_id).collect();
        let sampled = |one_in| traces.iter().filter(|id| is_in_share(**id, one_in)).count();
        assert_eq!(sampled(1), 10_000);
        assert!((900..1_100).contains(&sampled(10)), "{}", sampled(10));
        let kept = |one_in, id: &&TraceId| is_in_share(**id, one_in);
        let few: Vec<_> = traces.iter().filter(|id| kept(100, id)).collect();
        assert!(few.iter().all(|id| is_in_share(**id, 10)), "a smaller share is part of it");
    }

    #[test]
    fn without_configuration_nothing_is_exported_and_nothing_is_lost() {
        let traces = Traces::default();
        assert!(!traces.is_on() && !traces.has_room());
        assert_eq!(traces.lost(), 0);
    }
}
