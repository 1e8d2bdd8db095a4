//! What the worker tells about itself while it runs: log lines, metrics and traces.

mod export;
pub mod logs;
pub mod metrics;
mod passed_over;
pub mod traces;
mod unusable;

use std::time::Duration;

use crate::config::TelemetryConfig;
use export::Environment;
use logs::{Gate, LogsHandle};
use metrics::Metrics;
pub(in crate::shell) use passed_over::PassedOvers;
use traces::Traces;
pub(in crate::shell) use unusable::{RefusedLines, Unusable};

/// How long the end of the process waits for the collector.
pub const END_MAX: Duration = Duration::from_secs(2);
/// The same if it is cut short: then no time is to be lost.
pub const CUT_SHORT_MAX: Duration = Duration::from_secs(1);

/// What is exported.
#[derive(Debug)]
pub(in crate::shell) struct Telemetry {
    traces: Traces,
    logs: Option<Gate>,
}

impl Telemetry {
    /// Begins to export what is wanted; losses count in `metrics`. What is wrong is logged, and
    /// harms nothing. To be called within the runtime.
    pub(in crate::shell) fn start(
        config: &TelemetryConfig,
        logs: Option<&LogsHandle>,
        metrics: &Metrics,
    ) -> Self {
        let environment = Environment::of_process();
        let logs = logs.map(LogsHandle::gate).cloned();
        if let Some(gate) = &logs {
            gate.start(config, &environment, metrics.lost("logs"));
        }
        let traces = Traces::start(config, &environment, metrics.lost("traces"));
        let unread = environment.unread(config);
        if !unread.is_empty() && environment.wants_any(config) {
            tracing::warn!(
                variables = unread.join(", "),
                "variables of OpenTelemetry are set in vain: the configuration says otherwise, or \
                 this worker does not read them"
            );
        }
        Self { traces, logs }
    }

    /// Where spans go.
    pub(in crate::shell) fn traces(&self) -> Traces {
        self.traces.clone()
    }

    /// Exports what waits, for `limit` at most.
    pub(in crate::shell) async fn shutdown(self, limit: Duration) {
        let Self { traces, logs } = self;
        let traces = tokio::task::spawn_blocking(move || traces.shutdown(limit));
        let logs = tokio::task::spawn_blocking(move || {
            if let Some(gate) = logs {
                gate.shutdown(limit);
            }
        });
        if let (Err(error), _) | (_, Err(error)) = tokio::join!(traces, logs) {
            tracing::error!(%error, "ending the export panicked");
        }
    }
}
