//! What a session of intake tells of itself.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::model::Action;
use crate::shell::Stats;
use crate::shell::admin::Lag;
use crate::shell::kafka::{End, TopicPartition};
use crate::shell::telemetry::metrics::Part;

use super::translate::Taken;

/// What became of an order event is committed.
pub(super) fn taken_in(stats: &Stats, taken: &Taken) {
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

/// How far the partitions of this session are from their ends.
pub(super) fn lag(
    owned: &BTreeSet<TopicPartition>,
    done: &BTreeMap<TopicPartition, i64>,
    ends: Vec<End>,
) -> Vec<Lag> {
    let lag = |End { topic, partition, end, read }: End| {
        let at = owned.get(&TopicPartition::new(topic, partition))?;
        // Before the first commit of this session, what was read is the best that is known.
        let done = done.get(at).copied().or(read)?;
        Some(Lag { topic: at.topic.clone(), partition, records: (end - done).max(0) })
    };
    ends.into_iter().filter_map(lag).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_of_a_partition_counts_from_what_was_committed_last() {
        let at = |partition| TopicPartition::new("orders", partition);
        let owned = BTreeSet::from([at(0), at(1)]);
        let done = BTreeMap::from([(at(0), 4)]);
        let end = |partition, end, read| End { topic: "orders".into(), partition, end, read };
        let ends = vec![end(0, 10, Some(9)), end(1, 10, Some(9)), end(2, 10, Some(9))];
        let lags: Vec<(i32, i64)> =
            lag(&owned, &done, ends).iter().map(|lag| (lag.partition, lag.records)).collect();
        assert_eq!(lags, [(0, 6), (1, 1)]);
        assert_eq!(lag(&owned, &done, vec![end(1, 10, None)]), []);
    }
}
