//! `[telemetry]`: where traces and logs go, and which.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::values::Property;

/// How a collector is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OtlpProtocol {
    /// OTLP over gRPC; collectors usually listen on port 4317.
    #[default]
    Grpc,
    /// OTLP over HTTP with protobuf; port 4318.
    Http,
}

/// `[telemetry]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TelemetrySettings {
    /// Where traces go, and logs if they are exported, such as `http://collector:4317`. Left out:
    /// where `OTEL_EXPORTER_OTLP_ENDPOINT` says, and nowhere if it is not set either.
    #[schemars(extend("x-expected" = "a URL such as https://host or http://host:port"))]
    pub otlp_endpoint: Option<String>,
    /// How the collector is spoken to.
    pub otlp_protocol: OtlpProtocol,
    /// Headers of every export, such as an API key. Values are never printed.
    pub otlp_headers: BTreeMap<String, Property>,
    /// File of certificates (PEM) to trust beside the usual ones. Left out: what
    /// `OTEL_EXPORTER_OTLP_CERTIFICATE` says.
    pub ca_file: Option<PathBuf>,
    /// Whether log lines go to the collector too, beside standard error. Left out: if
    /// `OTEL_LOGS_EXPORTER` says `otlp`.
    pub logs: Option<bool>,
    /// Of the order events that bring no trace context, one in so many begins a trace. Those that
    /// bring one are traced if it says so. Left out: as `OTEL_TRACES_SAMPLER` says, and all if it
    /// is not set either.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub sample_one_in: Option<u32>,
    /// Spans that wait for the collector at most, of up to about 1 KB each, and as many log lines;
    /// further ones are dropped and counted.
    #[schemars(range(min = 128, max = 100_000))]
    pub queue_max: u32,
    /// Attributes of this process with all that is exported, beside those of
    /// `OTEL_RESOURCE_ATTRIBUTES`.
    pub resource: BTreeMap<String, String>,
}

impl Default for TelemetrySettings {
    fn default() -> Self {
        Self {
            otlp_endpoint: None,
            otlp_protocol: OtlpProtocol::default(),
            otlp_headers: BTreeMap::new(),
            ca_file: None,
            logs: None,
            sample_one_in: None,
            queue_max: 4_096,
            resource: BTreeMap::new(),
        }
    }
}
