//! Decoding as tables: a value in, an event or the reason why not out.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::model::FailureCode;

const LIMITS: Limits = Limits { payload_bytes_max: 4 << 20, devices_max: 3 };

fn source() -> Source {
    Source { topic: "orders".into(), partition: 1, offset: 9 }
}

fn decode_with(
    payload: Option<&[u8]>,
    headers: &[(&str, &[u8])],
    timestamp: Option<&str>,
) -> Result<OrderEvent, Rejection> {
    let timestamp = timestamp.map(|text| text.parse().unwrap());
    decode(&Record { source: &source(), timestamp, headers, payload }, &LIMITS)
}

fn decode_text(text: &str) -> Result<OrderEvent, Rejection> {
    decode_with(Some(text.as_bytes()), &[], None)
}

fn sale() -> Value {
    json!({
        "eventId": "e-1", "type": "sale", "occurredAt": "2026-05-04T10:00:00+02:00",
        "orderId": "A-1", "customer": {"customerId": 77}, "metadata": {"a": ""},
        "devices": [{"line": 4, "imei": "490154203237518", "colour": ["red"]}], "extra": [[[{}]]],
    })
}

fn with(member: &str, value: Value) -> Result<OrderEvent, Rejection> {
    let mut event = sale();
    event[member] = value;
    decode_text(&event.to_string())
}

fn without(members: &[&str]) -> Value {
    let mut event = sale();
    for member in members {
        assert!(event.as_object_mut().unwrap().remove(*member).is_some());
    }
    event
}

fn reason(result: Result<OrderEvent, Rejection>) -> DeadLetterReason {
    result.unwrap_err().reason
}

#[test]
fn plain_json_is_read_and_unknown_members_are_ignored() {
    let event = decode_text(&sale().to_string()).unwrap();
    assert_eq!(
        (event.id.as_str(), event.kind, event.order_id.as_str()),
        ("e-1", Cause::Sale, "A-1")
    );
    assert_eq!(event.occurred_at.to_string(), "2026-05-04T08:00:00Z");
    assert_eq!(event.customer.customer_id.as_deref(), Some("77"));
    assert_eq!(event.metadata.get("a").map(String::as_str), Some(""));
    let device = &event.devices[0];
    assert_eq!((device.line.as_deref(), &device.fault), (Some("4"), &None));
    assert_eq!(event.traceparent, Some(TraceParent::root(&source()).to_string()));
}

#[test]
fn binary_headers_fill_what_the_body_leaves_out() {
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let body = without(&["eventId", "type", "occurredAt"]).to_string();
    let headers: &[(&str, &[u8])] = &[
        ("ce_specversion", b"1.0"),
        ("ce_id", b"ce-1"),
        ("ce_type", b"com.example.order.return.v1"),
        ("ce_time", b"2026-01-01T00:00:00Z"),
        ("traceparent", trace.as_bytes()),
    ];
    let event = decode_with(Some(body.as_bytes()), headers, None).unwrap();
    assert_eq!((event.id.as_str(), event.kind), ("ce-1", Cause::Return));
    assert_eq!(event.occurred_at.to_string(), "2026-01-01T00:00:00Z");
    assert_eq!(event.traceparent.as_deref(), Some(trace));
}

#[test]
fn the_body_goes_before_the_headers_but_must_not_contradict_their_type() {
    let body = sale().to_string();
    let typed = |kind: &'static str| {
        decode_with(Some(body.as_bytes()), &[("ce_id", b"x"), ("ce_type", kind.as_bytes())], None)
    };
    assert_eq!(typed("order.created").unwrap().id, "e-1");
    assert_eq!(reason(typed("order.return.v1")), DeadLetterReason::InvalidField);
}

#[test]
fn an_envelope_is_known_by_its_members_or_by_its_content_type() {
    let envelope = json!({
        "specversion": "1.0", "id": "ce-2", "type": "order.cancellation",
        "time": "2026-01-01T00:00:00Z", "source": "/shop",
        "data": without(&["eventId", "type", "occurredAt"]),
    });
    let event = decode_text(&envelope.to_string()).unwrap();
    assert_eq!((event.id.as_str(), event.kind), ("ce-2", Cause::Cancellation));
    let structured = |value: &Value| {
        let headers: &[(&str, &[u8])] = &[("content-type", b"application/cloudevents+json")];
        decode_with(Some(value.to_string().as_bytes()), headers, None)
    };
    assert!(structured(&envelope).is_ok());
    assert_eq!(reason(structured(&sale())), DeadLetterReason::InvalidField);
    let edited = |member: &str, value: Value| {
        let mut envelope = envelope.clone();
        envelope[member] = value;
        reason(structured(&envelope))
    };
    assert_eq!(edited("data", json!(null)), DeadLetterReason::MissingField);
    assert_eq!(edited("data", json!("text")), DeadLetterReason::NotAnObject);
    assert_eq!(edited("specversion", json!("0.3")), DeadLetterReason::InvalidField);
    assert_eq!(edited("type", json!(1)), DeadLetterReason::InvalidField);
    // Members of the order event beside the envelope's do not count.
    assert_eq!(edited("data", json!({"data": sale()})), DeadLetterReason::MissingField);
}

#[test]
fn id_and_time_fall_back_to_what_the_record_knows() {
    let body = without(&["eventId", "occurredAt"]).to_string();
    let event = decode_with(Some(body.as_bytes()), &[], Some("2026-02-02T00:00:00Z")).unwrap();
    assert_eq!(event.id, "orders/1/9");
    assert_eq!(event.occurred_at.to_string(), "2026-02-02T00:00:00Z");
    assert_eq!(reason(decode_text(&body)), DeadLetterReason::MissingField);
    let mut event = without(&["eventId"]);
    event["id"] = json!("short");
    assert_eq!(decode_text(&event.to_string()).unwrap().id, "short");
}

#[test]
fn types_are_recognised_by_their_last_segment_before_a_version() {
    for (kind, expected) in [
        ("sale", Some(Cause::Sale)),
        ("sale.v1", Some(Cause::Sale)),
        ("com.example.order.amendment.v12", Some(Cause::Amendment)),
        ("com.example.return", Some(Cause::Return)),
        ("Sale", None),
        ("v1", None),
        ("sale.v", None),
        ("sale.v1.v1", None),
        ("presale", None),
        ("sale.created", None),
        ("", None),
    ] {
        assert_eq!(cause(kind), expected, "{kind}");
    }
}

#[test]
fn what_cannot_be_used_is_a_dead_letter_with_its_reason() {
    use DeadLetterReason as Reason;
    assert_eq!(reason(decode_with(None, &[], None)), Reason::Tombstone);
    assert_eq!(reason(decode_with(Some(b"\xff\xfe"), &[], None)), Reason::NotUtf8);
    let large = vec![b' '; LIMITS.payload_bytes_max + 1];
    assert_eq!(reason(decode_with(Some(&large), &[], None)), Reason::TooLarge);
    for (text, expected) in [
        ("", Reason::Empty),
        (" \n", Reason::Empty),
        ("\u{feff}", Reason::Empty),
        ("garbage", Reason::NotJson),
        ("{} {}", Reason::NotJson),
        ("[]", Reason::NotAnObject),
        ("null", Reason::NotAnObject),
        ("1e3", Reason::NotAnObject),
        ("{}", Reason::MissingField),
    ] {
        assert_eq!(reason(decode_text(text)), expected, "{text:?}");
    }
    let device = json!({"imei": "490154203237518"});
    for (member, value, expected) in [
        ("type", json!("exchange"), Reason::UnknownType),
        ("type", json!(["sale"]), Reason::InvalidField),
        ("type", json!(null), Reason::MissingField),
        ("eventId", json!({}), Reason::InvalidField),
        ("orderId", json!(" "), Reason::MissingField),
        ("orderId", json!(12), Reason::InvalidField),
        ("orderId", json!("x".repeat(1025)), Reason::InvalidField),
        ("occurredAt", json!("yesterday"), Reason::InvalidField),
        ("occurredAt", json!("2026-05-04T10:00:00"), Reason::InvalidField),
        ("occurredAt", json!(1_700_000_000), Reason::InvalidField),
        ("account", json!(false), Reason::InvalidField),
        ("customer", json!("77"), Reason::InvalidField),
        ("customer", json!({"customerId": 1.5}), Reason::InvalidField),
        ("customer", json!({"googleWorkspaceCustomerId": 1}), Reason::InvalidField),
        ("metadata", json!([1]), Reason::InvalidField),
        ("metadata", json!({"a": 1}), Reason::InvalidField),
        ("metadata", json!({"a": null, "b": [1]}), Reason::InvalidField),
        ("metadata", json!({"": "x"}), Reason::InvalidField),
        ("metadata", json!({"a": "x".repeat(5000)}), Reason::InvalidField),
        ("devices", json!([]), Reason::NoDevices),
        ("devices", json!(null), Reason::MissingField),
        ("devices", json!({}), Reason::InvalidField),
        ("devices", json!([device, device, device, device]), Reason::TooManyDevices),
    ] {
        let rejection = with(member, value.clone()).unwrap_err();
        assert_eq!(rejection.reason, expected, "{member}: {value}");
        assert!(rejection.message.len() < 300, "{}", rejection.message);
    }
}

#[test]
fn a_wrong_type_in_a_device_harms_that_device_only() {
    let event = with(
        "devices",
        json!([
            {"line": "a", "imei": 490154203237518_u64, "serialNumber": "S"},
            "x",
            {"imei": "490154203237518", "metadata": {"a": [[1]], "b": "c"}, "model": {"x": [1]}},
        ]),
    )
    .unwrap();
    let faults: Vec<_> = event.devices.iter().map(|d| d.fault.clone().unwrap()).collect();
    let codes: Vec<_> = faults.iter().map(|fault| fault.code).collect();
    let invalid = FailureCode::InvalidField;
    assert_eq!(codes, [invalid, invalid, FailureCode::InvalidMetadata]);
    assert_eq!(faults[0].message, "imei is a number, needs to be text");
    assert_eq!(event.devices[0].ids.serial_number.as_deref(), Some("S"));
    assert_eq!(event.devices[2].ids.imei.as_deref(), Some("490154203237518"));
}

#[test]
fn garbage_of_two_mebibytes_and_any_depth_does_no_harm() {
    let deep = |text: &str| text.repeat((2 << 20) / text.len());
    for text in [deep("["), deep(r#"{"a":"#), deep(r#"{"data":"#), deep(r#"{"devices":["#)] {
        assert_eq!(reason(decode_text(&text)), DeadLetterReason::NotJson);
    }
    let nested = format!("{}{}", "[".repeat(1 << 19), "]".repeat(1 << 19));
    assert_eq!(reason(decode_text(&nested)), DeadLetterReason::NotAnObject);
    for member in ["extra", "type", "metadata", "customer", "data"] {
        let text = format!(r#"{{"{member}":{nested}}}"#);
        assert_ne!(reason(decode_text(&text)), DeadLetterReason::NotJson, "{member}");
    }
    let text = format!(
        r#"{{"type":"sale","orderId":"A","occurredAt":"2026-05-04T10:00:00Z","devices":[{nested},
            {{"imei":{nested}}},{{"metadata":{{"a":{nested}}}}}]}}"#
    );
    assert!(decode_text(&text).unwrap().devices.iter().all(|device| device.fault.is_some()));
}

fn any_json() -> impl Strategy<Value = Value> {
    let words = prop::sample::select(vec![
        "sale",
        "a.return.v1",
        "1",
        "-1",
        "",
        "1.0",
        "490154203237518",
        "2026-05-04T10:00:00Z",
        "ü",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        words.prop_map(Value::from),
    ];
    let members = prop::sample::select(vec![
        "eventId",
        "id",
        "type",
        "occurredAt",
        "orderId",
        "account",
        "customer",
        "metadata",
        "devices",
        "specversion",
        "time",
        "traceparent",
        "data",
        "customerId",
        "line",
        "imei",
        "deviceType",
        "deviceId",
        "configurationId",
        "sectionType",
        "other",
    ]);
    leaf.prop_recursive(4, 48, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((members.clone(), inner), 0..8)
                .prop_map(|m| m.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        ]
    })
}

proptest! {
    #[test]
    fn any_bytes_give_an_event_or_a_rejection(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode_with(Some(&bytes), &[("ce_type", &bytes), ("ce_time", &bytes)], None);
    }

    #[test]
    fn any_json_gives_an_event_or_a_rejection(value in any_json()) {
        let _ = decode_text(&value.to_string());
    }

    #[test]
    fn any_value_of_any_member_is_no_syntax_error(
        member in prop::sample::select(vec!["type", "customer", "metadata", "devices", "data"]),
        value in any_json(),
    ) {
        if let Err(rejection) = with(member, value) {
            prop_assert_ne!(rejection.reason, DeadLetterReason::NotJson);
        }
    }
}
