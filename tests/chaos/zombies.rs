//! A worker frozen for longer than its session: another one takes over, and when the first wakes
//! up it believes for a moment that nothing has happened.

use crate::process::Process;
use crate::proxy::{Mode, Side};
use crate::scene::{DEVICES, Half, Scene, repeated, wait_until_hit};
use crate::world::{PARTITIONS, SOON};

fn freeze(scene: &mut Scene, worker: &Process) {
    scene.disturbances.note("freeze");
    worker.signal("-STOP");
}

/// Another worker comes, and has all partitions once the session of the frozen one has expired.
fn take_over(scene: &mut Scene) -> Process {
    let client = format!("{}-next", scene.name);
    scene.world.set("kafka.client_id", &format!("{client:?}"));
    scene.idle_worker()
}

/// Wakes the zombie up, lets both work, and lets the checker judge.
fn wake_up(scene: &mut Scene, zombie: &mut Process) -> serde_json::Value {
    scene.disturbances.note("freeze");
    zombie.signal("-CONT");
    scene.world.wait_for_shares(&[PARTITIONS / 2, PARTITIONS / 2]);
    scene.sell_more(200..300);
    let report = scene.settle();
    assert!(zombie.ended().is_none(), "a zombie finds its way back");
    report
}

#[test]
fn a_zombie_with_running_operations_doubles_nothing() {
    let mut scene = Scene::new("zombie", &["--operation-time", "1s"]);
    let mut zombie = scene.worker();
    scene.sell();
    scene.wait_for_ledger("accepted");
    freeze(&mut scene, &zombie);
    let _next = take_over(&mut scene);
    scene.sell_more(100..200);
    scene.world.wait_for_outcomes(usize::try_from(DEVICES).unwrap() + 100, SOON);
    let report = wake_up(&mut scene, &mut zombie);
    assert_eq!(repeated(&report).0, 0, "{report:#}");
}

#[test]
fn a_zombie_that_wakes_up_between_intent_and_call_makes_no_call() {
    let name = "zombie-intent";
    let mut scene = Scene::new(name, &["--operation-time", "500ms"]);
    let mut zombie = scene.idle_worker();
    let held = scene.stop_at_commit(name, Half::Dispatch, Side::Response);
    scene.sell();
    wait_until_hit(&held);
    freeze(&mut scene, &zombie);
    // The good news that its intent is committed now waits for it in its socket.
    held.forward();
    assert_eq!(scene.operations(), 0);
    let _next = take_over(&mut scene);
    scene.world.wait_for_outcomes(usize::try_from(DEVICES).unwrap(), SOON);
    let report = wake_up(&mut scene, &mut zombie);
    assert_eq!(repeated(&report).0, 0, "the zombie made a call after its lease: {report:#}");
}

#[test]
fn a_zombie_that_finds_the_reply_to_its_call_on_waking_up_records_nothing() {
    let mut scene = Scene::new("zombie-reply", &["--operation-time", "500ms"]);
    let mut zombie = scene.idle_worker();
    let slow = serde_json::json!({"kind": "latency", "millis": 1_000});
    scene.world.sandbox.rule(&serde_json::json!({"method": "claimAsync", "fault": slow}));
    scene.sell();
    scene.wait_for_operation();
    freeze(&mut scene, &zombie);
    scene.world.sandbox.clear_faults();
    scene.api.set_mode("", Mode::Pass);
    let _next = take_over(&mut scene);
    scene.world.wait_for_outcomes(usize::try_from(DEVICES).unwrap(), SOON);
    let report = wake_up(&mut scene, &mut zombie);
    // Nobody else could know the operation, so its devices were sent again.
    let reasons = vec!["not_recorded_freeze".to_owned()];
    assert_eq!(repeated(&report), (DEVICES, reasons), "{report:#}");
}
