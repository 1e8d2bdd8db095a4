//! A group that has read nothing yet meets a topic that holds something.

use crate::asking::Admin;
use crate::broker::{Broker, stop, wait_for_line, world};
use crate::events::{sale, single_sales};
use crate::process::wait_for;
use crate::world::{SOON, World};

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

/// What `check-config --connect` says of the position in the order topic, and its exit code.
fn checked(world: &World) -> (i32, String) {
    let said = world.run(&["check-config"], &["--connect"]);
    let words = format!("position in {}", world.topic("orders"));
    let line = said.stdout.lines().find(|line| line.contains(&words)).map(str::to_owned);
    (said.code, line.unwrap_or_else(|| panic!("{}{}", said.stdout, said.stderr)))
}

#[test]
fn the_check_asks_where_to_begin_before_a_worker_has_to_and_says_how_much_waits() {
    let mut world = world("positions-check", &[]);
    world.unset("intake.start");
    let (code, line) = checked(&world);
    assert!(code == 0 && line.starts_with("ok ") && line.ends_with(": 0 records behind"), "{line}");
    world.send(&single_sales(0..20));
    let (code, line) = checked(&world);
    assert!(code == 1 && line.starts_with("FAILED "), "{code}: {line}");
    for word in ["20 records", "positions-check.intake", "`intake.start`", "\"latest\""] {
        assert!(line.contains(word), "{line}");
    }
    world.set("intake.start", "\"latest\"");
    let (code, line) = checked(&world);
    assert!(code == 0 && line.contains("0 records behind"), "{line}");
    assert!(line.contains("is latest: 20 records before that are left out"), "{line}");
    // The check decides nothing: a worker is still asked.
    world.set("intake.start", "\"earliest\"");
    let (code, line) = checked(&world);
    assert!(code == 0 && line.contains("20 records behind"), "{line}");
    let worker = world.worker();
    world.wait_for_outcomes(20, SOON);
    world.wait_until_quiet(SOON);
    let (code, line) = checked(&world);
    assert!(code == 0 && line.contains(" records behind"), "beside a worker that runs: {line}");
    stop(worker);

    world.unset("intake.start");
    let (topic, servers) = (world.topic("orders"), world.servers.clone());
    let broker = Broker::new(&servers);
    let read = broker.ends(&topic);
    world.send(&single_sales(100..110));
    assert_eq!(checked(&world), (0, format!("ok      position in {topic}: 10 records behind")));
    let before: Vec<i64> = read.iter().map(|(_, end)| end + 1).collect();
    let ends = broker.ends(&topic);
    let before: Vec<i64> = before.iter().zip(ends).map(|(at, (_, end))| *at.min(&end)).collect();
    broker.delete_records(&topic, &before);
    let gone: i64 = before.iter().zip(&read).map(|(to, (_, from))| to - from).sum();
    let (code, line) = checked(&world);
    assert!(code == 0 && line.contains(&format!("{} records behind", 10 - gone)), "{line}");
    assert!(line.ends_with(&format!("; {gone} more were deleted before they were read")), "{line}");
}

#[test]
fn positions_that_the_brokers_forget_before_commands_are_told_by_each_way_in() {
    let mut world = world("positions-retention", &[]);
    let words = "the brokers forget the positions of a group without members after 7 days";
    let checked = world.run(&["check-config"], &["--connect"]);
    assert_eq!(checked.code, 0, "{}", checked.stdout);
    assert!(checked.stdout.contains(&format!("ok      stopped workers: {words}")));
    let made = world.run(&["topics", "create"], &[]);
    assert_eq!(made.code, 0, "{}", made.stdout);
    assert!(made.stdout.contains(&format!("note     {words}")), "{}", made.stdout);
    let worker = world.worker();
    let line = wait_for_line(&worker, words);
    assert!(line.contains("WARN") && line.contains("at least 20160"), "{line}");
    stop(worker);
}
