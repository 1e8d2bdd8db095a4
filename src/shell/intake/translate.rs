//! One record of an order topic into the records that follow from it.

use std::ops::ControlFlow;
use std::sync::Arc;

use jiff::Timestamp;

use crate::engine::intake::{Intaken, Lines, PassedOver, passes_over};
use crate::model::{Action, Command, DeadLetter, DeadLetterReason, OrderEvent, Rejection, Source};
use crate::shell::dispatch::{header, letter_record, outcome_record};
use crate::shell::kafka::{OutRecord, RecordView};
use crate::shell::rooms::{Rooms, Shortened};
use crate::shell::telemetry::RefusedLines;
use crate::shell::telemetry::metrics::Decided;
use crate::wire;
use crate::wire::fit::Letter;
use crate::wire::headers::DEAD_LETTER_PREFIX;
use crate::wire::order::{Record, decode};

use super::Intake;
use super::spans::EventTrace;

/// What follows from one order event is kept in memory up to so many bytes. Beyond them it is made
/// again when it is written, one record at a time.
const KEPT_BYTES: usize = 1 << 20;
/// What a record takes in memory beside its bytes, about.
const RECORD_OVERHEAD: usize = 256;

/// What one record became.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// What is to be written; none if that is too much to be kept.
    pub(super) records: Option<Vec<OutRecord>>,
    /// How many records are to be written.
    pub(super) count: usize,
    /// Bytes that `records` take, or would take.
    pub(super) bytes: usize,
    pub(super) commands: [u64; Action::ALL.len()],
    pub(super) outcomes: u64,
    pub(super) dead_letters: u64,
    /// What did not fit.
    pub(super) shortened: Shortened,
    /// Its trace, if it is sampled.
    pub(super) trace: Option<EventTrace>,
    /// The trace context that its commands carry.
    pub(super) traceparent: Option<String>,
    /// For the counters, once it is committed.
    pub(super) decided: Decided,
    /// For the log, once it is committed: why it is a dead letter, and which lines are refused.
    pub(super) rejection: Option<Rejection>,
    pub(super) refused: RefusedLines,
    /// For both: why nothing follows from it.
    pub(super) passed_over: Option<(PassedOver, String)>,
    /// When it was taken in.
    pub(super) at: Timestamp,
}

/// Takes one record in. Total: whatever it is, something follows from it, or it is passed over.
pub(super) fn take(intake: &Intake, record: &RecordView<'_>, rooms: Rooms) -> Taken {
    let source = source_of(record);
    let now = Timestamp::now();
    match event_of(intake, record, &source) {
        Ok(mut event) => {
            let mut trace = EventTrace::of_event(&intake.traces, &mut event, &source);
            let traceparent = event.traceparent.clone();
            let origin = (&source, named_time(intake, record));
            match lines(intake, event, origin, (now, rooms), &mut trace) {
                Ok(taken) => Taken { trace, traceparent, ..taken },
                Err(CommandTooLarge { bytes }) => {
                    let taken = reject(intake, record, too_large(bytes), rooms);
                    Taken { trace: rejected(trace, &taken), ..taken }
                }
            }
        }
        Err(rejection) => {
            if let Some(kind) = passes_over(&rejection, &intake.options) {
                let passed_over = Some((kind, rejection.message));
                return Taken { passed_over, at: now, ..Taken::default() };
            }
            let headers = headers_of(record);
            let trace = EventTrace::of_rejected(&intake.traces, &headers, &source, &rejection);
            Taken { trace, ..reject(intake, record, rejection, rooms) }
        }
    }
}

/// The dead letter of a record that was understood, and of which something follows that is larger
/// than its topic takes.
pub(super) fn reject_too_large(
    intake: &Intake,
    record: &RecordView<'_>,
    (bytes, rooms): (usize, Rooms),
    trace: Option<EventTrace>,
) -> Taken {
    let taken = reject(intake, record, too_large(bytes), rooms);
    Taken { trace: rejected(trace, &taken), ..taken }
}

/// Hands over what is to be written of a record that was taken in, made anew in these rooms if it
/// is not kept or if `again` says so. Gives what did not fit. The same records as in [`take`],
/// since all they depend on is the same.
pub(super) fn write(
    intake: &Intake,
    record: &RecordView<'_>,
    taken: &Taken,
    (rooms, again): (Rooms, bool),
    out: &mut dyn FnMut(&OutRecord) -> ControlFlow<()>,
) -> ControlFlow<(), Shortened> {
    if taken.passed_over.is_some() {
        return ControlFlow::Continue(Shortened::default());
    }
    if let Some(records) = taken.records.as_ref().filter(|_| !again) {
        return match records.iter().try_for_each(out) {
            ControlFlow::Continue(()) => ControlFlow::Continue(taken.shortened),
            ControlFlow::Break(()) => ControlFlow::Break(()),
        };
    }
    let mut shortened = Shortened::default();
    let source = source_of(record);
    if let Some(rejection) = &taken.rejection {
        let (letter, short) = dead_letter(intake, record, (rejection, taken.at), rooms);
        shortened.dead_letters += u64::from(short);
        out(&letter)?;
        return ControlFlow::Continue(shortened);
    }
    // The bytes have not changed, so that this cannot fail; if it did, nothing may be committed.
    let Ok(mut event) = event_of(intake, record, &source) else { return ControlFlow::Break(()) };
    event.traceparent.clone_from(&taken.traceparent);
    let origin = (&source, named_time(intake, record));
    for line in Lines::new(event, origin, taken.at, &intake.options) {
        let (record, short) = line_record(intake, &line, rooms);
        shortened.outcomes += u64::from(short);
        out(&record)?;
    }
    ControlFlow::Continue(shortened)
}

fn source_of(record: &RecordView<'_>) -> Source {
    Source {
        topic: record.topic().to_string(),
        partition: record.partition(),
        offset: record.offset(),
    }
}

fn headers_of<'a>(record: &RecordView<'a>) -> Vec<(&'a str, &'a [u8])> {
    record.headers().filter_map(|(name, value)| Some((name, value?))).collect()
}

fn recorded_at(record: &RecordView<'_>) -> Option<Timestamp> {
    record.timestamp_ms().and_then(|ms| Timestamp::from_millisecond(ms).ok())
}

/// The time that goes into the ids. Those of version 1 are made without it.
fn named_time(intake: &Intake, record: &RecordView<'_>) -> Option<Timestamp> {
    recorded_at(record).filter(|_| intake.record_version > 1)
}

fn event_of(
    intake: &Intake,
    record: &RecordView<'_>,
    source: &Source,
) -> Result<OrderEvent, Rejection> {
    let headers = headers_of(record);
    let input = Record {
        source,
        timestamp: recorded_at(record),
        headers: &headers,
        payload: record.payload(),
    };
    decode(&input, &intake.limits)
}

fn too_large(bytes: usize) -> Rejection {
    let text = format!(
        "a record that follows from this event has {bytes} bytes, more than the topic takes; \
         shorten its ids and metadata"
    );
    Rejection::new(DeadLetterReason::TooLarge, text)
}

fn rejected(trace: Option<EventTrace>, taken: &Taken) -> Option<EventTrace> {
    let mut trace = trace?;
    if let Some(rejection) = &taken.rejection {
        trace.reject(rejection);
    }
    Some(trace)
}

fn reject(intake: &Intake, record: &RecordView<'_>, rejection: Rejection, rooms: Rooms) -> Taken {
    let at = Timestamp::now();
    let mut decided = Decided::default();
    decided.add_dead_letters(rejection.reason, 1);
    let (letter, short) = dead_letter(intake, record, (&rejection, at), rooms);
    let bytes = letter.bytes() + RECORD_OVERHEAD;
    Taken {
        count: 1,
        bytes,
        records: (bytes <= KEPT_BYTES).then(|| vec![letter]),
        dead_letters: 1,
        shortened: Shortened { dead_letters: u64::from(short), ..Shortened::default() },
        decided,
        rejection: Some(rejection),
        at,
        ..Taken::default()
    }
}

/// A command that follows from an event does not fit into a record.
struct CommandTooLarge {
    bytes: usize,
}

/// What follows from the lines of an event.
fn lines(
    intake: &Intake,
    event: OrderEvent,
    origin: (&Source, Option<Timestamp>),
    (now, rooms): (Timestamp, Rooms),
    trace: &mut Option<EventTrace>,
) -> Result<Taken, CommandTooLarge> {
    let mut records = Some(Vec::with_capacity(event.devices.len().min(16)));
    let mut taken = Taken { at: now, ..Taken::default() };
    for line in Lines::new(event, origin, now, &intake.options) {
        let (record, short) = line_record(intake, &line, rooms);
        match line {
            Intaken::Command(command) => {
                taken.commands[command.action as usize] += 1;
                if record.bytes() > intake.kafka.record_bytes_max as usize {
                    return Err(CommandTooLarge { bytes: record.bytes() });
                }
            }
            Intaken::Refused(refused) => {
                taken.outcomes += 1;
                taken.shortened.outcomes += u64::from(short);
                if let Some(trace) = &mut *trace {
                    trace.refused(&refused);
                }
                taken.decided.add_refused(&refused.command, &refused.verdict);
                if let Some(failure) = &refused.verdict.failure {
                    taken.refused.add(&refused.command, failure);
                }
            }
        }
        taken.count += 1;
        taken.bytes += record.bytes() + RECORD_OVERHEAD;
        if taken.bytes > KEPT_BYTES {
            records = None;
        }
        if let Some(records) = &mut records {
            records.push(record);
        }
    }
    taken.records = records;
    Ok(taken)
}

/// The record of one line, and whether it had to be shortened.
fn line_record(intake: &Intake, line: &Intaken, rooms: Rooms) -> (OutRecord, bool) {
    match line {
        Intaken::Command(command) => (command_record(intake, command), false),
        Intaken::Refused(refused) => {
            let (topics, room) = (&intake.topics, rooms.outcomes);
            outcome_record(topics, &refused.command, &refused.verdict, room)
        }
    }
}

fn command_record(intake: &Intake, command: &Command) -> OutRecord {
    let purpose = intake.purposes.get(command.account.as_str());
    OutRecord {
        topic: Arc::clone(&intake.topics.commands),
        partition: None,
        key: command.device_key().map(|key| key.as_str().as_bytes().to_vec()),
        payload: Some(wire::command::encode(command, purpose.map(Arc::as_ref))),
        headers: Vec::new(),
    }
}

/// The original bytes with the original headers, as far as they fit, and ours that say why. Also
/// whether anything did not fit.
fn dead_letter(
    intake: &Intake,
    record: &RecordView<'_>,
    (rejection, at): (&Rejection, Timestamp),
    rooms: Rooms,
) -> (OutRecord, bool) {
    let about = DeadLetter {
        rejection: rejection.clone(),
        source: source_of(record),
        recorded_at: recorded_at(record),
        rejected_at: at,
    };
    let theirs = record
        .headers()
        .filter(|(name, _)| !name.starts_with(DEAD_LETTER_PREFIX))
        .map(|(name, value)| (name.into(), value.unwrap_or_default().to_vec()));
    let mut letter = Letter {
        key: record.key().map(<[u8]>::to_vec),
        value: record.payload().map(<[u8]>::to_vec),
        headers: theirs.collect(),
        ours: wire::headers::dead_letter(&about).map(header).collect(),
    };
    let short = letter.fit(rooms.dead_letters);
    (letter_record(&intake.topics, letter), short)
}
