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
    app_offset: i64,
}

/// Where a partition ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::shell) struct End {
    /// The topic.
    pub(in crate::shell) topic: String,
    /// The partition.
    pub(in crate::shell) partition: i32,
    /// Behind the last committed record, at the last fetch.
    pub(in crate::shell) end: i64,
    /// Behind the last record that was handed over; none if there was none.
    pub(in crate::shell) read: Option<i64>,
}

/// The partitions that are fetched. What cannot be read says nothing.
pub(super) fn read(statistics: &[u8]) -> Vec<End> {
    let Ok(Statistics { topics }) = serde_json::from_slice(statistics) else { return Vec::new() };
    let mut ends = Vec::new();
    for (name, Topic { partitions }) in topics {
        for Partition { partition, ls_offset, app_offset } in partitions.into_values() {
            // Negative: not known.
            if partition >= 0 && ls_offset >= 0 {
                let read = Some(app_offset).filter(|offset| *offset >= 0);
                ends.push(End { topic: name.to_owned(), partition, end: ls_offset, read });
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
            "-1":{"partition":-1,"ls_offset":-1001,"app_offset":-1001},
            "0":{"partition":0,"ls_offset":12,"app_offset":7,"hi_offset":15},
            "1":{"partition":1,"ls_offset":4,"app_offset":-1001},
            "2":{"partition":2,"ls_offset":-1001,"app_offset":3}}}},"cgrp":{"state":"up"}}"#;
        let end = |partition, end, read| End { topic: "orders".into(), partition, end, read };
        assert_eq!(read(told), [end(0, 12, Some(7)), end(1, 4, None)]);
        assert_eq!(read(b"{}"), []);
        assert_eq!(read(b"garbage"), []);
    }
}
