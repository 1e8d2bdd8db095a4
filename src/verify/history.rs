//! What was asked for and what was seen: plain records that the caller of the oracle fills in.

use std::sync::Arc;

use jiff::Timestamp;

use crate::model::{Action, Cause, CommandId, Customer, FailureCode, Metadata};
use crate::model::{OutcomeId, Source, Status};

/// A device key as it stands in Kafka keys and events. Prints masked (I10).
///
/// Not `model::DeviceKey`, which only the identifiers can make: the oracle takes the text from
/// wherever it was seen, so that a wrongly derived key shows as a difference.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyText(Arc<str>);

impl KeyText {
    /// The whole key; never for logs or reports.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<T: Into<Arc<str>>> From<T> for KeyText {
    fn from(text: T) -> Self {
        Self(text.into())
    }
}

impl std::fmt::Display for KeyText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (kind, id) = self.0.split_once(':').unwrap_or(("device", &self.0));
        let shown = id.char_indices().rev().nth(3).map_or(0, |(at, _)| at);
        write!(f, "{kind}:…{}", &id[shown..])
    }
}

impl std::fmt::Debug for KeyText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// What the writer of the order events knows, independently of the worker.
pub enum Orders<'a> {
    /// Nothing: commands and dead letters are taken as given.
    Unknown,
    /// Every order record that was written. Read once, one at a time.
    Known(&'a mut dyn Iterator<Item = OrderSeen>),
}

/// One record of an order topic, and what has to follow from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderSeen {
    /// Where it was written.
    pub source: Source,
    /// When, as Kafka says, in milliseconds.
    pub recorded_at: Option<Timestamp>,
    /// Id of the event in it; empty if it is no event.
    pub event_id: String,
    /// What the worker has to make of it.
    pub expectation: Expectation,
}

/// What has to follow from one order record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// These commands and no others, and no dead letter.
    Commands(Vec<ExpectedCommand>),
    /// One dead letter and no command.
    DeadLetter,
}

/// One intended change of one device, as the author of the order event means it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedCommand {
    /// The order line.
    pub line: String,
    /// What is to be done.
    pub action: Action,
    /// Why.
    pub cause: Cause,
    /// The device; `None` if the line does not name a valid one, which has to end as an outcome
    /// `failed` with a code `input.*`.
    pub device: Option<KeyText>,
    /// The customer the event names, if it names one.
    pub customer: Option<Customer>,
    /// Metadata to write. The order number may be added to it.
    pub metadata: Metadata,
    /// The order.
    pub order_id: String,
}

/// A record of the commands topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandSeen {
    /// Partition of the commands topic.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its id.
    pub command_id: CommandId,
    /// The record's key.
    pub device: KeyText,
    /// What is to be done.
    pub action: Action,
    /// Why.
    pub cause: Cause,
    /// The customer, if given.
    pub customer: Option<Customer>,
    /// Metadata to write.
    pub metadata: Metadata,
    /// The order.
    pub order_id: String,
}

/// A record of the outcomes topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutcomeSeen {
    /// Its id.
    pub outcome_id: OutcomeId,
    /// The command it is about.
    pub command_id: CommandId,
    /// The device it names; `None` if it names none, as for an invalid identifier.
    pub device: Option<KeyText>,
    /// The action it names.
    pub action: Action,
    /// The final word.
    pub status: Status,
    /// The failure's code, if there is a failure.
    pub code: Option<FailureCode>,
    /// The command that superseded, absorbed or cancelled this one.
    pub decided_by: Option<CommandId>,
}

/// A record of the dead-letter topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetterSeen {
    /// The order record that it is a copy of.
    pub source: Source,
    /// Why, in the worker's words.
    pub reason: String,
}

/// A committed offset of the commands topic, as it was seen at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatermarkSeen {
    /// Partition of the commands topic.
    pub partition: i32,
    /// The committed offset: everything below it counts as done.
    pub committed: i64,
    /// How many of [`History::outcomes`], from the first, were visible at that moment.
    ///
    /// To be sound from outside: fetch the committed offset, then the ends of the outcomes topic,
    /// read up to those ends, and count. An outcome that came between the two is then let pass, but
    /// none is missed that was there.
    pub outcomes_visible: usize,
}

/// A long-running operation, from the log of the API's double.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationSeen {
    /// `operations/…`.
    pub name: String,
    /// What it does.
    pub action: Action,
    /// The devices in it.
    pub devices: Vec<KeyText>,
    /// When the API took it.
    pub started: Timestamp,
    /// When it was done; `None` if it never was.
    pub ended: Option<Timestamp>,
    /// Whether its name never reached the caller. Such an operation may overlap with the next one
    /// for the same device: nothing could tell the caller that it exists.
    pub reply_lost: bool,
}

/// A change of a device's owner or metadata, from the log of the API's double.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeSeen {
    /// The device.
    pub device: KeyText,
    /// When.
    pub at: Timestamp,
    /// By what kind of request.
    pub action: Action,
    /// Owner before.
    pub from: Option<Customer>,
    /// Owner after.
    pub to: Option<Customer>,
}

/// A device at the API, at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceSeen {
    /// The device.
    pub device: KeyText,
    /// Who holds it.
    pub owner: Option<Customer>,
    /// Its metadata.
    pub metadata: Metadata,
}

/// All that was seen. The order of a list matters only where it is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The whole commands topic, read committed.
    pub commands: Vec<CommandSeen>,
    /// The whole outcomes topic, read committed, in the order in which it was read.
    pub outcomes: Vec<OutcomeSeen>,
    /// The whole dead-letter topic, read committed.
    pub dead_letters: Vec<DeadLetterSeen>,
    /// Samples of the committed offsets, as many as one likes.
    pub watermarks: Vec<WatermarkSeen>,
    /// Every operation the API took.
    pub operations: Vec<OperationSeen>,
    /// Every change of an owner at the API; may be left empty.
    pub changes: Vec<ChangeSeen>,
    /// Every device the API knows at the end.
    pub devices: Vec<DeviceSeen>,
}
