//! Order events that are broken, odd or meant to do harm: what becomes of each, decided without
//! Kafka. `tests/data/hostile-orders.jsonl` holds one a line; long values are written short, as
//! lists of parts. The snapshot is the expectation: a change of it is a change of the contract.

// Every expectation here is a test of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use zerotouch_worker::engine::intake::{IntakeOptions, Intaken, map, passes_over};
use zerotouch_worker::model::Source;
use zerotouch_worker::wire::order::{Limits, Record, decode};

const ORDERS: &str = include_str!("data/hostile-orders.jsonl");
/// What is shown of a reason, in characters.
const SHOWN_MAX: usize = 160;
/// Kinds of refused lines shown of one event.
const KINDS_MAX: usize = 6;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    name: String,
    /// None is a tombstone.
    value: Option<Value>,
    #[serde(default)]
    headers: Vec<(Value, Option<Value>)>,
    /// In milliseconds.
    timestamp: Option<i64>,
    #[allow(dead_code, reason = "whatever it is, nothing becomes of it")]
    key: Option<Value>,
}

/// The bytes of text, or of parts one after the other.
fn bytes(value: &Value) -> Vec<u8> {
    let times = value["times"].as_u64().unwrap_or(1);
    if let Some(text) = value.as_str() {
        return text.as_bytes().to_vec();
    }
    if let Some(parts) = value.as_array() {
        return parts.iter().flat_map(bytes).collect();
    }
    if let Some(bytes) = value["bytes"].as_array() {
        return bytes.iter().map(|byte| u8::try_from(byte.as_u64().unwrap()).unwrap()).collect();
    }
    if let [before, after] = value["numbered"].as_array().map_or(&[][..], Vec::as_slice) {
        let (before, after) = (before.as_str().unwrap(), after.as_str().unwrap());
        let all: String = (0..times).map(|number| format!("{before}{number}{after}")).collect();
        return all.into_bytes();
    }
    bytes(&value["repeat"]).repeat(usize::try_from(times).unwrap())
}

/// Headers as intake sees them: those without value are left out.
fn headers(order: &Order) -> Vec<(String, Vec<u8>)> {
    let mut headers = Vec::new();
    for (name, value) in &order.headers {
        let Some(value) = value else { continue };
        let names = match name["times"].as_u64() {
            Some(times) if name.get("numbered").is_some() => {
                let before = name["numbered"][0].as_str().unwrap();
                (0..times).map(|number| format!("{before}{number}")).collect()
            }
            _ => vec![String::from_utf8(bytes(name)).unwrap()],
        };
        headers.extend(names.into_iter().map(|name| (name, bytes(value))));
    }
    headers
}

/// What becomes of an order, in a line for a person.
fn told(order: &Order) -> String {
    let options = IntakeOptions {
        accounts: ["main", "second"].map(str::to_owned).into(),
        default_account: Some("main".to_owned()),
        skips_others: true,
    };
    let source = Source { topic: "orders".into(), partition: 0, offset: 7 };
    let (payload, headers) = (order.value.as_ref().map(bytes), headers(order));
    let headers: Vec<_> = headers.iter().map(|(n, v)| (n.as_str(), v.as_slice())).collect();
    let timestamp = Timestamp::from_millisecond(order.timestamp.unwrap_or(1_777_777_777_000)).ok();
    let record =
        Record { source: &source, timestamp, headers: &headers, payload: payload.as_deref() };
    let limits = Limits { payload_bytes_max: 8 << 20, ..Limits::default() };
    let short = |text: &str| -> String { text.chars().take(SHOWN_MAX).collect() };
    let event = match decode(&record, &limits) {
        Ok(event) => event,
        Err(rejection) => {
            let class = match passes_over(&rejection, &options) {
                Some(kind) => format!("passed over, {}", kind.as_str()),
                None => rejection.reason.as_str().to_owned(),
            };
            return format!("{class}: {}", short(&rejection.message));
        }
    };
    let mut told = format!("{} at {}", event.kind.as_str(), event.occurred_at);
    let (mut commands, mut refused) = (0, BTreeMap::<String, usize>::new());
    for line in map(event, (&source, None), Timestamp::UNIX_EPOCH, &options) {
        match line {
            Intaken::Command(_) => commands += 1,
            Intaken::Refused(line) => {
                let failure = line.verdict.failure.unwrap();
                let kind = format!("{}: {}", failure.code.as_str(), short(&failure.message));
                *refused.entry(kind).or_default() += 1;
            }
        }
    }
    write!(told, ", {commands} commands").unwrap();
    for (kind, count) in refused.iter().take(KINDS_MAX) {
        write!(told, "\n    {count} refused, {kind}").unwrap();
    }
    told
}

#[test]
fn what_becomes_of_hostile_orders_changes_only_on_purpose() {
    let orders: Vec<Order> =
        ORDERS.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    assert!(orders.len() > 200, "{}", orders.len());
    let told = orders.iter().map(|order| format!("{}\n  {}", order.name, told(order)));
    insta::assert_snapshot!("what_becomes_of_hostile_orders", told.collect::<Vec<_>>().join("\n"));
}

/// Bounds that a schema does not state.
const BOUNDS: [&str; 3] = ["too_large", "too_many_devices", "metadata is larger than"];

#[test]
fn what_the_schema_allows_is_an_order_event_but_for_bounds() {
    let schema = zerotouch_worker::wire::schema::schema("order-event").unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
    let mut allowed = 0;
    for line in ORDERS.lines() {
        let order: Order = serde_json::from_str(line).unwrap();
        // Headers may contradict what the value says.
        let Some(value) = order.value.as_ref().filter(|_| order.headers.is_empty()) else {
            continue;
        };
        // Not every JSON text can be looked at in this way: depth, half characters, huge numbers.
        let Ok(event) = serde_json::from_slice::<Value>(&bytes(value)) else { continue };
        // The type may be in a header, and the time be the record's: neither is there, or usable.
        let is_whole = !event["type"].is_null() && order.timestamp.is_none();
        if !is_whole || !validator.is_valid(&event) {
            continue;
        }
        allowed += 1;
        let told = told(&order);
        let is_event = told.split(' ').nth(1) == Some("at");
        let is_beyond = BOUNDS.iter().any(|bound| told.contains(bound));
        assert!(is_event || is_beyond, "{}: {told}", order.name);
    }
    assert!(allowed > 100, "{allowed}");
}
