//! Log lines reach the collector, in the traces of the orders that they are about; and a collector
//! that takes none harms nothing.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::collector::Collector;
use crate::events::{imei, sale};
use crate::harmless::sales;
use crate::lines::{INFO, WARN, find};
use crate::spans::{named, only};
use crate::trace::{CLAIM, END, send_traced, traced_world, traceparent};
use crate::world::{SOON, Setup};

const LOST: &str = "the answer to a submit was lost";

fn one_line(protocol: &str) {
    let Some(collector) = Collector::start() else { return };
    let settings = [("retry.ambiguous_grace", "\"1s\""), ("telemetry.logs", "true")];
    let setup = Setup { settings: &settings, ..Setup::default() };
    let mut world = traced_world(&format!("one-line-{protocol}"), &collector, protocol, setup);
    let fault = json!({"kind": "status", "http": 503});
    world.sandbox.rule(&json!({"method": "claimAsync", "times": 1, "fault": fault}));
    let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    let pod = [("OTEL_RESOURCE_ATTRIBUTES", "k8s.pod.name=pod-7")];
    let mut worker = world.worker_with(&pod);
    send_traced(&mut world, &sale("event-1", "order-1", "100", &[1]), &traceparent('f', "01"));
    world.wait_for_outcomes(1, SOON);
    worker.signal("-TERM");
    assert_eq!(worker.exit_code(END), 0, "{}", worker.stderr());

    let lines = collector.wait_for_lines("the last line", |lines| find(lines, "drained").is_some());
    let line = find(&lines, LOST).unwrap_or_else(|| panic!("{lines:#?}"));
    assert_eq!((line.severity, line.severity_text.as_str()), (WARN, "WARN"));
    assert_eq!(line.trace, "f".repeat(32), "{line:?}");
    assert!(line.target.starts_with("zerotouch_worker::"), "{line:?}");
    assert!(u128::from(line.time) > began, "{line:?}");
    assert!(!line.attributes.is_empty() && !line.attributes.contains_key("trace_id"), "{line:?}");
    let up = find(&lines, "the worker is up").unwrap();
    assert_eq!((up.severity, up.trace.as_str(), up.span.as_str()), (INFO, "", ""));
    assert_eq!(up.attributes["partitions"], "4");
    for line in &lines {
        assert_eq!(line.resource["service.name"], "zerotouch-worker");
        assert_eq!(line.resource["k8s.pod.name"], "pod-7");
        assert!(!line.target.contains("telemetry"), "{line:?}");
    }
    let spans = collector.wait_for("the spans", |spans| named(spans, CLAIM).len() == 2);
    assert!(spans.iter().all(|span| span.trace == line.trace), "the trace of the order");
    assert!(worker.stderr().contains(LOST), "they go to standard error as well");
    assert!(!collector.text().contains(&imei(1)), "no whole id is exported");
}

#[test]
fn a_collector_receives_log_lines_with_their_trace_over_grpc() {
    one_line("grpc");
}

#[test]
fn a_collector_receives_log_lines_with_their_trace_over_http() {
    one_line("http");
}

#[test]
fn a_line_about_a_poll_names_the_span_of_its_batch() {
    let Some(collector) = Collector::start() else { return };
    let settings = [("telemetry.logs", "true"), ("log.level", "\"debug\"")];
    let setup = Setup { settings: &settings, ..Setup::default() };
    let mut world = traced_world("poll-line", &collector, "grpc", setup);
    let fault = json!({"kind": "status", "http": 500});
    world.sandbox.rule(&json!({"method": "operations.get", "times": 1, "fault": fault}));
    let mut worker = world.worker();
    send_traced(&mut world, &sale("event-1", "order-1", "100", &[1]), &traceparent('e', "01"));
    world.wait_for_outcomes(1, SOON);
    worker.signal("-TERM");
    assert_eq!(worker.exit_code(END), 0, "{}", worker.stderr());
    let spans = collector.wait_for("the batch", |spans| !named(spans, "claim batch").is_empty());
    let batch = only(&spans, "claim batch");
    let lines = collector.wait_for_lines("the last line", |lines| find(lines, "drained").is_some());
    let of_batch = lines.iter().find(|line| line.span == batch.id);
    let line = of_batch.unwrap_or_else(|| panic!("{batch} {lines:#?}"));
    assert_eq!(line.trace, batch.trace);
}

#[test]
fn without_being_asked_for_no_line_is_exported_and_a_variable_asks_too() {
    let Some(collector) = Collector::start() else { return };
    let mut world = traced_world("asked-for", &collector, "grpc", Setup::default());
    for (asked, order) in [(false, 1), (true, 2)] {
        let variables = [("OTEL_LOGS_EXPORTER", "otlp"), ("OTEL_BSP_SCHEDULE_DELAY", "7")];
        let mut worker = world.worker_with(if asked { &variables } else { &[] });
        world.send(&[sale(&format!("event-{order}"), &format!("order-{order}"), "100", &[order])]);
        world.wait_for_outcomes(usize::try_from(order).unwrap(), SOON);
        worker.signal("-TERM");
        assert_eq!(worker.exit_code(END), 0, "{}", worker.stderr());
        let in_vain = "variables=\"OTEL_BSP_SCHEDULE_DELAY\"";
        assert_eq!(worker.stderr().contains(in_vain), asked, "{}", worker.stderr());
        if asked {
            let is_last = |lines: &[_]| find(lines, "drained").is_some();
            let _ = collector.wait_for_lines("the last line", is_last);
        } else {
            let commands = format!("process {}", world.topic("commands"));
            let _ = collector.wait_for("spans", |spans| !named(spans, &commands).is_empty());
            assert_eq!(collector.lines().len(), 0);
        }
    }
}

#[test]
fn a_frozen_collector_that_gets_every_line_harms_neither_the_work_nor_its_end() {
    let Some(collector) = Collector::start() else { return };
    let settings = [
        ("log.level", "\"trace\""),
        ("telemetry.logs", "true"),
        ("telemetry.queue_max", "128"),
        ("batch.items_max", "500"),
    ];
    let setup = Setup { settings: &settings, ..Setup::default() };
    let mut world = traced_world("frozen-logs", &collector, "http", setup);
    collector.freeze();
    let mut worker = world.worker();
    world.send(&sales(0, 50));
    world.wait_for_outcomes(1_000, SOON);
    assert_eq!(world.statuses()["succeeded"], 1_000);
    // The thread that exports tells, once its first export has failed.
    let told = "log lines were lost; the work goes on";
    crate::process::wait_for("the loss is told", SOON, || {
        worker.stderr().contains(told).then_some(())
    });
    world.wait_until_quiet(SOON);
    let signalled = std::time::Instant::now();
    worker.signal("-TERM");
    assert_eq!(worker.exit_code(SOON), 0);
    let ended = signalled.elapsed();
    assert!(ended < Duration::from_secs(12), "the end took {ended:?}");
    assert!(worker.stderr().matches(told).count() <= 2, "it is told once a minute");
}
