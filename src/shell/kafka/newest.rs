//! The newest records of a topic, a few of each partition: a look, not a reading.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::client::{ClientError, KafkaOptions, LogContext, Role, config, refused};
use super::record::RecordBatch;

/// Offsets from the end, of each partition. The last one is usually the mark of a transaction, and
/// what was aborted is not seen, so there may be no record among them.
const FROM_THE_END: i64 = 8;
const POLL_WAIT: Duration = Duration::from_millis(100);

/// Records that were read at the end of a topic, and how far a group has come in it.
pub struct Newest {
    /// Up to a few of each partition.
    pub records: RecordBatch,
    /// The committed offset of the options' group in each partition, if there is one.
    pub committed: Vec<Option<i64>>,
}

/// The topic could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum NewestError {
    /// No client could be made.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Kafka did not answer as it should.
    #[error("the end of {topic} could not be read: {reason}")]
    Kafka {
        /// The topic.
        topic: String,
        /// What went wrong.
        reason: String,
    },
}

/// Reads the newest committed records of a topic. Blocks, for `patience` at most for each answer
/// that is waited for; a partition that does not answer by then is left out.
///
/// # Errors
/// Kafka refuses.
pub fn newest(
    options: &KafkaOptions,
    topic: &str,
    partitions: u32,
    patience: Duration,
) -> Result<Newest, NewestError> {
    let failed = |error: &KafkaError| NewestError::Kafka {
        topic: topic.to_owned(),
        reason: error.to_string(),
    };
    let client: BaseConsumer<LogContext> = config(options, Role::Reader)?
        .create_with_context(LogContext)
        .map_err(|error| refused("reader of newest records", &error))?;
    let numbers = || 0..i32::try_from(partitions).unwrap_or(i32::MAX);
    let mut list = TopicPartitionList::new();
    for partition in numbers() {
        list.add_partition_offset(topic, partition, Offset::OffsetTail(FROM_THE_END))
            .map_err(|error| failed(&error))?;
    }
    let answer = client.committed_offsets(list.clone(), patience).map_err(|e| failed(&e))?;
    for element in answer.elements() {
        element.error().map_err(|error| failed(&error))?;
    }
    let committed = numbers().map(|partition| {
        match answer.find_partition(topic, partition).map(|element| element.offset()) {
            Some(Offset::Offset(offset)) => Some(offset),
            _ => None,
        }
    });
    let committed = committed.collect();
    client.assign(&list).map_err(|error| failed(&error))?;
    let (mut open, mut records) = (numbers().collect::<BTreeSet<_>>(), RecordBatch::default());
    let deadline = Instant::now() + patience;
    while !open.is_empty() && Instant::now() < deadline {
        match client.poll(POLL_WAIT) {
            Some(Ok(message)) => records.push(&message),
            Some(Err(KafkaError::PartitionEOF(partition))) => drop(open.remove(&partition)),
            // The client goes on by itself, or the time passes.
            Some(Err(error)) => tracing::debug!(%error, topic, "the end of a topic is read"),
            None => {}
        }
    }
    Ok(Newest { records, committed })
}
