//! How far the partitions of a consumer reach, as librdkafka's statistics tell it.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::TopicPartition;

#[derive(Deserialize)]
struct Statistics<'a> {
    #[serde(borrow, default)]
    topics: BTreeMap<&'a str, Topic<'a>>,
}

#[derive(Deserialize)]
struct Topic<'a> {
    #[serde(borrow)]
    partitions: BTreeMap<&'a str, Partition>,
}

#[derive(Deserialize)]
struct Partition {
    partition: i32,
    /// Behind the last record that a reader of committed records may see.
    ls_offset: i64,
    /// Behind the last record that was handed over.
    app_offset: i64,
    /// Where fetching goes on.
    next_offset: i64,
    /// Records that are fetched and not handed over.
    #[serde(default)]
    fetchq_cnt: u64,
}

/// Where a partition ends, and how far it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::shell) struct End {
    /// The topic.
    pub(in crate::shell) topic: String,
    /// The partition.
    pub(in crate::shell) partition: i32,
    /// Behind the last committed record, at the last fetch.
    end: i64,
    /// Behind the last record that was handed over.
    position: i64,
    /// Whether there is more to be handed over.
    is_unread: bool,
}

impl End {
    /// Whether there are records that were not handed over: more than the mark of a transaction.
    pub(in crate::shell) fn is_unread(&self) -> bool {
        self.is_unread
    }

    /// Whether there are records behind `done`, handed over or not.
    pub(in crate::shell) fn is_open(&self, done: Option<i64>) -> bool {
        self.is_unread || done.is_some_and(|done| self.position > done)
    }

    pub(super) fn is_of(&self, partition: &TopicPartition) -> bool {
        self.partition == partition.partition && self.topic == *partition.topic
    }

    /// Behind the last record that was handed over, or where reading begins.
    pub(super) fn position(&self) -> i64 {
        self.position
    }

    /// Records behind `done`, which is where working them off has come to; what was handed over if
    /// that is not known. The mark with which the last transaction ended counts as one.
    pub(in crate::shell) fn lag(&self, done: Option<i64>) -> i64 {
        (self.end - done.unwrap_or(self.position)).max(0)
    }
}

/// The partitions that are fetched. What cannot be read says nothing.
pub(super) fn read(statistics: &[u8]) -> Vec<End> {
    let Ok(Statistics { topics }) = serde_json::from_slice(statistics) else { return Vec::new() };
    let mut ends = Vec::new();
    for (name, Topic { partitions }) in topics {
        for told in partitions.into_values() {
            let Partition { partition, ls_offset: end, app_offset, next_offset, fetchq_cnt } = told;
            // Negative: not known.
            if partition >= 0 && end >= 0 && next_offset >= 0 {
                let position = if app_offset >= 0 { app_offset } else { next_offset };
                let is_unread = next_offset < end || fetchq_cnt > 0;
                ends.push(End { topic: name.to_owned(), partition, end, position, is_unread });
            }
        }
    }
    ends
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(partition: i32, end: i64, position: i64) -> End {
        End { topic: "orders".into(), partition, end, position, is_unread: true }
    }

    #[test]
    fn ends_are_those_of_partitions_that_are_fetched() {
        let told = br#"{"name":"x","topics":{"orders":{"topic":"orders","partitions":{
            "-1":{"partition":-1,"ls_offset":-1001,"app_offset":-1001,"next_offset":0},
            "0":{"partition":0,"ls_offset":12,"app_offset":7,"next_offset":2,"hi_offset":15},
            "1":{"partition":1,"ls_offset":4,"app_offset":-1001,"next_offset":3},
            "2":{"partition":2,"ls_offset":-1001,"app_offset":3,"next_offset":3}
            }}},"cgrp":{"state":"up"}}"#;
        assert_eq!(read(told), [end(0, 12, 7), end(1, 4, 3)]);
        assert_eq!(read(b"{}"), []);
        assert_eq!(read(b"garbage"), []);
    }

    #[test]
    fn the_mark_of_a_transaction_at_the_end_is_nothing_to_be_read() {
        let told = |next: i64, queued: u64| {
            let told = format!(
                r#"{{"topics":{{"orders":{{"partitions":{{"0":{{"partition":0,"ls_offset":12,
                    "app_offset":11,"next_offset":{next},"fetchq_cnt":{queued}}}}}}}}}}}"#
            );
            read(told.as_bytes()).remove(0)
        };
        assert!(told(11, 0).is_unread() && told(12, 1).is_unread());
        assert!(!told(12, 0).is_unread());
        assert!(!told(12, 0).is_open(Some(11)) && told(12, 0).is_open(Some(10)));
        assert!(!told(12, 0).is_open(None) && told(11, 0).is_open(None));
    }

    #[test]
    fn the_lag_counts_from_what_is_worked_off() {
        assert_eq!(end(0, 10, 9).lag(Some(4)), 6);
        assert_eq!(end(0, 10, 6).lag(None), 4);
        assert_eq!(end(0, 10, 12).lag(Some(12)), 0);
    }
}
