//! Why a record could not be used at all, in words that are part of the public contract.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Source;

/// Stable class of a dead letter: the value of its `dead-letter-class` header.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum DeadLetterReason {
    /// The record has a value of no bytes, or of white space only.
    Empty,
    /// The record has no value.
    Tombstone,
    /// The value is larger than the worker's configuration allows.
    TooLarge,
    /// The value is not UTF-8 text.
    NotUtf8,
    /// The value is not JSON.
    NotJson,
    /// The value, or the `data` of its CloudEvents envelope, is JSON but not an object.
    NotAnObject,
    /// The event is none of sale, return, cancellation, amendment.
    UnknownType,
    /// A field that every event needs is missing or blank.
    MissingField,
    /// A field of the event as a whole is not what the contract says.
    InvalidField,
    /// The list of devices is empty.
    NoDevices,
    /// The event lists more devices than the worker's configuration allows.
    TooManyDevices,
    /// A record of the commands topic that no worker wrote, or that a newer one did.
    InvalidCommand,
}

impl DeadLetterReason {
    /// All of them, in a fixed order.
    pub const ALL: [Self; 12] = [
        Self::Empty,
        Self::Tombstone,
        Self::TooLarge,
        Self::NotUtf8,
        Self::NotJson,
        Self::NotAnObject,
        Self::UnknownType,
        Self::MissingField,
        Self::InvalidField,
        Self::NoDevices,
        Self::TooManyDevices,
        Self::InvalidCommand,
    ];

    /// The word used in headers, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Tombstone => "tombstone",
            Self::TooLarge => "too_large",
            Self::NotUtf8 => "not_utf8",
            Self::NotJson => "not_json",
            Self::NotAnObject => "not_an_object",
            Self::UnknownType => "unknown_type",
            Self::MissingField => "missing_field",
            Self::InvalidField => "invalid_field",
            Self::NoDevices => "no_devices",
            Self::TooManyDevices => "too_many_devices",
            Self::InvalidCommand => "invalid_command",
        }
    }
}

/// Why a record was refused. The text names the field and what to correct; it repeats no hardware
/// id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Rejection {
    /// The stable class.
    pub reason: DeadLetterReason,
    /// For a person. Not stable.
    pub message: String,
    /// Whether the record is meant for somebody else rather than spoiled: it says of itself that it
    /// is another kind of thing, and unlike any of ours.
    pub is_foreign: bool,
}

impl Rejection {
    /// A rejection of this class with this text.
    #[must_use]
    pub fn new(reason: DeadLetterReason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), is_foreign: false }
    }

    /// The rejection of a record that is meant for somebody else.
    #[must_use]
    pub fn foreign(reason: DeadLetterReason, message: impl Into<String>) -> Self {
        Self { is_foreign: true, ..Self::new(reason, message) }
    }
}

/// A record that goes to the dead letters: everything but its own bytes, which stay as they were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Why.
    pub rejection: Rejection,
    /// Where the record was read.
    pub source: Source,
    /// The record's own timestamp, if it had one.
    pub recorded_at: Option<Timestamp>,
    /// When this worker refused it.
    pub rejected_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_of_a_reason_is_its_json() {
        for reason in DeadLetterReason::ALL {
            let json = serde_json::to_value(reason).unwrap();
            assert_eq!(json, reason.as_str());
        }
    }
}
