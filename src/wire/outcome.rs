//! Outcome v1: the event that other services subscribe to, one for each command.

use std::borrow::Cow;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::device::DeviceJson;
use super::json::{DateTime, complaint, shorten};
use crate::model::{
    Action, Cause, Command, CommandId, Customer, Failure, OutcomeId, Source, Status, Verdict,
};

/// The final word about one command: one device of one order line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Outcome")]
pub struct OutcomeJson<'a> {
    /// Deterministic id; a repeated one is the same outcome.
    pub outcome_id: OutcomeId,
    /// Deterministic id of the command.
    pub command_id: CommandId,
    /// Id of the order event.
    pub event_id: Cow<'a, str>,
    /// The order.
    pub order_id: Cow<'a, str>,
    /// The order line.
    pub line: Cow<'a, str>,
    /// Reseller account; absent if the event named none and there is no default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<Cow<'a, str>>,
    /// The customer, if the event named one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer: Option<Cow<'a, Customer>>,
    /// The device: identifiers without separators, or as given if they are at fault; `deviceId` if
    /// the event gave it or the API told it.
    pub device: DeviceJson<'a>,
    /// What was to be done.
    pub action: Action,
    /// Why: the type of the order event.
    pub cause: Cause,
    /// The final word.
    pub status: Status,
    /// Why not, for failed and unresolved commands and for stale ones where more is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Cow<'a, Failure>>,
    /// The command that superseded, absorbed or cancelled this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<CommandId>,
    /// Name of the API's operation that carried the command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<Cow<'a, str>>,
    /// How often the command was sent; 0 if never.
    pub attempts: u16,
    /// When what happened.
    pub times: Times,
    /// Where the order event was read.
    pub source: Cow<'a, Source>,
}

/// The times of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Times {
    /// It happened in the order system.
    #[schemars(with = "DateTime")]
    pub occurred_at: Timestamp,
    /// Kafka recorded the order event, in milliseconds; absent if the ids are made without it.
    #[schemars(with = "Option<DateTime>")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorded_at: Option<Timestamp>,
    /// The worker read the order event.
    #[schemars(with = "DateTime")]
    pub received_at: Timestamp,
    /// The call that decided it was made; absent if there was none.
    #[schemars(with = "Option<DateTime>")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub submitted_at: Option<Timestamp>,
    /// It was decided.
    #[schemars(with = "DateTime")]
    pub completed_at: Timestamp,
}

/// Why a record is no outcome.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record is no outcome: {0}; only this worker should write the outcomes topic")]
pub struct OutcomeError(String);

/// Of the name of a topic, in Kafka.
const TOPIC_BYTES: usize = 249;

/// A text in `max` bytes, which says how long it was.
fn said(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    format!("{} (shortened, {} bytes in all)", shorten(text, max), text.len())
}

/// Key of an outcome record: the device key, or `line:<order id>/<line>` for a refused device that
/// has nothing to identify it.
#[must_use]
pub fn key(command: &Command) -> String {
    match command.device_key() {
        Some(key) => key.as_str().to_owned(),
        None => format!("line:{}/{}", command.order_id, command.line),
    }
}

/// The record's value.
#[must_use]
pub fn encode(command: &Command, verdict: &Verdict) -> Vec<u8> {
    encode_json(&OutcomeJson::new(command, verdict))
}

pub(super) fn encode_json(outcome: &OutcomeJson<'_>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1_024);
    // Serialising text and integers into memory has no way to fail.
    #[allow(clippy::expect_used)]
    serde_json::to_writer(&mut bytes, outcome).expect("plain data");
    bytes
}

/// Reads a record's value. Members of later versions are ignored.
///
/// # Errors
/// It is not JSON, or members are missing or of a wrong type.
pub fn decode(value: &[u8]) -> Result<OutcomeJson<'static>, OutcomeError> {
    serde_json::from_slice(value).map_err(|error| OutcomeError(complaint(&error)))
}

impl<'a> OutcomeJson<'a> {
    /// Joins a command and its verdict.
    #[must_use]
    pub fn new(command: &'a Command, verdict: &'a Verdict) -> Self {
        let command_id = command.id();
        let device_id = verdict.device_id.as_deref().or(command.device_id.as_deref());
        Self {
            outcome_id: command_id.into(),
            command_id,
            event_id: Cow::Borrowed(&command.event_id),
            order_id: Cow::Borrowed(&command.order_id),
            line: Cow::Borrowed(&command.line),
            account: Some(&*command.account).filter(|name| !name.is_empty()).map(Cow::Borrowed),
            customer: command.customer.as_ref().map(Cow::Borrowed),
            device: DeviceJson::new(&command.device, device_id),
            action: command.action,
            cause: command.cause,
            status: verdict.status,
            failure: verdict.failure.as_deref().map(Cow::Borrowed),
            decided_by: verdict.decided_by,
            operation: verdict.operation.as_deref().map(Cow::Borrowed),
            attempts: verdict.attempts,
            times: Times {
                occurred_at: command.occurred_at,
                recorded_at: command.recorded_at,
                received_at: command.received_at,
                submitted_at: verdict.submitted_at,
                completed_at: verdict.completed_at,
            },
            source: Cow::Borrowed(&command.source),
        }
    }

    /// With what the API said in `max` bytes; with `all`, every text that somebody else gave.
    pub(super) fn shortened(mut self, max: usize, all: bool) -> Self {
        if let Some(failure) = &mut self.failure {
            let mut short = failure.clone().into_owned();
            short.message = said(&short.message, max);
            for text in [&mut short.api_status, &mut short.api_identifier].into_iter().flatten() {
                *text = said(text, max);
            }
            *failure = Cow::Owned(short);
        }
        if !all {
            return self;
        }
        let device = &mut self.device;
        let texts = [
            Some(&mut self.event_id),
            Some(&mut self.order_id),
            Some(&mut self.line),
            self.account.as_mut(),
            self.operation.as_mut(),
            device.imei.as_mut(),
            device.imei2.as_mut(),
            device.meid.as_mut(),
            device.meid2.as_mut(),
            device.serial_number.as_mut(),
            device.manufacturer.as_mut(),
            device.model.as_mut(),
            device.chrome_os_attested_device_id.as_mut(),
            device.device_id.as_mut(),
        ];
        for text in texts.into_iter().flatten().filter(|text| text.len() > max) {
            *text = said(text, max).into();
        }
        if let Some(customer) = &mut self.customer {
            let mut short = customer.clone().into_owned();
            let (Customer::ZeroTouch(id) | Customer::Workspace(id)) = &mut short;
            *id = said(id, max);
            *customer = Cow::Owned(short);
        }
        let mut source = self.source.into_owned();
        source.topic = said(&source.topic, max.max(TOPIC_BYTES));
        self.source = Cow::Owned(source);
        self
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::FailureCode;
    use crate::wire::command::tests::claim;
    use crate::wire::headers;

    fn verdict() -> Verdict {
        Verdict {
            status: Status::Succeeded,
            failure: None,
            decided_by: None,
            device_id: Some("99".into()),
            operation: Some("operations/apibatchoperation/1".into()),
            attempts: 1,
            submitted_at: Some("2026-05-04T08:00:02Z".parse().unwrap()),
            completed_at: "2026-05-04T08:00:07Z".parse().unwrap(),
        }
    }

    #[test]
    fn an_outcome_has_the_shape_that_subscribers_rely_on() {
        let value: serde_json::Value =
            serde_json::from_slice(&encode(&claim(), &verdict())).unwrap();
        insta::assert_snapshot!(serde_json::to_string_pretty(&value).unwrap(), @r#"
{
  "outcomeId": "b346efeb-11d2-501e-8133-e2fee3a836c6",
  "commandId": "fb3d8f69-a0ac-5b0d-a2a0-bd3fa037bfe0",
  "eventId": "e-1",
  "orderId": "A-1",
  "line": "0",
  "account": "main",
  "customer": {
    "customerId": "77"
  },
  "device": {
    "imei": "490154203237518",
    "deviceId": "99"
  },
  "action": "claim",
  "cause": "sale",
  "status": "succeeded",
  "operation": "operations/apibatchoperation/1",
  "attempts": 1,
  "times": {
    "occurredAt": "2026-05-04T08:00:00Z",
    "recordedAt": "2026-05-04T08:00:01.042Z",
    "receivedAt": "2026-05-04T08:00:01.5Z",
    "submittedAt": "2026-05-04T08:00:02Z",
    "completedAt": "2026-05-04T08:00:07Z"
  },
  "source": {
    "topic": "orders",
    "partition": 0,
    "offset": 7
  }
}
"#);
    }

    #[test]
    fn an_outcome_comes_back_as_it_was() {
        let command = claim();
        let verdict = Verdict {
            status: Status::Failed,
            failure: Some(Box::new(Failure {
                code: FailureCode::DeviceNotYours,
                api_status: Some("SINGLE_DEVICE_STATUS_SECTION_NOT_YOURS".into()),
                api_identifier: None,
                message: "another reseller holds the device".into(),
                retryable: false,
            })),
            decided_by: Some(command.id()),
            ..verdict()
        };
        let bytes = encode(&command, &verdict);
        assert_eq!(decode(&bytes).unwrap(), OutcomeJson::new(&command, &verdict));
    }

    #[test]
    fn the_headers_are_cloud_events_and_name_the_device() {
        let key = key(&claim());
        let headers = headers::outcome(&claim(), &verdict(), &key);
        let text: Vec<_> = headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        insta::assert_snapshot!(text.join("\n"), @r#"
ce_specversion: 1.0
ce_id: b346efeb-11d2-501e-8133-e2fee3a836c6
ce_source: /zerotouch-worker
ce_type: io.zerotouch-worker.outcome.claim.v1
ce_subject: imei:490154203237518
ce_time: 2026-05-04T08:00:07Z
content-type: application/json
traceparent: 00-e0855edfc465842080d2a2f292055ea3-6784cb740b674dfc-01
"#);
    }

    #[test]
    fn a_device_without_identity_is_keyed_by_its_line() {
        let command = Command { device: Default::default(), ..claim() };
        assert_eq!(key(&command), "line:A-1/0");
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_outcome_or_an_error(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let _ = decode(&bytes);
        }
    }
}
