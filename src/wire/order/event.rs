//! The order event as a producer writes it: source of the schema, and of use to programs that make
//! events.
//!
//! Decoding does not go through these types, since one wrong type would refuse the whole event.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{DeviceType, Metadata};
use crate::wire::json::DateTime;

/// An order event as plain JSON, or in a structured CloudEvents 1.0 envelope. With CloudEvents in
/// binary headers, the value is the plain form.
#[derive(JsonSchema)]
#[schemars(untagged, rename = "OrderEvent")]
#[allow(dead_code)]
pub(crate) enum OrderDocument {
    /// Plain JSON.
    Plain(OrderEventJson),
    /// Structured CloudEvents.
    Envelope(EnvelopeJson),
}

/// A structured CloudEvents 1.0 envelope; content type `application/cloudevents+json`.
#[derive(JsonSchema)]
#[schemars(rename = "Envelope")]
#[allow(dead_code)]
pub(crate) struct EnvelopeJson {
    /// Always 1.0.
    #[schemars(extend("const" = "1.0"))]
    specversion: String,
    /// Event id; counts if the order event has none.
    id: String,
    /// Producer; not read.
    source: Option<String>,
    /// Event type; counts if the order event has none, and must not contradict it.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// Counts if the order event has no `occurredAt`.
    #[schemars(with = "Option<DateTime>")]
    time: Option<Timestamp>,
    /// W3C trace context (distributed tracing extension).
    traceparent: Option<String>,
    /// The order event.
    data: OrderEventJson,
}

/// What happened to an order, and the devices it names. Unknown members are ignored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Order")]
pub struct OrderEventJson {
    /// Id of the event. Else `id` counts, the CloudEvents id, or topic/partition/offset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_id: Option<TextOrInteger>,
    /// What happened: sale, return, cancellation or amendment; or a dotted name that ends so, with
    /// or without a version segment. Needed unless the CloudEvents type says it.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    #[schemars(
        extend("pattern" = r"^\s*([^\n]*\.)?(sale|return|cancellation|amendment)(\.v[0-9]+)?\s*$")
    )]
    pub kind: Option<String>,
    /// When it happened in the order system. Else the CloudEvents time or the record's timestamp.
    #[schemars(with = "Option<DateTime>")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub occurred_at: Option<Timestamp>,
    /// The order. Becomes the `ordernumber` of a sale's metadata unless that is given.
    #[schemars(with = "OrderId")]
    pub order_id: String,
    /// Reseller account by its name in the worker's configuration. Else the default account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The customer: exactly one kind of id. Needed for a sale.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer: Option<CustomerJson>,
    /// Metadata for all devices of the event. An empty value deletes its key, null is
    /// as if it were not there.
    #[schemars(
        with = "Option<BTreeMap<String, Option<String>>>",
        extend("propertyNames" = { "minLength": 1 })
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
    /// The devices. A bad one fails alone.
    #[schemars(length(min = 1))]
    pub devices: Vec<OrderDeviceJson>,
}

/// The customer of an order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Customer")]
pub struct CustomerJson {
    /// Company id of an Android zero-touch customer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<Int64Json>,
    /// Google Workspace customer id of a ChromeOS customer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub google_workspace_customer_id: Option<String>,
}

/// One device of an order: hardware ids, or the API's `deviceId` (not for a sale).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "OrderDevice")]
pub struct OrderDeviceJson {
    /// The order line. Else the device's index in the list, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<TextOrInteger>,
    /// First modem's IMEI: 15 digits with check digit; separators are stripped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imei: Option<String>,
    /// Second modem's IMEI.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imei2: Option<String>,
    /// First modem's MEID: 14 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meid: Option<String>,
    /// Second modem's MEID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meid2: Option<String>,
    /// Serial number; needs manufacturer and model beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial_number: Option<String>,
    /// `Build.MANUFACTURER`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manufacturer: Option<String>,
    /// `Build.MODEL`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// ChromeOS attested device id; needs serialNumber and model, for a sale a token too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chrome_os_attested_device_id: Option<String>,
    /// Android or ChromeOS; absent means Android.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_type: Option<DeviceType>,
    /// The API's id of the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_id: Option<Int64Json>,
    /// Metadata of this device; goes before the event's.
    #[schemars(
        with = "Option<BTreeMap<String, Option<String>>>",
        extend("propertyNames" = { "minLength": 1 })
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
    /// Zero-touch configuration to apply with a claim.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configuration_id: Option<Int64Json>,
    /// ChromeOS pre-provisioning token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pre_provisioning_token: Option<String>,
    /// Always SECTION_TYPE_ZERO_TOUCH, if given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["SECTION_TYPE_ZERO_TOUCH", null]))]
    pub section_type: Option<String>,
}

/// The id of an order: text, or an integer that becomes its decimal text.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code)]
enum OrderId {
    /// Text.
    Text(#[schemars(length(min = 1, max = 1024))] String),
    /// An integer.
    Integer(i64),
}

/// An id of the event or a line: text, or an integer that becomes its decimal text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum TextOrInteger {
    /// Text.
    Text(#[schemars(length(max = 1024))] String),
    /// An integer.
    Integer(i64),
}

/// A positive int64, as decimal text or as a JSON number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "Int64")]
pub enum Int64Json {
    /// Decimal text, as the API writes it.
    Text(#[schemars(regex(pattern = r"^\s*[0-9]{1,19}\s*$"))] String),
    /// A number.
    Number(#[schemars(range(min = 1))] i64),
}
