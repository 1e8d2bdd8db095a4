//! Export over OTLP: what spans and log records have in common.

mod environment;
mod otlp;
mod watch;

pub(super) use environment::{Environment, Signal};
pub(super) use otlp::Otlp;
pub(super) use watch::{FULL, Watch};

use std::time::Duration;

/// How long something waits for others before they go out together.
pub(super) const DELAY: Duration = Duration::from_secs(1);
/// Spans or log records in one export.
pub(super) const EXPORT_ITEMS: usize = 512;

#[cfg(test)]
pub(super) mod tests {
    use crate::config::{OtlpProtocol, TelemetryConfig};

    /// Nothing is said.
    pub(in crate::shell::telemetry) fn config() -> TelemetryConfig {
        TelemetryConfig {
            otlp_endpoint: None,
            otlp_protocol: OtlpProtocol::Grpc,
            otlp_headers: Default::default(),
            ca_file: None,
            logs: None,
            sample_one_in: None,
            queue_max: 128,
            resource: Default::default(),
        }
    }
}
