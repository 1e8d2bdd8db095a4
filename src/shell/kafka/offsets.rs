//! Requests of a consumer for offsets: each blocks its thread for a moment only, and is repeated.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList, TopicPartitionListElem};

use super::TopicPartition;
use super::consumer::{Committed, CommittedAt, StartAt};
use super::rebalance::{RebalanceContext, list, names};
use crate::model::Anchor;

/// How long one request blocks the thread; what is not answered by then is asked again after a
/// poll, so that the group does not think this member dead.
const REQUEST_WAIT: Duration = Duration::from_millis(250);

pub(super) type Client = BaseConsumer<RebalanceContext>;

/// A question for committed offsets that is still to be answered.
pub(super) struct Query {
    pub(super) partitions: Vec<TopicPartition>,
    pub(super) reply: Box<dyn FnOnce(Committed) + Send>,
    pub(super) deadline: Instant,
}

/// A partition whose reading is still to begin.
pub(super) struct Start {
    pub(super) partition: TopicPartition,
    pub(super) at: StartAt,
    pub(super) deadline: Instant,
    /// It was paused before it could begin: it begins, and stays paused.
    pub(super) is_paused: bool,
}

/// Whether Kafka has no record at the position from which a partition is to be read on.
pub(super) fn is_position_gone(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::LogTruncation)
    )
}

/// The stable committed offsets: the client reads committed, so an offset that an open
/// transaction may change is answered as an error, and asked for again.
pub(super) fn committed(
    client: &Client,
    partitions: &[TopicPartition],
) -> KafkaResult<Vec<(TopicPartition, Option<CommittedAt>)>> {
    positions(&client.committed_offsets(list(partitions), REQUEST_WAIT)?)
}

/// The positions in an answer.
pub(super) fn positions(
    answer: &TopicPartitionList,
) -> KafkaResult<Vec<(TopicPartition, Option<CommittedAt>)>> {
    let mut offsets = Vec::with_capacity(answer.count());
    for (name, element) in names(answer).into_iter().zip(answer.elements()) {
        element.error()?;
        offsets.push((
            name,
            match element.offset() {
                Offset::Offset(offset) => Some(CommittedAt { offset, anchor: anchor(&element) }),
                _ => None,
            },
        ));
    }
    Ok(offsets)
}

/// What was kept with a committed offset. Others may have kept anything there, and rdkafka panics
/// on what is not UTF-8.
fn anchor(element: &TopicPartitionListElem<'_>) -> Option<Anchor> {
    catch_unwind(AssertUnwindSafe(|| element.metadata().parse().ok())).unwrap_or_default()
}

/// Goes to where reading starts, and tells the lowest offset that may come.
pub(super) fn begin(client: &Client, start: &Start) -> KafkaResult<i64> {
    let name = std::slice::from_ref(&start.partition);
    let offset = match start.at {
        StartAt::Offset(offset) => Some(offset),
        StartAt::Committed => {
            committed(client, name)?.pop().and_then(|(_, at)| at.map(|at| at.offset))
        }
    };
    let mut partitions = list(name);
    partitions.set_all_offsets(offset.map_or(Offset::Beginning, Offset::Offset))?;
    let answer = client.seek_partitions(partitions, REQUEST_WAIT)?;
    for element in answer.elements() {
        element.error()?;
    }
    if !start.is_paused {
        client.resume(&list(name))?;
    }
    Ok(offset.unwrap_or(0))
}
