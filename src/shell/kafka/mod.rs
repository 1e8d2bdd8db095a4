//! Kafka: consumers on their own threads, transactions, the ledger's replay, topics.
//!
//! This folder knows nothing of the engine; its types are plain, and the driver translates.
//! librdkafka types never leave it. What it promises:
//! - a revoked partition is held until the driver releases it, and a lost one until the driver
//!   has dropped what it knew of it ([`consumer`]);
//! - a transaction carries the group membership under which its contents were decided
//!   ([`GroupMetadata`]), and its fate is settled before it is reported ([`producer`]).

pub mod client;
pub mod consumer;
pub mod ledger_reader;
pub mod producer;
pub mod rebalance;
pub mod record;
pub mod topic_check;
pub mod topics;

mod anchors;
mod complaints;
mod consumer_thread;
mod deliveries;
mod ends;
mod examine;
mod look;
mod membership;
mod newest;
mod offsets;
mod offsets_retention;
mod producer_thread;
mod reach;
mod reading;
pub(in crate::shell) mod repeats;
pub mod rights;
pub mod rights_check;
mod transaction;
mod troubles;

pub(in crate::shell) use anchors::Anchors;
pub use client::{ClientError, GroupProtocol, KafkaOptions};
pub use consumer::{
    Committed, CommittedAt, Consumer, ConsumerEvent, ConsumerOptions, Mode, StartAt,
};
pub(in crate::shell) use ends::End;
pub(in crate::shell) use ledger_reader::{Readers, read_partition_with};
pub(in crate::shell) use look::{Ask, known_topics, look, positions_in};
pub(in crate::shell) use offsets_retention::tell_offsets_retention;
pub(in crate::shell) use rebalance::Standing;
#[cfg(test)]
pub(in crate::shell) use troubles::Trouble;

pub use ledger_reader::{LedgerError, LedgerRead, read_partition};
pub use newest::{Newest, NewestError, newest};
pub use offsets_retention::{OffsetsRetention, offsets_retention};
pub use producer::{
    AbortReason, CommitError, OutRecord, Records, Reply, Transaction, TransactionalProducer,
};
pub use rebalance::{GroupMetadata, LostPartitions};
pub use record::{RecordBatch, RecordView};
pub use topic_check::TopicProblem;
pub use topics::{
    TopicError, TopicPlan, TopicReport, TopicShape, check_topics, create_topic, create_topics,
    message_limits, partition_count, partition_counts, topic_shapes,
};

pub(in crate::shell) use topics::message_bytes_min;

use std::fmt;
use std::sync::Arc;

/// One partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's number.
    pub partition: i32,
}

impl TopicPartition {
    /// A partition of a topic.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.topic, self.partition)
    }
}
