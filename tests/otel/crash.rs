//! A worker is killed while an operation runs; the next one goes on with the trace.

use serde_json::json;

use crate::collector::Collector;
use crate::events::sale;
use crate::process::wait_for;
use crate::spans::{named, only};
use crate::trace::{send_traced, traced_world, traceparent};
use crate::world::{SOON, Setup};

#[test]
fn the_trace_goes_on_in_the_worker_that_is_started_after_a_kill() {
    let Some(collector) = Collector::start() else { return };
    let settings = [("kafka.group_instance_id", "\"pod-0\""), ("retry.ambiguous_grace", "\"2s\"")];
    let setup = Setup { settings: &settings, ..Setup::default() };
    let mut world = traced_world("killed", &collector, "grpc", setup);
    // Nobody learns that the operation has ended, however long the rest of this takes.
    let fault = json!({"kind": "status", "http": 503});
    world.sandbox.rule(&json!({"method": "operations.get", "fault": fault}));
    let mut worker = world.worker();
    send_traced(
        &mut world,
        &sale("event-1", "order-1", "100", &[1, 2, 3]),
        &traceparent('e', "01"),
    );
    // The operation is in the ledger before its first poll.
    wait_for("polls", SOON, || (world.sandbox.calls("operations.get", 503) >= 2).then_some(()));
    let submit = "POST /v1/partners/{partnersId}/devices:claimAsync";
    let before = collector.wait_for("the submit", |spans| !named(spans, submit).is_empty());
    assert_eq!(world.read_outcomes(), 0, "it was killed too late: that shows nothing");
    worker.kill9();
    world.sandbox.clear_faults();

    let mut worker = world.worker();
    world.wait_for_outcomes(3, SOON);
    // Looked at before the end, which waits for a slow collector for a moment only.
    let commands = format!("process {}", world.topic("commands"));
    let spans = collector.wait_for("all spans", |spans| {
        named(spans, &commands).len() == 3 && !named(spans, "batch").is_empty()
    });
    worker.signal("-TERM");
    assert_eq!(worker.exit_code(SOON), 0, "{}", worker.stderr());
    assert!(spans.iter().all(|span| span.trace == "e".repeat(32)), "all is one trace");

    let batch = only(&spans, "batch");
    assert_eq!(batch.attribute("zerotouch.restored"), "true");
    assert_eq!(only(&before, submit).parent, batch.id, "the killed worker's call is below it");
    let send = only(&spans, &format!("send {}", world.topic("commands")));
    for command in named(&spans, &commands) {
        assert_eq!(command.parent, send.id);
        assert!(batch.links.contains(&command.at()) && command.links.contains(&batch.at()));
    }
    assert_eq!(world.sandbox.batches("claimAsync"), 1, "nothing was sent twice");
}
