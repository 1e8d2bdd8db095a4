//! What an operator or time does to topics and groups.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::{Offset, TopicPartitionList};

use crate::process::wait_for;

const LIMIT: Duration = Duration::from_secs(30);

fn client(servers: &str) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", servers).create().unwrap()
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(LIMIT)).operation_timeout(Some(LIMIT))
}

/// Deletes all records that there are.
pub(crate) fn delete_records(servers: &str, topic: &str, partitions: i32) {
    let mut offsets = TopicPartitionList::new();
    for partition in 0..partitions {
        offsets.add_partition_offset(topic, partition, Offset::End).unwrap();
    }
    let _ = wait(client(servers).delete_records(&offsets, &options())).unwrap();
}

pub(crate) fn delete_topic(servers: &str, topic: &str) {
    let deleted = wait(client(servers).delete_topics(&[topic], &options())).unwrap();
    assert!(deleted.iter().all(Result::is_ok), "{deleted:?}");
}

/// Deletes a topic, and makes another one under its name.
pub(crate) fn make_anew(servers: &str, topic: &str, partitions: i32) {
    delete_topic(servers, topic);
    let (client, options) = (client(servers), options());
    let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    wait_for("the topic is made anew", LIMIT, || {
        let made = wait(client.create_topics([&new], &options)).unwrap();
        made.iter().all(Result::is_ok).then_some(())
    });
}

/// Forgets the positions of a group that has no members, once it has none.
pub(crate) fn forget_group(servers: &str, group: &str) {
    wait_for(&format!("{group} is forgotten"), LIMIT, || {
        let deleted = wait(client(servers).delete_groups(&[group], &options())).unwrap();
        deleted.iter().all(Result::is_ok).then_some(())
    });
}
