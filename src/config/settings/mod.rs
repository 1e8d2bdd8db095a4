//! The settings as people write them. One definition gives the names, defaults, bounds, JSON Schema
//! and reference table; `decode` enforces what the schema says.
//!
//! `x-min`, `x-max` and `x-expected` are ours: bounds of values with a unit, and words for what a
//! type cannot say.

mod api;
mod kafka;
mod process;
mod telemetry;
mod work;

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::values::{ByteSize, Span};

pub use api::{AccountSettings, ApiSettings, AuthKind, AuthSettings};
pub use kafka::{GroupProtocol, KafkaSettings, TopicsSettings};
pub use process::{
    AdminSettings, IntakeSettings, LogFormat, LogSettings, Others, ShutdownSettings,
};
pub use telemetry::{OtlpProtocol, TelemetrySettings};
pub use work::{
    BatchSettings, GuardSettings, LimitsSettings, OperationSettings, RetrySettings, UnclaimGuard,
};

/// Everything that can be set.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Settings {
    /// Tells installations on one Kafka apart: the names of the worker's own topics, of its group
    /// and of its transactions begin with it, unless they are given.
    #[schemars(length(min = 1, max = 200))]
    pub prefix: String,
    /// The account of order events that name none. Left out: the only account; with several
    /// accounts it has to be named.
    #[schemars(length(min = 1))]
    pub default_account: Option<String>,
    /// The Kafka cluster and how this worker is a member of its group.
    pub kafka: KafkaSettings,
    /// Topic names, and what `topics create` makes of them.
    pub topics: TopicsSettings,
    /// The zero-touch reseller API.
    pub api: ApiSettings,
    /// The reseller accounts, at least one.
    pub accounts: Vec<AccountSettings>,
    /// How devices are gathered into calls.
    pub batch: BatchSettings,
    /// How long-running operations are waited for.
    pub operation: OperationSettings,
    /// What happens after a failure.
    pub retry: RetrySettings,
    /// Protection from unclaims that would hit somebody else's claim.
    pub guard: GuardSettings,
    /// Bounds of memory and of input.
    pub limits: LimitsSettings,
    /// The stage that turns order events into commands.
    pub intake: IntakeSettings,
    /// How the process ends.
    pub shutdown: ShutdownSettings,
    /// What is logged.
    pub log: LogSettings,
    /// Where traces go.
    pub telemetry: TelemetrySettings,
    /// How the worker is watched and controlled.
    pub admin: AdminSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            prefix: "zerotouch".to_owned(),
            default_account: None,
            kafka: KafkaSettings::default(),
            topics: TopicsSettings::default(),
            api: ApiSettings::default(),
            accounts: Vec::new(),
            batch: BatchSettings::default(),
            operation: OperationSettings::default(),
            retry: RetrySettings::default(),
            guard: GuardSettings::default(),
            limits: LimitsSettings::default(),
            intake: IntakeSettings::default(),
            shutdown: ShutdownSettings::default(),
            log: LogSettings::default(),
            telemetry: TelemetrySettings::default(),
            admin: AdminSettings::default(),
        }
    }
}

const fn millis(number: u64) -> Span {
    Span(Duration::from_millis(number))
}

const fn seconds(number: u64) -> Span {
    Span(Duration::from_secs(number))
}

const fn mebibytes(number: u64) -> ByteSize {
    ByteSize(number << 20)
}
