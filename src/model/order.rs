//! Order events: what happened to an order, the devices it names, and where it was read.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{FailureCode, IdentifierError, Identifiers, Metadata};

/// What happened to an order.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Devices were sold: claim them for the customer.
    Sale,
    /// Devices came back: note what the event says about them, then unclaim them.
    Return,
    /// The order was cancelled: take back a claim that was not sent yet, else unclaim.
    Cancellation,
    /// Only the metadata of the devices changed.
    Amendment,
}

impl Cause {
    /// The word used in events, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sale => "sale",
            Self::Return => "return",
            Self::Cancellation => "cancellation",
            Self::Amendment => "amendment",
        }
    }
}

/// The Kafka record an order event came from.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// Topic name.
    pub topic: String,
    /// Partition number.
    pub partition: i32,
    /// Offset in the partition.
    pub offset: i64,
}

/// An order event of which the types are right; whether the values make sense, intake decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderEvent {
    /// The event's id, or one derived from where it was read; never blank.
    pub id: String,
    /// What happened.
    pub kind: Cause,
    /// When it happened in the order system.
    pub occurred_at: Timestamp,
    /// The order; never blank.
    pub order_id: String,
    /// The account it names, if any; not yet known to exist.
    pub account: Option<String>,
    /// The customer, as given.
    pub customer: OrderCustomer,
    /// Metadata for all its devices.
    pub metadata: Metadata,
    /// The devices, in the order of the event; never none.
    pub devices: Vec<OrderDevice>,
    /// W3C trace context that came with the event, or the one started for it.
    pub traceparent: Option<String>,
}

/// The customer of an order, as given: none, one or even both ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrderCustomer {
    /// Company id of a zero-touch customer.
    pub customer_id: Option<String>,
    /// Google Workspace customer id.
    pub google_workspace_customer_id: Option<String>,
}

/// One device of an order, as given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrderDevice {
    /// The order line, if the event names it.
    pub line: Option<String>,
    /// Hardware ids, not normalised.
    pub ids: Identifiers,
    /// The API's id of the device.
    pub device_id: Option<String>,
    /// Metadata of this device alone; goes before the event's.
    pub metadata: Metadata,
    /// Zero-touch configuration to apply with a claim.
    pub configuration_id: Option<String>,
    /// ChromeOS pre-provisioning token.
    pub pre_provisioning_token: Option<String>,
    /// Section type.
    pub section_type: Option<String>,
    /// The first thing about it that has not the type of the contract; the fields above then hold
    /// what could be read.
    pub fault: Option<InputFault>,
}

/// Why a single device of an order cannot be sent. The text repeats no full hardware id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct InputFault {
    /// The code of the outcome, one of `input.*`.
    pub code: FailureCode,
    /// For a person.
    pub message: String,
}

impl InputFault {
    /// A fault of this code with this text.
    #[must_use]
    pub fn new(code: FailureCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl From<IdentifierError> for InputFault {
    fn from(IdentifierError { code, message }: IdentifierError) -> Self {
        Self { code, message }
    }
}
