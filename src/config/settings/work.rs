//! What the engine does: `[batch]`, `[operation]`, `[retry]`, `[guard]`, `[limits]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{mebibytes, millis, seconds};
use crate::config::values::{ByteSize, Span};

/// `[batch]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BatchSettings {
    /// Devices in one call at most. More devices: fewer calls of the quota, but larger requests.
    #[schemars(range(min = 1, max = 100_000))]
    pub items_max: u32,
    /// A batch that is not full goes out once nothing has joined it for this long.
    #[schemars(extend("x-min" = "0s", "x-max" = "10s"))]
    pub linger: Span,
    /// … and at the latest this long after its first device. At least `linger`.
    #[schemars(extend("x-min" = "0s", "x-max" = "1m"))]
    pub linger_max: Span,
}

impl Default for BatchSettings {
    fn default() -> Self {
        Self { items_max: 1_000, linger: millis(50), linger_max: seconds(2) }
    }
}

/// `[operation]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default)]
pub struct OperationSettings {
    /// Shortest wait between two polls of an operation. Each poll is a call of the quota.
    #[schemars(extend("x-min" = "10ms", "x-max" = "1m"))]
    pub poll_delay_min: Span,
    /// Longest wait between two polls, unless the quota is scarce. At least `poll_delay_min`.
    #[schemars(extend("x-min" = "10ms", "x-max" = "10m"))]
    pub poll_delay_max: Span,
    /// How long an operation may run before its devices are looked up instead, one call each.
    #[schemars(extend("x-min" = "1s", "x-max" = "168h"))]
    pub deadline: Span,
    /// Operations waited for at once, for each account; further batches wait.
    #[schemars(range(min = 1, max = 100_000))]
    pub operations_max: u32,
}

impl Default for OperationSettings {
    fn default() -> Self {
        Self {
            poll_delay_min: seconds(2),
            poll_delay_max: seconds(10),
            deadline: seconds(3_600),
            operations_max: 500,
        }
    }
}

/// `[retry]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RetrySettings {
    /// How often a device is sent at most, when its failure is one that may pass.
    #[schemars(range(min = 1, max = 1_000))]
    pub device_attempts_max: u16,
    /// First wait after a failed call; it doubles from failure to failure.
    #[schemars(extend("x-min" = "10ms", "x-max" = "10m"))]
    pub backoff_min: Span,
    /// Longest wait after a failed call, before jitter. At least `backoff_min`.
    #[schemars(extend("x-min" = "10ms", "x-max" = "1h"))]
    pub backoff_max: Span,
    /// How long after a batch was entered in the ledger its call may still go out. At least
    /// `kafka.commit_timeout`.
    #[schemars(extend("x-min" = "1s", "x-max" = "10m"))]
    pub lease: Span,
    /// How long a call whose reply was lost is given to take effect before its devices are looked
    /// up or sent again. Left out: `lease` + `api.request_timeout` + 30s. At least the sum of the
    /// two, except with a sandbox: an endpoint in plain http or on this machine.
    #[schemars(extend("x-min" = "10ms", "x-max" = "24h"))]
    pub ambiguous_grace: Option<Span>,
    /// Lookups under way at once, for each account. Each is a call of the quota.
    #[schemars(range(min = 1, max = 1_000))]
    pub lookups_max: u32,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            device_attempts_max: 5,
            backoff_min: seconds(1),
            backoff_max: seconds(60),
            lease: seconds(30),
            ambiguous_grace: None,
            lookups_max: 16,
        }
    }
}

/// When an unclaim is looked up before it goes out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum UnclaimGuard {
    /// Every one: a call of the quota for each.
    Always,
    /// Unless this worker made the device's last claim itself.
    #[default]
    Unknown,
    /// None; only what this worker knows is used.
    Never,
}

/// `[guard]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default)]
pub struct GuardSettings {
    /// When an unclaim is looked up before it goes out, so that a late one does not remove another
    /// customer's or a newer order's claim.
    pub unclaim: UnclaimGuard,
    /// Whether an unclaim must name the order that holds the device. Switch it off where returns
    /// have order numbers of their own; then the time of the event decides.
    pub match_order: bool,
    /// Devices whose last claim is remembered, about 64 bytes each; the oldest are forgotten.
    #[schemars(range(min = 0, max = 100_000_000))]
    pub memory_max: u32,
}

impl Default for GuardSettings {
    fn default() -> Self {
        Self { unclaim: UnclaimGuard::default(), match_order: true, memory_max: 100_000 }
    }
}

/// `[limits]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LimitsSettings {
    /// Commands in memory at most, about 130 bytes each beyond the command itself; at the bound
    /// partitions pause, nothing is dropped. At least `batch.items_max`.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub commands_max: u32,
    /// Bytes of commands in memory at most, with the same effect.
    #[schemars(extend("x-min" = "1MiB", "x-max" = "16GiB"))]
    pub command_memory: ByteSize,
    /// Devices in one order event at most; a larger one becomes a dead letter.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub order_devices_max: u32,
    /// Bytes of one order event at most; a larger one becomes a dead letter.
    #[schemars(extend("x-min" = "1KiB", "x-max" = "64MiB"))]
    pub order_bytes_max: ByteSize,
}

impl Default for LimitsSettings {
    fn default() -> Self {
        Self {
            commands_max: 100_000,
            command_memory: mebibytes(64),
            order_devices_max: 10_000,
            order_bytes_max: mebibytes(8),
        }
    }
}
