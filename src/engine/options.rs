//! Every knob and bound of the engine. `config` fills them in; the engine trusts them.

use std::sync::Arc;
use std::time::Duration;

/// When an unclaim is checked before it goes out, since an unclaim names no customer at the API and
/// a late one could remove somebody else's claim.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GuardMode {
    /// Every unclaim is looked up.
    Always,
    /// An unclaim is looked up unless this worker made the device's last claim itself.
    #[default]
    Unknown,
    /// Nothing is looked up; only what this worker knows is used.
    Never,
}

/// One reseller account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountOptions {
    /// The name that order events use.
    pub name: Arc<str>,
    /// The partner id in the zero-touch portal: tells own claims from other resellers'.
    pub partner_id: Arc<str>,
    /// API calls allowed in any window of `quota_window`, over all workers. At least 1.
    pub quota_calls: u32,
    /// The window of the quota.
    pub quota_window: Duration,
}

/// Which installation a worker belongs to. With the partner id of an account it says what records
/// are meant for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    /// Where the API is.
    pub endpoint: Arc<str>,
    /// The consumer group, as it is configured.
    pub group: Arc<str>,
}

/// The engine's options. Durations count on the monotonic clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The accounts; commands for others are refused before they reach the engine.
    pub accounts: Vec<AccountOptions>,
    /// The installation; without one, records say not whom they are for, and nobody asks.
    pub installation: Option<Installation>,
    /// Partitions of the commands topic: the quota is shared in proportion to lanes owned.
    pub partitions_total: u32,
    /// Devices in one call at most. The API's own limit is not documented for REST; Google's
    /// wrapper library says 100,000.
    pub batch_items_max: usize,
    /// A batch that is not full goes out once nothing has joined it for this long.
    pub batch_linger: Duration,
    /// … and at the latest this long after its first command became ready.
    pub batch_linger_max: Duration,
    /// How long after its intent was begun a call may still go out.
    pub lease: Duration,
    /// How long a call whose answer was lost is given to take effect before it is sent again or
    /// its devices are looked up; counts from the loss. Should exceed lease + request timeout.
    pub ambiguous_grace: Duration,
    /// How long a revoked partition is held back at most for answers to calls under way. Well
    /// below the time after which the group takes it by force.
    pub revocation_wait: Duration,
    /// How long an operation may run before its devices are looked up instead.
    pub operation_deadline: Duration,
    /// Shortest wait between two polls of an operation.
    pub poll_delay_min: Duration,
    /// Longest wait between two polls, unless the quota is scarce.
    pub poll_delay_max: Duration,
    /// How often a device is sent at most when its failure is one that may pass.
    pub device_attempts_max: u16,
    /// First wait after a failed call.
    pub backoff_min: Duration,
    /// Longest wait after a failed call, before jitter.
    pub backoff_max: Duration,
    /// When unclaims are looked up first.
    pub guard: GuardMode,
    /// Whether an unclaim must name the order that holds the device. Where returns bear numbers of
    /// their own, switch it off: then the time of the event decides, as far as it is known.
    pub guard_match_order: bool,
    /// Devices whose last claim is remembered for the guard, over all lanes; the oldest are
    /// forgotten. About 64 bytes each.
    pub guard_memory_max: usize,
    /// Commands in memory at most; at the bound all partitions pause, at three quarters they
    /// resume. About 130 bytes each beyond the command itself.
    pub commands_max: usize,
    /// Bytes of packed commands in memory at most, with the same effect.
    pub command_bytes_max: usize,
    /// Operations waited for at once, for each account; further batches wait.
    pub operations_max: usize,
    /// Lookups under way at once, for each account.
    pub lookups_max: usize,
    /// Seed of batch ids and jitter.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            accounts: Vec::new(),
            installation: None,
            partitions_total: 1,
            batch_items_max: 1_000,
            batch_linger: Duration::from_millis(50),
            batch_linger_max: Duration::from_secs(2),
            lease: Duration::from_secs(30),
            ambiguous_grace: Duration::from_secs(120),
            revocation_wait: Duration::from_secs(6),
            operation_deadline: Duration::from_secs(3_600),
            poll_delay_min: Duration::from_secs(2),
            poll_delay_max: Duration::from_secs(10),
            device_attempts_max: 5,
            backoff_min: Duration::from_secs(1),
            backoff_max: Duration::from_secs(60),
            guard: GuardMode::default(),
            guard_match_order: true,
            guard_memory_max: 100_000,
            commands_max: 100_000,
            command_bytes_max: 64 << 20,
            operations_max: 500,
            lookups_max: 16,
            seed: 0,
        }
    }
}

/// Where to begin in a topic that the group has not read yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartFrom {
    /// At its first record.
    Earliest,
    /// Behind its last record.
    Latest,
    /// At the first record of that time or a later one.
    Time(jiff::Timestamp),
}

impl std::fmt::Display for StartFrom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Earliest => f.write_str("earliest"),
            Self::Latest => f.write_str("latest"),
            Self::Time(time) => write!(f, "{time}"),
        }
    }
}
