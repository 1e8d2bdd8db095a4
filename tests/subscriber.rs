//! The subscriber sample against a real Kafka: aborted outcomes do not exist for it, and a
//! repeated one changes nothing.

// Every function here is part of a test: a failed unwrap is a failed test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/kafka.rs"]
mod kafka;
#[path = "support/python.rs"]
mod python;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use kafka::Kafka;
use python::python_with;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use serde_json::{Value, json};

const TOPIC: &str = "zerotouch.outcomes";
const LIMIT: Duration = Duration::from_secs(30);

fn outcome(id: &str, line: &str, change: &Value) -> (String, Vec<u8>) {
    let example = include_str!("../schemas/examples/outcome.succeeded.json");
    let mut outcome: Value = serde_json::from_str(example).unwrap();
    outcome["outcomeId"] = json!(id);
    outcome["line"] = json!(line);
    for (name, value) in change.as_object().unwrap() {
        outcome[name] = value.clone();
    }
    (id.to_owned(), outcome.to_string().into_bytes())
}

fn send(
    producer: &ThreadedProducer<DefaultProducerContext>,
    outcomes: &[(String, Vec<u8>)],
    commit: bool,
) {
    producer.begin_transaction().unwrap();
    for (id, value) in outcomes {
        let headers = OwnedHeaders::new().insert(Header { key: "ce_id", value: Some(id) });
        let record = BaseRecord::to(TOPIC).key("imei:1").payload(value).headers(headers);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(LIMIT).unwrap();
    let ended =
        if commit { producer.commit_transaction(LIMIT) } else { producer.abort_transaction(LIMIT) };
    ended.unwrap();
}

fn subscribe(database: &Path, group: &str, max: &str) -> String {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/examples/subscriber.py");
    let output = Command::new(python_with("subscriber", "subscriber/requirements.txt"))
        .arg(sample)
        .args(["--bootstrap-servers", &Kafka::shared().bootstrap_servers()])
        .args(["--group", group, "--max", max, "--database"])
        .arg(database)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout) + text(&output.stderr).lines().last().unwrap_or_default()
}

async fn make_topic() {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", Kafka::shared().bootstrap_servers())
        .create()
        .unwrap();
    let topic = NewTopic::new(TOPIC, 1, TopicReplication::Fixed(1));
    let limit = AdminOptions::new().operation_timeout(Some(LIMIT));
    let made = admin.create_topics([&topic], &limit).await.unwrap();
    assert!(made.iter().all(Result::is_ok), "{made:?}");
}

#[tokio::test]
async fn the_sample_sees_what_was_committed_and_nothing_twice() {
    make_topic().await;
    let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", Kafka::shared().bootstrap_servers())
        .set("transactional.id", "subscriber-test")
        .create()
        .unwrap();
    producer.init_transactions(LIMIT).unwrap();
    let failure = json!({"code": "device.other", "message": "what it was", "retryable": true});
    let first = outcome("o-1", "1", &json!({}));
    let second = outcome("o-2", "2", &json!({"status": "failed", "failure": failure}));
    let never = outcome("o-3", "3", &json!({}));
    send(&producer, std::slice::from_ref(&first), true);
    send(&producer, &[never], false);
    send(&producer, &[first, second], true);

    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("outcomes.sqlite");
    let expected = [
        "SO-104233 line 1: claim done",
        "SO-104233 line 2: claim failed: device.other: what it was",
    ];
    let seen = subscribe(&database, "desk", "3");
    let expected = [&expected[..], &["2 outcomes, 1 seen before"]].concat();
    assert_eq!(seen.lines().collect::<Vec<_>>(), expected);
    // A group that reads everything again, with the same database.
    assert_eq!(subscribe(&database, "desk-again", "3"), "0 outcomes, 3 seen before");
}

#[test]
fn the_sample_stops_at_a_status_that_it_does_not_know() {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/examples/subscriber.py");
    let program = "import importlib.util, json, sqlite3, sys
sys.dont_write_bytecode = True
spec = importlib.util.spec_from_file_location('subscriber', sys.argv[1])
subscriber = importlib.util.module_from_spec(spec)
spec.loader.exec_module(subscriber)
class Message:
    def value(self): return json.dumps({'status': 'vanished'})
    def headers(self): return [('ce_id', b'1')]
    def offset(self): return 1
try:
    subscriber.handle(sqlite3.connect(':memory:'), Message())
except ValueError as error:
    print(error)";
    let output = Command::new(python_with("subscriber", "subscriber/requirements.txt"))
        .args(["-c", program])
        .arg(sample)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(said.trim(), "unknown status 'vanished': this subscriber is too old");
}
