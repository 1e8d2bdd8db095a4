//! The bytes of an event, in the three forms that order pipelines use, and what has to follow.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};

use crate::model::{Action, Cause, Customer};
use crate::verify::{Expectation, ExpectedCommand};

use super::devices::{Fleet, Kind};
use super::{Item, ItemKind, Order};

const PRODUCER: &str = "/demo/orders";

/// A record in the making.
pub(super) struct Draft<'a> {
    pub(super) rng: &'a mut ChaCha8Rng,
    pub(super) fleet: &'a Fleet,
    /// Number of the record in the stream.
    pub(super) number: u64,
    pub(super) occurred_at: Timestamp,
}

/// Metadata of one event, as the expectation needs it.
type Entries = BTreeMap<String, String>;

impl Draft<'_> {
    /// An event about some lines of an order.
    pub(super) fn event(&mut self, cause: Cause, order: &Order, lines: &[usize]) -> Item {
        let customer = self.names_customer(cause).then_some(&order.customer);
        let metadata = self.metadata(cause, order);
        let mut expected = Vec::with_capacity(lines.len());
        let mut devices = Vec::with_capacity(lines.len());
        for &at in lines {
            let unit = order.units[at];
            let (mut device, key) = self.fleet.describe(unit);
            let line = (at + 1).to_string();
            device.insert("line".into(), json!(line));
            if unit.kind == Kind::ChromeOs && cause == Cause::Sale {
                device.insert("preProvisioningToken".into(), json!(format!("token-{line}")));
            }
            let mut entries = metadata.clone();
            if cause == Cause::Sale && unit.kind == Kind::DualSim && self.rng.random_bool(0.1) {
                let number = self.phone_number();
                device.insert("metadata".into(), json!({ "phonenumber": number }));
                entries.insert("phonenumber".into(), number);
            }
            devices.push(Value::Object(device));
            for (action, entries) in commands(cause, &order.id, entries) {
                expected.push(ExpectedCommand {
                    line: line.clone(),
                    action,
                    cause,
                    device: key.clone(),
                    customer: customer.cloned(),
                    metadata: entries,
                    order_id: order.id.clone(),
                });
            }
        }
        let mut body = Map::new();
        body.insert("orderId".into(), json!(order.id));
        if let Some(customer) = customer {
            body.insert("customer".into(), customer_json(customer));
        }
        if !metadata.is_empty() {
            body.insert("metadata".into(), json!(metadata));
        }
        body.insert("devices".into(), Value::Array(devices));
        let expectation = Expectation::Commands(expected);
        self.item(ItemKind::Event(cause), cause.as_str(), &order.id, body, lines.len(), expectation)
    }

    /// Bytes cut off in the middle, as a broken producer leaves them.
    pub(super) fn garbage(&mut self) -> Item {
        Item {
            kind: ItemKind::Garbage,
            key: format!("garbage-{}", self.number),
            event_id: String::new(),
            headers: Vec::new(),
            payload: b"{\"type\":\"sale\",\"orderId\":\"SO-\xff\xfe".to_vec(),
            lines: 0,
            sold: 0,
            expectation: Expectation::DeadLetter,
        }
    }

    /// A well-formed event of a type that this worker does not know.
    pub(super) fn unknown_type(&mut self) -> Item {
        let id = format!("EX-{}", self.number);
        let mut body = Map::new();
        body.insert("orderId".into(), json!(id));
        body.insert("devices".into(), json!([]));
        let (kind, expectation) = (ItemKind::UnknownType, Expectation::DeadLetter);
        self.item(kind, "exchange", &id, body, 0, expectation)
    }

    fn names_customer(&mut self, cause: Cause) -> bool {
        match cause {
            Cause::Sale => true,
            Cause::Return | Cause::Cancellation => self.rng.random_bool(0.7),
            Cause::Amendment => false,
        }
    }

    /// Metadata of the whole event. Never the order number, which the worker is to add to a sale.
    fn metadata(&mut self, cause: Cause, order: &Order) -> Entries {
        let is_chrome_os = order.units.first().is_some_and(|unit| unit.kind == Kind::ChromeOs);
        let number = match cause {
            Cause::Amendment if self.rng.random_bool(0.9) => self.phone_number(),
            // An empty value deletes the number.
            Cause::Amendment => String::new(),
            Cause::Return if !is_chrome_os && self.rng.random_bool(0.3) => String::new(),
            Cause::Sale | Cause::Return | Cause::Cancellation => return Entries::new(),
        };
        Entries::from([("phonenumber".into(), number)])
    }

    fn phone_number(&mut self) -> String {
        // A range kept free for fiction.
        format!("+1202555{:04}", self.rng.random_range(100..200))
    }

    /// Plain JSON, CloudEvents with attributes in headers, or CloudEvents in an envelope.
    fn item(
        &mut self,
        kind: ItemKind,
        word: &str,
        key: &str,
        body: Map<String, Value>,
        lines: usize,
        expectation: Expectation,
    ) -> Item {
        let event_id = format!("evt-{:08}", self.number);
        let id = event_id.clone();
        let time = self.occurred_at.to_string();
        let ce_type = format!("com.example.order.{word}.v1");
        let mut headers = Vec::new();
        let value = match self.rng.random_range(0..100) {
            0..60 => {
                let mut event = Map::new();
                event.insert("eventId".into(), json!(event_id));
                event.insert("type".into(), json!(word));
                event.insert("occurredAt".into(), json!(time));
                event.extend(body);
                Value::Object(event)
            }
            60..85 => {
                headers.extend([
                    ("ce_specversion", "1.0".to_owned()),
                    ("ce_id", event_id),
                    ("ce_source", PRODUCER.to_owned()),
                    ("ce_type", ce_type),
                    ("ce_time", time),
                    ("content-type", "application/json".to_owned()),
                ]);
                Value::Object(body)
            }
            _ => {
                let media_type = "application/cloudevents+json; charset=UTF-8";
                headers.push(("content-type", media_type.to_owned()));
                json!({
                    "specversion": "1.0", "id": event_id, "source": PRODUCER, "type": ce_type,
                    "time": time, "datacontenttype": "application/json", "data": body,
                })
            }
        };
        if self.rng.random_bool(0.2) {
            let (trace, span) = (self.rng.random::<u128>() | 1, self.rng.next_u64() | 1);
            headers.push(("traceparent", format!("00-{trace:032x}-{span:016x}-01")));
        }
        let payload = value.to_string().into_bytes();
        let key = key.to_owned();
        Item { kind, key, event_id: id, headers, payload, lines, sold: 0, expectation }
    }
}

/// What an event means for one device.
fn commands(cause: Cause, order_id: &str, mut entries: Entries) -> Vec<(Action, Entries)> {
    match cause {
        Cause::Sale => {
            entries.insert("ordernumber".into(), order_id.to_owned());
            vec![(Action::Claim, entries)]
        }
        Cause::Return if entries.is_empty() => vec![(Action::Unclaim, Entries::new())],
        Cause::Return => {
            vec![(Action::UpdateMetadata, entries), (Action::Unclaim, Entries::new())]
        }
        Cause::Cancellation => vec![(Action::Unclaim, Entries::new())],
        Cause::Amendment => vec![(Action::UpdateMetadata, entries)],
    }
}

fn customer_json(customer: &Customer) -> Value {
    match customer {
        Customer::ZeroTouch(id) => json!({ "customerId": id }),
        Customer::Workspace(id) => json!({ "googleWorkspaceCustomerId": id }),
    }
}
