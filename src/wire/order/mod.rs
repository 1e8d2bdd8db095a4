//! Order event v1: from a Kafka record to the model, or to the reason why not.
//!
//! Accepted: CloudEvents 1.0 in binary headers (`ce_id`, `ce_type`, `ce_time`), in a structured
//! envelope (content type `application/cloudevents+json`, or an object with `specversion` and
//! `data`), or plain JSON. Rules:
//! - Unknown members are ignored, `null` and blank text count as absent, of a repeated member the
//!   last counts. Texts are trimmed, metadata values are not.
//! - Event id: `eventId`, else `id`, else the CloudEvents id, else `topic/partition/offset`.
//! - Type: `type`, else the CloudEvents type. It is the last segment between dots, a closing
//!   version segment (`.v1`, `.v2`, …) aside, in exactly this spelling: `sale`, `return`,
//!   `cancellation`, `amendment`. If body and CloudEvents both name one, they must agree.
//! - Time: `occurredAt`, else the CloudEvents time, else the record's timestamp. RFC 3339.
//! - A wrong type in one device harms that device only; elsewhere it rejects the event.
//!
//! Only types are checked here. Whether the values make sense is up to intake.

mod body;
mod device;
mod event;
mod leaf;

use std::borrow::Cow;

use jiff::Timestamp;
use serde::de::DeserializeSeed;

pub(crate) use event::OrderDocument;
pub use event::{CustomerJson, Int64Json, OrderDeviceJson, OrderEventJson, TextOrInteger};

use self::body::{Body, CustomerField, DevicesField, Document, DocumentSeed};
use self::leaf::Leaf;
use super::cloud_events::{Attributes, SPEC_VERSION};
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
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let seed = DocumentSeed { is_data: false, devices_max: limits.devices_max };
    let document = seed
        .deserialize(&mut deserializer)
        .and_then(|document| deserializer.end().map(|()| document))
        .map_err(|error| {
            let message = format!("the value is not JSON: {}", complaint(&error));
            Rejection::new(DeadLetterReason::NotJson, message)
        })?;
    let body = object(document, "the value")?;
    let headers = Attributes::from_headers(record.headers);
    let is_envelope = headers.is_structured
        || (body.spec_version != Leaf::Absent && !matches!(body.data, Document::Absent));
    if !is_envelope {
        return event(body, headers, record, limits);
    }
    let mut envelope = *body;
    let data = std::mem::take(&mut envelope.data);
    let attributes = envelope_attributes(envelope, headers.traceparent)?;
    if matches!(data, Document::Absent) {
        let message = "data is missing: the CloudEvents envelope needs the order event, as JSON";
        return Err(Rejection::new(DeadLetterReason::MissingField, message));
    }
    event(object(data, "data of the CloudEvents envelope")?, attributes, record, limits)
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
        let message = format!("the value is not UTF-8 text from byte {} on", error.valid_up_to());
        Rejection::new(DeadLetterReason::NotUtf8, message)
    })?;
    // Some producers open their text with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim().is_empty() {
        return Err(Rejection::new(DeadLetterReason::Empty, "the record's value is empty"));
    }
    Ok(text)
}

fn object(document: Document, name: &str) -> Result<Box<Body>, Rejection> {
    let what = match document {
        Document::Object(body) => return Ok(body),
        Document::Wrong(what) => what,
        Document::Absent => "null",
    };
    let message = format!("{name} is {what}, needs to be an object");
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
    })
}

fn event(
    body: Box<Body>,
    attributes: Attributes<'_>,
    record: &Record<'_>,
    limits: &Limits,
) -> Result<OrderEvent, Rejection> {
    let body = *body;
    let kind = kind(text("type", body.kind)?.as_deref(), attributes.kind.as_deref())?;
    let own_id = text_or_integer("eventId", body.event_id)?;
    let own_id = if own_id.is_none() { text_or_integer("id", body.id)? } else { own_id };
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
    let own_time = text("occurredAt", body.occurred_at)?;
    let occurred_at = match (own_time.as_deref(), attributes.time.as_deref()) {
        (Some(text), _) => time("occurredAt", text)?,
        (None, Some(text)) => time("the CloudEvents time", text)?,
        (None, None) => record.timestamp.ok_or_else(|| missing("occurredAt"))?,
    };
    let order_id = text("orderId", body.order_id)?.ok_or_else(|| missing("orderId"))?;
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

fn time(name: &str, text: &str) -> Result<Timestamp, Rejection> {
    text.parse().map_err(|_| {
        let text = shorten(text, 64);
        let message = format!(
            "{name} is {text:?}, needs a time with zone by RFC 3339, such as 2026-05-04T08:00:00Z"
        );
        Rejection::new(DeadLetterReason::InvalidField, message)
    })
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
        let message = format!(
            "type {:?} is none of sale, return, cancellation, amendment",
            shorten(name, 64)
        );
        return Err(Rejection::new(DeadLetterReason::UnknownType, message));
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
