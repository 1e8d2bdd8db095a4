//! A group that has read nothing yet meets a topic that holds something.

use crate::asking::Admin;
use crate::broker::{stop, wait_for_line, world};
use crate::events::{sale, single_sales};
use crate::process::wait_for;
use crate::world::SOON;

#[test]
fn a_history_is_claimed_only_by_word_of_the_operator_and_latest_is_decided_once() {
    let mut world = world("positions-latest", &[]);
    world.unset("intake.start");
    world.send(&single_sales(0..20));
    let worker = world.worker();
    let admin = Admin::of(&worker);
    let reason = wait_for("it asks", SOON, || admin.reason("positions"));
    for word in ["20 records", "positions-latest.orders", "intake.start", "\"latest\""] {
        assert!(reason.contains(word), "{reason}");
    }
    wait_for_line(&worker, "20 records are in positions-latest.orders");
    assert!(admin.is_live());
    // Dispatch works on.
    wait_for("the lanes are there", SOON, || admin.reason("lanes").is_none().then_some(()));
    stop(worker);
    assert_eq!(world.read_commands(), 0);

    world.set("intake.start", "\"latest\"");
    let worker = world.worker();
    Admin::of(&worker).wait_until_ready();
    wait_for_line(&worker, "0 records behind");
    stop(worker);
    // What comes while no worker runs is behind the place that was decided.
    world.send(&[sale("later", "order-later", "100", &[100])]);
    let worker = world.worker();
    world.wait_for_outcomes(1, SOON);
    assert_eq!(world.outcome_of("later").status(), "succeeded");
    stop(worker);

    // A group with positions needs no word, in partitions without records neither.
    world.unset("intake.start");
    world.send(&single_sales(101..110));
    let worker = world.worker();
    Admin::of(&worker).wait_until_ready();
    world.wait_for_outcomes(10, SOON);
    stop(worker);
    world.read_rest();
    assert_eq!(world.outcomes.len(), 10);
}

#[test]
fn earliest_reads_all_there_is_and_an_empty_topic_needs_no_word() {
    let mut world = world("positions-earliest", &[]);
    world.send(&single_sales(0..5));
    let worker = world.worker();
    wait_for_line(&worker, "5 records behind");
    world.wait_for_outcomes(5, SOON);
    stop(worker);

    let mut world = crate::broker::world("positions-empty", &[]);
    world.unset("intake.start");
    let worker = world.worker();
    Admin::of(&worker).wait_until_ready();
    wait_for_line(&worker, "0 records behind");
    stop(worker);
    // It was empty when the worker was here: what is in it now is new.
    world.send(&single_sales(0..5));
    let worker = world.worker();
    world.wait_for_outcomes(5, SOON);
    stop(worker);
}
