//! Order events in, devices claimed, one outcome for each line out.

use serde_json::{Value, json};

use crate::client::Record;
use crate::events::{event, imei, key, sale};
use crate::invariants;
use crate::world::{SOON, Setup, World};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[test]
fn each_line_of_sales_amendments_returns_and_cancellations_gets_its_outcome() {
    let mut world = World::new("each-line", Setup::default());
    let _worker = world.worker();

    world.send(&[
        sale("sale-1", "order-1", "100", &[1, 2, 3]),
        sale("sale-2", "order-2", "200", &[4]),
    ]);
    world.wait_for_outcomes(4, SOON);
    let mut amended = event("amendment", "amend-1", "order-1", &[1]);
    amended["metadata"] = json!({"ordernumber": "order-1-b", "color": "black"});
    let mut returned = event("return", "return-1", "order-1", &[2]);
    returned["metadata"] = json!({"reason": "broken"});
    let cancelled = event("cancellation", "cancel-1", "order-2", &[4]);
    world.send(&[amended, returned, cancelled]);
    world.wait_until_quiet(SOON);

    for (event, line) in [("sale-1", "0"), ("sale-1", "1"), ("sale-1", "2"), ("sale-2", "0")] {
        assert_eq!(world.outcome_at(event, line).status(), "succeeded");
        assert_eq!(world.outcome_at(event, line).action(), "claim");
    }
    assert_eq!(world.outcome_of("amend-1").status(), "succeeded");
    assert_eq!(world.outcome_of("cancel-1").status(), "succeeded");
    assert!(world.outcomes_of("return-1", "0").iter().all(|o| o.status() == "succeeded"));
    assert_eq!(world.outcomes.len(), 8);

    let one = world.sandbox.device(&key(1)).unwrap();
    assert_eq!(one["claim"]["customerId"], "100");
    assert_eq!(one["claim"]["resellerId"], "1001");
    assert_eq!(one["metadata"], json!({"ordernumber": "order-1-b", "color": "black"}));
    assert_eq!(world.sandbox.device(&key(2)).unwrap()["claim"], Value::Null);
    assert_eq!(world.sandbox.device(&key(3)).unwrap()["metadata"]["ordernumber"], "order-1");
    assert_eq!(world.sandbox.device(&key(4)).unwrap()["claim"], Value::Null);
    invariants::hold(&world);
    invariants::watermarks_pass_nothing_undecided(&mut world);
}

#[test]
fn all_three_forms_of_an_event_are_understood_and_outcomes_are_cloud_events_of_its_trace() {
    let mut world = World::new("three-forms", Setup::default());
    let _worker = world.worker();

    let plain = sale("plain-1", "order-1", "100", &[1]);
    let binary = json!({
        "orderId": "order-2", "customer": {"customerId": "100"}, "devices": [{"imei": imei(2)}],
    });
    let structured = json!({
        "specversion": "1.0", "id": "structured-1", "source": "/shop",
        "type": "com.example.order.sale.v1", "time": "2026-05-04T08:00:00Z",
        "traceparent": format!("00-{TRACE}-00f067aa0ba902b7-01"),
        "data": {
            "orderId": "order-3", "customer": {"customerId": "100"},
            "devices": [{"imei": imei(3)}],
        },
    });
    let record = |value: &Value, headers: &[(&str, &str)]| Record {
        topic: "three-forms.orders".into(),
        key: Some(b"any".to_vec()),
        value: Some(value.to_string().into_bytes()),
        headers: headers.iter().map(|(n, v)| ((*n).to_owned(), v.as_bytes().to_vec())).collect(),
        ..Record::default()
    };
    let trace = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let records = [
        record(&plain, &[("traceparent", &trace)]),
        record(
            &binary,
            &[
                ("ce_specversion", "1.0"),
                ("ce_id", "binary-1"),
                ("ce_type", "com.example.order.sale.v1"),
                ("ce_source", "/shop"),
                ("ce_time", "2026-05-04T08:00:00Z"),
                ("content-type", "application/json"),
                ("traceparent", &trace),
            ],
        ),
        record(&structured, &[("content-type", "application/cloudevents+json; charset=utf-8")]),
    ];
    let meaning = [plain, sale("", "order-2", "", &[2]), sale("", "order-3", "", &[3])];
    world.send_records(&meaning, &records);
    world.wait_until_quiet(SOON);

    assert_eq!(world.outcomes.len(), 3);
    for (event, number) in [("plain-1", 1), ("binary-1", 2), ("structured-1", 3)] {
        let outcome = world.outcome_of(event);
        assert_eq!(outcome.status(), "succeeded", "{:#}", outcome.json);
        assert_eq!(outcome.text("/times/occurredAt"), "2026-05-04T08:00:00Z");
        let record = &outcome.record;
        assert_eq!(record.key_text(), key(number));
        assert_eq!(record.header("ce_specversion"), Some("1.0"));
        assert_eq!(record.header("ce_id"), Some(outcome.text("/outcomeId")));
        assert_eq!(record.header("ce_subject"), Some(&*key(number)));
        assert!(record.header("ce_type").unwrap().ends_with(".claim.v1"));
        assert!(!record.header("ce_source").unwrap().is_empty());
        assert_eq!(record.header("ce_time"), Some(outcome.text("/times/completedAt")));
        assert_eq!(record.header("content-type"), Some("application/json"));
        let trace: Vec<&str> = record.header("traceparent").unwrap().split('-').collect();
        assert_eq!(trace[1], TRACE, "the trace goes on");
        assert_ne!(trace[2], "00f067aa0ba902b7", "in a span of its own");
    }
    invariants::hold(&world);
}

#[test]
fn sale_return_and_sale_of_one_device_end_with_the_customer_of_the_last() {
    let mut world = World::new(
        "order-kept",
        Setup { sandbox: &["--operation-time", "1s"], ..Setup::default() },
    );
    let _worker = world.worker();

    let events = [
        sale("first", "order-x", "100", &[7]),
        event("return", "back", "order-x", &[7]),
        sale("second", "order-y", "200", &[7]),
    ];
    let partitions = [3, 0, 1];
    for (index, (event, partition)) in events.iter().zip(partitions).enumerate() {
        let record = Record {
            topic: world.topic("orders"),
            partition: Some(partition),
            key: Some(event["orderId"].as_str().unwrap().as_bytes().to_vec()),
            value: Some(event.to_string().into_bytes()),
            ..Record::default()
        };
        world.send_records(std::slice::from_ref(event), &[record]);
        // Across partitions the order is that of arrival: the next is sent once this is there.
        world.wait_for_commands(index + 1);
    }
    world.wait_until_quiet(SOON);

    assert_eq!(world.outcomes.len(), 3);
    assert_eq!(world.outcome_of("second").status(), "succeeded");
    let device = world.sandbox.device(&key(7)).unwrap();
    assert_eq!(device["claim"]["customerId"], "200");
    assert_eq!(device["metadata"]["ordernumber"], "order-y");
    assert_eq!(world.sandbox.stats()["deviceInFlightMax"], 1);
    invariants::hold(&world);
}
