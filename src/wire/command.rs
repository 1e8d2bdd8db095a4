//! Commands as records of the commands topic: JSON, version 1, keyed by device key.
//!
//! Only workers write this topic, so a record that contradicts itself is refused rather than
//! repaired.

use std::borrow::Cow;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::device::DeviceJson;
use super::json::{DateTime, complaint, version_of};
use crate::model::{
    Action, Cause, Command, CommandId, Customer, DeadLetterReason, Metadata, Rejection, Source,
};

/// Version of the record.
pub const VERSION: u32 = 1;

/// One intended change of one device; written by the worker for itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Command")]
pub struct CommandJson<'a> {
    /// Version of the record: 1.
    #[schemars(extend("const" = 1))]
    pub version: u32,
    /// Deterministic id: UUIDv5 of source topic, partition, offset, line and action.
    pub command_id: CommandId,
    /// What to do.
    pub action: Action,
    /// Why: the type of the order event.
    pub cause: Cause,
    /// Id of the order event.
    pub event_id: Cow<'a, str>,
    /// The order.
    pub order_id: Cow<'a, str>,
    /// The order line, unique in its event.
    pub line: Cow<'a, str>,
    /// Reseller account, by its name in the configuration.
    pub account: Cow<'a, str>,
    /// The customer; always there for a claim.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer: Option<Cow<'a, Customer>>,
    /// The device, normalised.
    pub device: DeviceJson<'a>,
    /// Metadata to write.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub metadata: Cow<'a, Metadata>,
    /// Zero-touch configuration to apply with a claim.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configuration_id: Option<Cow<'a, str>>,
    /// ChromeOS pre-provisioning token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pre_provisioning_token: Option<Cow<'a, str>>,
    /// When it happened in the order system.
    #[schemars(with = "DateTime")]
    pub occurred_at: Timestamp,
    /// When the worker read the order event.
    #[schemars(with = "DateTime")]
    pub received_at: Timestamp,
    /// Where the order event was read.
    pub source: Cow<'a, Source>,
    /// W3C trace context of the order event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<Cow<'a, str>>,
}

fn is_empty(metadata: &Metadata) -> bool {
    metadata.is_empty()
}

/// Why a record of the commands topic is no command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// Not JSON, or members are missing or of a wrong type.
    #[error("the record is no command: {0}; only this worker should write the commands topic")]
    Malformed(String),
    /// Written by a newer worker.
    #[error("the command has version {0}, this worker reads version {VERSION}; upgrade it")]
    Version(u64),
    /// Its parts do not fit together.
    #[error(
        "the command contradicts itself: {0}; only this worker should write the commands topic"
    )]
    Contradiction(&'static str),
}

impl From<CommandError> for Rejection {
    fn from(error: CommandError) -> Self {
        Self::new(DeadLetterReason::InvalidCommand, error.to_string())
    }
}

/// The record's value.
#[must_use]
pub fn encode(command: &Command) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(768);
    // Serialising text and integers into memory has no way to fail.
    #[allow(clippy::expect_used)]
    serde_json::to_writer(&mut bytes, &CommandJson::from(command)).expect("plain data");
    bytes
}

/// Reads a record's value.
///
/// # Errors
/// It is not a command that this version of the worker could have written.
pub fn decode(value: &[u8]) -> Result<Command, CommandError> {
    let record: CommandJson<'_> =
        serde_json::from_slice(value).map_err(|error| match version_of(value) {
            Some(version) if version != u64::from(VERSION) => CommandError::Version(version),
            _ => CommandError::Malformed(complaint(&error)),
        })?;
    if record.version != VERSION {
        return Err(CommandError::Version(record.version.into()));
    }
    let id = record.command_id;
    let command = Command::from(record);
    if command.id() != id {
        return Err(CommandError::Contradiction("commandId does not follow from the source"));
    }
    if command.action == Action::Claim && command.customer.is_none() {
        return Err(CommandError::Contradiction("a claim without customer"));
    }
    if command.device_key().is_none() {
        return Err(CommandError::Contradiction("nothing identifies the device"));
    }
    Ok(command)
}

impl<'a> From<&'a Command> for CommandJson<'a> {
    fn from(command: &'a Command) -> Self {
        Self {
            version: VERSION,
            command_id: command.id(),
            action: command.action,
            cause: command.cause,
            event_id: Cow::Borrowed(&command.event_id),
            order_id: Cow::Borrowed(&command.order_id),
            line: Cow::Borrowed(&command.line),
            account: Cow::Borrowed(&command.account),
            customer: command.customer.as_ref().map(Cow::Borrowed),
            device: DeviceJson::new(&command.device, command.device_id.as_deref()),
            metadata: Cow::Borrowed(&command.metadata),
            configuration_id: command.configuration_id.as_deref().map(Cow::Borrowed),
            pre_provisioning_token: command.pre_provisioning_token.as_deref().map(Cow::Borrowed),
            occurred_at: command.occurred_at,
            received_at: command.received_at,
            source: Cow::Borrowed(&command.source),
            traceparent: command.traceparent.as_deref().map(Cow::Borrowed),
        }
    }
}

impl From<CommandJson<'_>> for Command {
    fn from(record: CommandJson<'_>) -> Self {
        let (device, device_id) = record.device.into_parts();
        Self {
            action: record.action,
            cause: record.cause,
            event_id: record.event_id.into_owned(),
            order_id: record.order_id.into_owned(),
            line: record.line.into_owned(),
            account: record.account.into_owned(),
            customer: record.customer.map(Cow::into_owned),
            device,
            device_id,
            metadata: record.metadata.into_owned(),
            configuration_id: record.configuration_id.map(Cow::into_owned),
            pre_provisioning_token: record.pre_provisioning_token.map(Cow::into_owned),
            occurred_at: record.occurred_at,
            received_at: record.received_at,
            source: record.source.into_owned(),
            traceparent: record.traceparent.map(Cow::into_owned),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Identifiers;

    /// A claim of one phone.
    pub(crate) fn claim() -> Command {
        Command {
            action: Action::Claim,
            cause: Cause::Sale,
            event_id: "e-1".into(),
            order_id: "A-1".into(),
            line: "0".into(),
            account: "main".into(),
            customer: Some(Customer::ZeroTouch("77".into())),
            device: Identifiers { imei: Some("490154203237518".into()), ..Default::default() },
            device_id: None,
            metadata: Metadata::from([("ordernumber".into(), "A-1".into())]),
            configuration_id: Some("12".into()),
            pre_provisioning_token: None,
            occurred_at: "2026-05-04T08:00:00Z".parse().unwrap(),
            received_at: "2026-05-04T08:00:01.5Z".parse().unwrap(),
            source: Source { topic: "orders".into(), partition: 0, offset: 7 },
            traceparent: None,
        }
    }

    #[test]
    fn a_command_comes_back_as_it_was() {
        assert_eq!(decode(&encode(&claim())).unwrap(), claim());
        let unclaim = Command {
            action: Action::Unclaim,
            cause: Cause::Return,
            customer: None,
            device: Identifiers::default(),
            device_id: Some("5".into()),
            metadata: Metadata::new(),
            configuration_id: None,
            traceparent: Some("x".into()),
            ..claim()
        };
        assert_eq!(decode(&encode(&unclaim)).unwrap(), unclaim);
    }

    #[test]
    fn foreign_newer_and_contradictory_records_are_told_apart() {
        assert!(matches!(decode(b""), Err(CommandError::Malformed(_))));
        assert!(matches!(decode(b"{}"), Err(CommandError::Malformed(_))));
        assert_eq!(decode(br#"{"version":2,"new":1}"#), Err(CommandError::Version(2)));
        let edited = |from: &str, to: &str| {
            let text = String::from_utf8(encode(&claim())).unwrap();
            assert!(text.contains(from), "{text}");
            decode(text.replace(from, to).as_bytes()).unwrap_err()
        };
        assert_eq!(edited(r#""version":1"#, r#""version":9"#), CommandError::Version(9));
        for (from, to) in [
            (r#""offset":7"#, r#""offset":8"#),
            (r#""customer":{"customerId":"77"},"#, ""),
            (r#""imei":"490154203237518""#, ""),
        ] {
            assert!(matches!(edited(from, to), CommandError::Contradiction(_)), "{from}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_command_or_an_error(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let _ = decode(&bytes);
        }
    }
}
