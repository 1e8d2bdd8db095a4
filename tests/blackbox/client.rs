//! The independent Kafka client: `tests/clients/kafka_client.py`, one process for each world.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};

use crate::python;

/// An answer takes no longer than this, or the test fails.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// A record, read or to be written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    pub(crate) topic: String,
    /// To be written: none leaves the choice to the key.
    pub(crate) partition: Option<i32>,
    pub(crate) offset: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
}

impl Record {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(known, _)| known == name)?;
        std::str::from_utf8(value).ok()
    }

    /// The value as JSON; fails the test if it is not.
    pub(crate) fn json(&self) -> Value {
        let value = self.value.as_deref().expect("a record with a value");
        serde_json::from_slice(value)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(value)))
    }

    pub(crate) fn key_text(&self) -> &str {
        std::str::from_utf8(self.key.as_deref().unwrap_or_default()).expect("a key of text")
    }
}

pub(crate) struct Client {
    process: Child,
    requests: Option<ChildStdin>,
    answers: Receiver<String>,
}

impl Client {
    pub(crate) fn start(bootstrap_servers: &str) -> Self {
        let python = python::python_with("kafka-client", "clients/requirements.txt");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/kafka_client.py");
        let mut process = Command::new(python)
            .arg(script)
            .arg(bootstrap_servers)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, answers) = channel();
        let output = BufReader::new(process.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { requests: process.stdin.take(), process, answers }
    }

    fn ask(&mut self, request: &Value) -> Value {
        let requests = self.requests.as_mut().unwrap();
        writeln!(requests, "{request}").unwrap();
        let answer = self.answers.recv_timeout(ANSWER_LIMIT).expect("the Kafka client answers");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        if let Some(error) = answer.get("error") {
            let mut request = request.to_string();
            request.truncate(400);
            panic!("the Kafka client: {error} on {request}");
        }
        answer
    }

    pub(crate) fn create_topic(&mut self, topic: &str, partitions: i32, config: &Value) {
        self.ask(&json!({
            "op": "create", "topic": topic, "partitions": partitions, "config": config
        }));
    }

    /// Changes a setting of a topic.
    pub(crate) fn set_topic(&mut self, topic: &str, key: &str, value: &str) {
        self.ask(&json!({"op": "set_topic", "topic": topic, "key": key, "value": value}));
    }

    /// Says whether workers may write to a topic.
    pub(crate) fn may_write(&mut self, topic: &str, allowed: bool) {
        self.ask(&json!({"op": "may_write", "topic": topic, "allowed": allowed}));
    }

    pub(crate) fn delete_topic(&mut self, topic: &str) {
        self.ask(&json!({"op": "delete", "topic": topic}));
    }

    /// Grants the user `worker` an operation: on what, its name, `LITERAL` or `PREFIXED`, and
    /// which.
    pub(crate) fn grant(&mut self, (kind, name, pattern, operation): (&str, &str, &str, &str)) {
        self.ask(&json!({
            "op": "grant", "kind": kind, "name": name, "pattern": pattern, "operation": operation
        }));
    }

    /// Moves the position of a group that has no members.
    pub(crate) fn set_position(&mut self, group: &str, topic: &str, partition: i32, offset: i64) {
        self.ask(&json!({
            "op": "set_position", "group": group, "topic": topic, "partition": partition,
            "offset": offset
        }));
    }

    /// Takes that back.
    pub(crate) fn revoke(&mut self, (kind, name, pattern, operation): (&str, &str, &str, &str)) {
        self.ask(&json!({
            "op": "revoke", "kind": kind, "name": name, "pattern": pattern, "operation": operation
        }));
    }

    /// Writes records and waits until they are acknowledged; gives partition and offset of each.
    pub(crate) fn produce(&mut self, records: &[Record]) -> Vec<(i32, i64)> {
        let records: Vec<Value> = records.iter().map(to_json).collect();
        let answer = self.ask(&json!({"op": "produce", "records": records}));
        serde_json::from_value(answer["places"].clone()).unwrap()
    }

    /// Committed records of the topic that were not given before; waits a moment for the first.
    pub(crate) fn read(&mut self, topic: &str, wait: Duration) -> Vec<Record> {
        let wait = wait.as_secs_f64();
        let answer =
            self.ask(&json!({"op": "read", "topic": topic, "wait": wait, "maximum": 5_000}));
        answer["records"].as_array().unwrap().iter().map(from_json).collect()
    }

    /// All committed records that were not given before, up to the end as it is now.
    pub(crate) fn rest(&mut self, topic: &str) -> Vec<Record> {
        let answer = self.ask(&json!({"op": "rest", "topic": topic}));
        answer["records"].as_array().unwrap().iter().map(from_json).collect()
    }

    /// How many committed records of the topic were seen so far, and by partition the offset behind
    /// the last one; waits a moment for a new one. Cheaper than reading them.
    pub(crate) fn count(&mut self, topic: &str, wait: Duration) -> (usize, BTreeMap<i32, i64>) {
        let wait = wait.as_secs_f64();
        let answer =
            self.ask(&json!({"op": "count", "topic": topic, "wait": wait, "maximum": 5_000}));
        let count = usize::try_from(answer["count"].as_u64().unwrap()).unwrap();
        (count, serde_json::from_value(answer["next"].clone()).unwrap())
    }

    /// The topic's id, by which newer requests name it.
    pub(crate) fn topic_id(&mut self, topic: &str) -> Vec<u8> {
        let answer = self.ask(&json!({"op": "topic_id", "topic": topic}));
        bytes_from_json(&json!({"hex": answer["id"]})).unwrap()
    }

    /// The committed offset of each partition, -1 for none.
    pub(crate) fn committed(&mut self, topic: &str, group: &str) -> Vec<i64> {
        let answer = self.ask(&json!({"op": "committed", "topic": topic, "group": group}));
        serde_json::from_value(answer["offsets"].clone()).unwrap()
    }

    /// How many partitions each member of the group has.
    pub(crate) fn members(&mut self, group: &str) -> Vec<i32> {
        let answer = self.ask(&json!({"op": "members", "group": group}));
        let mut members: Vec<i32> = serde_json::from_value(answer["members"].clone()).unwrap();
        members.sort_unstable();
        members
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        drop(self.requests.take());
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn to_json(record: &Record) -> Value {
    let headers: Vec<Value> =
        record.headers.iter().map(|(name, value)| json!([name, bytes_to_json(value)])).collect();
    json!({
        "topic": record.topic,
        "partition": record.partition,
        "key": record.key.as_deref().map(bytes_to_json),
        "value": record.value.as_deref().map(bytes_to_json),
        "headers": headers,
    })
}

fn bytes_to_json(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!({"text": text}),
        Err(_) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            json!({"hex": hex})
        }
    }
}

fn from_json(record: &Value) -> Record {
    let headers = record["headers"].as_array().unwrap().iter().map(|pair| {
        let name = pair[0].as_str().unwrap().to_owned();
        (name, bytes_from_json(&pair[1]).unwrap_or_default())
    });
    Record {
        topic: record["topic"].as_str().unwrap().to_owned(),
        partition: record["partition"].as_i64().and_then(|number| i32::try_from(number).ok()),
        offset: record["offset"].as_i64().unwrap(),
        key: bytes_from_json(&record["key"]),
        value: bytes_from_json(&record["value"]),
        headers: headers.collect(),
    }
}

fn bytes_from_json(value: &Value) -> Option<Vec<u8>> {
    if let Some(text) = value["text"].as_str() {
        return Some(text.as_bytes().to_vec());
    }
    let hex = value["hex"].as_str()?;
    let digits = hex.as_bytes().chunks(2);
    Some(
        digits
            .map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap())
            .collect(),
    )
}
