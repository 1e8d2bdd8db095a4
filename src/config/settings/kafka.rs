//! `[kafka]` and `[topics]`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{mebibytes, seconds};
use crate::config::values::{ByteSize, Property, Span};

/// Rebalance protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum GroupProtocol {
    /// Works with every broker.
    #[default]
    Classic,
    /// KIP-848; brokers of version 4.0 and later.
    Consumer,
}

/// `[kafka]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default)]
pub struct KafkaSettings {
    /// Brokers to ask first: `host:port`, several separated by commas. Required.
    #[schemars(extend("x-expected" = "host:port, several separated by commas"))]
    pub bootstrap_servers: Option<String>,
    /// Consumer group. Workers of one group share the partitions; the quota is shared with them.
    /// Left out: `<prefix>-worker`. Records name it, so with another one lanes stop where commands
    /// wait.
    #[schemars(length(min = 1, max = 249))]
    pub group_id: Option<String>,
    /// What the brokers call this client in their logs and quotas. Left out: `<prefix>-worker`.
    #[schemars(length(min = 1, max = 249))]
    pub client_id: Option<String>,
    /// Static membership: a name unique to this worker that stays over restarts, such as the pod
    /// name of a stateful set. A restart within `session_timeout` then moves no partitions.
    #[schemars(length(min = 1, max = 249))]
    pub group_instance_id: Option<String>,
    /// Rebalance protocol.
    pub group_protocol: GroupProtocol,
    /// Further librdkafka properties, above all `security.protocol`, `sasl.*` and `ssl.*`. Values
    /// may be secret and are never printed, but for a few that are known to be harmless.
    pub properties: BTreeMap<String, Property>,
    /// A worker not heard of for this long loses its partitions. Brokers usually refuse less than
    /// 6s. With the `consumer` protocol they decide instead.
    #[schemars(extend("x-min" = "1s", "x-max" = "30m"))]
    pub session_timeout: Span,
    /// A worker that does not come back for its next records for this long loses its partitions;
    /// also the longest that a revoked partition is held back.
    #[schemars(extend("x-min" = "10s", "x-max" = "1h"))]
    pub max_poll_interval: Span,
    /// The brokers abort a transaction open for longer, and a new owner may have to wait for that
    /// long. Shorter than `max_poll_interval`.
    #[schemars(extend("x-min" = "2s", "x-max" = "10m"))]
    pub transaction_timeout: Span,
    /// How long one commit may take; then its fate is unknown and is read from the ledger. Shorter
    /// than `transaction_timeout`.
    #[schemars(extend("x-min" = "1s", "x-max" = "10m"))]
    pub commit_timeout: Span,
    /// Records fetched ahead, in bytes, for each consumer. Two consumers: twice this much memory
    /// at worst.
    #[schemars(extend("x-min" = "64KiB", "x-max" = "1GiB"))]
    pub fetch_memory: ByteSize,
    /// Version in which commands are written. Workers from before version 2 lose what is written
    /// in it: 1 while such workers run, or before going back to one; `docs/versions.md` says how.
    #[schemars(range(min = 1, max = 2))]
    pub record_version: u32,
}

impl Default for KafkaSettings {
    fn default() -> Self {
        Self {
            bootstrap_servers: None,
            group_id: None,
            client_id: None,
            group_instance_id: None,
            group_protocol: GroupProtocol::default(),
            properties: BTreeMap::new(),
            session_timeout: seconds(15),
            max_poll_interval: seconds(60),
            transaction_timeout: seconds(15),
            commit_timeout: seconds(10),
            fetch_memory: mebibytes(4),
            record_version: 2,
        }
    }
}

/// `[topics]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TopicsSettings {
    /// Topics of order events. Required unless `intake.enabled` is false.
    pub orders: Vec<String>,
    /// Commands, keyed by device. Left out: `<prefix>.commands`.
    pub commands: Option<String>,
    /// Ledger of the batches; compacted, with as many partitions as `commands`. Left out:
    /// `<prefix>.ledger`.
    pub ledger: Option<String>,
    /// Outcome events, one for each command. Left out: `<prefix>.outcomes`.
    pub outcomes: Option<String>,
    /// Records that could not be understood, with the reason. Left out: `<prefix>.dead-letters`.
    pub dead_letters: Option<String>,
    /// Partitions of the topics that `topics create` makes. Also the most workers that can share
    /// the work. Not changeable later without draining.
    #[schemars(range(min = 1, max = 10_000))]
    pub partitions: u32,
    /// Copies of each partition in the topics that `topics create` makes.
    #[schemars(range(min = 1, max = 15))]
    pub replication_factor: u16,
}

impl Default for TopicsSettings {
    fn default() -> Self {
        Self {
            orders: Vec::new(),
            commands: None,
            ledger: None,
            outcomes: None,
            dead_letters: None,
            partitions: 12,
            replication_factor: 3,
        }
    }
}
