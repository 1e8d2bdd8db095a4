//! A command in as few bytes as its content allows, for the time it waits in memory.
//!
//! Most texts in a command are numbers, UUIDs or repetitions, and hundreds of thousands of commands
//! may wait: packed they take a third of what they would take as text.

use std::borrow::Cow;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    Action, Cause, Command, Customer, DeviceType, Identifiers, Metadata, ORDER_NUMBER, Source,
};

/// A packed command.
///
/// The engine passes it around unopened and opens it only to fold or to guard. Shared, so that a
/// call in preparation and the lane that waits for its result hold it once. About 120 bytes for a
/// phone with an order number.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PackedCommand(Arc<[u8]>);

impl PackedCommand {
    /// Packs a command.
    #[must_use]
    pub fn pack(command: &Command) -> Self {
        // Serialising plain data into a growing vector has no failure but memory exhaustion.
        #[allow(clippy::expect_used)]
        let bytes = postcard::to_stdvec(&Form::of(command)).expect("a command is plain data");
        Self(bytes.into())
    }

    /// Opens it.
    #[must_use]
    pub fn unpack(&self) -> Command {
        // The bytes never leave the process and are only ever made by `pack`.
        #[allow(clippy::expect_used)]
        let form: Form<'_> = postcard::from_bytes(&self.0).expect("packed by this process");
        form.into_command()
    }

    /// Ids of its trace and span, and the flags, without opening the rest; `None` if it has no
    /// well-formed context.
    #[must_use]
    pub fn trace(&self) -> Option<([u8; 16], [u8; 8], u8)> {
        match postcard::take_from_bytes::<Option<Trace<'_>>>(&self.0) {
            Ok((Some(Trace::Version0(trace, span, flags)), _)) => Some((trace, span, flags)),
            _ => None,
        }
    }

    /// Size in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it holds nothing, as after [`PackedCommand::default`]: the command moved on.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Debug for PackedCommand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PackedCommand({} bytes)", self.0.len())
    }
}

/// The packed form. Only ever read by the process that wrote it, so it may change at will.
#[derive(Serialize, Deserialize)]
struct Form<'a> {
    /// First, so that it can be read alone.
    #[serde(borrow)]
    trace: Option<Trace<'a>>,
    action: Action,
    cause: Cause,
    #[serde(borrow)]
    event_id: Text<'a>,
    order_id: Text<'a>,
    line: Text<'a>,
    account: Text<'a>,
    customer: Option<(CustomerKind, Text<'a>)>,
    device: Device<'a>,
    device_id: Option<Text<'a>>,
    /// The metadata say `ordernumber` = order id, as nearly all claims do.
    has_order_number: bool,
    metadata: Vec<(&'a str, Text<'a>)>,
    configuration_id: Option<Text<'a>>,
    pre_provisioning_token: Option<Text<'a>>,
    /// Nanoseconds since 1970.
    occurred_at: i128,
    received_at: i128,
    source: (&'a str, i32, i64),
    /// Milliseconds since 1970.
    recorded_at: Option<i64>,
}

/// Text, or what it spells.
#[derive(Serialize, Deserialize)]
enum Text<'a> {
    Plain(&'a str),
    /// Decimal digits without a leading zero.
    Number(u64),
    /// Lower case with hyphens.
    Uuid([u8; 16]),
}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum CustomerKind {
    ZeroTouch,
    Workspace,
}

/// The identifiers that are given, each with its place in [`Identifiers`].
#[derive(Serialize, Deserialize)]
struct Device<'a> {
    #[serde(borrow)]
    fields: Vec<(u8, Text<'a>)>,
    kind: Option<DeviceType>,
}

/// A trace context, or a text that is none.
#[derive(Serialize, Deserialize)]
enum Trace<'a> {
    Version0([u8; 16], [u8; 8], u8),
    Other(&'a str),
}

impl<'a> Form<'a> {
    fn of(command: &'a Command) -> Self {
        let some = |text: &'a Option<String>| text.as_deref().map(Text::of);
        let has_order_number = command.metadata.get(ORDER_NUMBER) == Some(&command.order_id);
        let is_kept = |key: &&String| !(has_order_number && *key == ORDER_NUMBER);
        Self {
            trace: command.traceparent.as_deref().map(Trace::of),
            action: command.action,
            cause: command.cause,
            event_id: Text::of(&command.event_id),
            order_id: Text::of(&command.order_id),
            line: Text::of(&command.line),
            account: Text::of(&command.account),
            customer: command.customer.as_ref().map(|customer| match customer {
                Customer::ZeroTouch(id) => (CustomerKind::ZeroTouch, Text::of(id)),
                Customer::Workspace(id) => (CustomerKind::Workspace, Text::of(id)),
            }),
            device: Device::of(&command.device),
            device_id: some(&command.device_id),
            has_order_number,
            metadata: command
                .metadata
                .iter()
                .filter(|(key, _)| is_kept(key))
                .map(|(key, value)| (key.as_str(), Text::of(value)))
                .collect(),
            configuration_id: some(&command.configuration_id),
            pre_provisioning_token: some(&command.pre_provisioning_token),
            occurred_at: command.occurred_at.as_nanosecond(),
            received_at: command.received_at.as_nanosecond(),
            source: (&command.source.topic, command.source.partition, command.source.offset),
            recorded_at: command.recorded_at.map(Timestamp::as_millisecond),
        }
    }

    fn into_command(self) -> Command {
        let order_id = self.order_id.into_string();
        let entries = self.metadata.into_iter();
        let mut metadata: Metadata =
            entries.map(|(key, value)| (key.to_owned(), value.into_string())).collect();
        if self.has_order_number {
            metadata.insert(ORDER_NUMBER.to_owned(), order_id.clone());
        }
        // What was a timestamp once is one again.
        let time = |nanos| Timestamp::from_nanosecond(nanos).unwrap_or_default();
        let (topic, partition, offset) = self.source;
        Command {
            action: self.action,
            cause: self.cause,
            event_id: self.event_id.into_string(),
            order_id,
            line: self.line.into_string(),
            account: self.account.into_string(),
            customer: self.customer.map(|(kind, id)| match kind {
                CustomerKind::ZeroTouch => Customer::ZeroTouch(id.into_string()),
                CustomerKind::Workspace => Customer::Workspace(id.into_string()),
            }),
            device: self.device.into_identifiers(),
            device_id: self.device_id.map(Text::into_string),
            metadata,
            configuration_id: self.configuration_id.map(Text::into_string),
            pre_provisioning_token: self.pre_provisioning_token.map(Text::into_string),
            occurred_at: time(self.occurred_at),
            received_at: time(self.received_at),
            source: Source { topic: topic.to_owned(), partition, offset },
            recorded_at: self.recorded_at.and_then(|ms| Timestamp::from_millisecond(ms).ok()),
            traceparent: self.trace.map(Trace::into_string),
        }
    }
}

impl<'a> Text<'a> {
    fn of(text: &'a str) -> Self {
        let bytes = text.as_bytes();
        let is_number = matches!(bytes, [b'1'..=b'9', rest @ ..] if rest.len() < 19
            && rest.iter().all(u8::is_ascii_digit));
        if let Some(number) = is_number.then(|| text.parse().ok()).flatten() {
            return Self::Number(number);
        }
        let uuid = if bytes.len() == 36 { Uuid::try_parse(text).ok() } else { None };
        match uuid {
            Some(uuid) if !bytes.iter().any(u8::is_ascii_uppercase) => Self::Uuid(*uuid.as_bytes()),
            _ => Self::Plain(text),
        }
    }

    fn into_string(self) -> String {
        match self {
            Self::Plain(text) => text.to_owned(),
            Self::Number(number) => number.to_string(),
            Self::Uuid(bytes) => Uuid::from_bytes(bytes).to_string(),
        }
    }
}

impl<'a> Device<'a> {
    fn of(ids: &'a Identifiers) -> Self {
        let fields = [
            &ids.imei,
            &ids.imei2,
            &ids.meid,
            &ids.meid2,
            &ids.serial_number,
            &ids.manufacturer,
            &ids.model,
            &ids.chrome_os_attested_device_id,
        ];
        let given = (0..).zip(fields).filter_map(|(place, field)| Some((place, field.as_deref()?)));
        let fields = given.map(|(place, text)| (place, Text::of(text))).collect();
        Self { fields, kind: ids.device_type }
    }

    fn into_identifiers(self) -> Identifiers {
        let mut ids = Identifiers { device_type: self.kind, ..Identifiers::default() };
        for (place, text) in self.fields {
            let field = match place {
                0 => &mut ids.imei,
                1 => &mut ids.imei2,
                2 => &mut ids.meid,
                3 => &mut ids.meid2,
                4 => &mut ids.serial_number,
                5 => &mut ids.manufacturer,
                6 => &mut ids.model,
                _ => &mut ids.chrome_os_attested_device_id,
            };
            *field = Some(text.into_string());
        }
        ids
    }
}

impl<'a> Trace<'a> {
    fn of(text: &'a str) -> Self {
        let packed = || {
            let mut fields = text.split('-');
            let mut number = |len: usize| {
                let digits = fields.next().filter(|digits| digits.len() == len)?;
                u128::from_str_radix(digits, 16).ok()
            };
            let (version, trace, span, flags) = (number(2)?, number(32)?, number(16)?, number(2)?);
            let (span, flags) = (u64::try_from(span).ok()?, u8::try_from(flags).ok()?);
            let packed = Self::Version0(trace.to_be_bytes(), span.to_be_bytes(), flags);
            (version == 0 && fields.next().is_none()).then_some(packed)
        };
        // Upper case, signs and the like would come back otherwise than they went in.
        packed().filter(|packed| packed.spell() == text).unwrap_or(Self::Other(text))
    }

    fn spell(&self) -> Cow<'a, str> {
        match self {
            Self::Other(text) => Cow::Borrowed(text),
            Self::Version0(trace, span, flags) => Cow::Owned(format!(
                "00-{:032x}-{:016x}-{flags:02x}",
                u128::from_be_bytes(*trace),
                u64::from_be_bytes(*span)
            )),
        }
    }

    fn into_string(self) -> String {
        self.spell().into_owned()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts() -> impl Strategy<Value = String> {
        prop_oneof![
            ".{0,12}",
            "[0-9]{0,22}",
            any::<u128>().prop_map(|bits| Uuid::from_u128(bits).to_string()),
            any::<u128>().prop_map(|bits| Uuid::from_u128(bits).to_string().to_uppercase()),
            any::<u128>().prop_map(|bits| Uuid::from_u128(bits).simple().to_string()),
        ]
    }

    fn traces() -> impl Strategy<Value = Option<String>> {
        prop_oneof![
            Just(None),
            "00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]".prop_map(Some),
            "0[0-9]-[0-9A-F+]{32}-[0-9a-f]{16}-0[01](-x)?".prop_map(Some),
            texts().prop_map(Some),
        ]
    }

    prop_compose! {
        fn commands()(
            ids in proptest::collection::vec(proptest::option::of(texts()), 11),
            words in proptest::collection::vec(texts(), 5),
            mut metadata in proptest::collection::btree_map(texts(), texts(), 0..3),
            has_order_number in any::<bool>(),
            traceparent in traces(),
            seconds in -9_000_000_000_i64..9_000_000_000,
            offset in any::<i64>(),
            workspace in any::<bool>(),
            recorded in proptest::option::of(0_i64..253_402_207_200_000),
        ) -> Command {
            let kind = if workspace { Customer::Workspace } else { Customer::ZeroTouch };
            if has_order_number {
                metadata.insert(ORDER_NUMBER.into(), words[1].clone());
            }
            Command {
                action: Action::Claim,
                cause: Cause::Sale,
                event_id: words[0].clone(),
                order_id: words[1].clone(),
                line: words[2].clone(),
                account: words[3].clone(),
                customer: ids[0].clone().map(kind),
                device: Identifiers {
                    imei: ids[1].clone(),
                    imei2: ids[2].clone(),
                    meid: ids[3].clone(),
                    meid2: ids[4].clone(),
                    serial_number: ids[5].clone(),
                    manufacturer: ids[6].clone(),
                    model: ids[7].clone(),
                    chrome_os_attested_device_id: ids[8].clone(),
                    device_type: Some(DeviceType::ChromeOs),
                },
                device_id: ids[9].clone(),
                metadata,
                configuration_id: ids[10].clone(),
                pre_provisioning_token: None,
                occurred_at: Timestamp::new(seconds, 999_999_999).unwrap(),
                received_at: Timestamp::new(seconds, 1).unwrap(),
                source: Source { topic: words[4].clone(), partition: 3, offset },
                recorded_at: recorded.map(|ms| Timestamp::from_millisecond(ms).unwrap()),
                traceparent,
            }
        }
    }

    #[test]
    fn a_trace_is_read_alone_and_a_command_that_moved_on_has_none() {
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let bytes = postcard::to_stdvec(&(Some(Trace::of(trace)), "rest")).unwrap();
        let (id, _, flags) = PackedCommand(bytes.into()).trace().unwrap();
        assert_eq!((id[0], flags), (0x4b, 1));
        assert_eq!(PackedCommand::default().trace(), None);
    }

    proptest! {
        #[test]
        fn what_was_packed_comes_out_as_it_was(command in commands()) {
            let packed = PackedCommand::pack(&command);
            let spelt = packed.trace().map(|(trace, span, flags)| {
                let (trace, span) = (u128::from_be_bytes(trace), u64::from_be_bytes(span));
                format!("00-{trace:032x}-{span:016x}-{flags:02x}")
            });
            prop_assert!(spelt.is_none() || spelt == command.traceparent);
            prop_assert_eq!(packed.unpack(), command);
        }
    }
}
