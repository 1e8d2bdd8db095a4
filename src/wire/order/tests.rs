//! Decoding as tables: a value in, an event or the reason why not out.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::model::{FailureCode, Metadata};

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
        ("orderId", json!(1.5), Reason::InvalidField),
        ("orderId", json!(null), Reason::MissingField),
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
        ("metadata", json!({"a": null, "b": {}}), Reason::InvalidField),
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
fn ids_may_be_integers_and_null_counts_as_absent() {
    let text = r#"{"eventId": 5940139491234, "type": "sale", "occurredAt": "2026-05-04T08:00:00Z",
        "orderId": 1042, "customer": {"customerId": 77, "googleWorkspaceCustomerId": null},
        "account": null, "metadata": {"phonenumber": null, "": null, "note": ""},
        "devices": [{"line": 3, "imei": "490154203237518", "imei2": null, "metadata": {"a": null}},
                    {"line": null, "metadata": null, "deviceId": 9, "configurationId": null}]}"#;
    let event = decode_text(text).unwrap();
    assert_eq!((event.id.as_str(), event.order_id.as_str()), ("5940139491234", "1042"));
    assert_eq!(event.metadata, Metadata::from([("note".to_owned(), String::new())]));
    let [first, second] = event.devices.as_slice() else { panic!("{event:?}") };
    assert_eq!((first.line.as_deref(), first.fault.as_ref()), (Some("3"), None));
    assert_eq!((second.device_id.as_deref(), second.fault.as_ref()), (Some("9"), None));
    assert!(first.metadata.is_empty() && second.metadata.is_empty());
    for (number, expected) in [("1e3", Some("1000")), ("-0.0", Some("0")), ("1e16", None)] {
        let event = decode_text(&text.replace("1042", number));
        assert_eq!(event.ok().map(|event| event.order_id).as_deref(), expected, "{number}");
    }
}

#[test]
fn the_words_of_a_wrong_time_say_at_once_what_is_needed() {
    for time in [json!(1_700_000_000), json!(1.7e9), json!("1700000000"), json!("2026-05-04")] {
        let rejection = with("occurredAt", time).unwrap_err();
        assert_eq!(rejection.reason, DeadLetterReason::InvalidField);
        let words = "needs a time with zone by RFC 3339, such as \"2026-05-04T08:00:00Z\"";
        assert!(rejection.message.contains(words), "{}", rejection.message);
    }
}

#[test]
fn what_the_parser_cannot_take_harms_only_its_place() {
    let nines = "9".repeat(500);
    let text = format!(
        r#"{{"eventId": "e", "type": "sale", "occurredAt": "2026-05-04T08:00:00Z", "orderId": "A",
            "note": "\udfff", "devices": [{{"serialNumber": "S\ud800"}}, {{"line": {nines}}},
            {{"imei": "490154203237518"}}]}}"#
    );
    let devices = decode_text(&text).unwrap().devices;
    let faults: Vec<_> = devices.iter().map(|d| d.fault.as_ref().map(|f| &*f.message)).collect();
    let [Some(broken), Some(large), None] = faults.as_slice() else { panic!("{faults:?}") };
    assert!(
        broken.starts_with("serialNumber is broken text (an escape such as \\ud83d"),
        "{broken}"
    );
    assert_eq!(*large, "line is a fractional or too large number, needs to be text or an integer");
    for (text, words) in [
        (text.replace("\"A\"", "\"\\ud800\""), "orderId is broken text"),
        (text.replace("\"A\"", &nines), "orderId is a fractional or too large number"),
        (text.replace("\"note\"", "\"metadata\""), "metadata is text"),
        (text.replace("\"\\udfff\"", "1").replace("note", "\\ud800"), ""),
        (
            text.replace("\"note\": ", "\"metadata\": {\"a\":").replace("\\udfff\"", "\\udfff\"}"),
            "metadata value of \"a\" is broken text",
        ),
        (
            text.replace("\"note\": \"\\udfff", "\"metadata\": {\"\\udfff\":1}, \"x\": \""),
            "a metadata key is broken text",
        ),
    ] {
        match decode_text(&text) {
            Ok(_) => assert_eq!(words, "", "{text}"),
            Err(rejection) => {
                assert!(rejection.message.starts_with(words), "{} in {text}", rejection.message);
                assert_eq!(rejection.reason, DeadLetterReason::InvalidField);
            }
        }
    }
}

#[test]
fn other_documents_are_named() {
    use DeadLetterReason as Reason;
    let double = Value::String(sale().to_string());
    let mut envelope =
        json!({"specversion": "1.0", "id": "e", "type": "sale", "data_base64": "e30="});
    let connect = json!({"schema": {"type": "struct"}, "payload": sale()});
    let row = json!({"before": null, "after": {"id": 1}, "op": "c", "source": {}, "ts_ms": 1});
    for (value, reason, words) in [
        (&double, Reason::NotAnObject, "JSON text inside of a JSON text"),
        (&json!([sale()]), Reason::NotAnObject, "one order event a record"),
        (&envelope, Reason::MissingField, "has data_base64"),
        (&connect, Reason::MissingField, "value.converter.schemas.enable=false"),
        (&row, Reason::MissingField, "Debezium"),
    ] {
        let rejection = decode_text(&value.to_string()).unwrap_err();
        assert_eq!(rejection.reason, reason, "{}", rejection.message);
        assert!(rejection.message.contains(words), "{}", rejection.message);
    }
    envelope["data"] = double;
    let nested = decode_text(&envelope.to_string()).unwrap_err();
    assert!(nested.message.contains("inside of a JSON text"), "{}", nested.message);
    let batch: &[(&str, &[u8])] = &[("content-type", b"application/cloudevents-batch+json")];
    let list = decode_with(Some(b"[{}]"), batch, None).unwrap_err();
    assert!(list.message.contains("a CloudEvents batch is not read"), "{}", list.message);
    // An order event may have members of these names, as it may have any.
    let mut event = sale();
    for member in ["schema", "payload", "before", "after", "op", "data_base64"] {
        event[member] = json!(1);
    }
    assert!(decode_text(&event.to_string()).is_ok());
    let framed = decode_with(Some(b"\0\0\0\0\x0c{}"), &[], None).unwrap_err();
    assert_eq!(framed.reason, Reason::NotJson);
    assert!(framed.message.contains("schema registry"), "{}", framed.message);
    let packed = decode_with(Some(b"\x1f\x8b\x08"), &[], None).unwrap_err();
    assert_eq!((packed.reason, packed.message.contains("gzip")), (Reason::NotUtf8, true));
}

#[test]
fn headers_that_contradict_each_other_reject_the_event_where_they_count() {
    let twice = |name: &'static str, values: [&'static [u8]; 2], body: &Value| {
        let mut headers = vec![("ce_id", b"e".as_slice()), ("ce_type", b"x.sale")];
        headers.push(("ce_time", b"2026-05-04T08:00:00Z"));
        headers.retain(|(header, _)| *header != name);
        headers.extend(values.map(|value| (name, value)));
        decode_with(Some(body.to_string().as_bytes()), &headers, None)
    };
    let bare = without(&["eventId", "type", "occurredAt"]);
    let times: [&[u8]; 2] = [b"2026-05-04T08:00:00Z", b"2026-05-05T08:00:00Z"];
    assert_eq!(
        reason(twice("ce_type", [b"x.sale", b"x.return"], &bare)),
        DeadLetterReason::InvalidField
    );
    assert_eq!(reason(twice("ce_id", [b"a", b"b"], &bare)), DeadLetterReason::InvalidField);
    assert_eq!(reason(twice("ce_time", times, &bare)), DeadLetterReason::InvalidField);
    assert!(twice("ce_type", [b"x.sale", b"x.sale"], &bare).is_ok());
    assert!(twice("ce_id", [b"a", b"b"], &sale()).is_ok());
    assert!(twice("ce_time", times, &sale()).is_ok());
    assert!(twice("ce_type", [b"x.sale", b"x.return"], &sale()).is_err());
}

#[test]
fn a_type_in_another_spelling_is_not_foreign() {
    for (kind, is_foreign) in [("Sale", false), ("com.x.RETURN.v1", false), ("order.paid", true)] {
        let rejection = with("type", json!(kind)).unwrap_err();
        assert_eq!(rejection.reason, DeadLetterReason::UnknownType);
        assert_eq!(rejection.is_foreign, is_foreign, "{kind}: {}", rejection.message);
    }
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
