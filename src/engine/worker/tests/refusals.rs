//! The API refuses an account (401, 403): all its calls, or one kind of them.

use std::time::Duration;

use super::rules::{sale, world};
use super::world::{World, command, options};
use crate::engine::account::Kind;
use crate::engine::{Input, Options};
use crate::model::{Cause, Partition};

const HOUR: Duration = Duration::from_hours(1);

/// A batch of device 1 is an operation that runs; then the API refuses such calls.
fn refused_while_polling(refused: &[Kind]) -> World {
    let mut world = world(Options { operation_deadline: 10 * HOUR, ..options() });
    world.done_at = world.now + 5 * HOUR;
    world.write(0, sale(1, "7", "o1"));
    world.read_all();
    world.run_until_sent(1);
    world.run_commits();
    world.refused = refused.to_vec();
    world
}

fn calls(world: &World, kind: Kind) -> usize {
    world.calls.iter().filter(|(_, made)| *made == kind).count()
}

fn refusal(world: &World) -> Option<String> {
    world.worker.report().accounts[0].refused_because.clone()
}

/// The API refuses nothing any more, and everything comes to its end.
fn let_in(world: &mut World) {
    world.refused.clear();
    world.run();
    assert_eq!(refusal(world), None);
    world.assert_settled();
}

#[test]
fn submits_that_are_refused_are_held_back_although_polls_are_answered() {
    let mut world = refused_while_polling(&[Kind::Submit]);
    world.write(0, sale(2, "7", "o2"));
    world.read_all();
    while refusal(&world).is_none() {
        assert!(world.step());
    }
    let (submits, polls) = (calls(&world, Kind::Submit), calls(&world, Kind::Poll));
    let end = world.now + HOUR;
    while world.now < end {
        assert!(world.step());
        assert_eq!(refusal(&world).as_deref(), Some("submits: 403: no submits"));
    }
    let (submits, polls) =
        (calls(&world, Kind::Submit) - submits, calls(&world, Kind::Poll) - polls);
    // Once the wait has grown to `backoff_max`, of which half is certain.
    let longest = usize::try_from(2 * 3_600 / options().backoff_max.as_secs()).unwrap() + 10;
    assert!((1..=longest).contains(&submits), "{submits} submits in an hour, not {longest}");
    assert!(polls > 10, "the operation is asked for as before: {polls}");
    let_in(&mut world);
    assert_eq!(world.statuses(0), ["succeeded", "succeeded"]);
}

#[test]
fn polls_that_are_refused_hold_back_no_claim() {
    let mut world = refused_while_polling(&[Kind::Poll]);
    world.run_for(Duration::from_mins(10));
    assert_eq!(refusal(&world).as_deref(), Some("polls: 403: no polls"));
    world.write(0, sale(2, "7", "o2"));
    world.read_all();
    world.run_until_sent(2);
    world.run_commits();
    assert_eq!(refusal(&world).as_deref(), Some("polls: 403: no polls"), "a submit says nothing");
    assert!(world.calls.iter().filter(|(_, kind)| *kind == Kind::Poll).count() < 40);
    let_in(&mut world);
    assert_eq!(world.statuses(0), ["succeeded", "succeeded"]);
}

#[test]
fn lookups_that_are_refused_hold_back_no_claim_and_those_under_way_count_once() {
    let mut world = world(options());
    world.refused = vec![Kind::Lookup];
    for device in 0..8 {
        world.write(0, command(Cause::Return, device, None, "o1"));
    }
    world.write(0, sale(9, "7", "o2"));
    world.read_all();
    world.run_for(Duration::from_secs(10));
    assert_eq!(world.owner(9), Some("7"));
    assert!(refusal(&world).is_some());
    // They wait about a second after the first refusals, not a minute after eight of them.
    assert!(calls(&world, Kind::Lookup) > 10, "{:?}", world.calls);
    world.run_for(HOUR);
    let_in(&mut world);
}

#[test]
fn an_account_that_is_refused_altogether_calls_little_and_loses_nothing() {
    let mut world = refused_while_polling(&Kind::ALL);
    for device in 2..200 {
        world.write(0, sale(device, "7", "o2"));
        world.write(0, command(Cause::Return, device + 1_000, None, "o1"));
    }
    world.read_all();
    let before = world.calls.len();
    world.run_for(HOUR);
    let made = world.calls.len() - before;
    let lookups = 2 * options().lookups_max;
    assert!(made < 400 * (2 + lookups), "{made} calls in an hour");
    let_in(&mut world);
}

#[test]
fn a_refusal_of_what_nobody_waits_for_any_more_is_forgotten() {
    let mut world = refused_while_polling(&[Kind::Submit]);
    world.assign(1);
    world.run_commits();
    world.write(1, sale(2, "7", "o2"));
    world.read_all();
    while refusal(&world).is_none() {
        assert!(world.step());
    }
    world.feed(Input::Revoked { partition: Partition(1) });
    world.run_for(Duration::from_mins(10));
    assert_eq!(refusal(&world), None, "its only claim has gone to another worker");
}
