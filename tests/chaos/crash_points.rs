//! The named points at which a worker may die: it is killed exactly there, with SIGKILL, the next
//! one recovers, and the checker finds every outcome once. Nothing in the binary knows of this:
//! proxies hold the one message that makes the point, and Kafka and the API say that it is reached.

use serde_json::json;

use crate::process::wait_for;
use crate::proxy::{FETCH, Mode, Side};
use crate::scene::{DEVICES, Half, Scene, broker_proxy, repeated, wait_until_hit};
use crate::world::SOON;

/// What the writes of a batch with unknown fate are called by the checker.
const BY_KILL: &str = "not_recorded_kill";

fn nothing_is_repeated(report: &serde_json::Value) {
    assert_eq!(repeated(report).0, 0, "{report:#}");
}

fn all_is_repeated_because_of_the_kill(report: &serde_json::Value) {
    assert_eq!(repeated(report), (DEVICES, vec![BY_KILL.to_owned()]), "{report:#}");
}

#[test]
fn killed_after_the_intent_and_before_the_call() {
    let mut scene = Scene::new("after-intent", &[]);
    scene.api.set_mode("", Mode::HalfOpen);
    let worker = scene.worker();
    scene.sell();
    scene.wait_for_ledger("intended");
    scene.kill(worker);
    assert_eq!(scene.operations(), 0, "the API was out of reach");
    nothing_is_repeated(&scene.recover());
}

#[test]
fn killed_after_the_call_and_before_its_reply() {
    let mut scene = Scene::new("after-call", &[]);
    scene.api.set_mode("", Mode::Mute);
    let worker = scene.worker();
    scene.sell();
    scene.wait_for_operation();
    scene.kill(worker);
    assert_eq!(scene.ledger("accepted"), 0, "the reply was held");
    all_is_repeated_because_of_the_kill(&scene.recover());
}

#[test]
fn killed_after_the_accept() {
    let mut scene = Scene::new("after-accept", &["--operation-time", "3s"]);
    let worker = scene.worker();
    scene.sell();
    scene.wait_for_ledger("accepted");
    scene.kill(worker);
    assert_eq!(scene.outcomes(), 0, "the operation is still running");
    nothing_is_repeated(&scene.recover());
}

/// Kills while the transaction of the intents is being committed.
fn in_the_commit_of_intents(name: &str, side: Side) {
    let mut scene = Scene::new(name, &[]);
    let worker = scene.idle_worker();
    let held = scene.stop_at_commit(name, Half::Dispatch, side);
    scene.sell();
    wait_until_hit(&held);
    if side == Side::Response {
        scene.wait_for_ledger("intended");
    }
    scene.kill(worker);
    held.discard();
    assert_eq!(scene.operations(), 0, "I5: a call before its intent was known to be committed");
    if side == Side::Request {
        assert_eq!(scene.ledger("intended"), 0, "the commit was never asked for");
    }
    nothing_is_repeated(&scene.recover());
}

#[test]
fn killed_in_the_commit_of_intents_that_never_reached_the_broker() {
    in_the_commit_of_intents("intent-request", Side::Request);
}

#[test]
fn killed_in_the_commit_of_intents_that_was_carried_out() {
    in_the_commit_of_intents("intent-response", Side::Response);
}

/// Holds the commit of the accepted operations, which comes after the reply to the call.
fn in_the_commit_of_accepts(name: &str, side: Side) -> (Scene, serde_json::Value) {
    let mut scene = Scene::new(name, &["--operation-time", "3s"]);
    // The reply comes late enough for the rule to be there before it.
    let slow = json!({"kind": "latency", "millis": 1_500});
    scene.world.sandbox.rule(&json!({"method": "claimAsync", "fault": slow}));
    let worker = scene.worker();
    scene.sell();
    scene.wait_for_operation();
    let held = scene.stop_at_commit(name, Half::Dispatch, side);
    wait_until_hit(&held);
    if side == Side::Response {
        scene.wait_for_ledger("accepted");
    }
    scene.kill(worker);
    held.discard();
    if side == Side::Request {
        assert_eq!(scene.ledger("accepted"), 0, "the commit was never asked for");
    }
    scene.world.sandbox.clear_faults();
    let report = scene.recover();
    (scene, report)
}

#[test]
fn killed_in_the_commit_of_accepts_that_never_reached_the_broker() {
    let (_scene, report) = in_the_commit_of_accepts("accept-request", Side::Request);
    all_is_repeated_because_of_the_kill(&report);
}

#[test]
fn killed_in_the_commit_of_accepts_that_was_carried_out() {
    let (_scene, report) = in_the_commit_of_accepts("accept-response", Side::Response);
    nothing_is_repeated(&report);
}

/// Kills while the transaction of the outcomes is being committed.
fn in_the_commit_of_outcomes(name: &str, side: Side) {
    let mut scene = Scene::new(name, &["--operation-time", "2s"]);
    let worker = scene.worker();
    scene.sell();
    scene.wait_for_ledger("accepted");
    let held = scene.stop_at_commit(name, Half::Dispatch, side);
    wait_until_hit(&held);
    if side == Side::Response {
        wait_for("committed outcomes", SOON, || (scene.outcomes() > 0).then_some(()));
    }
    scene.kill(worker);
    held.discard();
    if side == Side::Request {
        assert_eq!(scene.outcomes(), 0, "the commit was never asked for");
    }
    nothing_is_repeated(&scene.recover());
}

#[test]
fn killed_in_the_commit_of_outcomes_that_never_reached_the_broker() {
    in_the_commit_of_outcomes("outcome-request", Side::Request);
}

#[test]
fn killed_in_the_commit_of_outcomes_that_was_carried_out() {
    in_the_commit_of_outcomes("outcome-response", Side::Response);
}

#[test]
fn killed_in_a_commit_that_reaches_the_broker_after_the_next_worker_has_begun() {
    let name = "late-commit";
    let mut scene = Scene::new(name, &["--operation-time", "2s"]);
    // Time for the next worker to come before the broker gives the transaction up.
    scene.world.set("kafka.transaction_timeout", "\"9s\"");
    let worker = scene.worker();
    scene.sell();
    scene.wait_for_ledger("accepted");
    let held = scene.stop_at_commit(name, Half::Dispatch, Side::Request);
    wait_until_hit(&held);
    scene.kill(worker);
    let next = scene.name.clone() + "-next";
    scene.world.set("kafka.client_id", &format!("{next:?}"));
    let _next = scene.idle_worker();
    assert_eq!(scene.outcomes(), 0, "the transaction is open");
    held.forward();
    nothing_is_repeated(&scene.settle());
}

/// Kills while intake commits commands.
fn in_the_commit_of_commands(name: &str, side: Side) {
    let mut scene = Scene::new(name, &[]);
    let worker = scene.idle_worker();
    let held = scene.stop_at_commit(name, Half::Intake, side);
    scene.sell();
    wait_until_hit(&held);
    if side == Side::Response {
        scene.world.wait_for_commands(usize::try_from(DEVICES).unwrap());
    }
    scene.kill(worker);
    held.discard();
    if side == Side::Request {
        assert_eq!(scene.world.read_commands(), 0, "the commit was never asked for");
    }
    scene.recover();
}

#[test]
fn killed_in_the_commit_of_commands_that_never_reached_the_broker() {
    in_the_commit_of_commands("command-request", Side::Request);
}

#[test]
fn killed_in_the_commit_of_commands_that_was_carried_out() {
    in_the_commit_of_commands("command-response", Side::Response);
}

#[test]
fn killed_in_recovery_while_the_ledger_is_being_read() {
    let name = "in-recovery";
    let mut scene = Scene::new(name, &["--operation-time", "3s"]);
    let worker = scene.worker();
    scene.sell();
    scene.wait_for_ledger("accepted");
    scene.kill(worker);

    let ledger = scene.world.topic("ledger");
    let id = scene.world.client.topic_id(&ledger);
    let texts = [ledger.as_bytes(), &id];
    // Once before anything of the ledger has been read, once in the middle of it.
    for side in [Side::Request, Side::Response] {
        let worker = scene.worker();
        let held = broker_proxy().stop_at(name, FETCH, &texts, side);
        wait_until_hit(&held);
        assert_eq!(scene.outcomes(), 0, "nothing is decided before the ledger is read");
        scene.kill(worker);
        held.discard();
    }
    nothing_is_repeated(&scene.recover());
}

/// The worker lives, and does not hear how its commit ended.
fn a_commit_with_unknown_end(name: &str, side: Side) {
    let mut scene = Scene::new(name, &["--operation-time", "2s"]);
    let mut worker = scene.worker();
    scene.sell();
    scene.wait_for_ledger("accepted");
    let held = scene.stop_at_commit(name, Half::Dispatch, side);
    wait_until_hit(&held);
    scene.disturbances.note("proxy");
    // It waits no longer than the commit time-out; then it goes on with a new producer.
    wait_for("the worker gives the commit up", SOON, || {
        worker.stderr().contains("begins anew").then_some(())
    });
    held.discard();
    let report = scene.settle();
    nothing_is_repeated(&report);
    assert!(worker.ended().is_none());
}

#[test]
fn a_commit_whose_request_is_lost_is_found_out_by_reading_the_ledger() {
    a_commit_with_unknown_end("lost-request", Side::Request);
}

#[test]
fn a_commit_whose_reply_is_lost_is_found_out_by_reading_the_ledger() {
    a_commit_with_unknown_end("lost-reply", Side::Response);
}
