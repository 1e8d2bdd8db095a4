//! The independent checker: `tests/clients/checker.py`.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::python;
use crate::world::World;

/// `operation.deadline` of every world here, as it is set where it matters.
pub(crate) const DEADLINE_SECONDS: u64 = 15;

/// What was done to the processes, and when, by the clock that everybody here shares.
#[derive(Debug, Default)]
pub(crate) struct Disturbances(Vec<Value>);

impl Disturbances {
    /// Notes that this happens now. The kinds are those of the checker.
    pub(crate) fn note(&mut self, kind: &str) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        self.0.push(json!({"at": now, "kind": kind}));
    }
}

/// What a worker says when Kafka has taken something from it, in the aftermath of an outage or on a
/// machine that is too busy for a session: what was under way then may have been lost.
const TROUBLE: [&str; 5] = [
    "partitions were lost",
    "begins anew",
    "producer is replaced",
    // The group went on without this member, and its transaction was refused.
    "Unknown member",
    "group generation id is not valid",
];

/// The troubles that the workers have reported themselves.
fn troubles(world: &World) -> Vec<Value> {
    let mut found = Vec::new();
    for log in world.said_by_workers() {
        for line in log.lines().filter(|line| TROUBLE.iter().any(|text| line.contains(text))) {
            let time = line.split(' ').next().and_then(|time| time.parse::<Timestamp>().ok());
            if let Some(time) = time {
                found.push(json!({"at": time.as_millisecond() as f64 / 1e3, "kind": "trouble"}));
            }
        }
    }
    found
}

/// Lets the checker read everything. A quiet world only: what comes later is not judged.
pub(crate) fn report(world: &World, disturbances: &Disturbances) -> Value {
    let mut all = disturbances.0.clone();
    all.extend(troubles(world));
    let request = json!({
        "servers": world.servers,
        "sandbox": world.sandbox.url(),
        "topics": {
            "orders": world.topic("orders"),
            "commands": world.topic("commands"),
            "ledger": world.topic("ledger"),
            "outcomes": world.topic("outcomes"),
            "dead_letters": world.topic("dead-letters"),
        },
        "disturbances": all,
        "deadline": DEADLINE_SECONDS,
    });
    let python = python::python_with("kafka-client", "clients/requirements.txt");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/checker.py");
    let mut checker = Command::new(python)
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    checker.stdin.take().unwrap().write_all(request.to_string().as_bytes()).unwrap();
    let output = checker.wait_with_output().unwrap();
    assert!(output.status.success(), "the checker failed: {}", output.status);
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Fails the test if the checker finds anything wrong; gives its report.
pub(crate) fn must_hold(world: &World, disturbances: &Disturbances) -> Value {
    let report = report(world, disturbances);
    assert_eq!(report["violations_count"], 0, "{report:#}");
    report
}
