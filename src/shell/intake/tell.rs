//! What a session of intake tells of itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

use crate::model::Action;
use crate::shell::admin::Lag;
use crate::shell::kafka::{End, RecordBatch, TopicPartition};
use crate::shell::telemetry::metrics::Part;

use super::Intake;
use super::translate::Taken;

/// What became of the order event at this place is committed.
pub(super) fn taken_in(intake: &Intake, (at, offset): (&TopicPartition, i64), taken: &Taken) {
    let Intake { stats, topics, .. } = intake;
    let (place, now) = ((&*at.topic, at.partition, offset), Instant::now());
    if let Some(rejection) = &taken.rejection {
        let why = (rejection.reason, &*rejection.message);
        stats.unusable.dead_letter(place, why, topics, now);
    }
    if let Some((kind, why)) = &taken.passed_over {
        stats.passed_over.add(1);
        stats.metrics.passed_over(*kind);
        stats.passed_overs.one(place, (*kind, why), now);
    }
    stats.unusable.refused(place, &taken.refused, topics, now);
    for (action, count) in Action::ALL.iter().zip(taken.commands) {
        stats.commands.add(count);
        stats.metrics.commands(*action, count);
    }
    stats.outcomes.add(taken.outcomes);
    stats.refused.add(taken.outcomes);
    stats.dead_letters.add(taken.dead_letters);
    let now = Timestamp::now();
    stats.metrics.published(&taken.decided, now);
    let took = now.duration_since(taken.at).try_into().unwrap_or_default();
    stats.metrics.part(Part::Intake, took);
}

/// Notes where a partition begins to be read: from there on it is not worked off.
pub(super) fn begun(done: &mut BTreeMap<TopicPartition, i64>, records: &RecordBatch) {
    let mut last: Option<(&Arc<str>, i32)> = None;
    for record in records.iter() {
        let at = (record.topic(), record.partition());
        if last != Some(at) {
            last = Some(at);
            let at = TopicPartition::new(Arc::clone(at.0), at.1);
            done.entry(at).or_insert_with(|| record.offset());
        }
    }
}

/// How far the partitions of this session are from their ends.
pub(super) fn lag(
    owned: &BTreeSet<TopicPartition>,
    done: &BTreeMap<TopicPartition, i64>,
    ends: &[End],
) -> Vec<Lag> {
    let lag = |end: &End| {
        let at = owned.get(&TopicPartition::new(end.topic.as_str(), end.partition))?;
        let known = done.get(at).copied();
        Some(Lag {
            topic: Arc::clone(&at.topic),
            partition: at.partition,
            records: end.lag(known),
            done: known.unwrap_or_default(),
            is_open: end.is_open(known),
            is_unread: end.is_unread(),
        })
    };
    ends.iter().filter_map(lag).collect()
}
