//! One item never holds up others (I15): whatever the API answers to a call with it, the item is
//! found and set aside; and what is the whole account's fault fails nothing.

use std::time::Duration;

use super::rules::{sale, world};
use super::world::{World, command, imei, options};
use crate::engine::Options;
use crate::engine::account::Kind;
use crate::engine::captured::{find, logged};
use crate::model::{CallFailure, Cause, DeviceHash, FailureCode, Named, Offset};

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

fn silence() -> CallFailure {
    CallFailure::Ambiguous { reason: "HTTP 500 (INTERNAL: on fire)".into() }
}

fn forbidden(http: u16) -> CallFailure {
    CallFailure::Forbidden {
        status: "PERMISSION_DENIED".into(),
        message: "The caller does not have permission".into(),
        reason: format!("HTTP {http}: check that the service account is linked"),
    }
}

fn rejected(message: &str, named: Named) -> CallFailure {
    let status = "INVALID_ARGUMENT".into();
    CallFailure::Rejected { status, identifier: None, message: message.into(), named }
}

fn bad_shape() -> CallFailure {
    rejected("Request contains an invalid argument.", Named::default())
}

/// Sells these devices, an order each.
fn sell(world: &mut World, devices: std::ops::Range<u64>) {
    for device in devices {
        world.write(0, sale(device, "7", &format!("o{device}")));
    }
    world.read_all();
}

/// Runs until all that was written has an outcome, and tells how long that took.
fn settle(world: &mut World, within: Duration) -> Duration {
    let began = world.now;
    let written: usize = world.log.values().map(Vec::len).sum();
    while world.outcomes.len() < written {
        let took = world.now.since(began);
        assert!(took < within, "{} of {written} after {took:?}", world.outcomes.len());
        assert!(world.step(), "{} of {written}, and nothing is waited for", world.outcomes.len());
    }
    world.now.since(began)
}

/// Lets time pass, whether or not anything happens.
fn pass(world: &mut World, time: Duration) {
    let end = world.now + time;
    while world.now < end {
        if !world.step() {
            world.now = end;
        }
    }
}

fn code(world: &World, offset: i64) -> Option<FailureCode> {
    let outcome = world.outcomes.iter().find(|outcome| outcome.offset == Offset(offset)).unwrap();
    outcome.verdict.failure.as_ref().map(|failure| failure.code)
}

fn message(world: &World, offset: i64) -> String {
    let outcome = world.outcomes.iter().find(|outcome| outcome.offset == Offset(offset)).unwrap();
    outcome.verdict.failure.as_ref().unwrap().message.clone()
}

fn submits(world: &World) -> usize {
    world.calls.iter().filter(|(_, kind)| *kind == Kind::Submit).count()
}

/// Ten devices of one batch, of which the fourth is a culprit.
fn ten_with(failure: CallFailure) -> World {
    let mut world = world(options());
    world.culprits = vec![(3, failure)];
    sell(&mut world, 0..10);
    world
}

fn assert_only_the_culprit(world: &World, status: &str) {
    let mut expected = vec!["succeeded"; 10];
    expected[3] = status;
    assert_eq!(world.statuses(0), expected);
    let refused = &world.worker.report().accounts[0].refused_because;
    assert_eq!(refused.as_deref(), None, "the account works");
    world.assert_settled();
}

#[test]
fn of_ten_devices_the_one_that_breaks_every_call_ends_unresolved_and_nine_are_done() {
    let mut world = ten_with(silence());
    let took = settle(&mut world, HOUR);
    world.run();
    assert!(took < 20 * MINUTE, "{took:?}");
    assert_only_the_culprit(&world, "unresolved");
    assert_eq!(code(&world, 3), Some(FailureCode::NoAnswer));
    assert!(message(&world, 3).contains("on fire"), "{}", message(&world, 3));
    let attempts: Vec<u16> = world.outcomes.iter().map(|o| o.verdict.attempts).collect();
    assert!(attempts.iter().max() <= Some(&options().device_attempts_max), "{attempts:?}");
}

#[test]
fn a_culprit_that_took_effect_all_the_same_is_a_success() {
    let mut world = world(options());
    sell(&mut world, 3..4);
    world.run();
    world.culprits = vec![(3, silence())];
    world.write(0, sale(3, "7", "o3"));
    sell(&mut world, 4..13);
    settle(&mut world, HOUR);
    world.run();
    assert_eq!(world.statuses(0), vec!["succeeded"; 11]);
    world.assert_settled();
}

#[test]
fn orders_that_come_later_do_not_wait_for_a_culprit() {
    let mut world = ten_with(silence());
    world.run_for(5 * MINUTE);
    let before = world.outcomes.len();
    sell(&mut world, 100..110);
    let began = world.now;
    while world.outcomes.len() < before + 10 {
        assert!(world.step());
    }
    assert!(world.now.since(began) < MINUTE, "{:?}", world.now.since(began));
    settle(&mut world, HOUR);
}

#[test]
fn an_unclaim_that_breaks_every_call_is_found_and_never_sent_unseen() {
    let mut world = world(options());
    sell(&mut world, 0..10);
    world.run();
    world.crash();
    world.run();
    world.culprits = vec![(3, silence())];
    for device in 0..10 {
        world.write(0, command(Cause::Return, device, None, &format!("o{device}")));
    }
    world.read_all();
    let lookups = world.lookups;
    settle(&mut world, HOUR);
    world.run();
    let mut expected = vec!["succeeded"; 20];
    expected[13] = "unresolved";
    assert_eq!(world.statuses(0), expected);
    // The guard looks once, and then each try of the culprit's is looked at.
    assert!(world.lookups - lookups >= 10 + 5, "{}", world.lookups - lookups);
    world.assert_settled();
}

#[test]
fn an_order_that_the_api_forbids_is_found_among_the_others_and_the_account_is_not_blamed() {
    for http in [403, 404] {
        let lines = logged(tracing::Level::WARN, || {
            let mut world = ten_with(forbidden(http));
            sell(&mut world, 100..120);
            let took = settle(&mut world, HOUR);
            assert!(took < 2 * MINUTE, "{took:?}");
            assert_eq!(world.statuses(0).iter().filter(|s| **s == "succeeded").count(), 29);
            assert_eq!(code(&world, 3), Some(FailureCode::BatchRejected));
            assert!(message(&world, 3).contains("does not have permission"));
            world.run();
            world.assert_settled();
        });
        let [told] = find(&lines, "the API refuses devices")[..] else { panic!("{lines:#?}") };
        assert_eq!((&told["order_id"], &told["devices"]), (&"o3".into(), &1.into()), "{told}");
        assert!(told["device"].as_str().unwrap().starts_with("imei:…"), "{told}");
        assert_eq!(told["account"], "main");
    }
}

#[test]
fn once_an_account_has_worked_one_forbidden_order_does_not_stop_it_or_make_it_look_refused() {
    let mut world = world(options());
    sell(&mut world, 0..20);
    world.run();
    world.culprits = vec![(50, forbidden(403))];
    sell(&mut world, 50..51);
    world.run_for(Duration::from_secs(2));
    assert_eq!(world.worker.report().accounts[0].refused_because, None);
    sell(&mut world, 60..70);
    let began = world.now;
    while world.outcomes.len() < 30 {
        assert!(world.step());
    }
    assert!(world.now.since(began) < MINUTE);
    settle(&mut world, 10 * MINUTE);
    assert_eq!(world.statuses(0)[20], "failed");
}

#[test]
fn an_account_that_is_forbidden_altogether_waits_and_fails_nothing() {
    let mut world = world(options());
    world.culprits = (0..200).map(|device| (device, forbidden(403))).collect();
    sell(&mut world, 0..200);
    world.run_for(6 * HOUR);
    assert_eq!(world.outcomes.len(), 0);
    let report = world.worker.report();
    assert!(report.accounts[0].refused_because.is_some());
    assert!(submits(&world) < 1_500, "{} submits in six hours", submits(&world));
    world.culprits.clear();
    settle(&mut world, 10 * MINUTE);
    assert_eq!(world.statuses(0), vec!["succeeded"; 200]);
    world.run();
    world.assert_settled();
}

#[test]
fn an_outage_of_hours_gives_nothing_up_and_leaves_few_batches() {
    let mut world = world(Options { batch_items_max: 100, ..options() });
    sell(&mut world, 0..400);
    world.run();
    sell(&mut world, 400..800);
    world.is_down = true;
    world.run_for(6 * HOUR);
    assert_eq!(world.outcomes.len(), 400, "nothing is decided meanwhile");
    assert!(world.worker.report().accounts[0].batches < 30, "{:?}", world.worker.report());
    world.is_down = false;
    settle(&mut world, HOUR);
    assert_eq!(world.statuses(0), vec!["succeeded"; 800]);
    world.run();
    world.assert_settled();
}

#[test]
fn a_culprit_alone_waits_until_others_are_accepted() {
    for failure in [silence(), forbidden(403)] {
        let mut world = world(options());
        world.culprits = vec![(3, failure)];
        sell(&mut world, 3..4);
        pass(&mut world, 3 * HOUR);
        assert_eq!(world.outcomes.len(), 0, "nobody knows whether it is the account");
        for device in 10..40 {
            sell(&mut world, device..device + 1);
            pass(&mut world, 2 * MINUTE);
        }
        assert_eq!(world.outcomes.len(), 31);
        assert!(["failed", "unresolved"].contains(&world.statuses(0)[0]));
        world.run();
        world.assert_settled();
    }
}

/// A thousand devices of ten orders that are refused for their shape, and good ones beside.
fn bad_thousand() -> World {
    let mut world = world(options());
    world.is_fast = true;
    world.culprits = (0..1_000).map(|device| (device, bad_shape())).collect();
    for device in 0..1_000 {
        world.write(0, sale(device, "7", &format!("bad-{}", device % 10)));
    }
    world.read_all();
    world.run_for(Duration::from_secs(1));
    sell(&mut world, 2_000..2_020);
    world
}

#[test]
fn a_thousand_devices_of_one_bad_shape_cost_tens_of_calls_and_one_line() {
    let lines = logged(tracing::Level::WARN, || {
        let mut world = bad_thousand();
        settle(&mut world, 2 * MINUTE);
        assert!(submits(&world) < 60, "{} submits", submits(&world));
        assert!(world.lookups < 40, "{} lookups", world.lookups);
        let statuses = world.statuses(0);
        assert_eq!(statuses[..1_000], vec!["failed"; 1_000]);
        assert_eq!(statuses[1_000..], vec!["succeeded"; 20]);
        for offset in [0, 500, 999] {
            assert_eq!(code(&world, offset), Some(FailureCode::BatchRejected));
            assert!(message(&world, offset).contains("invalid argument"));
        }
        world.run();
        world.assert_settled();
    });
    let [told] = find(&lines, "the API refuses devices")[..] else { panic!("{lines:#?}") };
    assert_eq!((&told["devices"], &told["orders"]), (&1_000.into(), &10.into()), "{told}");
    assert_eq!(told["reason"], "Request contains an invalid argument.");
}

#[test]
fn good_orders_go_out_at_once_beside_a_thousand_bad_devices() {
    let mut world = bad_thousand();
    let began = world.now;
    while world.statuses(0).iter().filter(|status| **status == "succeeded").count() < 20 {
        assert!(world.step());
    }
    assert!(world.now.since(began) < Duration::from_secs(15), "{:?}", world.now.since(began));
}

#[test]
fn a_good_order_in_a_batch_of_bad_ones_is_not_failed_with_them() {
    let mut world = world(options());
    world.is_fast = true;
    world.culprits = (0..1_000).map(|device| (device, bad_shape())).collect();
    for device in 0..1_000 {
        // The good one is spread over the whole batch.
        if device % 20 == 7 {
            world.write(0, sale(device + 5_000, "7", "good"));
        } else {
            world.write(0, sale(device, "7", &format!("bad-{}", device % 9)));
        }
    }
    world.read_all();
    settle(&mut world, HOUR);
    let good = |outcome: &&crate::engine::OutcomeWrite| outcome.command.unpack().order_id == "good";
    let good: Vec<&str> =
        world.outcomes.iter().filter(good).map(|o| o.verdict.status.as_str()).collect();
    assert_eq!(good, vec!["succeeded"; 50]);
}

#[test]
fn a_refusal_that_names_its_item_is_believed() {
    for by_device in [false, true] {
        let hash = sale(3, "7", "o3").facts().unwrap().device;
        let named = match by_device {
            false => Named { items: vec![3], devices: Vec::new() },
            true => Named { items: Vec::new(), devices: vec![hash, DeviceHash(7)] },
        };
        let mut world = ten_with(rejected("Invalid value at 'claims[3].customer_id'", named));
        settle(&mut world, MINUTE);
        world.run();
        assert_only_the_culprit(&world, "failed");
        assert_eq!(submits(&world), 2, "the whole, and all others");
    }
}

#[test]
fn a_claim_that_holds_already_is_a_success_whatever_the_api_says() {
    let mut world = world(options());
    sell(&mut world, 3..4);
    world.run();
    world.culprits = vec![(3, bad_shape())];
    world.write(0, sale(3, "7", "o3"));
    world.read_all();
    settle(&mut world, MINUTE);
    assert_eq!(world.statuses(0), ["succeeded", "succeeded"]);
    world.write(0, sale(3, "8", "o4"));
    world.read_all();
    settle(&mut world, MINUTE);
    assert_eq!(world.statuses(0)[2], "failed", "another customer's is none");
    assert_eq!(code(&world, 2), Some(FailureCode::BatchRejected));
    world.run();
    world.assert_settled();
}

#[test]
fn an_unclaim_refused_for_its_identifiers_is_sent_once_more_by_the_device_id() {
    for (order, status) in [("o3", "succeeded"), ("other", "stale")] {
        let mut world = world(options());
        sell(&mut world, 3..4);
        world.run();
        world.crash();
        world.run();
        world.nameless = vec![3];
        world.write(0, command(Cause::Return, 3, None, order));
        world.read_all();
        settle(&mut world, 5 * MINUTE);
        assert_eq!(world.statuses(0), ["succeeded", status]);
        assert_eq!(world.owner(3), (status == "stale").then_some("7"));
        let device = world.outcomes[1].command.unpack().device.imei;
        assert_eq!(device, Some(imei(3)), "the outcome names the device as the order did");
        world.run();
        world.assert_settled();
    }
}

#[test]
fn polls_are_spread_by_the_operations_that_run_and_not_by_the_batches_that_wait() {
    // All calls of these fail, so that they wait.
    let mut few = options();
    (few.accounts[0].quota_calls, few.batch_items_max) = (50, 1);
    let mut world = world(few);
    world.culprits = (0..20).map(|device| (device, silence())).collect();
    sell(&mut world, 0..20);
    world.run_for(3 * HOUR);
    let waiting = world.worker.report().accounts[0].batches;
    assert!(waiting > 10, "{waiting}");
    sell(&mut world, 1_000..1_001);
    world.run_until_sent(1);
    world.done_at = world.now + Duration::from_secs(55);
    let done_at = world.done_at;
    while world.outcomes.is_empty() {
        assert!(world.step());
    }
    let late = world.now.since(done_at);
    assert!(late < Duration::from_secs(15), "asked for {late:?} after its end");
}

#[test]
fn a_device_that_cannot_be_looked_up_does_not_wait_for_ever_while_others_can() {
    for failure in [silence(), forbidden(403)] {
        let mut world = world(options());
        world.unseen = vec![(3, failure)];
        world.write(0, command(Cause::Return, 3, None, "o3"));
        for device in 10..40 {
            world.write(0, command(Cause::Return, device, None, "o4"));
            world.read_all();
            pass(&mut world, MINUTE);
        }
        assert_eq!(world.outcomes.len(), 31);
        let mut expected = vec!["succeeded"; 31];
        expected[0] = "failed";
        assert_eq!(world.statuses(0), expected);
        assert_eq!(submits(&world), 0, "nothing that was not seen was sent");
        world.run();
        world.assert_settled();
    }
}

#[test]
fn a_wait_that_the_api_asks_for_is_told_and_shown() {
    let lines = logged(tracing::Level::WARN, || {
        let mut world = world(options());
        let after = Some(Duration::from_secs(3_600));
        world.culprits = vec![(3, CallFailure::Throttled { after })];
        sell(&mut world, 3..5);
        while world.worker.report().accounts[0].waiting_until.is_none() {
            assert!(world.step());
        }
        let account = world.worker.report().accounts[0].clone();
        let (since, until) = (account.waiting_since.unwrap(), account.waiting_until.unwrap());
        assert_eq!(until.duration_since(since).as_secs(), 3_600);
        world.culprits.clear();
        settle(&mut world, 2 * HOUR);
        assert_eq!(world.worker.report().accounts[0].waiting_until, None);
    });
    let [told] = find(&lines, "the API asks this account to wait")[..] else {
        panic!("{lines:#?}")
    };
    assert_eq!((&told["account"], &told["wait"]), (&"main".into(), &"3600s".into()), "{told}");
    assert!(told["until"].is_string(), "{told}");
}
