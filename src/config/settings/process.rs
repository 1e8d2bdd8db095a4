//! How the process runs: `[intake]`, `[shutdown]`, `[log]`, `[admin]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{millis, seconds};
use crate::config::values::{Span, Start};

/// What becomes of an order topic's events of other types.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Others {
    /// A dead letter each.
    #[default]
    DeadLetter,
    /// They are passed over and counted.
    Skip,
}

/// `[intake]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default)]
pub struct IntakeSettings {
    /// Whether this worker reads order events; false for one that only works off commands.
    pub enabled: bool,
    /// Order events in one transaction at most.
    #[schemars(range(min = 1, max = 100_000))]
    pub records_max: u32,
    /// A transaction that is not full goes out after this long.
    #[schemars(extend("x-min" = "0s", "x-max" = "5s"))]
    pub linger: Span,
    /// What becomes of events of a type that is none of `sale`, `return`, `cancellation` and
    /// `amendment`: `dead_letter`, or `skip` for a topic that other events are in as well; they are
    /// counted then.
    pub others: Others,
    /// Where to begin in an order topic that holds records of which the group has read none:
    /// `earliest`, `latest`, or the time of the first record to be read. Left out: such a topic is
    /// not read, since nobody has said that its history is to be claimed. Where the group has a
    /// position, this changes nothing.
    pub start: Option<Start>,
}

impl Default for IntakeSettings {
    fn default() -> Self {
        let others = Others::default();
        Self { enabled: true, records_max: 500, linger: millis(20), others, start: None }
    }
}

/// `[shutdown]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ShutdownSettings {
    /// How long the worker may take to finish or hand over after a signal. Keep it below the pod's
    /// `terminationGracePeriodSeconds`.
    #[schemars(extend("x-min" = "1s", "x-max" = "1h"))]
    pub grace: Span,
}

impl Default for ShutdownSettings {
    fn default() -> Self {
        Self { grace: seconds(25) }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// `[log]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LogSettings {
    /// How log lines look.
    pub format: LogFormat,
    /// What is logged: `error`, `warn`, `info`, `debug`, `trace`, or directives of
    /// tracing-subscriber's `EnvFilter` such as `info,zerotouch_worker::engine=debug`.
    #[schemars(length(min = 1, max = 1_000))]
    pub level: String,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { format: LogFormat::default(), level: "info".to_owned() }
    }
}

/// `[admin]`
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AdminSettings {
    /// Where the status page, probes, metrics and controls are served: `address:port`, or `off` for
    /// nowhere. Whoever reaches it can pause accounts and drain the worker, so keep it to this
    /// machine. Left out: `127.0.0.1:9700`; if that port is taken, the worker goes on without.
    #[schemars(length(min = 1, max = 100))]
    pub listen: Option<String>,
    /// Where `/livez`, `/readyz` and `/metrics` alone are served, whatever `listen` says, such as
    /// `0.0.0.0:9701`: for the kubelet and Prometheus, which come from outside the pod.
    #[schemars(length(min = 1, max = 100))]
    pub expose: Option<String>,
}
