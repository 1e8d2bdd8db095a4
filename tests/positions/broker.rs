//! What an operator, a retention or an accident does to topics and groups.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::json;

use crate::asking::{Admin, value};
use crate::process::{Process, wait_for};
use crate::world::{PARTITIONS, SOON, Setup, World};

const ASKED: Duration = Duration::from_secs(20);

/// A world whose workers can be asked.
pub(crate) fn world(name: &str, settings: &[(&str, &str)]) -> World {
    let watched = [("admin.listen", "\"127.0.0.1:0\""), ("admin.expose", "\"127.0.0.1:0\"")];
    let settings: Vec<(&str, &str)> = watched.iter().chain(settings).copied().collect();
    World::new(name, Setup { settings: &settings, ..Setup::default() })
}

pub(crate) fn stop(mut worker: Process) {
    worker.signal("-TERM");
    assert_eq!(worker.exit_code(SOON), 0, "{}", worker.stderr());
}

pub(crate) fn lost(admin: &Admin, topic: &str) -> f64 {
    value(&admin.scrape(), &format!("zerotouch_records_lost_total{{topic=\"{topic}\"}}"))
}

/// Waits until a worker has logged a line with these words.
pub(crate) fn wait_for_line(worker: &Process, words: &str) -> String {
    wait_for(words, SOON, || {
        let log = worker.stderr();
        log.lines().find(|line| line.contains(words)).map(str::to_owned)
    })
}

pub(crate) struct Broker<'a> {
    servers: &'a str,
    admin: AdminClient<DefaultClientContext>,
    runtime: tokio::runtime::Runtime,
}

impl<'a> Broker<'a> {
    pub(crate) fn new(servers: &'a str) -> Self {
        let admin = ClientConfig::new().set("bootstrap.servers", servers).create().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { servers, admin, runtime }
    }

    fn client(&self, group: &str) -> BaseConsumer {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.servers).set("group.id", group);
        config.create().unwrap()
    }

    /// Where each partition begins and ends.
    pub(crate) fn ends(&self, topic: &str) -> Vec<(i64, i64)> {
        let client = self.client("probe");
        let ends = |partition| client.fetch_watermarks(topic, partition, ASKED).unwrap();
        (0..PARTITIONS).map(ends).collect()
    }

    pub(crate) fn delete_records(&self, topic: &str, before: &[i64]) {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in (0..).zip(before) {
            list.add_partition_offset(topic, partition, Offset::Offset(*offset)).unwrap();
        }
        let deleted = self.admin.delete_records(&list, &AdminOptions::new());
        let deleted = self.runtime.block_on(deleted).unwrap();
        for element in deleted.elements() {
            element.error().unwrap();
        }
    }

    pub(crate) fn delete_group(&self, group: &str) {
        wait_for("the group has no members and is deleted", SOON, || {
            let deleted = self.admin.delete_groups(&[group], &AdminOptions::new());
            self.runtime.block_on(deleted).unwrap().pop().unwrap().ok()
        });
    }

    /// As `kafka-consumer-groups.sh --reset-offsets --to-offset` does it.
    pub(crate) fn set_positions(&self, group: &str, topic: &str, offsets: &[i64]) {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in (0..).zip(offsets) {
            list.add_partition_offset(topic, partition, Offset::Offset(*offset)).unwrap();
        }
        self.client(group).commit(&list, CommitMode::Sync).unwrap();
    }

    /// Deletes a topic, and makes another one of the same name.
    pub(crate) fn make_anew(&self, world: &mut World, topic: &str) {
        let deleted = self.admin.delete_topics(&[topic], &AdminOptions::new());
        self.runtime.block_on(deleted).unwrap().pop().unwrap().unwrap();
        let client = self.client("probe");
        wait_for("the topic is gone", SOON, || {
            let metadata = client.fetch_metadata(None, ASKED).unwrap();
            metadata.topics().iter().all(|other| other.name() != topic).then_some(())
        });
        world.client.create_topic(topic, PARTITIONS, &json!({}));
    }
}
