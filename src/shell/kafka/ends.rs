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
    /// Where fetching began.
    next_offset: i64,
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
}

impl End {
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
            let Partition { partition, ls_offset: end, app_offset, next_offset } = told;
            // Negative: not known.
            if partition >= 0 && end >= 0 && next_offset >= 0 {
                let position = if app_offset >= 0 { app_offset } else { next_offset };
                ends.push(End { topic: name.to_owned(), partition, end, position });
            }
        }
    }
    ends
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(partition: i32, end: i64, position: i64) -> End {
        End { topic: "orders".into(), partition, end, position }
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
    fn the_lag_counts_from_what_is_worked_off() {
        assert_eq!(end(0, 10, 9).lag(Some(4)), 6);
        assert_eq!(end(0, 10, 6).lag(None), 4);
        assert_eq!(end(0, 10, 12).lag(Some(12)), 0);
    }
}
