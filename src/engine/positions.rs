//! Where reading of a partition begins, and what has to be told about it.
//!
//! Kafka would choose by itself (`auto.offset.reset`), and say nothing. Here nothing is skipped and
//! nothing is done again in silence: of everything that is known of a partition follows one place
//! and what it means, or a reason to stop.

use crate::engine::mutant::{self, Mutant};
use crate::model::Anchor;

/// What was found at the place of the anchor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// The record: it is the topic that was read before.
    Same,
    /// Another record: the topic was made anew under its name.
    Other,
    /// No record, though there are some before and behind.
    Missing,
    /// Nothing can be said: there is no anchor, or its place is outside of the log.
    Unknown,
}

/// What is known of a partition before it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Where the group goes on, if it has a position.
    pub committed: Option<i64>,
    /// The record that was kept with the position, if one was.
    pub anchor: Option<Anchor>,
    /// What is at its place.
    pub sight: Sight,
    /// The first offset that Kafka still has.
    pub log_start: i64,
    /// Behind the last one.
    pub log_end: i64,
    /// When the first record was written, in milliseconds since 1970, if it was looked at.
    pub first_ms: Option<i64>,
    /// This process read the partition before, and the group's position went with the topic.
    pub was_read_here: bool,
}

impl Seen {
    fn is_empty(&self) -> bool {
        self.log_start >= self.log_end
    }

    /// The log ends before something that was in it.
    fn is_short(&self, committed: i64) -> bool {
        committed > self.log_end || self.anchor.is_some_and(|a| a.offset >= self.log_end)
    }
}

/// What has to be told about a place to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// Nothing.
    None,
    /// The group reads this partition for the first time, and this many records wait in it.
    First {
        /// Records from the place to begin to the end.
        behind: i64,
        /// Records before the place to begin, which are not read.
        skipped: i64,
    },
    /// Records were deleted before they were read.
    Lost {
        /// The first of them.
        from: i64,
        /// Behind the last of them.
        to: i64,
    },
    /// The topic was made anew: what is in it now has not been read.
    MadeAnew {
        /// The position in the old topic, if the group still had one.
        was: Option<i64>,
        /// Records that are there by now.
        unread: i64,
    },
}

/// What the ledger's offsets mean in the commands topic as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CommandsLog {
    /// They are of this topic, and all that are needed are there.
    #[default]
    Whole,
    /// They are of this topic, and the records below the place to begin are gone.
    Cut,
    /// They are of a topic that is gone.
    New,
}

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The first offset to be read.
    pub from: i64,
    /// What is to be told.
    pub news: News,
    /// For commands: what becomes of the ledger.
    pub log: CommandsLog,
}

impl Position {
    const fn at(from: i64, news: News) -> Self {
        let log = match news {
            News::None | News::First { .. } => CommandsLog::Whole,
            News::Lost { .. } => CommandsLog::Cut,
            News::MadeAnew { .. } => CommandsLog::New,
        };
        Self { from, news, log }
    }
}

/// Why a partition is not read before somebody has decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undecided {
    /// Order events are there, the group has no position, and nobody said where to start.
    StartNotGiven {
        /// How many may be there.
        records: i64,
    },
    /// Commands are there and were worked on, and the group has no position any more.
    PositionGone,
    /// The position is behind the end, and it cannot be told whether the topic is another one.
    BehindEnd {
        /// The position.
        committed: i64,
        /// The end.
        end: i64,
    },
}

/// Where to begin in a partition of an order topic. `start` is the place that was asked for, and
/// `is_known` says that the group has positions in other partitions of the topic.
///
/// # Errors
/// Somebody has to decide.
pub fn orders(seen: &Seen, start: Option<i64>, is_known: bool) -> Result<Position, Undecided> {
    let all = seen.log_end - seen.log_start;
    match seen.committed {
        None if seen.was_read_here && seen.sight != Sight::Same => Ok(anew(seen)),
        // A partition that was added later holds what the worker was always meant to read.
        None if seen.is_empty() || is_known || seen.was_read_here => {
            Ok(Position::at(seen.log_start, News::First { behind: all, skipped: 0 }))
        }
        None => {
            let from = start.ok_or(Undecided::StartNotGiven { records: all })?;
            let from = from.clamp(seen.log_start, seen.log_end);
            let (behind, skipped) = (seen.log_end - from, from - seen.log_start);
            Ok(Position::at(from, News::First { behind, skipped }))
        }
        // A topic that is compacted may miss the record of the anchor.
        Some(_) if seen.sight == Sight::Other => Ok(anew(seen)),
        Some(committed) if seen.is_short(committed) => Ok(anew(seen)),
        Some(committed) => Ok(go_on(seen, committed)),
    }
}

/// Where to begin in a partition of the commands topic. `last_word_ms` is when the last record of
/// its ledger was written; none if there never was one. Commands that are later by `margin_ms` were
/// not worked on.
///
/// # Errors
/// The lane must not be worked on: what was done would be done again, or what was not would be
/// skipped.
pub fn commands(
    seen: &Seen,
    last_word_ms: Option<i64>,
    margin_ms: i64,
) -> Result<Position, Undecided> {
    let all = seen.log_end - seen.log_start;
    let untouched = |since: Option<i64>, margin: i64| {
        let pair = seen.first_ms.zip(since.filter(|since| *since >= 0));
        pair.is_some_and(|(first, since)| first > since.saturating_add(margin))
    };
    match seen.committed {
        // Intake may well have written commands before dispatch has committed anything.
        None if last_word_ms.is_none() && seen.log_start > 0 => Ok(go_on(seen, 0)),
        None if last_word_ms.is_none() || mutant::is(Mutant::PositionGoneUnseen) => {
            Ok(Position::at(seen.log_start, News::First { behind: all, skipped: 0 }))
        }
        None if seen.is_empty() || untouched(last_word_ms, margin_ms) => Ok(anew(seen)),
        None if seen.was_read_here && matches!(seen.sight, Sight::Other | Sight::Missing) => {
            Ok(anew(seen))
        }
        None => Err(Undecided::PositionGone),
        // Commands are never taken out of the middle: no record at its place is another topic.
        Some(_) if matches!(seen.sight, Sight::Other | Sight::Missing) => {
            match mutant::is(Mutant::NewTopicUnseen) {
                true => Ok(go_on(seen, seen.log_start)),
                false => Ok(anew(seen)),
            }
        }
        Some(committed) if seen.is_short(committed) => {
            let anchor_ms = seen.anchor.map(|anchor| anchor.timestamp_ms);
            if seen.is_empty() || untouched(anchor_ms, 0) {
                return Ok(anew(seen));
            }
            Err(Undecided::BehindEnd { committed, end: seen.log_end })
        }
        // The ledger says nothing of any command that is there: it is of another topic. A position
        // without anchor was set by hand, and holds.
        Some(committed) if seen.sight == Sight::Unknown && untouched(last_word_ms, margin_ms) => {
            Ok(match seen.anchor {
                Some(_) => anew(seen),
                None => Position { log: CommandsLog::New, ..go_on(seen, committed) },
            })
        }
        Some(committed) => Ok(go_on(seen, committed)),
    }
}

fn anew(seen: &Seen) -> Position {
    let news = News::MadeAnew { was: seen.committed, unread: seen.log_end - seen.log_start };
    Position::at(seen.log_start, news)
}

fn go_on(seen: &Seen, committed: i64) -> Position {
    if committed >= seen.log_start {
        return Position::at(committed, News::None);
    }
    let news = News::Lost { from: committed, to: seen.log_start };
    if mutant::is(Mutant::LossUntold) {
        return Position { news: News::None, ..Position::at(seen.log_start, News::None) };
    }
    Position::at(seen.log_start, news)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn log(committed: Option<i64>, log_start: i64, log_end: i64) -> Seen {
        Seen {
            committed,
            anchor: None,
            sight: Sight::Unknown,
            log_start,
            log_end,
            first_ms: None,
            was_read_here: false,
        }
    }

    fn anchored(committed: i64, sight: Sight, log_start: i64, log_end: i64) -> Seen {
        let anchor = Some(Anchor { offset: committed - 1, timestamp_ms: 1_000, hash: 7 });
        Seen { anchor, sight, ..log(Some(committed), log_start, log_end) }
    }

    fn from(position: Result<Position, Undecided>) -> (i64, News) {
        let position = position.unwrap();
        (position.from, position.news)
    }

    #[test]
    fn a_history_is_not_read_unasked_and_an_empty_topic_needs_no_word() {
        let old = log(None, 10, 50);
        assert_eq!(orders(&old, None, false), Err(Undecided::StartNotGiven { records: 40 }));
        let first = |behind, skipped| News::First { behind, skipped };
        assert_eq!(from(orders(&old, Some(10), false)), (10, first(40, 0)));
        assert_eq!(from(orders(&old, Some(50), false)), (50, first(0, 40)));
        assert_eq!(from(orders(&old, Some(30), false)), (30, first(20, 20)));
        assert_eq!(from(orders(&log(None, 50, 50), None, false)), (50, first(0, 0)));
        assert_eq!(from(orders(&old, None, true)), (10, first(40, 0)), "a partition added later");
        assert_eq!(from(orders(&log(Some(20), 10, 50), Some(50), false)), (20, News::None));
    }

    #[test]
    fn an_order_topic_that_is_another_one_is_read_from_its_start() {
        let anew = |was, unread| News::MadeAnew { was, unread };
        let other = anchored(30, Sight::Other, 0, 50);
        assert_eq!(from(orders(&other, None, false)), (0, anew(Some(30), 50)));
        let shorter = log(Some(30), 0, 20);
        assert_eq!(from(orders(&shorter, None, false)), (0, anew(Some(30), 20)));
        let compacted = anchored(30, Sight::Missing, 0, 50);
        assert_eq!(from(orders(&compacted, None, false)), (30, News::None));
        let gone = Seen { was_read_here: true, ..log(None, 0, 20) };
        assert_eq!(from(orders(&gone, Some(20), false)), (0, anew(None, 20)));
    }

    #[test]
    fn records_that_were_deleted_unread_are_told_one_by_one() {
        let lost = News::Lost { from: 5, to: 14 };
        assert_eq!(from(orders(&log(Some(5), 14, 21), None, false)), (14, lost));
        let commands = commands(&log(Some(5), 14, 21), Some(1), 0).unwrap();
        assert_eq!((commands.from, commands.news, commands.log), (14, lost, CommandsLog::Cut));
    }

    #[test]
    fn a_lane_without_position_starts_over_only_if_it_was_never_worked_on() {
        let first = News::First { behind: 40, skipped: 0 };
        assert_eq!(from(commands(&log(None, 0, 40), None, 0)), (0, first));
        let never_read = from(commands(&log(None, 7, 40), None, 0));
        assert_eq!(never_read, (7, News::Lost { from: 0, to: 7 }));
        assert_eq!(commands(&log(None, 0, 40), Some(1_000), 0), Err(Undecided::PositionGone));
        let at = |first_ms| Seen { first_ms: Some(first_ms), ..log(None, 0, 40) };
        assert_eq!(commands(&at(1_100), Some(1_000), 100), Err(Undecided::PositionGone));
        let later = commands(&at(1_101), Some(1_000), 100).unwrap();
        assert_eq!((later.from, later.log), (0, CommandsLog::New));
        let empty = commands(&log(None, 40, 40), Some(1_000), 100).unwrap();
        assert_eq!((empty.from, empty.log), (40, CommandsLog::New));
    }

    #[test]
    fn commands_that_are_another_topic_end_the_old_ledger_and_a_cut_off_log_stops() {
        for sight in [Sight::Other, Sight::Missing] {
            let anew = commands(&anchored(30, sight, 0, 50), Some(1), 0).unwrap();
            assert_eq!((anew.from, anew.log), (0, CommandsLog::New));
        }
        let short = anchored(30, Sight::Unknown, 0, 20);
        let stopped = Err(Undecided::BehindEnd { committed: 30, end: 20 });
        assert_eq!(commands(&short, Some(1), 0), stopped);
        let older = Seen { first_ms: Some(900), ..short };
        assert_eq!(commands(&older, Some(1), 0), stopped, "its records are from before");
        let later = Seen { first_ms: Some(1_001), ..short };
        assert_eq!(commands(&later, Some(1), 0).unwrap().log, CommandsLog::New);
        assert_eq!(commands(&log(Some(30), 0, 20), Some(1), 0), stopped, "set by hand");
        assert_eq!(commands(&log(Some(30), 0, 0), Some(1), 0).unwrap().from, 0);
    }

    fn any_seen() -> impl Strategy<Value = Seen> {
        let sight = prop_oneof![
            Just(Sight::Same),
            Just(Sight::Other),
            Just(Sight::Missing),
            Just(Sight::Unknown)
        ];
        let numbers = (proptest::option::of(0_i64..60), 0_i64..40, 0_i64..40);
        let times = (proptest::option::of(0_i64..9), proptest::option::of(0_i64..9));
        (numbers, sight, times, any::<bool>()).prop_map(
            |((committed, log_start, length), sight, (first_ms, anchor_ms), was_read_here)| {
                let anchor = anchor_ms.map(|ms| Anchor { offset: 0, timestamp_ms: ms, hash: 1 });
                let log_end = log_start + length;
                Seen { committed, anchor, sight, log_start, log_end, first_ms, was_read_here }
            },
        )
    }

    proptest! {
        /// Whatever is found: reading begins inside of the log, and every record of the log that
        /// is not behind a position of the same topic is read, or its number is told.
        #[test]
        fn nothing_is_skipped_or_done_again_untold(
            seen in any_seen(),
            start in proptest::option::of(0_i64..80),
            is_known in any::<bool>(),
            last_word in proptest::option::of(0_i64..9),
        ) {
            let both = [orders(&seen, start, is_known), commands(&seen, last_word, 2)];
            for position in both.into_iter().flatten() {
                prop_assert!(position.from >= seen.log_start && position.from <= seen.log_end);
                match position.news {
                    News::None => prop_assert_eq!(seen.committed, Some(position.from)),
                    News::First { behind, skipped } => {
                        prop_assert_eq!(seen.committed, None);
                        prop_assert_eq!(behind + skipped, seen.log_end - seen.log_start);
                    }
                    News::Lost { from, to } => {
                        prop_assert_eq!(seen.committed.unwrap_or(0), from);
                        prop_assert!(from < to && to == seen.log_start && to == position.from);
                    }
                    News::MadeAnew { was, unread } => {
                        prop_assert_eq!(was, seen.committed);
                        prop_assert_eq!(position.from, seen.log_start);
                        prop_assert_eq!(unread, seen.log_end - seen.log_start);
                    }
                }
            }
        }
    }
}
