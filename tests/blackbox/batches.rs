//! How few calls are made, and how soon.

use std::time::Duration;

use serde_json::Value;

use crate::events::{sale, single_sales};
use crate::invariants;
use crate::world::{SOON, Setup, World};

#[test]
fn ten_thousand_single_sales_take_hardly_more_calls_than_there_must_be() {
    let settings = [("batch.items_max", "1000")];
    let mut world = World::new(
        "full-load",
        Setup { sandbox: &["--operation-time", "1s"], settings: &settings, ..Setup::default() },
    );
    let _worker = world.worker();
    world.send(&single_sales(0..10_000));
    world.wait_for_outcomes(10_000, 2 * SOON);
    world.wait_until_quiet(SOON);

    assert_eq!(world.statuses()["succeeded"], 10_000);
    let calls = world.sandbox.batches("claimAsync");
    assert!(calls <= 12, "{calls} calls for 10,000 devices in batches of 1,000");
    invariants::hold(&world);
}

/// One call each second: of the quota, a tenth may burst and nine tenths flow.
const ONE_CALL_A_SECOND: &str = r#"
[[accounts]]
name = "main"
partner_id = 1001
auth = { kind = "none" }
quota_calls = 10
quota_window = "9s"
"#;

#[test]
fn no_batch_leaves_less_than_full_while_more_devices_wait_for_the_quota() {
    let settings = [
        ("batch.items_max", "200"),
        // The one quota is for the claims: polls would take calls from it.
        ("operation.poll_delay_min", "\"20s\""),
        ("operation.poll_delay_max", "\"20s\""),
    ];
    let mut world = World::new(
        "batches-grow",
        Setup {
            sandbox: &["--quota-calls", "10", "--quota-window", "9s"],
            settings: &settings,
            accounts: Some(ONE_CALL_A_SECOND),
            ..Setup::default()
        },
    );
    let _worker = world.worker();
    world.send(&single_sales(0..2_000));
    world.wait_for_outcomes(2_000, 3 * SOON);

    let calls = world.sandbox.entries("calls?method=claimAsync");
    let sizes: Vec<u64> = calls.iter().map(|call| call["items"].as_u64().unwrap()).collect();
    assert_eq!(sizes.iter().sum::<u64>(), 2_000, "{sizes:?}");
    let (_last, others) = sizes.split_last().unwrap();
    assert!(others.iter().all(|size| *size == 200), "{sizes:?}");
    assert_eq!(world.sandbox.calls("claimAsync", 429), 0, "the worker keeps to the quota");
    world.wait_until_quiet(SOON);
    invariants::hold(&world);
}

#[test]
fn a_device_that_arrives_alone_waits_for_the_linger_and_no_longer() {
    let settings = [("batch.linger", "\"100ms\""), ("batch.linger_max", "\"60s\"")];
    let mut world = World::new("alone", Setup { settings: &settings, ..Setup::default() });
    let _worker = world.worker();
    for number in 1..=3 {
        let id = format!("sale-{number}");
        world.send(&[sale(&id, &id, "100", &[number])]);
        world.wait_for_outcomes(usize::try_from(number).unwrap(), Duration::from_secs(40));
        let outcome = world.outcome_of(&id);
        let waited = waited(&outcome.json);
        // Far below the sixty seconds, and far above what an honest linger takes.
        assert!(waited < Duration::from_secs(20), "the call went out after {waited:?}");
        assert!(waited >= Duration::from_millis(50), "there was no linger: {waited:?}");
    }
    assert_eq!(world.sandbox.batches("claimAsync"), 3);
    invariants::hold(&world);
}

/// From the receipt of the order event to the call.
fn waited(outcome: &Value) -> Duration {
    let time = |name: &str| -> jiff::Timestamp {
        outcome["times"][name].as_str().unwrap().parse().unwrap()
    };
    time("submittedAt").duration_since(time("receivedAt")).unsigned_abs()
}
