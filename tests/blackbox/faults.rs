//! The API misbehaves: what can still be done is done, and everything ends in an outcome.

use serde_json::{Value, json};

use crate::events::{event, key, sale, single_sales};
use crate::invariants;
use crate::process::wait_for;
use crate::world::{SOON, Setup, World};

const BRIEF_WAITS: [(&str, &str); 4] = [
    ("retry.ambiguous_grace", "\"1s\""),
    ("retry.backoff_min", "\"100ms\""),
    ("retry.backoff_max", "\"1s\""),
    ("operation.deadline", "\"5s\""),
];

fn world(name: &str, sandbox: &[&str]) -> World {
    World::new(name, Setup { sandbox, settings: &BRIEF_WAITS, ..Setup::default() })
}

/// Sells twenty devices while a fault is there.
fn sell_twenty(world: &mut World, rules: &[Value]) {
    for rule in rules {
        world.sandbox.rule(rule);
    }
    let numbers: Vec<u64> = (0..20).collect();
    world.send(&[sale("sale", "order-1", "100", &numbers)]);
    world.wait_for_outcomes(20, SOON);
    world.wait_until_quiet(SOON);
}

#[test]
fn a_lost_reply_is_repeated_after_the_grace_and_a_device_that_exists_already_is_a_success() {
    let mut world = world("lost-reply", &["--reclaim", "error"]);
    let _worker = world.worker();
    let lost = json!({"kind": "loseReply"});
    sell_twenty(&mut world, &[json!({"method": "claimAsync", "times": 1, "fault": lost})]);
    assert_eq!(world.statuses()["succeeded"], 20);
    assert_eq!(world.sandbox.batches("claimAsync"), 2, "the lost one and its repetition");
    assert!(world.sandbox.calls("findByIdentifier", 200) >= 20, "what failed was looked up");
    invariants::hold(&world);
}

#[test]
fn throttled_and_failing_calls_are_made_again_until_they_work() {
    let mut world = world("storm", &[]);
    let _worker = world.worker();
    // Method, status, how often, accepted batches after it: a call that was answered with 500 or
    // 503 may have worked, but the sandbox refuses before it does anything.
    let storms = [
        ("claimAsync", 429, 3),
        ("claimAsync", 503, 2),
        ("claimAsync", 500, 1),
        ("operations.get", 429, 3),
        ("operations.get", 500, 2),
    ];
    for (number, (method, http, times)) in (0..).zip(storms) {
        let mut fault = json!({"kind": "status", "http": http});
        if http == 429 {
            fault["retryAfter"] = json!(1);
        }
        world.sandbox.rule(&json!({"method": method, "times": times, "fault": fault}));
        world.send(&single_sales(number..number + 1));
        world.wait_for_outcomes(usize::try_from(number).unwrap() + 1, SOON);
        assert_eq!(world.sandbox.calls(method, http), times, "{method} {http}");
        assert_eq!(world.sandbox.batches("claimAsync"), number + 1);
    }
    world.wait_until_quiet(SOON);
    assert_eq!(world.statuses()["succeeded"], storms.len());
    invariants::hold(&world);
}

#[test]
fn short_doubled_and_reordered_results_are_matched_by_what_they_echo() {
    let mut world = world("results", &[]);
    let _worker = world.worker();
    let failed = json!({"kind": "deviceStatus", "status": "INVALID_SECTION_TYPE"});
    sell_twenty(
        &mut world,
        &[
            json!({"fault": {"kind": "reorderResult"}}),
            json!({"fault": {"kind": "duplicateResult", "count": 3}}),
            json!({"fault": {"kind": "shortResult", "count": 4}}),
            json!({"device": key(11), "fault": failed}),
        ],
    );
    // The failed one may be among the missing: then the lookup tells, and it is sent again.
    for line in 0..20 {
        let outcome = world.outcome_at("sale", &line.to_string());
        if line == 11 {
            assert_eq!(outcome.status(), "failed", "{:#}", outcome.json);
        } else {
            assert_eq!(outcome.status(), "succeeded", "{:#}", outcome.json);
        }
    }
    invariants::hold(&world);
}

#[test]
fn an_operation_that_never_says_done_is_decided_by_lookup_after_the_deadline() {
    let mut world = world("stuck", &[]);
    let _worker = world.worker();
    let rule = |kind: &str| json!({"method": "claimAsync", "times": 1, "fault": {"kind": kind}});
    sell_twenty(&mut world, &[rule("stuckAtHundred")]);
    assert_eq!(world.statuses()["succeeded"], 20, "the devices are as they should be");
    assert_eq!(world.sandbox.batches("claimAsync"), 1);

    world.sandbox.rule(&rule("neverDone"));
    world.send(&[sale("never", "order-2", "100", &[50])]);
    world.wait_for_outcomes(21, SOON);
    let never = world.outcome_of("never");
    assert_eq!((never.status(), never.code()), ("unresolved", "transport.deadline_exceeded"));
    assert_eq!(never.json["failure"]["retryable"], true);
    assert_eq!(world.sandbox.batches("claimAsync"), 2, "it may still change: it is not sent again");
    world.wait_until_quiet(SOON);
    invariants::hold(&world);
}

#[test]
fn devices_of_a_failed_or_vanished_operation_are_looked_up_and_sent_again_if_that_is_safe() {
    // The operations end before they are first asked for.
    let mut world = world("operation-error", &["--operation-time", "20ms"]);
    let _worker = world.worker();
    let error = json!({"kind": "operationError", "code": 13});
    sell_twenty(&mut world, &[json!({"method": "claimAsync", "times": 1, "fault": error})]);
    assert_eq!(world.statuses()["succeeded"], 20);
    assert_eq!(world.sandbox.batches("claimAsync"), 2);

    let vanish = json!({"kind": "vanish"});
    world.sandbox.rule(&json!({"method": "claimAsync", "times": 1, "fault": vanish}));
    world.send(&[sale("vanished", "order-2", "100", &[50])]);
    world.wait_until_quiet(SOON);
    assert_eq!(world.outcome_of("vanished").status(), "succeeded", "the lookup shows it claimed");
    invariants::hold(&world);
}

#[test]
fn one_poisonous_device_fails_alone_though_its_whole_call_is_refused() {
    let mut world = world("poison", &[]);
    let _worker = world.worker();
    sell_twenty(&mut world, &[json!({"device": key(13), "fault": {"kind": "poison"}})]);
    assert_eq!(world.statuses()["succeeded"], 19);
    let poison = world.outcome_at("sale", "13");
    assert_eq!((poison.status(), poison.code()), ("failed", "batch.rejected"));
    assert_eq!(poison.text("/failure/apiStatus"), "INVALID_ARGUMENT");
    invariants::hold(&world);
}

#[test]
fn of_ten_devices_one_breaks_every_call_and_nine_are_done() {
    let mut world = world("culprit", &[]);
    let _worker = world.worker();
    let broken = json!({"kind": "status", "http": 500});
    world.sandbox.rule(&json!({"method": "claimAsync", "device": key(3), "fault": broken}));
    world.send(&[sale("ten", "order-1", "100", &(0..10).collect::<Vec<u64>>())]);
    world.wait_for_outcomes(10, SOON);
    assert_eq!(world.statuses()["succeeded"], 9);
    let culprit = world.outcome_at("ten", "3");
    assert_eq!((culprit.status(), culprit.code()), ("unresolved", "transport.no_answer"));
    assert!(culprit.text("/failure/message").contains("injected fault"), "{:#}", culprit.json);
    world.wait_until_quiet(SOON);
    invariants::hold(&world);
}

#[test]
fn an_order_that_the_api_forbids_fails_alone_and_the_account_works_on() {
    let mut world = world("forbidden", &[]);
    let _worker = world.worker();
    let forbidden = json!({"kind": "status", "http": 403});
    world.sandbox.rule(&json!({"method": "claimAsync", "device": key(30), "fault": forbidden}));
    world.send(&[
        sale("bad", "order-1", "100", &[30]),
        sale("good", "order-2", "100", &(0..20).collect::<Vec<u64>>()),
    ]);
    world.wait_for_outcomes(21, SOON);
    assert_eq!(world.statuses()["succeeded"], 20);
    let bad = world.outcome_of("bad");
    assert_eq!((bad.status(), bad.code()), ("failed", "batch.rejected"));
    assert_eq!(bad.text("/failure/apiStatus"), "PERMISSION_DENIED");
    world.wait_until_quiet(SOON);
    invariants::hold(&world);
}

const TWO_ACCOUNTS: &str = r#"
[[accounts]]
name = "main"
partner_id = 1001
auth = { kind = "none" }

[[accounts]]
name = "other"
partner_id = 1002
auth = { kind = "none" }
"#;

#[test]
fn a_refused_account_waits_and_fails_nothing_while_another_goes_on() {
    let mut settings = BRIEF_WAITS.to_vec();
    settings.retain(|(key, _)| *key != "operation.deadline");
    settings.push(("default_account", "\"main\""));
    let mut world = World::new(
        "refused",
        Setup { settings: &settings, accounts: Some(TWO_ACCOUNTS), ..Setup::default() },
    );
    let worker = world.worker();
    for (http, method) in [(401, "claimAsync"), (403, "claimAsync")] {
        let fault = json!({"kind": "status", "http": http});
        let rule = json!({"method": method, "partner": "1001", "fault": fault});
        world.sandbox.rule(&rule);
        let refused: Vec<Value> = (0..5)
            .map(|n| {
                let id = format!("refused-{http}-{n}");
                sale(&id, &id, "100", &[u64::from(http) * 100 + n])
            })
            .collect();
        world.send(&refused);
        wait_for("some refusals", SOON, || {
            (world.sandbox.calls("claimAsync", http) >= 3).then_some(())
        });
        let mut fine = sale(&format!("fine-{http}"), "order-f", "100", &[u64::from(http)]);
        fine["account"] = json!("other");
        world.send(&[fine]);
        let before = world.outcomes.len();
        world.wait_for_outcomes(before + 1, SOON);
        assert_eq!(world.outcomes.len(), before + 1, "nothing of the refused account is decided");
        assert_eq!(world.outcomes[before].text("/eventId"), format!("fine-{http}"));
        assert!(worker.stderr().contains("refuses this account"));

        world.sandbox.clear_faults();
        world.wait_for_outcomes(before + 6, SOON);
    }
    world.wait_until_quiet(SOON);
    assert_eq!(world.statuses()["succeeded"], 12);
    invariants::hold(&world);
}

#[test]
fn a_return_does_not_take_a_device_from_a_customer_of_another_order() {
    let mut world = world("stale-return", &[]);
    let _worker = world.worker();
    world.sandbox.seed(&json!([{
        "partnerId": "1001", "customerId": "300",
        "deviceIdentifier": {"imei": crate::events::imei(1)},
        "metadata": {"ordernumber": "order-new"},
    }]));
    world.send(&[event("return", "late", "order-old", &[1])]);
    world.wait_until_quiet(SOON);
    let late = world.outcome_of("late");
    assert_eq!((late.status(), late.code()), ("stale", "device.stale_unclaim"));
    assert_eq!(world.sandbox.device(&key(1)).unwrap()["claim"]["customerId"], "300");
    assert_eq!(world.sandbox.batches("unclaimAsync"), 0);
    invariants::every_line_and_command_has_one_outcome(&world);
}

#[test]
fn devices_that_fail_for_a_passing_reason_are_sent_again_a_few_times() {
    let mut world = world("passing", &[]);
    let _worker = world.worker();
    let error = json!({"kind": "deviceStatus", "status": "OTHER_ERROR"});
    world.sandbox.rule(&json!({"device": key(0), "times": 1, "fault": error}));
    world.sandbox.rule(&json!({"device": key(2), "fault": error}));
    world.send(&single_sales(0..3));
    world.wait_until_quiet(SOON);
    let first = world.outcome_of("sale-0");
    assert_eq!((first.status(), &first.json["attempts"]), ("succeeded", &json!(2)));
    assert_eq!(world.outcome_of("sale-1").status(), "succeeded");
    let third = world.outcome_of("sale-2");
    assert_eq!((third.status(), third.code()), ("failed", "device.other"));
    assert_eq!(third.text("/failure/apiStatus"), "SINGLE_DEVICE_STATUS_OTHER_ERROR");
    assert_eq!(
        (&third.json["attempts"], &third.json["failure"]["retryable"]),
        (&json!(5), &json!(true))
    );
    invariants::hold(&world);
}
