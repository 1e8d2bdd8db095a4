//! What is told of positions: where reading begins, what is lost, what is stopped; and the look,
//! once a minute, whether topics are still those that are being read.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use tokio::time::{Instant, Interval, interval_at};

use super::kafka::{Anchors, Ask, KafkaOptions, Readers, TopicPartition, look};
use super::stats::Stats;
use crate::engine::positions::{News, Position, Sight, Undecided};
use crate::model::Offset;

/// Between two looks whether a topic is still the same.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Something about a position that somebody should know of, for as long as the process runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::shell) struct Notice {
    /// When it was found.
    at: Timestamp,
    topic: String,
    partition: i32,
    /// `lost` or `madeAnew`.
    what: &'static str,
    /// The position there was.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<i64>,
    /// Where reading goes on.
    to: i64,
    /// Records that are lost, or that are unread in the new topic.
    records: i64,
}

/// Tells what the place means at which the reading of a partition begins.
pub(in crate::shell) fn tell(stats: &Stats, at: &TopicPartition, position: &Position) {
    let TopicPartition { topic, partition } = at;
    let notice = |what, from, records| Notice {
        at: Timestamp::now(),
        topic: topic.to_string(),
        partition: *partition,
        what,
        from,
        to: position.from,
        records,
    };
    match position.news {
        News::None => {}
        News::First { behind, skipped } => {
            tracing::info!(
                %topic, partition, from = position.from, behind, skipped,
                "a partition is read for the first time"
            );
        }
        News::Lost { from, to } => {
            let records = to - from;
            stats.metrics.records_lost(topic, records);
            stats.board.note_position(notice("lost", Some(from), records));
            tracing::error!(
                %topic, partition, records, from, to,
                "records were deleted before they were read; nothing will follow from them. \
                 Reading goes on at the first one that is left. Look at the topic's retention, and \
                 find out what they were from where they came"
            );
        }
        News::MadeAnew { was, unread } => {
            stats.metrics.topic_made_anew(topic);
            stats.metrics.records_lost(topic, position.from);
            stats.board.note_position(notice("madeAnew", was, unread));
            tracing::error!(
                %topic, partition, was, from = position.from, unread, deleted = position.from,
                "the topic was made anew: it does not hold what was read before. All that is in it \
                 now counts as unread and is read from its first record. What was in the old topic \
                 and not read is lost"
            );
        }
    }
}

/// Why a lane is stopped before its first command, and what to do. `open` is the first command that
/// is under way by the lane's ledger.
pub(in crate::shell) fn stopped(
    at: &TopicPartition,
    group: &str,
    why: Undecided,
    open: Option<Offset>,
) -> String {
    let TopicPartition { topic, partition } = at;
    let then = format!(
        "Nothing is sent for this lane meanwhile. Stop all workers, decide from where it goes on \
         (every command before that place must have its outcome), and set the place with \
         `kafka-consumer-groups.sh --bootstrap-server HOST:PORT --group {group} --topic \
         {topic}:{partition} --reset-offsets --to-offset N --execute`; the runbook says how to find N"
    );
    // What waits before that has left no trace, so this is the highest place and not a proposal.
    let at_most = open.map_or(String::new(), |Offset(open)| {
        format!(". By the ledger the command at offset {open} is under way, so N is {open} at most")
    });
    match why {
        Undecided::PositionGone => format!(
            "the group {group} has no position in {at} any more, though commands of it were worked \
             on: Kafka forgets the positions of a group without members after \
             `offsets.retention.minutes`, and those in a topic that is deleted. {then}{at_most}"
        ),
        Undecided::BehindEnd { committed, end } => format!(
            "the position of the group {group} in {at} is {committed}, behind its end {end}: the \
             topic was restored from a copy, or cut off, or the position was set by hand. {then}"
        ),
        Undecided::StartNotGiven { records } => start_not_given(topic, records, group),
    }
}

/// What to set so that a topic with a history is read, and to restart.
pub(in crate::shell) fn start_not_given(topic: &str, records: i64, group: &str) -> String {
    format!("{}, and restart the worker", start_to_set(topic, records, group))
}

/// What to set so that a topic with a history is read.
pub(in crate::shell) fn start_to_set(topic: &str, records: i64, group: &str) -> String {
    format!(
        "{records} records are in {topic} and the group {group} has read none of them: set \
         `intake.start` to \"earliest\" to read them all, to \"latest\" to read only what comes from \
         now on, or to a time such as \"2026-05-01T00:00:00Z\""
    )
}

/// When to look again; the first time after a while.
pub(in crate::shell) fn looks() -> Interval {
    interval_at(Instant::now() + LOOK_EVERY, LOOK_EVERY)
}

/// Looks whether the partitions that are read are still of the topics that they were of; `reply` is
/// called with what is wrong. What cannot be asked now is asked at the next look.
pub(in crate::shell) fn look_again(
    kafka: &KafkaOptions,
    anchors: &Anchors,
    is_never_compacted: bool,
    reply: impl FnOnce(Result<(), String>) + Send + 'static,
) {
    let (kafka, anchors) = (kafka.clone(), anchors.clone());
    tokio::task::spawn_blocking(move || reply(compare(&kafka, &anchors, is_never_compacted)));
}

fn compare(
    kafka: &KafkaOptions,
    anchors: &Anchors,
    is_never_compacted: bool,
) -> Result<(), String> {
    let asks: Vec<Ask> = anchors
        .to_look_for()
        .into_iter()
        .map(|(partition, position, anchor)| Ask {
            partition,
            committed: Some(position),
            anchor: Some(anchor),
            time_ms: None,
        })
        .collect();
    if asks.is_empty() {
        return Ok(());
    }
    let looked = Readers::new(kafka)
        .map_err(|error| error.to_string())
        .and_then(|readers| look(&readers, &asks, kafka.request_timeout));
    let looks = match looked {
        Ok(looks) => looks,
        Err(reason) => {
            tracing::debug!(reason, "topics could not be looked at; it is tried again in a minute");
            return Ok(());
        }
    };
    for (ask, look) in asks.iter().zip(looks) {
        let is_other = match look.sight {
            Sight::Other => true,
            Sight::Missing => is_never_compacted,
            Sight::Same | Sight::Unknown => false,
        };
        let was_there = ask.committed.max(ask.anchor.map(|anchor| anchor.offset + 1));
        if is_other || was_there.is_some_and(|end| end > look.log_end) {
            return Err(format!(
                "{} is another topic now than it was, or was cut off: where to go on is decided \
                 anew",
                ask.partition
            ));
        }
        anchors.seen(&ask.partition);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_names_group_partition_and_the_way_on() {
        let at = TopicPartition::new("zerotouch.commands", 3);
        for why in [Undecided::PositionGone, Undecided::BehindEnd { committed: 30, end: 12 }] {
            let text = stopped(&at, "shop.dispatch", why, None);
            assert!(text.contains("--group shop.dispatch --topic zerotouch.commands:3"), "{text}");
            assert!(text.contains("every command before that place must have its outcome"));
        }
        let gone = stopped(&at, "shop.dispatch", Undecided::PositionGone, Some(Offset(17)));
        assert!(gone.contains("offsets.retention.minutes"), "{gone}");
        assert!(gone.ends_with("offset 17 is under way, so N is 17 at most"), "{gone}");
        let start = start_not_given("shop.orders", 12, "shop.intake");
        for word in ["12 records", "shop.orders", "intake.start", "earliest", "latest", "Z\""] {
            assert!(start.contains(word), "{start}");
        }
    }

    #[test]
    fn what_is_lost_is_counted_and_stays_to_be_seen() {
        let (stats, at) = (Stats::default(), TopicPartition::new("orders", 0));
        let position = |news| Position { from: 14, news, log: Default::default() };
        tell(&stats, &at, &position(News::None));
        tell(&stats, &at, &position(News::First { behind: 2, skipped: 0 }));
        assert_eq!(stats.board.positions(), []);
        tell(&stats, &at, &position(News::Lost { from: 5, to: 14 }));
        tell(&stats, &at, &position(News::MadeAnew { was: Some(30), unread: 7 }));
        let noted: Vec<(&str, i64)> =
            stats.board.positions().iter().map(|notice| (notice.what, notice.records)).collect();
        assert_eq!(noted, [("lost", 9), ("madeAnew", 7)]);
    }
}
