//! The summary of runs of all kinds.

use super::*;
use crate::verify::{History, Orders, OutcomeSeen, check};

fn summary(broker: Broker, invariants: Report) -> Summary {
    let mut latency = LatencyRecorder::default();
    for milliseconds in 1..=1_000 {
        latency.record(Duration::from_millis(milliseconds * 10));
    }
    Summary {
        seed: 42,
        broker,
        duration: Duration::from_millis(43_210),
        orders: 1_302,
        devices: 10_000,
        commands: 11_204,
        calls: vec![
            MethodCalls::batched("devices:claimAsync", 12, 10_000, 1_000),
            MethodCalls::batched("devices:unclaimAsync", 3, 801, 1_000),
            MethodCalls::batched("devices:updateMetadataAsync", 0, 0, 1_000),
            MethodCalls::single("operations.get", 57),
        ],
        batch_sizes: BatchSizes::of(vec![1_000, 1_000, 267, 1, 1_000]),
        outcomes: BTreeMap::from([
            (Status::Succeeded, 11_000),
            (Status::Failed, 51),
            (Status::Superseded, 3),
            (Status::Merged, 100),
            (Status::Cancelled, 50),
        ]),
        failures: BTreeMap::from([(FailureCode::InvalidImei, 51)]),
        latency: latency.latency(),
        dead_letters: BTreeMap::from([("not_json".to_owned(), 1)]),
        invariants,
        chaos: None,
    }
}

fn nothing_seen() -> Report {
    check(&History::default(), Orders::Unknown)
}

/// As if the oracle had seen a run without fault.
fn all_held() -> Report {
    let mut report = nothing_seen();
    for (check, checked) in report.checks.iter_mut().zip([22_000, 9_950, 11_000, 600]) {
        check.checked = checked;
    }
    report
}

fn violated() -> Report {
    let command_id = crate::model::CommandId(uuid::Uuid::nil());
    let outcome = OutcomeSeen {
        outcome_id: command_id.into(),
        command_id,
        device: None,
        action: crate::model::Action::Claim,
        status: Status::Succeeded,
        code: None,
        decided_by: None,
    };
    check(&History { outcomes: vec![outcome], ..History::default() }, Orders::Unknown)
}

#[test]
fn the_text_shows_every_figure() {
    insta::assert_snapshot!(summary(Broker::EmbeddedMock, all_held()), @r"
    Demo with seed 42 on embedded mock broker
    1,302 order events, 10,000 devices, 11,204 commands
    43.2 s, 231.4 devices/s

    API calls                          calls   devices    fewest     times
      devices:claimAsync                  12    10,000        10      1.20
      devices:unclaimAsync                 3       801         1      3.00
      devices:updateMetadataAsync          0         0         0
      operations.get                      57
      all batches                         15    10,801        11      1.36
      fewest: with every batch full; times: calls for each of the fewest, 1.00 at best
      devices in a batch: min 1, median 1,000, mean 653.6, max 1,000

    Outcomes
      succeeded                       11,000
      failed                              51
      superseded                           3
      merged                             100
      cancelled                           50
      153 of them folded: no call of their own

    Failures
      input.invalid_imei                  51

    Dead letters
      not_json                             1

    Order event to outcome
      p50 5.00 s, p90 9.01 s, p99 9.90 s, max 10.00 s

    Invariants: all held
      I1 held     one outcome for every command (22,000 looked at: commands, lines, dead letters)
      I2 held     devices end as their commands say (9,950 looked at: devices)
      I3 held     one operation at a time for a device (11,000 looked at: devices in operations)
      I4 held     no offset committed ahead of its outcome (600 looked at: committed offsets)

    Guarantees
      embedded mock broker: transactions are not isolated and offsets are not kept here;
      this run says nothing about exactly-once;
      use --bootstrap-servers with a real Kafka
    ");
}

#[test]
fn the_json_has_the_same_figures_and_those_that_follow() {
    let broker = Broker::Kafka { bootstrap_servers: "localhost:9092".to_owned() };
    let json = summary(broker, all_held()).to_json();
    let members: Vec<String> = json
        .as_object()
        .unwrap()
        .iter()
        .filter(|(key, _)| {
            !["calls", "allBatches", "invariants", "guarantees"].contains(&key.as_str())
        })
        .map(|(key, value)| format!("{key}: {value}"))
        .chain([json["calls"][0].to_string(), json["calls"][3].to_string()])
        .chain([json["allBatches"]["ratio"].to_string()])
        .chain([json["invariants"][0]["violationsTotal"].to_string()])
        .collect();
    insta::assert_snapshot!(members.join("\n"), @r#"
    held: true
    seed: 42
    broker: {"kind":"kafka","bootstrapServers":"localhost:9092"}
    durationSeconds: 43.21
    orders: 1302
    devices: 10000
    commands: 11204
    batchSizes: {"min":1,"median":1000,"mean":653.6,"max":1000}
    outcomes: {"succeeded":11000,"failed":51,"superseded":3,"merged":100,"cancelled":50}
    failures: {"input.invalid_imei":51}
    latencySeconds: {"p50":5.003,"p90":9.007,"p99":9.903,"max":10.0}
    deadLetters: {"not_json":1}
    devicesPerSecond: 231.42791020597085
    folded: 153
    {"method":"devices:claimAsync","calls":12,"devices":10000,"least":10,"ratio":1.2}
    {"method":"operations.get","calls":57,"devices":null,"least":null,"ratio":null}
    1.3636363636363635
    0
    "#);
}

#[test]
fn a_violation_is_shown_and_makes_the_summary_fail() {
    let summary = summary(Broker::EmbeddedMock, violated());
    assert!(!summary.held());
    let text = summary.to_string();
    assert!(text.contains("Invariants: VIOLATED") && text.contains("unknown command"), "{text}");
}

#[test]
fn a_change_made_twice_without_a_lost_reply_makes_the_summary_fail() {
    let broker = Broker::Kafka { bootstrap_servers: "localhost:9092".to_owned() };
    let chaos = |explained| Some(crate::demo::chaos::tests::report(explained));
    let sound = Summary { chaos: chaos(57), ..summary(broker, all_held()) };
    assert!(sound.held());
    assert!(sound.to_string().contains("\nChaos\n  2 worker processes, 3 kills"), "{sound}");
    assert_eq!(sound.to_json()["chaos"]["kills"], 3);
    assert!(!Summary { chaos: chaos(56), ..sound }.held());
}

#[test]
fn a_run_in_which_nothing_happened_divides_by_nothing() {
    let summary = Summary {
        duration: Duration::ZERO,
        calls: Vec::new(),
        batch_sizes: BatchSizes::of(Vec::new()),
        outcomes: BTreeMap::new(),
        failures: BTreeMap::new(),
        latency: LatencyRecorder::default().latency(),
        dead_letters: BTreeMap::new(),
        ..summary(Broker::EmbeddedMock, nothing_seen())
    };
    assert!(!summary.held());
    insta::assert_snapshot!(summary, @r"
    Demo with seed 42 on embedded mock broker
    1,302 order events, 10,000 devices, 11,204 commands
    0.0 s, 0.0 devices/s

    API calls                          calls   devices    fewest     times
      no batch was sent

    Outcomes: none

    Failures: none

    Dead letters: none

    Order event to outcome: nothing measured

    Invariants: not all of them could be checked
      I1 untested one outcome for every command (0 looked at: commands, lines, dead letters)
      I2 untested devices end as their commands say (0 looked at: devices)
      I3 untested one operation at a time for a device (0 looked at: devices in operations)
      I4 untested no offset committed ahead of its outcome (0 looked at: committed offsets)

    Guarantees
      embedded mock broker: transactions are not isolated and offsets are not kept here;
      this run says nothing about exactly-once;
      use --bootstrap-servers with a real Kafka
    ");
}

#[test]
fn only_a_real_kafka_speaks_of_exactly_once_as_seen() {
    assert!(Broker::EmbeddedMock.guarantees().contains("says nothing about exactly-once"));
    let kafka = Broker::Kafka { bootstrap_servers: String::new() };
    assert!(kafka.guarantees().contains("exactly once"));
}
