//! One trace from the order event to the outcome, over both protocols.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::Record;
use crate::collector::Collector;
use crate::events::{imei, key, sale};
use crate::spans::{CLIENT, CONSUMER, INTERNAL, PRODUCER, Seen, named, only};
use crate::world::{SOON, Setup, World};

pub(crate) const CLAIM: &str = "POST /v1/partners/{partnersId}/devices:claimAsync";
const POLL: &str = "GET /v1/operations/{operationsId}";
/// A worker that had to wait for the collector would take longer to end.
pub(crate) const END: Duration = Duration::from_secs(20);

/// A trace context whose ids are this digit over and over.
pub(crate) fn traceparent(digit: char, flags: &str) -> String {
    let repeat = |count| digit.to_string().repeat(count);
    format!("00-{}-{}-{flags}", repeat(32), repeat(16))
}

/// Sends an event with a trace context in its headers.
pub(crate) fn send_traced(world: &mut World, event: &Value, traceparent: &str) {
    let record = Record {
        topic: world.topic("orders"),
        key: Some(event["orderId"].as_str().unwrap().into()),
        value: Some(event.to_string().into_bytes()),
        headers: vec![("traceparent".to_owned(), traceparent.as_bytes().to_vec())],
        ..Record::default()
    };
    world.send_records(std::slice::from_ref(event), &[record]);
}

/// A world whose workers export to the collector.
pub(crate) fn traced_world(
    name: &str,
    collector: &Collector,
    protocol: &str,
    setup: Setup<'_>,
) -> World {
    let mut world = World::new(name, setup);
    world.set("telemetry.otlp_endpoint", &format!("{:?}", collector.endpoint(protocol)));
    world.set("telemetry.otlp_protocol", &format!("{protocol:?}"));
    world
}

/// The spans of outcomes, by the headers that subscribers read.
fn of_outcomes(world: &World) -> BTreeSet<(String, String)> {
    let span = |text: &str| {
        let fields: Vec<&str> = text.split('-').collect();
        assert_eq!(fields[3], "01", "{text}");
        (fields[1].to_owned(), fields[2].to_owned())
    };
    let outcomes = world.outcomes.iter();
    outcomes.map(|outcome| span(outcome.record.header("traceparent").unwrap())).collect()
}

fn one_trace(protocol: &str) {
    let Some(collector) = Collector::start() else { return };
    let name = format!("one-trace-{protocol}");
    let mut world = traced_world(&name, &collector, protocol, Setup::default());
    world.set("telemetry.resource", "{ \"deployment.environment.name\" = \"tests\" }");
    let pod = [("OTEL_RESOURCE_ATTRIBUTES", "k8s.pod.name=pod-7,k8s.namespace.name=shop")];
    let mut worker = world.worker_with(&pod);
    send_traced(&mut world, &sale("event-1", "order-1", "100", &[1, 2]), &traceparent('a', "01"));
    world.wait_for_outcomes(2, SOON);
    worker.signal("-TERM");
    assert_eq!(worker.exit_code(END), 0, "{}", worker.stderr());

    let commands = format!("process {}", world.topic("commands"));
    let spans = collector.wait_for("all spans", |spans| {
        named(spans, &commands).len() == 2 && !named(spans, "claim batch").is_empty()
    });
    let trace = "a".repeat(32);
    assert!(spans.iter().all(|span| span.trace == trace), "all is one trace");

    let intake = only(&spans, &format!("process {}", world.topic("orders")));
    assert_eq!((intake.kind, intake.parent.as_str()), (CONSUMER, &*"a".repeat(16)));
    assert_eq!(intake.attribute("messaging.system"), "kafka");
    assert_eq!(intake.attribute("messaging.operation.type"), "process");
    assert_eq!(intake.attribute("messaging.consumer.group.name"), world.group("intake"));
    assert_eq!(intake.attribute("cloudevents.event_id"), "event-1");
    let send = only(&spans, &format!("send {}", world.topic("commands")));
    assert_eq!((send.kind, &send.parent), (PRODUCER, &intake.id));
    assert_eq!(send.attribute("messaging.batch.message_count"), "2");

    let batch = only(&spans, "claim batch");
    assert_eq!((batch.kind, &batch.parent), (INTERNAL, &send.id));
    let commands = named(&spans, &commands);
    let each: BTreeSet<_> = commands.iter().map(|span| span.at()).collect();
    assert_eq!(batch.links, each, "the batch is linked to each of its commands");
    assert_eq!(of_outcomes(&world), each, "outcomes name the spans of their commands");
    for command in &commands {
        assert_eq!((command.kind, &command.parent), (CONSUMER, &send.id));
        assert_eq!(command.links, BTreeSet::from([batch.at()]));
        assert_eq!(command.attribute("zerotouch.status"), "succeeded");
        assert!(command.start <= batch.start && batch.end <= command.end, "{command} {batch}");
    }
    let submit = only(&spans, CLAIM);
    assert_eq!((submit.kind, &submit.parent), (CLIENT, &batch.id));
    assert_eq!(submit.attribute("http.response.status_code"), "200");
    assert_eq!(submit.attribute("server.address"), "127.0.0.1");
    let polls = named(&spans, POLL);
    assert!(!polls.is_empty() && polls.iter().all(|poll| poll.parent == batch.id));

    for span in &spans {
        let resource = |name: &str| span.resource.get(name).map_or("", String::as_str);
        assert_eq!(resource("service.name"), "zerotouch-worker");
        assert_eq!(resource("k8s.pod.name"), "pod-7");
        assert_eq!(resource("deployment.environment.name"), "tests");
    }
    let text = collector.text();
    assert!(!text.contains(&imei(1)) && !text.contains(&imei(2)), "no whole id is exported");
}

#[test]
fn a_collector_receives_one_trace_from_event_to_outcome_over_grpc() {
    one_trace("grpc");
}

#[test]
fn a_collector_receives_one_trace_from_event_to_outcome_over_http() {
    one_trace("http");
}

#[test]
fn a_batch_of_several_orders_is_linked_to_all_and_what_is_not_sampled_is_not_seen() {
    let Some(collector) = Collector::start() else { return };
    let settings = [("batch.linger", "\"2s\""), ("batch.linger_max", "\"5s\"")];
    let setup = Setup { settings: &settings, ..Setup::default() };
    let mut world = traced_world("several-orders", &collector, "grpc", setup);
    for (digit, number, flags) in [('a', 1, "01"), ('b', 2, "01"), ('c', 3, "00")] {
        let event = sale(&format!("event-{digit}"), &format!("order-{digit}"), "100", &[number]);
        send_traced(&mut world, &event, &traceparent(digit, flags));
    }
    // This one begins a trace; its line is refused, which is an outcome too.
    let mut refused = sale("event-d", "order-d", "100", &[4]);
    refused["devices"][0]["imei"] = "123456789012345".into();
    world.send(&[refused]);
    let mut worker = world.worker();
    world.wait_for_outcomes(4, SOON);
    worker.signal("-TERM");
    assert_eq!(worker.exit_code(END), 0, "{}", worker.stderr());

    let commands = format!("process {}", world.topic("commands"));
    let spans = collector.wait_for("all spans", |spans| {
        named(spans, &commands).len() == 2
            && !named(spans, "claim batch").is_empty()
            && !named(spans, &format!("send {}", world.topic("outcomes"))).is_empty()
    });
    let batch = only(&spans, "claim batch");
    assert_eq!(batch.parent, "", "no order owns the batch");
    assert_eq!(batch.attribute("messaging.batch.message_count"), "3");
    let each: BTreeSet<_> = named(&spans, &commands).iter().map(|span| span.at()).collect();
    assert_eq!(batch.links, each);
    let linked = |span: &&Seen| span.links == BTreeSet::from([batch.at()]);
    assert!(named(&spans, &commands).iter().all(linked));
    assert!(!collector.text().contains(&"c".repeat(32)), "what is not sampled is not seen");
    let unsampled = world.outcome_of("event-c").record.header("traceparent").unwrap();
    assert!(unsampled.contains(&"c".repeat(32)) && unsampled.ends_with("-00"), "{unsampled}");

    let refused = only(&spans, &format!("send {}", world.topic("outcomes")));
    assert_eq!((refused.kind, refused.status), (PRODUCER, 2));
    let named_by = world.outcome_of("event-d").record.header("traceparent").unwrap();
    assert_eq!(named_by, format!("00-{}-{}-01", refused.trace, refused.id));
    assert!(world.sandbox.device(&key(1)).is_some());
}

#[test]
fn a_failed_call_is_in_the_trace_and_the_log_line_about_it_names_the_trace() {
    let Some(collector) = Collector::start() else { return };
    let settings = [
        ("retry.ambiguous_grace", "\"1s\""),
        ("log.format", "\"json\""),
        ("log.level", "\"warn\""),
    ];
    let setup = Setup { settings: &settings, ..Setup::default() };
    let mut world = traced_world("failed-call", &collector, "http", setup);
    let fault = json!({"kind": "status", "http": 503});
    world.sandbox.rule(&json!({"method": "claimAsync", "times": 1, "fault": fault}));
    let mut worker = world.worker();
    send_traced(&mut world, &sale("event-1", "order-1", "100", &[1]), &traceparent('f', "01"));
    world.wait_for_outcomes(1, SOON);
    worker.signal("-TERM");
    assert_eq!(worker.exit_code(END), 0, "{}", worker.stderr());
    let spans = collector.wait_for("both batches", |spans| named(spans, "claim batch").len() == 2);
    let calls = named(&spans, CLAIM);
    let failed: Vec<_> = calls.iter().filter(|span| span.status == 2).collect();
    assert_eq!((calls.len(), failed.len()), (2, 1));
    assert_eq!(failed[0].attribute("error.type"), "no_usable_answer");
    assert!(spans.iter().all(|span| span.trace == "f".repeat(32)));
    let log = worker.stderr();
    let line = log.lines().find(|line| line.contains("the answer to a submit was lost"));
    let line: Value = serde_json::from_str(line.unwrap_or_else(|| panic!("{log}"))).unwrap();
    assert_eq!(line["span"]["trace_id"], "f".repeat(32));
}
