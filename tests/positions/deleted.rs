//! Records are deleted before they were read, or the group's positions are.

use serde_json::json;

use crate::asking::Admin;
use crate::broker::{Broker, lost, stop, wait_for_line, world};
use crate::events::{sale, single_sales};
use crate::process::{run, wait_for};
use crate::world::SOON;

#[test]
fn orders_that_were_deleted_unread_are_told_and_counted_and_the_rest_is_read() {
    let mut world = world("positions-orders-lost", &[]);
    world.send(&single_sales(0..8));
    let worker = world.worker();
    world.wait_for_outcomes(8, SOON);
    world.wait_until_quiet(SOON);
    stop(worker);

    let (topic, servers) = (world.topic("orders"), world.servers.clone());
    let broker = Broker::new(&servers);
    let read = broker.ends(&topic);
    world.send(&single_sales(100..140));
    let ends = broker.ends(&topic);
    let before: Vec<i64> = ends.iter().map(|(_, end)| end - 1).collect();
    broker.delete_records(&topic, &before);
    let gone: i64 = before.iter().zip(&read).map(|(to, (_, from))| to - from).sum();
    assert!(gone > 0);

    let worker = world.worker();
    let admin = Admin::of(&worker);
    world.wait_for_outcomes(8 + 40 - gone as usize, SOON);
    wait_for_line(&worker, "records were deleted before they were read");
    assert_eq!(lost(&admin, &topic), gone as f64);
    let notices = admin.state()["positions"].as_array().unwrap().clone();
    assert!(notices.iter().all(|notice| notice["what"] == "lost" && notice["topic"] == *topic));
    admin.wait_until_ready();
    stop(worker);
    // It is told once: the place where it went on is committed.
    let worker = world.worker();
    Admin::of(&worker).wait_until_ready();
    assert!(!worker.stderr().contains("were deleted"), "{}", worker.stderr());
    stop(worker);
}

#[test]
fn commands_that_were_deleted_without_outcome_are_told_and_counted() {
    let mut world = world("positions-commands-lost", &[]);
    world.send(&single_sales(0..4));
    let mut worker = world.worker();
    let admin = Admin::of(&worker);
    world.wait_for_outcomes(4, SOON);
    world.wait_until_quiet(SOON);
    assert_eq!(run(&["pause", "main", "--admin", &admin.url()]).code, 0);
    world.send(&single_sales(100..140));
    world.wait_for_commands(44);
    worker.kill9();

    let (topic, servers) = (world.topic("commands"), world.servers.clone());
    let broker = Broker::new(&servers);
    let committed = world.client.committed(&topic, &world.group("dispatch"));
    // A command and the mark of its transaction are the last of each partition.
    let before: Vec<i64> = broker.ends(&topic).iter().map(|(_, end)| end - 2).collect();
    broker.delete_records(&topic, &before);
    let left = world
        .commands
        .iter()
        .filter(|record| record.offset >= before[record.partition.unwrap() as usize]);
    let left = left.count();

    let worker = world.worker();
    let admin = Admin::of(&worker);
    world.wait_for_outcomes(4 + left, SOON);
    wait_for_line(&worker, "records were deleted before they were read");
    let gone: i64 = before.iter().zip(&committed).map(|(to, from)| (to - from).max(0)).sum();
    assert_eq!(lost(&admin, &topic), gone as f64);
    stop(worker);
    let worker = world.worker();
    Admin::of(&worker).wait_until_ready();
    assert!(!worker.stderr().contains("were deleted"), "{}", worker.stderr());
    stop(worker);
    world.read_rest();
    assert_eq!(world.outcomes.len(), 4 + left);
}

#[test]
fn a_lane_whose_position_is_gone_stops_and_goes_on_from_where_it_is_told() {
    let mut world = world("positions-gone", &[]);
    world.send(&single_sales(0..12));
    let worker = world.worker();
    world.wait_for_outcomes(12, SOON);
    world.wait_until_quiet(SOON);
    stop(worker);
    let calls = world.sandbox.batches("claimAsync");
    // Somebody takes a device off by hand; to do the sale again would claim it again.
    let (topic, servers) = (world.topic("commands"), world.servers.clone());
    let broker = Broker::new(&servers);
    broker.delete_group(&world.group("dispatch"));

    let worker = world.worker();
    let admin = Admin::of(&worker);
    let reason = wait_for("lanes are stopped", SOON, || {
        admin.reason("lanes").filter(|reason| reason.contains("stopped"))
    });
    for word in ["offsets.retention.minutes", "--reset-offsets", "positions-gone.dispatch"] {
        assert!(reason.contains(word), "{reason}");
    }
    world.send(&[sale("later", "order-later", "100", &[100])]);
    world.wait_for_commands(13);
    stop(worker);
    assert_eq!((world.read_outcomes(), world.sandbox.batches("claimAsync")), (12, calls));

    let later = world.commands.iter().find(|r| r.json()["eventId"] == json!("later")).unwrap();
    let mut places: Vec<i64> = broker.ends(&topic).iter().map(|(_, end)| *end).collect();
    places[later.partition.unwrap() as usize] = later.offset;
    broker.set_positions(&world.group("dispatch"), &topic, &places);
    let worker = world.worker();
    world.wait_for_outcomes(13, SOON);
    Admin::of(&worker).wait_until_ready();
    stop(worker);
    world.read_rest();
    assert_eq!(world.outcomes.len(), 13);
    assert_eq!(world.sandbox.batches("claimAsync"), calls + 1);
}
