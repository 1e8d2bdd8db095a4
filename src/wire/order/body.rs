//! The JSON of an order event in one pass, plain or in its envelope, with every finding kept.

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::device::DeviceElement;
use super::leaf::{Leaf, MetadataField, scalars_are_wrong, skip_list, skip_object};
use crate::model::OrderDevice;

/// What stands at the top of the value, or in the `data` of an envelope.
#[derive(Debug, Default)]
pub(super) enum Document {
    /// Not there, or null.
    #[default]
    Absent,
    /// An object, as it should be.
    Object(Box<Body>),
    /// Anything else.
    Wrong(&'static str),
}

impl Document {
    fn wrong(what: &'static str) -> Self {
        Self::Wrong(what)
    }

    fn text(text: &str) -> Self {
        let is_json = text.trim_start().starts_with(['{', '[']);
        Self::Wrong(if is_json {
            "JSON text inside of a JSON text, made into JSON twice"
        } else {
            "text"
        })
    }
}

/// Members that an order event does not have, and other kinds of documents do.
#[derive(Debug, Default)]
pub(super) struct Foreign {
    /// Binary data of a CloudEvents envelope.
    pub(super) data_base64: bool,
    /// Of Kafka Connect's JSON converter.
    pub(super) schema: bool,
    pub(super) payload: bool,
    /// Of Debezium's change events.
    pub(super) after: bool,
    pub(super) op: bool,
}

/// The members of an order event and of a CloudEvents envelope; they share `id` and `type`.
#[derive(Debug, Default)]
pub(super) struct Body {
    pub(super) event_id: Leaf,
    pub(super) id: Leaf,
    pub(super) kind: Leaf,
    pub(super) occurred_at: Leaf,
    pub(super) order_id: Leaf,
    pub(super) account: Leaf,
    pub(super) customer: CustomerField,
    pub(super) metadata: MetadataField,
    pub(super) devices: DevicesField,
    pub(super) spec_version: Leaf,
    pub(super) time: Leaf,
    pub(super) traceparent: Leaf,
    pub(super) data: Document,
    pub(super) foreign: Foreign,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum Member {
    EventId,
    Id,
    Type,
    OccurredAt,
    OrderId,
    Account,
    Customer,
    Metadata,
    Devices,
    #[serde(rename = "specversion")]
    SpecVersion,
    Time,
    Traceparent,
    Data,
    #[serde(rename = "data_base64")]
    DataBase64,
    Schema,
    Payload,
    After,
    Op,
    #[serde(other)]
    Unknown,
}

/// Reads a document. An envelope does not hold another one, so `data` inside of `data` is skipped.
pub(super) struct DocumentSeed {
    pub(super) is_data: bool,
    pub(super) devices_max: usize,
}

impl<'de> DeserializeSeed<'de> for DocumentSeed {
    type Value = Document;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Document, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for DocumentSeed {
    type Value = Document;

    scalars_are_wrong!(Document, Document::Absent, Document::text);

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Document, A::Error> {
        skip_list(seq)?;
        Ok(Document::Wrong("a list"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Document, A::Error> {
        let mut body = Box::<Body>::default();
        while let Some(member) = map.next_key::<Member>()? {
            match member {
                Member::EventId => body.event_id = map.next_value()?,
                Member::Id => body.id = map.next_value()?,
                Member::Type => body.kind = map.next_value()?,
                Member::OccurredAt => body.occurred_at = map.next_value()?,
                Member::OrderId => body.order_id = map.next_value()?,
                Member::Account => body.account = map.next_value()?,
                Member::Customer => body.customer = map.next_value()?,
                Member::Metadata => body.metadata = map.next_value()?,
                Member::Devices => {
                    body.devices = map.next_value_seed(DevicesSeed { max: self.devices_max })?;
                }
                Member::SpecVersion => body.spec_version = map.next_value()?,
                Member::Time => body.time = map.next_value()?,
                Member::Traceparent => body.traceparent = map.next_value()?,
                Member::Data if !self.is_data => {
                    let seed = Self { is_data: true, devices_max: self.devices_max };
                    body.data = map.next_value_seed(seed)?;
                }
                Member::DataBase64 => body.foreign.data_base64 = is_given(&mut map)?,
                Member::Schema => body.foreign.schema = is_given(&mut map)?,
                Member::Payload => body.foreign.payload = is_given(&mut map)?,
                Member::After => body.foreign.after = is_given(&mut map)?,
                Member::Op => body.foreign.op = is_given(&mut map)?,
                Member::Data | Member::Unknown => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Document::Object(body))
    }
}

/// Passes over a value, and says whether it is more than null.
fn is_given<'de, A: MapAccess<'de>>(map: &mut A) -> Result<bool, A::Error> {
    Ok(map.next_value::<Option<IgnoredAny>>()?.is_some())
}

/// A value where the customer may stand.
#[derive(Debug, Default)]
pub(super) enum CustomerField {
    /// Not there, or null.
    #[default]
    Absent,
    /// An object.
    Given { customer_id: Leaf, google_workspace_customer_id: Leaf },
    /// Anything else.
    Wrong(&'static str),
}

impl CustomerField {
    fn wrong(what: &'static str) -> Self {
        Self::Wrong(what)
    }
}

impl<'de> Deserialize<'de> for CustomerField {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CustomerVisitor)
    }
}

struct CustomerVisitor;

impl<'de> Visitor<'de> for CustomerVisitor {
    type Value = CustomerField;

    scalars_are_wrong!(CustomerField, CustomerField::Absent);

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<CustomerField, A::Error> {
        skip_list(seq)?;
        Ok(CustomerField::Wrong("a list"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<CustomerField, A::Error> {
        #[derive(Deserialize)]
        #[serde(field_identifier, rename_all = "camelCase")]
        enum Member {
            CustomerId,
            GoogleWorkspaceCustomerId,
            #[serde(other)]
            Unknown,
        }
        let (mut customer_id, mut google_workspace_customer_id) = (Leaf::Absent, Leaf::Absent);
        while let Some(member) = map.next_key::<Member>()? {
            match member {
                Member::CustomerId => customer_id = map.next_value()?,
                Member::GoogleWorkspaceCustomerId => {
                    google_workspace_customer_id = map.next_value()?;
                }
                Member::Unknown => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(CustomerField::Given { customer_id, google_workspace_customer_id })
    }
}

/// A value where the devices may stand.
#[derive(Debug, Default)]
pub(super) enum DevicesField {
    /// Not there, or null.
    #[default]
    Absent,
    /// A list, of which no more than the maximum is kept.
    Given { devices: Vec<OrderDevice>, total: usize },
    /// Anything else.
    Wrong(&'static str),
}

impl DevicesField {
    fn wrong(what: &'static str) -> Self {
        Self::Wrong(what)
    }
}

struct DevicesSeed {
    max: usize,
}

impl<'de> DeserializeSeed<'de> for DevicesSeed {
    type Value = DevicesField;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<DevicesField, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for DevicesSeed {
    type Value = DevicesField;

    scalars_are_wrong!(DevicesField, DevicesField::Absent);

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<DevicesField, A::Error> {
        let mut devices = Vec::new();
        while devices.len() < self.max {
            let Some(DeviceElement(device)) = seq.next_element()? else {
                return Ok(DevicesField::Given { total: devices.len(), devices });
            };
            devices.push(device);
        }
        let mut total = devices.len();
        while seq.next_element::<IgnoredAny>()?.is_some() {
            total += 1;
        }
        Ok(DevicesField::Given { devices, total })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<DevicesField, A::Error> {
        skip_object(map)?;
        Ok(DevicesField::Wrong("an object"))
    }
}
