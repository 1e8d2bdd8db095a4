//! A look at partitions before they are read: where their logs begin and end, and whether the
//! record is still there by which they are known.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::TopicPartition;
use super::consumer::CommittedAt;
use super::ledger_reader::{Readers, is_passing};
use super::offsets::positions;
use crate::engine::positions::Sight;
use crate::model::Anchor;

const POLL_WAIT: Duration = Duration::from_millis(100);
/// A new leader may for a moment not know how far its log is committed: an end below a position is
/// believed only if it stays.
const SHORT_END: (u32, Duration) = (6, Duration::from_millis(500));

/// How long other partitions may take once one could not be read.
const UNREADABLE_WAIT: Duration = Duration::from_secs(2);

/// What to look at.
#[derive(Clone, Debug)]
pub(in crate::shell) struct Ask {
    pub(in crate::shell) partition: TopicPartition,
    /// Where the group goes on.
    pub(in crate::shell) committed: Option<i64>,
    /// The record to look for.
    pub(in crate::shell) anchor: Option<Anchor>,
    /// A time whose offset is asked for, in milliseconds since 1970.
    pub(in crate::shell) time_ms: Option<i64>,
}

/// What was seen.
#[derive(Clone, Debug)]
pub(in crate::shell) struct Look {
    pub(in crate::shell) partition: TopicPartition,
    pub(in crate::shell) log_start: i64,
    pub(in crate::shell) log_end: i64,
    pub(in crate::shell) sight: Sight,
    /// The record at the place of the anchor, or the first one if there is no anchor to be looked
    /// for.
    pub(in crate::shell) found: Option<Anchor>,
    /// When the first record was written, if that was looked for.
    pub(in crate::shell) first_ms: Option<i64>,
    /// The first offset of the time that was asked for, or the end if nothing is that late.
    pub(in crate::shell) at_time: Option<i64>,
}

/// Looks at partitions. Blocks; `patience` bounds each wait.
///
/// # Errors
/// Kafka does not answer; the text says what it was asked for.
pub(in crate::shell) fn look(
    readers: &Readers,
    asks: &[Ask],
    patience: Duration,
) -> Result<Vec<Look>, String> {
    let mut looks = Vec::with_capacity(asks.len());
    let mut wanted: BTreeMap<Arc<str>, BTreeMap<i32, i64>> = BTreeMap::new();
    for ask in asks {
        let told = |error: KafkaError| format!("{} could not be looked at: {error}", ask.partition);
        let (log_start, log_end) = ends(readers, ask, patience).map_err(told)?;
        let at_time = match ask.time_ms {
            Some(time) => Some(at_time(readers, ask, time, log_end, patience).map_err(told)?),
            None => None,
        };
        let is_there = |offset: &i64| *offset >= log_start && *offset < log_end;
        let at = ask.anchor.map(|anchor| anchor.offset).filter(is_there);
        // The first record tells a log that was cut off from one that was begun anew, and is an
        // anchor where there is none.
        if let Some(offset) = Some(at.unwrap_or(log_start)).filter(is_there) {
            let of_topic = wanted.entry(Arc::clone(&ask.partition.topic)).or_default();
            of_topic.insert(ask.partition.partition, offset);
        }
        let (partition, sight) = (ask.partition.clone(), Sight::Unknown);
        let (found, first_ms) = (None, None);
        looks.push(Look { partition, log_start, log_end, sight, found, first_ms, at_time });
    }
    for (topic, places) in wanted {
        let found = records_at(readers, &topic, &places, patience)?;
        for (look, ask) in looks.iter_mut().zip(asks) {
            let number = look.partition.partition;
            if look.partition.topic != topic {
                continue;
            }
            let (Some(place), Some(found)) = (places.get(&number), found.get(&number)) else {
                continue;
            };
            look.found = *found;
            match ask.anchor.filter(|anchor| anchor.offset == *place) {
                Some(anchor) => look.sight = sight(anchor, *found),
                None => look.first_ms = found.map(|record| record.timestamp_ms),
            }
        }
    }
    Ok(looks)
}

fn sight(anchor: Anchor, found: Option<Anchor>) -> Sight {
    match found {
        Some(found) if found == anchor => Sight::Same,
        Some(found) if found.offset == anchor.offset => Sight::Other,
        Some(_) | None => Sight::Missing,
    }
}

fn ends(readers: &Readers, ask: &Ask, patience: Duration) -> KafkaResult<(i64, i64)> {
    let TopicPartition { topic, partition } = &ask.partition;
    let mut tries = SHORT_END.0;
    loop {
        let ends = readers.uncommitted.fetch_watermarks(topic, *partition, patience)?;
        tries -= 1;
        let was_there = ask.committed.max(ask.anchor.map(|anchor| anchor.offset + 1));
        if tries == 0 || was_there.is_none_or(|end| end <= ends.1) {
            return Ok(ends);
        }
        std::thread::sleep(SHORT_END.1);
    }
}

fn at_time(
    readers: &Readers,
    ask: &Ask,
    time_ms: i64,
    log_end: i64,
    patience: Duration,
) -> KafkaResult<i64> {
    let mut times = TopicPartitionList::with_capacity(1);
    let TopicPartition { topic, partition } = &ask.partition;
    times.add_partition_offset(topic, *partition, Offset::Offset(time_ms))?;
    let answer = readers.uncommitted.offsets_for_times(times, patience)?;
    let element = answer.elements().into_iter().next();
    Ok(match element.map(|element| element.offset()) {
        Some(Offset::Offset(offset)) => offset,
        _ => log_end,
    })
}

/// The first committed record of each partition of a topic at or behind a place; none if there is
/// none any more. A partition that cannot be read there, for a missing right or a batch that
/// cannot be unpacked, is left out: it must not hold up the others, and whoever goes on to read it
/// says so.
fn records_at(
    readers: &Readers,
    topic: &str,
    places: &BTreeMap<i32, i64>,
    patience: Duration,
) -> Result<BTreeMap<i32, Option<Anchor>>, String> {
    let client = &readers.committed;
    let failed = |error: KafkaError| format!("records of {topic} could not be looked at: {error}");
    let mut assignment = TopicPartitionList::with_capacity(places.len());
    for (partition, offset) in places {
        assignment
            .add_partition_offset(topic, *partition, Offset::Offset(*offset))
            .map_err(failed)?;
    }
    client.assign(&assignment).map_err(failed)?;
    let mut found = BTreeMap::new();
    let mut deadline = Instant::now() + patience;
    let mut until = None;
    while found.len() < places.len() && until.is_none_or(|until| Instant::now() < until) {
        let news = match client.poll(POLL_WAIT) {
            Some(Ok(record)) if record.topic() == topic => {
                let time = record.timestamp().to_millis();
                let anchor = Anchor::of(record.offset(), time, record.key(), record.payload());
                Some((record.partition(), Some(anchor)))
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => Some((partition, None)),
            Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => {
                return Err(failed(error));
            }
            Some(Err(error)) if !is_passing(&error) => {
                until.get_or_insert_with(|| Instant::now() + UNREADABLE_WAIT);
                None
            }
            Some(Ok(_) | Err(_)) | None => None,
        };
        match news {
            Some((partition, record)) if places.contains_key(&partition) => {
                found.entry(partition).or_insert(record);
                deadline = Instant::now() + patience;
            }
            _ if Instant::now() >= deadline => {
                return Err(format!("{topic} gave nothing for {patience:?}; is a broker down?"));
            }
            _ => {}
        }
    }
    // What was fetched ahead is thrown away.
    client.assign(&TopicPartitionList::new()).map_err(failed)?;
    Ok(found)
}

/// Those of these topics in which the group has a position in any partition. Blocks.
///
/// # Errors
/// Kafka does not answer.
pub(in crate::shell) fn known_topics(
    readers: &Readers,
    topics: &BTreeSet<Arc<str>>,
    patience: Duration,
) -> Result<BTreeSet<Arc<str>>, String> {
    let mut known = BTreeSet::new();
    for topic in topics {
        if positions_in(readers, topic, patience)?.iter().any(|(_, at)| at.is_some()) {
            known.insert(Arc::clone(topic));
        }
    }
    Ok(known)
}

/// All partitions of a topic, with the group's positions. Blocks.
///
/// # Errors
/// Kafka does not answer.
pub(in crate::shell) fn positions_in(
    readers: &Readers,
    topic: &Arc<str>,
    patience: Duration,
) -> Result<Vec<(TopicPartition, Option<CommittedAt>)>, String> {
    let failed = |error| format!("the positions in {topic} could not be asked for: {error}");
    let client = &readers.committed;
    let metadata = client.fetch_metadata(Some(topic), patience).map_err(failed)?;
    let mut partitions = TopicPartitionList::new();
    for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
        partitions.add_partition(topic, partition.id());
    }
    let answer = client.committed_offsets(partitions, patience).map_err(failed)?;
    positions(&answer).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_known_again_by_its_place_and_contents() {
        let anchor = Anchor::of(7, Some(5), None, Some(b"a"));
        assert_eq!(sight(anchor, Some(anchor)), Sight::Same);
        assert_eq!(sight(anchor, Some(Anchor::of(7, Some(5), None, Some(b"b")))), Sight::Other);
        assert_eq!(sight(anchor, Some(Anchor { offset: 8, ..anchor })), Sight::Missing);
        assert_eq!(sight(anchor, None), Sight::Missing);
    }
}
