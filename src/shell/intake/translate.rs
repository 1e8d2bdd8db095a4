//! One record of an order topic into the records that follow from it.

use std::sync::Arc;

use jiff::Timestamp;

use crate::engine::intake::{Intaken, map};
use crate::model::{Action, Command, DeadLetter, Rejection, Source};
use crate::shell::dispatch::{header, outcome_record};
use crate::shell::kafka::{OutRecord, RecordView};
use crate::shell::telemetry::RefusedLines;
use crate::shell::telemetry::metrics::Decided;
use crate::wire;
use crate::wire::headers::DEAD_LETTER_PREFIX;
use crate::wire::order::{Record, decode};

use super::Intake;
use super::spans::EventTrace;

/// What one record became.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) records: Vec<OutRecord>,
    pub(super) commands: [u64; Action::ALL.len()],
    pub(super) outcomes: u64,
    pub(super) dead_letters: u64,
    /// Its trace, if it is sampled.
    pub(super) trace: Option<EventTrace>,
    /// For the counters, once it is committed.
    pub(super) decided: Decided,
    /// For the log, once it is committed: why it is a dead letter, and which lines are refused.
    pub(super) rejection: Option<Rejection>,
    pub(super) refused: RefusedLines,
    /// When it was taken in.
    pub(super) at: Timestamp,
}

/// Takes one record in. Total: whatever it is, something follows from it.
pub(super) fn take(intake: &Intake, record: &RecordView<'_>) -> Taken {
    let source = Source {
        topic: record.topic().to_string(),
        partition: record.partition(),
        offset: record.offset(),
    };
    let recorded_at = record.timestamp_ms().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let headers: Vec<(&str, &[u8])> =
        record.headers().filter_map(|(name, value)| Some((name, value?))).collect();
    let input = Record {
        source: &source,
        timestamp: recorded_at,
        headers: &headers,
        payload: record.payload(),
    };
    let now = Timestamp::now();
    match decode(&input, &intake.limits) {
        Ok(mut event) => {
            let trace = EventTrace::of_event(&intake.traces, &mut event, &source);
            // Ids of version 1 are made without the time.
            let recorded_at = recorded_at.filter(|_| intake.record_version > 1);
            let mapped = map(event, (&source, recorded_at), now, &intake.options);
            let taken = lines(intake, mapped, trace);
            Taken { at: now, ..taken }
        }
        Err(rejection) => {
            let trace = EventTrace::of_rejected(&intake.traces, &headers, &source, &rejection);
            let letter = DeadLetter { rejection, source, recorded_at, rejected_at: now };
            Taken { trace, ..dead(intake, record, &letter) }
        }
    }
}

/// The dead letter of a record that cannot be taken in although it was understood.
pub(super) fn reject(intake: &Intake, record: &RecordView<'_>, rejection: Rejection) -> Taken {
    let letter = DeadLetter {
        rejection,
        source: Source {
            topic: record.topic().to_string(),
            partition: record.partition(),
            offset: record.offset(),
        },
        recorded_at: record.timestamp_ms().and_then(|ms| Timestamp::from_millisecond(ms).ok()),
        rejected_at: Timestamp::now(),
    };
    dead(intake, record, &letter)
}

fn dead(intake: &Intake, record: &RecordView<'_>, letter: &DeadLetter) -> Taken {
    let mut decided = Decided::default();
    decided.add_dead_letters(letter.rejection.reason, 1);
    Taken {
        records: vec![dead_letter(intake, record, letter)],
        dead_letters: 1,
        decided,
        rejection: Some(letter.rejection.clone()),
        at: letter.rejected_at,
        ..Taken::default()
    }
}

fn lines(intake: &Intake, lines: Vec<Intaken>, trace: Option<EventTrace>) -> Taken {
    let records = Vec::with_capacity(lines.len());
    let mut taken = Taken { records, trace, ..Taken::default() };
    for line in lines {
        match line {
            Intaken::Command(command) => {
                taken.commands[command.action as usize] += 1;
                taken.records.push(command_record(intake, &command));
            }
            Intaken::Refused(refused) => {
                taken.outcomes += 1;
                if let Some(trace) = &mut taken.trace {
                    trace.refused(&refused);
                }
                taken.decided.add_refused(&refused.command, &refused.verdict);
                if let Some(failure) = &refused.verdict.failure {
                    taken.refused.add(&refused.command, failure);
                }
                let record = outcome_record(&intake.topics, &refused.command, &refused.verdict);
                taken.records.push(record);
            }
        }
    }
    taken
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

/// The original bytes with the original headers, and ours that say why.
fn dead_letter(intake: &Intake, record: &RecordView<'_>, letter: &DeadLetter) -> OutRecord {
    let own = record
        .headers()
        .filter(|(name, _)| !name.starts_with(DEAD_LETTER_PREFIX))
        .map(|(name, value)| (name.into(), value.unwrap_or_default().to_vec()));
    OutRecord {
        topic: Arc::clone(&intake.topics.dead_letters),
        partition: None,
        key: record.key().map(<[u8]>::to_vec),
        payload: record.payload().map(<[u8]>::to_vec),
        headers: own.chain(wire::headers::dead_letter(letter).map(header)).collect(),
    }
}
