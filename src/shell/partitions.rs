//! Watches how many partitions the commands and the ledger have while the worker runs.
//!
//! A device's commands stay in order because its key always leads to the same partition. With
//! another number of partitions it leads to another one, where a later command would overtake those
//! that wait in the old one; and the ledger of a new lane may not exist. So a worker stops at once.

use std::time::Duration;

use super::kafka::{KafkaOptions, TopicError, partition_count};

/// How often it is looked.
pub const LOOK_EVERY: Duration = Duration::from_secs(30);

/// The number of partitions of a topic was changed under a running worker.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the topic {topic} had {before} partitions when this worker started and has {now} now, so \
     commands of one device could overtake each other: stop all workers; if the ledger has not as \
     many partitions as the commands, add the missing ones; look whether commands written before \
     the change still wait (outcomes missing), and start one worker alone until they are done"
)]
pub struct PartitionsChanged {
    /// The topic.
    pub topic: String,
    /// How many there were.
    pub before: u32,
    /// How many there are.
    pub now: u32,
}

/// Looks at these topics again and again, and answers once one of them has other than `before`
/// partitions. A Kafka that does not answer, or does not know a topic just then, is asked again.
pub async fn changed(
    kafka: &KafkaOptions,
    topics: [&str; 2],
    before: u32,
    every: Duration,
) -> PartitionsChanged {
    loop {
        for topic in topics {
            match count(kafka, topic).await {
                Ok(now) if now > 0 && now != before => {
                    return PartitionsChanged { topic: topic.to_owned(), before, now };
                }
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "partitions could not be counted"),
            }
        }
        tokio::time::sleep(every).await;
    }
}

async fn count(kafka: &KafkaOptions, topic: &str) -> Result<u32, TopicError> {
    let (options, name) = (kafka.clone(), topic.to_owned());
    let counted = tokio::task::spawn_blocking(move || partition_count(&options, &name)).await;
    counted.unwrap_or(Ok(0))
}
