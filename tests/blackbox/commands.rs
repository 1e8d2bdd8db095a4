//! The subcommands: what they refuse, what they print, and how they end.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::kafka::Kafka;
use crate::process::{run, wait_for};
use crate::python;
use crate::sandbox::Sandbox;
use crate::world::{SOON, Setup, World};

const REFUSED: i32 = 1;
const CONFIGURATION: i32 = 64;

#[test]
fn run_waits_for_topics_that_are_missing_or_would_lose_something_and_says_what_is_wrong() {
    let mut world = World::without_topics("wrong-topics", Setup::default());
    let orders = world.topic("orders");
    world.client.create_topic(&orders, 1, &json!({}));
    world.client.create_topic(&world.topic("commands"), 3, &json!({"retention.ms": "3600000"}));
    world.client.create_topic(&world.topic("ledger"), 2, &json!({"cleanup.policy": "delete"}));
    world.client.create_topic(&world.topic("outcomes"), 2, &json!({}));
    // The dead letters are missing.
    let mut worker = world.worker();
    wait_for("a complaint", SOON, || worker.stderr().contains("topics create").then_some(()));
    let said = worker.stderr();
    for part in [
        "dead-letters does not exist",
        "cleanup.policy=delete where compact is expected",
        "has 2 partitions and wrong-topics.commands has 3",
        "retention.ms",
        "topics create",
    ] {
        assert!(said.contains(part), "{part:?} is not in:\n{said}");
    }
    assert!(worker.ended().is_none(), "what can be put right ends no worker");
    worker.signal("-TERM");
    assert_eq!(worker.exit_code(SOON), 0);
    let created = world.run(&["topics", "create"], &[]);
    assert_eq!(created.code, REFUSED);
    assert!(created.stdout.contains("created  wrong-topics.dead-letters"), "{}", created.stdout);
    assert!(created.stdout.contains("WRONG    wrong-topics.ledger"), "{}", created.stdout);
    let checked = world.run(&["check-config"], &["--connect"]);
    assert_eq!(checked.code, REFUSED);
    assert!(checked.stdout.contains("FAILED  Kafka and topics"), "{}", checked.stdout);
    assert!(checked.stdout.contains("ok      account main"), "{}", checked.stdout);
}

#[test]
fn topics_create_makes_what_is_missing_once_and_check_config_finds_all_well() {
    let world = World::new("sound", Setup::default());
    let again = world.run(&["topics", "create"], &[]);
    assert_eq!(again.code, 0, "{}", again.stdout);
    for topic in ["commands", "ledger", "outcomes", "dead-letters"] {
        assert!(again.stdout.contains(&format!("present  sound.{topic}")), "{}", again.stdout);
    }
    let checked = world.run(&["check-config"], &["--connect"]);
    assert_eq!(checked.code, 0, "{}{}", checked.stdout, checked.stderr);
    assert!(checked.stdout.contains("ok      Kafka and topics: 4 lanes"), "{}", checked.stdout);
    assert!(checked.stdout.contains("ok      account main: partner 1001"), "{}", checked.stdout);
    for right in ["reading sound.orders", "writing sound.outcomes", "group sound.intake"] {
        assert!(checked.stdout.contains(&format!("ok      {right}: may be")), "{}", checked.stdout);
    }

    let refused = json!({"kind": "status", "http": 403});
    world.sandbox.rule(&json!({"method": "customers.list", "fault": refused}));
    let checked = world.run(&["check-config"], &["--connect"]);
    assert_eq!(checked.code, REFUSED);
    assert!(checked.stdout.contains("ok      Kafka and topics"), "{}", checked.stdout);
    assert!(checked.stdout.contains("FAILED  account main"), "{}", checked.stdout);

    let nowhere = ["--connect", "--bootstrap-servers", "127.0.0.1:1"];
    let checked = world.run(&["check-config"], &nowhere);
    assert_eq!(checked.code, REFUSED);
    assert!(checked.stdout.contains("FAILED  Kafka and topics"), "{}", checked.stdout);
    assert!(checked.stdout.contains("127.0.0.1:1"), "{}", checked.stdout);
}

#[test]
fn a_configuration_with_mistakes_is_refused_with_all_of_them_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("bad.toml");
    let text = r#"
[kafka]
bootstrap_servers = "no port"
group = "typo"

[topics]
orders = ["orders"]

[batch]
items_max = 0

[api]
endpoint = "ftp://x"

[[accounts]]
name = "main"
partner_id = "secret-looking"
"#;
    std::fs::write(&file, text).unwrap();
    for subcommand in [&["run"][..], &["check-config"], &["topics", "create"]] {
        let mut arguments = subcommand.to_vec();
        arguments.extend(["--config", file.to_str().unwrap()]);
        let said = run(&arguments);
        assert_eq!(said.code, CONFIGURATION, "{}", said.stderr);
        assert_eq!(said.stdout, "");
        for key in [
            "kafka.bootstrap_servers",
            "kafka.group",
            "batch.items_max",
            "api.endpoint",
            "accounts.0.partner_id",
        ] {
            assert!(said.stderr.contains(key), "{key} is not in:\n{}", said.stderr);
        }
        assert!(said.stderr.contains("bad.toml:3"), "lines are named:\n{}", said.stderr);
    }
}

#[test]
fn schema_prints_the_files_of_the_repository() {
    let names = run(&["schema"]);
    assert_eq!(names.code, 0);
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    let mut files: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .filter_map(|name| Some(name.strip_suffix(".schema.json")?.to_owned()))
        .collect();
    let mut printed: Vec<String> = names.stdout.lines().map(str::to_owned).collect();
    files.sort();
    printed.sort();
    assert_eq!(printed, files);
    for name in printed {
        let said = run(&["schema", &name]);
        assert_eq!(said.code, 0);
        let file = std::fs::read_to_string(folder.join(format!("{name}.schema.json"))).unwrap();
        assert_eq!(said.stdout.trim_end(), file.trim_end(), "{name}");
    }
    let unknown = run(&["schema", "nothing"]);
    assert_eq!(unknown.code, CONFIGURATION);
    assert!(unknown.stderr.contains("order-event"), "{}", unknown.stderr);
}

fn demo(flags: &[&str]) -> Value {
    let mut arguments = vec!["demo", "--devices", "300", "--summary", "json"];
    arguments.extend(flags);
    let said = run(&arguments);
    assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
    let summary: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(summary["held"], true, "{summary:#}");
    assert_eq!(summary["devices"], 300);
    summary
}

#[test]
fn the_demo_needs_nothing_and_its_invariants_hold() {
    let summary = demo(&[]);
    assert_eq!(summary["broker"]["kind"], "embeddedMock");
    let guarantees = summary["guarantees"].as_str().unwrap();
    assert!(guarantees.contains("says nothing about exactly-once"), "{guarantees}");
}

#[test]
fn the_demo_on_a_real_kafka_speaks_of_exactly_once() {
    let servers = Kafka::shared().bootstrap_servers();
    let summary = demo(&["--bootstrap-servers", &servers]);
    assert_eq!(summary["broker"]["kind"], "kafka");
    let guarantees = summary["guarantees"].as_str().unwrap();
    assert!(guarantees.contains("exactly once"), "{guarantees}");
}

#[test]
fn googles_python_client_works_against_the_sandbox_process() {
    let directory = tempfile::tempdir().unwrap();
    let vendors = json!({"vendors": [{"partnerId": "1234567", "companyId": "77",
        "companyName": "Sub", "customers": [{"companyId": "200", "companyName": "Theirs"}]}]});
    let customers = directory.path().join("customers.json");
    std::fs::write(&customers, vendors.to_string()).unwrap();
    let flags = ["--operation-time", "1s", "--customers", customers.to_str().unwrap()];
    let sandbox = Sandbox::start_bare(directory.path(), &flags);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/google_client/test_google_client.py");
    let python = python::python_with("google-client", "google_client/requirements.txt");
    let output = Command::new(python)
        .arg(script)
        .env("SANDBOX_URL", sandbox.url())
        .env("SANDBOX_VENDORS", "77")
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}

#[test]
fn a_worker_without_kafka_waits_for_it_and_still_ends_on_a_signal() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("worker.toml");
    let text = r#"
[kafka]
bootstrap_servers = "127.0.0.1:1"
[topics]
orders = ["orders"]
[api]
endpoint = "http://127.0.0.1:2"
[[accounts]]
name = "main"
partner_id = 1
auth = { kind = "none" }
"#;
    std::fs::write(&file, text).unwrap();
    let arguments = ["run", "--config", file.to_str().unwrap()];
    let mut worker = crate::process::Process::start(directory.path(), "worker", &arguments);
    wait_for("the worker waits", SOON, || {
        assert!(worker.ended().is_none(), "an outage of Kafka must not end the worker");
        worker.stderr().contains("Kafka is not there yet").then_some(())
    });
    worker.signal("-TERM");
    assert_eq!(worker.exit_code(Duration::from_secs(10)), 0);
}
