//! From where the partitions of order topics are read: asked for when they are assigned, told, and
//! committed before the first record is read, so that it is decided once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::engine::StartFrom;
use crate::engine::positions::{self, News, Position, Seen, Undecided};
use crate::model::Anchor;
use crate::shell::kafka::{
    Anchors, Ask, CommittedAt, KafkaOptions, Readers, TopicPartition, known_topics, look,
};

/// How long one question about partitions may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// Between two tries to look at partitions.
pub(super) const RETRY_WAIT: Duration = Duration::from_secs(2);

/// Where a partition is read from, or why it is not.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) partition: TopicPartition,
    pub(super) position: Result<Position, Undecided>,
    /// The record by which it is known from now on.
    pub(super) anchor: Option<Anchor>,
    /// Whether its position is in Kafka as it is.
    pub(super) is_committed: bool,
    /// Records from there to the end.
    pub(super) behind: i64,
}

/// Decides from where partitions are read. Blocks.
///
/// # Errors
/// Kafka cannot be asked now; the text says what is in the way.
pub(super) fn place(
    kafka: &KafkaOptions,
    start: Option<StartFrom>,
    anchors: &Anchors,
    committed: &[(TopicPartition, Option<CommittedAt>)],
) -> Result<Vec<Placed>, String> {
    let readers = Readers::new(kafka).map_err(|error| error.to_string())?;
    let asks: Vec<Ask> = committed
        .iter()
        .map(|(partition, at)| Ask {
            partition: partition.clone(),
            committed: at.map(|at| at.offset),
            anchor: at.map_or(anchors.known(partition).flatten(), |at| at.anchor),
            time_ms: match (at, start) {
                (None, Some(StartFrom::Time(time))) => Some(time.as_millisecond()),
                _ => None,
            },
        })
        .collect();
    let looks = look(&readers, &asks, PATIENCE)?;
    let new = asks
        .iter()
        .zip(&looks)
        .filter(|(ask, look)| ask.committed.is_none() && look.log_start < look.log_end);
    let topics: BTreeSet<Arc<str>> = new.map(|(ask, _)| Arc::clone(&ask.partition.topic)).collect();
    let known = known_topics(&readers, &topics, PATIENCE)?;
    Ok(asks
        .into_iter()
        .zip(looks)
        .map(|(ask, look)| {
            let seen = Seen {
                committed: ask.committed,
                anchor: ask.anchor,
                sight: look.sight,
                log_start: look.log_start,
                log_end: look.log_end,
                first_ms: look.first_ms,
                was_read_here: anchors.known(&ask.partition).is_some(),
            };
            let at = start.map(|start| match start {
                StartFrom::Earliest => look.log_start,
                StartFrom::Latest => look.log_end,
                StartFrom::Time(_) => look.at_time.unwrap_or(look.log_end),
            });
            let position = positions::orders(&seen, at, known.contains(&ask.partition.topic));
            let is_kept = ask.committed.is_some()
                && position.is_ok_and(|place| !matches!(place.news, News::MadeAnew { .. }));
            Placed {
                anchor: look.found.or(ask.anchor.filter(|_| is_kept)),
                behind: position.map_or(0, |place| look.log_end - place.from),
                is_committed: position.is_ok_and(|place| Some(place.from) == ask.committed),
                partition: ask.partition,
                position,
            }
        })
        .collect())
}

/// Says first, for each topic that is read for the first time, how much waits in it.
pub(super) fn tell_first(placed: &[Placed], group: &str, start: Option<StartFrom>) {
    let mut first: BTreeMap<&str, (i64, i64, usize)> = BTreeMap::new();
    for Placed { partition, position, .. } in placed {
        if let Ok(Position { news: News::First { behind, skipped }, .. }) = position {
            let sum = first.entry(&partition.topic).or_default();
            *sum = (sum.0 + behind, sum.1 + skipped, sum.2 + 1);
        }
    }
    let start = start.map(|start| start.to_string());
    for (topic, (behind, skipped, partitions)) in first {
        tracing::info!(
            topic,
            group,
            partitions,
            start,
            skipped,
            "{behind} records behind: the group begins to read this order topic"
        );
    }
}
