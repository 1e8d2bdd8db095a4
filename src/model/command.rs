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

/// Identity of a command: the same record of an order topic, line and action give the same id in
/// every run.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct CommandId(pub Uuid);

impl CommandId {
    /// Derives the id from the record of the order event and what of it this command does.
    ///
    /// A topic may be deleted and made anew under its name, so that its offsets begin again: the
    /// record's own time and the event's id tell the records apart. Commands of version 1 know no
    /// time; their ids are made without it, and without the event's id.
    #[must_use]
    pub fn derive(
        source: &Source,
        recorded_at: Option<Timestamp>,
        event_id: &str,
        line: &str,
        action: Action,
    ) -> Self {
        let Source { topic, partition, offset } = source;
        let action = action.as_str();
        let name = match recorded_at.map(Timestamp::as_millisecond) {
            // The length keeps an id with slashes from being taken for another id and line.
            Some(ms) => format!(
                "{topic}/{partition}/{offset}/{ms}/{action}/{}/{event_id}/{line}",
                event_id.len()
            ),
            None => format!("{topic}/{partition}/{offset}/{action}/{line}"),
        };
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
    /// When its record was written, as Kafka says, in milliseconds; none in version 1.
    pub recorded_at: Option<Timestamp>,
    /// W3C trace context of the order event (or the one started for it), if any.
    pub traceparent: Option<String>,
}

impl Command {
    /// The deterministic id.
    #[must_use]
    pub fn id(&self) -> CommandId {
        let Self { source, recorded_at, event_id, line, action, .. } = self;
        CommandId::derive(source, *recorded_at, event_id, line, *action)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn id(ms: Option<i64>, event: &str, line: &str) -> CommandId {
        let source = Source { topic: "orders".into(), partition: 0, offset: 7 };
        let recorded_at = ms.map(|ms| Timestamp::from_millisecond(ms).unwrap());
        CommandId::derive(&source, recorded_at, event, line, Action::Claim)
    }

    #[test]
    fn records_at_the_same_offset_of_a_topic_made_anew_give_different_ids() {
        assert_eq!(id(Some(1_000), "e-1", "1"), id(Some(1_000), "e-1", "1"));
        assert_ne!(id(Some(1_000), "e-1", "1"), id(Some(1_001), "e-1", "1"));
        assert_ne!(id(Some(1_000), "e-1", "1"), id(Some(1_000), "e-2", "1"));
    }

    #[test]
    fn ids_with_slashes_are_not_taken_for_each_other() {
        assert_ne!(id(Some(1), "a/1", "2"), id(Some(1), "a", "1/2"));
        assert_ne!(id(Some(1), "1/a", "2"), id(Some(1), "1", "a/2"));
    }

    #[test]
    fn a_command_of_version_1_keeps_the_id_that_it_has() {
        // As a worker of version 1 wrote it.
        let known = Uuid::parse_str("30a18671-e6eb-5ffb-a73f-31c8d7f5b016").unwrap();
        assert_eq!(id(None, "any", "0"), CommandId(known));
        assert_eq!(id(None, "any", "0"), id(None, "other", "0"));
    }
}
