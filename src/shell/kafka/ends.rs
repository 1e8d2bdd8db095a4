//! How far the partitions of a consumer reach, as librdkafka's statistics tell it.

use std::collections::BTreeMap;

use serde::Deserialize;

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
    /// What is fetched next.
    next_offset: i64,
    fetchq_cnt: i64,
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
    /// Whether nothing follows but the marks with which transactions end, which are no records.
    is_read: bool,
}

impl End {
    /// Records behind `done`, which is where working them off has come to; what was handed over if
    /// that is not known. Of a paused partition what was fetched ahead is thrown away.
    pub(in crate::shell) fn lag(&self, done: Option<i64>, is_paused: bool) -> i64 {
        let unread = if self.is_read && !is_paused { 0 } else { self.end - self.position };
        let under_way = self.position - done.unwrap_or(self.position);
        unread.max(0) + under_way.max(0)
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
                let is_read = next_offset >= end && fetchq_cnt == 0;
                ends.push(End { topic: name.to_owned(), partition, end, position, is_read });
            }
        }
    }
    ends
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_those_of_partitions_that_are_fetched() {
        let told = br#"{"name":"x","topics":{"orders":{"topic":"orders","partitions":{
            "-1":{"partition":-1,"ls_offset":-1001,"app_offset":-1001,"next_offset":0,"fetchq_cnt":0},
            "0":{"partition":0,"ls_offset":12,"app_offset":7,"next_offset":9,"fetchq_cnt":1},
            "1":{"partition":1,"ls_offset":4,"app_offset":-1001,"next_offset":4,"fetchq_cnt":0},
            "2":{"partition":2,"ls_offset":-1001,"app_offset":3,"next_offset":3,"fetchq_cnt":0}
            }}},"cgrp":{"state":"up"}}"#;
        let end = |partition, end, position, is_read| End {
            topic: "orders".into(),
            partition,
            end,
            position,
            is_read,
        };
        assert_eq!(read(told), [end(0, 12, 7, false), end(1, 4, 4, true)]);
        assert_eq!(read(b"{}"), []);
        assert_eq!(read(b"garbage"), []);
    }

    #[test]
    fn the_mark_behind_the_last_record_is_no_lag_and_what_is_under_way_is() {
        let end = |position, is_read| End {
            topic: "orders".into(),
            partition: 0,
            end: 10,
            position,
            is_read,
        };
        assert_eq!(end(9, true).lag(Some(9), false), 0);
        assert_eq!(end(9, true).lag(Some(4), false), 5);
        assert_eq!(end(6, false).lag(Some(4), false), 6);
        assert_eq!(end(6, true).lag(Some(6), true), 4, "what was fetched ahead is gone");
        assert_eq!(end(6, false).lag(None, false), 4);
    }
}
