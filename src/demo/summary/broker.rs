//! What kind of Kafka a run had, and what that can show.

use serde::Serialize;

/// What kind of Kafka the run had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Broker {
    /// librdkafka's mock cluster, in this process.
    EmbeddedMock,
    /// A real cluster.
    Kafka {
        /// Its bootstrap servers.
        bootstrap_servers: String,
    },
}

impl Broker {
    /// What a run on this broker says about delivery guarantees, and what it does not.
    #[must_use]
    pub const fn guarantees(&self) -> &'static str {
        match self {
            Self::EmbeddedMock => {
                "embedded mock broker: transactions are not isolated and offsets are not kept \
                 here; this run says nothing about exactly-once; use --bootstrap-servers with a \
                 real Kafka"
            }
            Self::Kafka { .. } => {
                "real Kafka: commands, outcomes and offsets were committed in transactions and \
                 read back as committed; where I1 held, each command had its outcome exactly once"
            }
        }
    }
}

impl std::fmt::Display for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::EmbeddedMock => f.write_str("embedded mock broker"),
            Self::Kafka { bootstrap_servers } => write!(f, "Kafka at {bootstrap_servers}"),
        }
    }
}
