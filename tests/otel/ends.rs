//! The end of the process exports what waits, and waits for no collector that does not answer.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::collector::Collector;
use crate::events::sale;
use crate::lines::find;
use crate::process::{Process, wait_for};
use crate::trace::{send_traced, traced_world, traceparent};
use crate::world::{SOON, Setup, World};

const CUT_SHORT: i32 = 75;
/// Of a moment on a busy machine, beside what the worker may wait for.
const SLACK: Duration = Duration::from_secs(2);

/// A worker in the middle of a call that never ends.
fn calling(name: &str, collector: &Collector) -> (World, Process) {
    let settings = [("shutdown.grace", "\"60s\""), ("telemetry.logs", "true")];
    let setup = Setup { settings: &settings, ..Setup::default() };
    let mut world = traced_world(name, collector, "grpc", setup);
    let never = json!({"kind": "loseReply", "hang": true});
    world.sandbox.rule(&json!({"method": "claimAsync", "fault": never}));
    let worker = world.worker();
    send_traced(&mut world, &sale("event-1", "order-1", "100", &[1]), &traceparent('a', "01"));
    wait_for("a call", SOON, || (world.sandbox.batches("claimAsync") >= 1).then_some(()));
    (world, worker)
}

/// Two signals; gives the time from the second one to the end.
fn cut_short(worker: &mut Process) -> Duration {
    worker.signal("-TERM");
    wait_for("draining", SOON, || worker.stderr().contains("draining").then_some(()));
    let signalled = Instant::now();
    worker.signal("-TERM");
    assert_eq!(worker.exit_code(SOON), CUT_SHORT, "{}", worker.stderr());
    signalled.elapsed()
}

#[test]
fn an_end_that_is_cut_short_exports_what_waits() {
    let Some(collector) = Collector::start() else { return };
    let (world, mut worker) = calling("cut-short", &collector);
    let took = cut_short(&mut worker);
    assert!(took < Duration::from_secs(1) + SLACK, "{took:?}");
    let last = "ended before all was finished";
    let lines = collector.wait_for_lines("the last line", |lines| find(lines, last).is_some());
    assert!(find(&lines, "draining").is_some());
    let send = format!("send {}", world.topic("commands"));
    let _ = collector.wait_for("the spans", |spans| spans.iter().any(|span| span.name == send));
}

#[test]
fn an_end_that_is_cut_short_waits_for_a_frozen_collector_for_a_second_at_most() {
    let Some(collector) = Collector::start() else { return };
    let (_world, mut worker) = calling("cut-short-frozen", &collector);
    collector.freeze();
    let took = cut_short(&mut worker);
    assert!(took < Duration::from_secs(1) + SLACK, "{took:?}");
}

#[test]
fn an_end_does_not_wait_at_all_for_a_collector_that_has_not_answered_for_long() {
    let Some(collector) = Collector::start() else { return };
    collector.freeze();
    let (_world, mut worker) = calling("long-frozen", &collector);
    // The first export began soon after the start, and is given up after some 10 seconds.
    let hangs = "were lost; the work goes on";
    wait_for("an export failed", SOON, || worker.stderr().contains(hangs).then_some(()));
    let took = cut_short(&mut worker);
    assert!(took < SLACK, "{took:?}");
}
