//! Order event v1: from a Kafka record to the model, or to the reason why not.
//!
//! Accepted: CloudEvents 1.0 in binary headers (`ce_id`, `ce_type`, `ce_time`), in a structured
//! envelope (content type `application/cloudevents+json`, or an object with `specversion` and
//! `data`), or plain JSON. Rules:
//! - Unknown members are ignored, `null` and blank text count as absent, of a repeated member the
//!   last counts. Texts are trimmed, metadata values are not. Ids of event, order, line and
//!   customer may be integers.
//! - Event id: `eventId`, else `id`, else the CloudEvents id, else `topic/partition/offset`.
//! - Type: `type`, else the CloudEvents type. It is the last segment between dots, a closing
//!   version segment (`.v1`, `.v2`, …) aside, in exactly this spelling: `sale`, `return`,
//!   `cancellation`, `amendment`. If body and CloudEvents both name one, they must agree.
//! - Time: `occurredAt`, else the CloudEvents time, else the record's timestamp. RFC 3339.
//! - Headers of one attribute that contradict each other reject the event, if the attribute counts.
//! - A wrong type in one device harms that device only; elsewhere it rejects the event.
//!
//! Only types are checked here. Whether the values make sense is up to intake.

mod body;
mod device;
mod event;
mod leaf;
mod looks;
mod repair;
mod time;

use std::borrow::Cow;

use jiff::Timestamp;
use serde::de::DeserializeSeed;

pub(crate) use event::OrderDocument;
pub use event::{CustomerJson, Int64Json, OrderDeviceJson, OrderEventJson, TextOrInteger};

use self::body::{Body, CustomerField, DevicesField, Document, DocumentSeed, Foreign};
use self::leaf::Leaf;
use super::cloud_events::{Attributes, CE_ID, CE_TIME, CE_TYPE, SPEC_VERSION};
use super::headers::TraceParent;
use super::json::{complaint, shorten};
use crate::model::{
    Cause, DeadLetterReason, OrderCustomer, OrderDevice, OrderEvent, Rejection, Source,
};

/// A Kafka record, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Where it was read.
    pub source: &'a Source,
    /// The record's timestamp, if it has one.
    pub timestamp: Option<Timestamp>,
    /// The headers, in order.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// The value; `None` is a tombstone.
    pub payload: Option<&'a [u8]>,
}

/// Bounds of an order event; beyond them it is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the value at most.
    pub payload_bytes_max: usize,
    /// Devices of one event at most.
    pub devices_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { payload_bytes_max: 1 << 20, devices_max: 10_000 }
    }
}

/// Decodes an order event. Total: every record gives an event or a rejection.
///
/// # Errors
/// The record is no order event; the rejection says why, and is its dead letter's reason.
pub fn decode(record: &Record<'_>, limits: &Limits) -> Result<OrderEvent, Rejection> {
    let text = text_of(record.payload, limits)?;
    let headers = Attributes::from_headers(record.headers);
    let body = object(document(text, limits)?, "the value", &headers)?;
    let is_envelope = headers.is_structured
        || (body.spec_version != Leaf::Absent
            && (body.foreign.data_base64 || !matches!(body.data, Document::Absent)));
    if !is_envelope {
        return event(body, headers, record, limits);
    }
    let mut envelope = *body;
    let data = std::mem::take(&mut envelope.data);
    let is_binary = envelope.foreign.data_base64;
    let attributes = envelope_attributes(envelope, headers.traceparent)?;
    if matches!(data, Document::Absent) {
        let message = if is_binary {
            "the CloudEvents envelope has data_base64; send the order event in data, as JSON"
        } else {
            "data is missing: the CloudEvents envelope needs the order event, as JSON"
        };
        return Err(Rejection::new(DeadLetterReason::MissingField, message));
    }
    let name = "data of the CloudEvents envelope";
    event(object(data, name, &attributes)?, attributes, record, limits)
}

fn document(text: &str, limits: &Limits) -> Result<Document, Rejection> {
    let parse = |text: &str| {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let seed = DocumentSeed { is_data: false, devices_max: limits.devices_max };
        let document = seed.deserialize(&mut deserializer)?;
        deserializer.end().map(|()| document)
    };
    let error = match parse(text) {
        Ok(document) => return Ok(document),
        Err(error) => error,
    };
    if let Some(document) = repair::repaired(text).and_then(|text| parse(&text).ok()) {
        return Ok(document);
    }
    let what = looks::like(text.as_bytes()).unwrap_or_else(|| complaint(&error));
    let message = format!("the value is not JSON: {what}");
    Err(Rejection::new(DeadLetterReason::NotJson, message))
}

fn text_of<'a>(payload: Option<&'a [u8]>, limits: &Limits) -> Result<&'a str, Rejection> {
    let Some(bytes) = payload else {
        let message = "the record has no value (a tombstone); order events are never deleted";
        return Err(Rejection::new(DeadLetterReason::Tombstone, message));
    };
    if bytes.len() > limits.payload_bytes_max {
        let message = format!(
            "the value has {} bytes, at most {} are accepted; split the order",
            bytes.len(),
            limits.payload_bytes_max
        );
        return Err(Rejection::new(DeadLetterReason::TooLarge, message));
    }
    let text = str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        let message = match looks::like(bytes) {
            Some(what) => format!("the value is not UTF-8 text: {what}"),
            None => format!("the value is not UTF-8 text from byte {at} on"),
        };
        Rejection::new(DeadLetterReason::NotUtf8, message)
    })?;
    // Some producers open their text with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim().is_empty() {
        return Err(Rejection::new(DeadLetterReason::Empty, "the record's value is empty"));
    }
    Ok(text)
}

fn object(document: Document, name: &str, of: &Attributes<'_>) -> Result<Box<Body>, Rejection> {
    let what = match document {
        Document::Object(body) => return Ok(body),
        Document::Wrong(what) => what,
        Document::Absent => "null",
    };
    let advice = match what {
        _ if of.is_batch => "; a CloudEvents batch is not read, send one event a record",
        "a list" => "; send one order event a record",
        _ => "",
    };
    let message = format!("{name} is {what}, needs to be an object{advice}");
    Err(Rejection::new(DeadLetterReason::NotAnObject, message))
}

fn envelope_attributes<'a>(
    envelope: Body,
    traceparent: Option<Cow<'a, str>>,
) -> Result<Attributes<'a>, Rejection> {
    let version = text("specversion", envelope.spec_version)?;
    if version.as_deref() != Some(SPEC_VERSION) {
        let message = format!("specversion of the CloudEvents envelope needs to be {SPEC_VERSION}");
        return Err(Rejection::new(DeadLetterReason::InvalidField, message));
    }
    // A broken trace context costs the trace, never the order.
    let own = envelope.traceparent.into_text().ok().flatten();
    Ok(Attributes {
        id: text("id of the CloudEvents envelope", envelope.id)?.map(Cow::Owned),
        kind: text("type of the CloudEvents envelope", envelope.kind)?.map(Cow::Owned),
        time: text("time of the CloudEvents envelope", envelope.time)?.map(Cow::Owned),
        traceparent: own.map(Cow::Owned).or(traceparent),
        is_structured: true,
        ..Attributes::default()
    })
}

fn event(
    body: Box<Body>,
    attributes: Attributes<'_>,
    record: &Record<'_>,
    limits: &Limits,
) -> Result<OrderEvent, Rejection> {
    let body = *body;
    if let Some(message) = other_document(&body) {
        return Err(Rejection::new(DeadLetterReason::MissingField, message));
    }
    agree(&attributes.contradictions, CE_TYPE)?;
    let kind = kind(text("type", body.kind)?.as_deref(), attributes.kind.as_deref())?;
    let own_id = text_or_integer("eventId", body.event_id)?;
    let own_id = if own_id.is_none() { text_or_integer("id", body.id)? } else { own_id };
    if own_id.is_none() {
        agree(&attributes.contradictions, CE_ID)?;
    }
    let Source { topic, partition, offset } = record.source;
    let id = match (own_id, attributes.id) {
        (Some(id), _) => id,
        (None, Some(id)) if id.len() > leaf::TEXT_BYTES_MAX => {
            let message = format!("ce_id is longer than {} bytes", leaf::TEXT_BYTES_MAX);
            return Err(Rejection::new(DeadLetterReason::InvalidField, message));
        }
        (None, Some(id)) => id.into_owned(),
        (None, None) => format!("{topic}/{partition}/{offset}"),
    };
    let occurred_at = match (time("occurredAt", body.occurred_at)?, attributes.time.as_deref()) {
        (Some(time), _) => time,
        (None, Some(text)) => {
            agree(&attributes.contradictions, CE_TIME)?;
            time_of("the CloudEvents time", text)?
        }
        (None, None) => record.timestamp.ok_or_else(|| missing("occurredAt"))?,
    };
    let order_id = text_or_integer("orderId", body.order_id)?;
    let order_id = order_id.ok_or_else(|| missing("orderId"))?;
    let trace = attributes.traceparent.as_deref().and_then(TraceParent::parse);
    Ok(OrderEvent {
        id,
        kind,
        occurred_at,
        order_id,
        account: text("account", body.account)?,
        customer: customer(body.customer)?,
        metadata: body
            .metadata
            .into_metadata()
            .map_err(|what| Rejection::new(DeadLetterReason::InvalidField, what))?,
        devices: devices(body.devices, limits)?,
        traceparent: Some(trace.unwrap_or_else(|| TraceParent::root(record.source)).to_string()),
    })
}

fn missing(name: &str) -> Rejection {
    Rejection::new(DeadLetterReason::MissingField, format!("{name} is missing or blank"))
}

fn text(name: &str, leaf: Leaf) -> Result<Option<String>, Rejection> {
    leaf.into_text().map_err(|what| {
        let message = format!("{name} is {what}, needs to be text");
        Rejection::new(DeadLetterReason::InvalidField, message)
    })
}

fn text_or_integer(name: &str, leaf: Leaf) -> Result<Option<String>, Rejection> {
    leaf.into_text_or_integer().map_err(|what| {
        let message = format!("{name} is {what}, needs to be text or an integer");
        Rejection::new(DeadLetterReason::InvalidField, message)
    })
}

fn time(name: &str, leaf: Leaf) -> Result<Option<Timestamp>, Rejection> {
    let wrong = |what: &str| {
        let message = format!("{name} is {what}, {}", time::NEEDED);
        Rejection::new(DeadLetterReason::InvalidField, message)
    };
    let text = leaf.into_text().map_err(wrong)?;
    text.map(|text| time_of(name, &text)).transpose()
}

fn time_of(name: &str, text: &str) -> Result<Timestamp, Rejection> {
    time::parse(text).ok_or_else(|| {
        let message = format!("{name} is {:?}, {}", shorten(text, 64), time::NEEDED);
        Rejection::new(DeadLetterReason::InvalidField, message)
    })
}

/// Refuses headers of one attribute that contradict each other: which one holds is a guess.
fn agree(contradictions: &[&str], name: &str) -> Result<(), Rejection> {
    if !contradictions.contains(&name) {
        return Ok(());
    }
    let message = format!("the header {name} is there more than once, with different values");
    Err(Rejection::new(DeadLetterReason::InvalidField, message))
}

/// What the value is if it is no order event at all, but another document that is well known.
fn other_document(body: &Body) -> Option<&'static str> {
    let Foreign { schema, payload, after, op, .. } = body.foreign;
    if body.order_id != Leaf::Absent || !matches!(body.devices, DevicesField::Absent) {
        None
    } else if schema && payload {
        Some(
            "the value is the envelope of Kafka Connect's JSON converter (schema, payload); \
             set value.converter.schemas.enable=false there",
        )
    } else if after && op {
        Some(
            "the value is a row of a table in Debezium's envelope (before, after, op); write order \
             events, for instance with its outbox event router",
        )
    } else {
        None
    }
}

/// The kind an event type names, by the rule at the top of this file.
fn cause(kind: &str) -> Option<Cause> {
    let is_version = |segment: &str| {
        segment.strip_prefix('v').is_some_and(|number| {
            !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
        })
    };
    let kind = match kind.rsplit_once('.') {
        Some((rest, version)) if is_version(version) => rest,
        _ => kind,
    };
    match kind.rsplit_once('.').map_or(kind, |(_, last)| last) {
        "sale" => Some(Cause::Sale),
        "return" => Some(Cause::Return),
        "cancellation" => Some(Cause::Cancellation),
        "amendment" => Some(Cause::Amendment),
        _ => None,
    }
}

fn kind(body: Option<&str>, attribute: Option<&str>) -> Result<Cause, Rejection> {
    let Some(name) = body.or(attribute) else {
        let message = "type is missing, in the event and as CloudEvents type; \
                       needs sale, return, cancellation or amendment";
        return Err(Rejection::new(DeadLetterReason::MissingField, message));
    };
    let Some(kind) = cause(name) else {
        let name = shorten(name, 64);
        return Err(match cause(&name.to_lowercase()) {
            // No type of somebody else's, so that it is never passed over.
            Some(meant) => Rejection::new(
                DeadLetterReason::UnknownType,
                format!("type {name:?} needs to be written in small letters: {}", meant.as_str()),
            ),
            None => Rejection::foreign(
                DeadLetterReason::UnknownType,
                format!("type {name:?} is none of sale, return, cancellation, amendment"),
            ),
        });
    };
    match attribute.and_then(cause) {
        Some(other) if other != kind => {
            let message = format!(
                "type says {}, the CloudEvents type says {}",
                kind.as_str(),
                other.as_str()
            );
            Err(Rejection::new(DeadLetterReason::InvalidField, message))
        }
        _ => Ok(kind),
    }
}

fn customer(field: CustomerField) -> Result<OrderCustomer, Rejection> {
    match field {
        CustomerField::Absent => Ok(OrderCustomer::default()),
        CustomerField::Given { customer_id, google_workspace_customer_id } => Ok(OrderCustomer {
            customer_id: text_or_integer("customer.customerId", customer_id)?,
            google_workspace_customer_id: text(
                "customer.googleWorkspaceCustomerId",
                google_workspace_customer_id,
            )?,
        }),
        CustomerField::Wrong(what) => {
            let message = format!("customer is {what}, needs to be an object");
            Err(Rejection::new(DeadLetterReason::InvalidField, message))
        }
    }
}

fn devices(field: DevicesField, limits: &Limits) -> Result<Vec<OrderDevice>, Rejection> {
    match field {
        DevicesField::Absent => Err(missing("devices")),
        DevicesField::Wrong(what) => {
            let message = format!("devices is {what}, needs to be a list");
            Err(Rejection::new(DeadLetterReason::InvalidField, message))
        }
        DevicesField::Given { total: 0, .. } => {
            let message = "devices is an empty list; an order event names at least one device";
            Err(Rejection::new(DeadLetterReason::NoDevices, message))
        }
        DevicesField::Given { total, .. } if total > limits.devices_max => {
            let message = format!(
                "the event lists {total} devices, at most {} are accepted; split the order",
                limits.devices_max
            );
            Err(Rejection::new(DeadLetterReason::TooManyDevices, message))
        }
        DevicesField::Given { devices, .. } => Ok(devices),
    }
}

#[cfg(test)]
mod tests;
