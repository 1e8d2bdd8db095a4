//! One intended change of one device, and the packed form in which it waits in memory.

use std::num::NonZeroU64;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::customer::short_hash;
use super::{Cause, Customer, DeviceHash, DeviceKey, Identifiers, Metadata, ORDER_NUMBER, Source};

/// Namespace of all ids this worker derives; fixed for ever, since ids must be the same after a
/// restart and in every version.
const NAMESPACE: Uuid = Uuid::from_u128(0x6f1c_8a52_9d3e_4b07_8c11_5e2a_7d90_b3f4);

/// What to do with a device, in the verbs of the API.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// `devices:claimAsync`.
    Claim,
    /// `devices:unclaimAsync`.
    Unclaim,
    /// `devices:updateMetadataAsync`.
    UpdateMetadata,
}

impl Action {
    /// All actions, in a fixed order.
    pub const ALL: [Self; 3] = [Self::Claim, Self::Unclaim, Self::UpdateMetadata];

    /// The word used in events, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Claim => "claim",
            Self::Unclaim => "unclaim",
            Self::UpdateMetadata => "update_metadata",
        }
    }
}

/// Identity of a command: the same input record, line and action give the same id in every run.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct CommandId(pub Uuid);

impl CommandId {
    /// Derives the id from where the order event was read and what of it this command does.
    #[must_use]
    pub fn derive(source: &Source, line: &str, action: Action) -> Self {
        let Source { topic, partition, offset } = source;
        let name = format!("{topic}/{partition}/{offset}/{}/{line}", action.as_str());
        Self(Uuid::new_v5(&NAMESPACE, name.as_bytes()))
    }
}

impl std::fmt::Display for CommandId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// One intended change of one device, with everything its call and its outcome need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Claim, unclaim or metadata.
    pub action: Action,
    /// Why: the kind of the order event.
    pub cause: Cause,
    /// Id of the order event.
    pub event_id: String,
    /// The order.
    pub order_id: String,
    /// The order line that names the device.
    pub line: String,
    /// Reseller account that makes the call (a name from the configuration).
    pub account: String,
    /// The customer; always present for a claim, else if the event named one.
    pub customer: Option<Customer>,
    /// The device as the event gave it, normalised.
    pub device: Identifiers,
    /// The API's id of the device, if the event gave one.
    pub device_id: Option<String>,
    /// Metadata to write.
    pub metadata: Metadata,
    /// Zero-touch configuration to apply with a claim.
    pub configuration_id: Option<String>,
    /// ChromeOS pre-provisioning token.
    pub pre_provisioning_token: Option<String>,
    /// When it happened in the order system.
    pub occurred_at: Timestamp,
    /// When this worker read the order event.
    pub received_at: Timestamp,
    /// Where the order event was read.
    pub source: Source,
    /// W3C trace context of the order event (or the one started for it), if any.
    pub traceparent: Option<String>,
}

impl Command {
    /// The deterministic id.
    #[must_use]
    pub fn id(&self) -> CommandId {
        CommandId::derive(&self.source, &self.line, self.action)
    }

    /// The few numbers by which the engine orders, folds and guards commands unopened.
    /// `None` only for a hand-made command without identifiers.
    #[must_use]
    pub fn facts(&self) -> Option<CommandFacts> {
        Some(CommandFacts {
            device: self.device_key()?.hash(),
            action: self.action,
            cause: self.cause,
            customer: self.customer.as_ref().map(Customer::short_hash),
            order: order_hash(&self.order_id),
            occurred_at: self.occurred_at.as_microsecond(),
            names_order: self.action == Action::UpdateMetadata
                && self.metadata.contains_key(ORDER_NUMBER),
        })
    }

    /// The device's canonical identity. `None` only for a hand-made command without identifiers.
    #[must_use]
    pub fn device_key(&self) -> Option<DeviceKey> {
        DeviceKey::of(&self.device, self.device_id.as_deref())
    }
}

/// What the engine must know of a command at every turn. Ids are reduced to 64 bits of a
/// collision-resistant hash; only equality is asked of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandFacts {
    /// The device.
    pub device: DeviceHash,
    /// Claim, unclaim or metadata.
    pub action: Action,
    /// The kind of the order event.
    pub cause: Cause,
    /// The customer, if the event named one.
    pub customer: Option<NonZeroU64>,
    /// The order.
    pub order: NonZeroU64,
    /// When it happened in the order system, in microseconds since 1970.
    pub occurred_at: i64,
    /// Whether it changes the order number that the device bears, without being a claim.
    pub names_order: bool,
}

/// The hash of an order number in [`CommandFacts::order`].
#[must_use]
pub fn order_hash(order_id: &str) -> NonZeroU64 {
    short_hash(b'o', order_id)
}
