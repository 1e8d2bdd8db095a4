//! The committed offsets of both consumer groups, looked at from outside.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::demo::broker::{PARTITIONS, Ready};
use crate::demo::witness::Watermarks;

const ASK: Duration = Duration::from_secs(5);
/// Between a look and its publication. A commit may be visible in the group a moment before its
/// records are visible in their topics; the outcomes of what is told here are visible for sure.
const SETTLE: Duration = Duration::from_secs(1);

/// A thread that looks until this is dropped.
pub(super) struct Offsets {
    /// Order events taken in.
    pub(super) orders: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Offsets {
    /// Begins to look; tells the watermarks of the lanes.
    pub(super) fn watch(ready: &Ready, watermarks: Watermarks) -> Result<Self> {
        let (orders, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let group = |half: &str, topic: &str| Group::new(ready, half, topic);
        let intake = group("intake", &ready.topics.orders[0])?;
        let dispatch = group("dispatch", &ready.topics.commands)?;
        let (counting, stopping) = (Arc::clone(&orders), Arc::clone(&stop));
        std::thread::Builder::new().name("offsets".into()).spawn(move || {
            while !stopping.load(Ordering::SeqCst) {
                let taken: Option<u64> = intake
                    .committed()
                    .map(|offsets| offsets.values().map(|o| o.unsigned_abs()).sum());
                let marks = dispatch.committed();
                std::thread::sleep(SETTLE);
                if let Some(taken) = taken {
                    counting.store(taken, Ordering::SeqCst);
                }
                if let Some(marks) = marks {
                    *watermarks.lock().unwrap_or_else(PoisonError::into_inner) = marks;
                }
            }
        })?;
        Ok(Self { orders, stop })
    }
}

impl Drop for Offsets {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

/// A group, asked without joining it.
struct Group {
    consumer: BaseConsumer,
    partitions: TopicPartitionList,
}

impl Group {
    fn new(ready: &Ready, half: &str, topic: &str) -> Result<Self> {
        let consumer = ClientConfig::new()
            .set("bootstrap.servers", &ready.kafka.bootstrap_servers)
            .set("group.id", format!("{}.{half}", ready.kafka.group_id))
            // An offset in an open transaction does not count, and need not be waited for.
            .set("isolation.level", "read_uncommitted")
            .create()
            .context("making a consumer that looks at committed offsets")?;
        let mut partitions = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            partitions.add_partition(topic, partition);
        }
        Ok(Self { consumer, partitions })
    }

    /// `None` if the group does not answer now.
    fn committed(&self) -> Option<BTreeMap<i32, i64>> {
        let answer = self.consumer.committed_offsets(self.partitions.clone(), ASK);
        let answer = answer.inspect_err(|error| {
            tracing::debug!(%error, "the committed offsets could not be looked at");
        });
        let offset = |offset| if let Offset::Offset(offset) = offset { Some(offset) } else { None };
        let answer = answer.ok()?;
        let elements = answer.elements();
        let known = elements.iter().filter_map(|e| Some((e.partition(), offset(e.offset())?)));
        Some(known.collect())
    }
}
