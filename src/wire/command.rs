//! Commands as records of the commands topic: JSON, version 1 or 2, keyed by device key.
//!
//! Only workers write this topic, so a record that contradicts itself is refused rather than
//! repaired. A record of a newer version is no mistake: its lane waits for a worker that
//! understands it. Within a version members may be added that a worker can do without, so unknown
//! members are passed over; a word that is not known, such as an action, makes the record foreign.
//!
//! Version 2 has the time of the order event's record, and ids that are made with it. A command
//! without that time is written as version 1, which every worker reads.

use std::borrow::Cow;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::device::DeviceJson;
use super::json::{DateTime, complaint, version_of};
use super::purpose::PurposeJson;
use crate::model::{
    Action, Cause, Command, CommandId, Customer, DeadLetterReason, Metadata, Purpose, Rejection,
    Source,
};

/// The newest version of the record that this worker reads and writes.
pub const VERSION: u32 = 2;

/// One intended change of one device; written by the worker for itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Command")]
pub struct CommandJson<'a> {
    /// Version of the record: 2; 1 if there is no `recordedAt`.
    #[schemars(extend("enum" = [1, 2]))]
    pub version: u32,
    /// Deterministic id: UUIDv5 of source topic, partition, offset, `recordedAt`, action, event id
    /// and line; in version 1 without `recordedAt` and event id.
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
    /// When Kafka recorded the order event, in milliseconds; there if and only if the version is 2.
    #[schemars(with = "Option<DateTime>")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorded_at: Option<Timestamp>,
    /// Whom the command is for; absent if an older worker wrote it.
    #[serde(default, borrow, rename = "for", skip_serializing_if = "Option::is_none")]
    pub purpose: Option<PurposeJson<'a>>,
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
    #[error("the command has version {0}, this worker reads up to version {VERSION}; upgrade it")]
    Newer(u64),
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

/// The record's value, and in it whom it is for.
#[must_use]
pub fn encode(command: &Command, purpose: Option<&Purpose>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(896);
    let record = CommandJson { purpose: purpose.map(Into::into), ..CommandJson::from(command) };
    // Serialising text and integers into memory has no way to fail.
    #[allow(clippy::expect_used)]
    serde_json::to_writer(&mut bytes, &record).expect("plain data");
    bytes
}

/// Reads a record's value.
///
/// # Errors
/// It is not a command that this version of the worker or an older one could have written.
pub fn decode(value: &[u8]) -> Result<Command, CommandError> {
    decode_for(value).map(|(command, _)| command)
}

/// Reads a record's value, and whom it is for.
///
/// # Errors
/// It is not a command that this version of the worker or an older one could have written.
pub fn decode_for(value: &[u8]) -> Result<(Command, Option<PurposeJson<'_>>), CommandError> {
    let mut record: CommandJson<'_> =
        serde_json::from_slice(value).map_err(|error| match version_of(value) {
            Some(version) if version > u64::from(VERSION) => CommandError::Newer(version),
            _ => CommandError::Malformed(complaint(&error)),
        })?;
    match (record.version, record.recorded_at) {
        (1, _) => record.recorded_at = None,
        (2, Some(_)) => {}
        (2, None) => return Err(CommandError::Contradiction("version 2 without recordedAt")),
        (0, _) => return Err(CommandError::Malformed("there is no version 0".into())),
        (version, _) => return Err(CommandError::Newer(version.into())),
    }
    let (id, purpose) = (record.command_id, record.purpose.take());
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
    Ok((command, purpose))
}

impl<'a> From<&'a Command> for CommandJson<'a> {
    fn from(command: &'a Command) -> Self {
        Self {
            version: if command.recorded_at.is_some() { VERSION } else { 1 },
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
            recorded_at: command.recorded_at,
            purpose: None,
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
            recorded_at: record.recorded_at,
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
            recorded_at: Some("2026-05-04T08:00:01.042Z".parse().unwrap()),
            traceparent: None,
        }
    }

    #[test]
    fn a_command_comes_back_as_it_was() {
        assert_eq!(decode(&encode(&claim(), None)).unwrap(), claim());
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
        assert_eq!(decode(&encode(&unclaim, None)).unwrap(), unclaim);
    }

    #[test]
    fn foreign_newer_and_contradictory_records_are_told_apart() {
        assert!(matches!(decode(b""), Err(CommandError::Malformed(_))));
        assert!(matches!(decode(b"{}"), Err(CommandError::Malformed(_))));
        assert_eq!(decode(br#"{"version":3,"new":1}"#), Err(CommandError::Newer(3)));
        assert!(matches!(decode(br#"{"version":2,"new":1}"#), Err(CommandError::Malformed(_))));
        let edited = |from: &str, to: &str| {
            let text = String::from_utf8(encode(&claim(), None)).unwrap();
            assert!(text.contains(from), "{text}");
            decode(text.replace(from, to).as_bytes()).unwrap_err()
        };
        assert_eq!(edited(r#""version":2"#, r#""version":9"#), CommandError::Newer(9));
        for (from, to) in [(r#""version":2"#, r#""version":0"#), (r#""claim""#, r#""give""#)] {
            assert!(matches!(edited(from, to), CommandError::Malformed(_)), "{from}");
        }
        for (from, to) in [
            (r#""version":2"#, r#""version":1"#),
            (r#","recordedAt":"2026-05-04T08:00:01.042Z""#, ""),
            (r#"01.042Z"#, "01.043Z"),
            (r#""eventId":"e-1""#, r#""eventId":"e-2""#),
            (r#""offset":7"#, r#""offset":8"#),
            (r#""customer":{"customerId":"77"},"#, ""),
            (r#""imei":"490154203237518""#, ""),
        ] {
            assert!(matches!(edited(from, to), CommandError::Contradiction(_)), "{from}");
        }
    }

    #[test]
    fn whom_a_command_is_for_comes_back_and_members_of_later_workers_are_passed_over() {
        let purpose = Purpose {
            endpoint: "https://api.example".into(),
            partner: "123".into(),
            group: "zerotouch-worker".into(),
        };
        let bytes = encode(&claim(), Some(&purpose));
        let (command, found) = decode_for(&bytes).unwrap();
        assert_eq!((command, found.map(Purpose::from)), (claim(), Some(purpose)));
        assert_eq!(decode_for(&encode(&claim(), None)).unwrap().1, None);
        let later = String::from_utf8(bytes).unwrap().replacen('{', r#"{"later":[1],"#, 1);
        assert_eq!(decode(later.as_bytes()).unwrap(), claim());
    }

    #[test]
    fn a_command_without_the_time_of_its_record_is_of_version_1() {
        let old = Command { recorded_at: None, ..claim() };
        let text = String::from_utf8(encode(&old, None)).unwrap();
        assert!(text.starts_with(r#"{"version":1,"#) && !text.contains("recordedAt"), "{text}");
        assert_eq!(decode(text.as_bytes()).unwrap(), old);
        assert_ne!(old.id(), claim().id());
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
