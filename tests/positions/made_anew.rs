//! A topic is deleted and made anew under its name while a worker reads it.

use std::time::Duration;

use crate::asking::Admin;
use crate::broker::{Broker, stop, wait_for_line, world};
use crate::events::single_sales;
use crate::world::SOON;

/// A worker looks once a minute whether a topic is still the same.
const FOUND: Duration = Duration::from_secs(180);

#[test]
fn every_order_of_a_topic_made_anew_gets_its_outcome_however_many_there_are() {
    let mut world = world("positions-orders-anew", &[]);
    world.unset("intake.start");
    let worker = world.worker();
    Admin::of(&worker).wait_until_ready();
    world.send(&single_sales(0..40));
    world.wait_for_outcomes(40, SOON);

    let (topic, servers) = (world.topic("orders"), world.servers.clone());
    Broker::new(&servers).make_anew(&mut world, &topic);
    // More than there were before, and at the same offsets.
    world.send(&single_sales(100..200));
    world.wait_for_outcomes(140, FOUND);
    wait_for_line(&worker, "the topic was made anew");
    stop(worker);
    world.read_rest();
    assert_eq!(world.outcomes.len(), 140);
}

#[test]
fn every_command_of_a_topic_made_anew_gets_its_outcome_and_no_old_word_counts() {
    let mut world = world("positions-commands-anew", &[]);
    let worker = world.worker();
    Admin::of(&worker).wait_until_ready();
    world.send(&single_sales(0..40));
    world.wait_for_outcomes(40, SOON);
    world.wait_until_quiet(SOON);

    let (topic, servers) = (world.topic("commands"), world.servers.clone());
    Broker::new(&servers).make_anew(&mut world, &topic);
    world.send(&single_sales(100..200));
    world.wait_for_outcomes(140, FOUND);
    wait_for_line(&worker, "the topic was made anew");
    stop(worker);
    world.read_rest();
    assert_eq!(world.outcomes.len(), 140);
}
