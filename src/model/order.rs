//! Why a command exists: the kind of order event and the place it was read from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
