//! Records of the commands topic into inputs, and the engine's transactions into records.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use crate::engine::{
    CommandContent, CommandRead, DeadLetterWrite, ForeignRecord, OutcomeWrite, Transaction,
};
use crate::model::{
    Command, DeadLetter, DeadLetterReason, LedgerWrite, Offset, PackedCommand, Rejection, Source,
    Verdict,
};
use crate::shell::Topics;
use crate::shell::kafka::{self, GroupMetadata, OutRecord, RecordBatch, RecordView};
use crate::shell::telemetry::metrics::Decided;
use crate::wire;
use crate::wire::headers::Header;

/// What is left of a failure's message when an outcome is too large, in bytes.
const MESSAGE_SHORT: usize = 256;

/// Decodes records, by lane.
pub(super) fn commands(
    records: &RecordBatch,
    accounts: &BTreeMap<String, u16>,
) -> BTreeMap<i32, Vec<CommandRead>> {
    let mut lanes: BTreeMap<i32, Vec<_>> = BTreeMap::new();
    for record in records.iter() {
        let command = command(&record, |name| accounts.get(name).copied());
        lanes.entry(record.partition()).or_default().push(command);
    }
    lanes
}

/// Decodes one record. Never fails: what is no command is foreign.
fn command(record: &RecordView<'_>, account: impl Fn(&str) -> Option<u16>) -> CommandRead {
    let offset = Offset(record.offset());
    let foreign = |reason: String| {
        CommandContent::Foreign(Arc::new(ForeignRecord {
            key: record.key().map(<[u8]>::to_vec),
            payload: record.payload().map(<[u8]>::to_vec),
            reason,
        }))
    };
    let content = match wire::command::decode(record.payload().unwrap_or_default()) {
        Ok(command) => match command.facts() {
            Some(facts) => CommandContent::Command {
                facts,
                account: account(&command.account),
                packed: PackedCommand::pack(&command),
            },
            None => foreign("the command names no device".into()),
        },
        Err(error) => foreign(error.to_string()),
    };
    CommandRead { offset, content }
}

/// Whether there is a shorter form of a record in a transaction: of every one but the ledger's.
pub(super) fn can_be_shortened(contents: &Transaction, index: usize) -> bool {
    index < contents.outcomes.len() + contents.dead_letters.len()
}

/// The topic of a record in a transaction.
pub(super) fn topic_of(topics: &Topics, contents: &Transaction, index: usize) -> Arc<str> {
    let (outcomes, dead_letters) = (contents.outcomes.len(), contents.dead_letters.len());
    Arc::clone(match index {
        _ if index < outcomes => &topics.outcomes,
        _ if index < outcomes + dead_letters => &topics.dead_letters,
        _ => &topics.ledger,
    })
}

/// Encodes a transaction: outcomes, then dead letters, then the ledger; those at the places in
/// `shortened` in their shorter form. Notes every outcome in `decided`.
pub(super) fn transaction(
    topics: &Topics,
    contents: &Transaction,
    shortened: &BTreeSet<usize>,
    group: Option<Arc<GroupMetadata>>,
    decided: &mut Decided,
) -> kafka::Transaction {
    let Transaction { ledger, outcomes, dead_letters, offsets, .. } = contents;
    let mut records = Vec::with_capacity(ledger.len() + outcomes.len() + dead_letters.len());
    records.extend(outcomes.iter().enumerate().map(|(place, write)| {
        let is_short = shortened.contains(&place);
        outcome(topics, write, is_short, decided)
    }));
    records.extend(dead_letters.iter().zip(outcomes.len()..).map(|(write, place)| {
        let mut record = dead_letter(topics, write);
        record.payload.take_if(|_| shortened.contains(&place));
        record
    }));
    records.extend(ledger.iter().map(|write| ledger_record(topics, write)));
    let offsets = offsets
        .iter()
        .map(|write| (Arc::clone(&topics.commands), write.partition.0, write.offset.0))
        .collect();
    kafka::Transaction { records, offsets, group, ..kafka::Transaction::default() }
}

/// What the API said is the only part of an outcome that has no bound of its own.
fn outcome(
    topics: &Topics,
    write: &OutcomeWrite,
    is_short: bool,
    decided: &mut Decided,
) -> OutRecord {
    let command = write.command.unpack();
    decided.add(&command, &write.verdict);
    let Some(failure) = write.verdict.failure.as_ref().filter(|_| is_short) else {
        return outcome_record(topics, &command, &write.verdict);
    };
    let mut failure = (**failure).clone();
    failure.message = shorten(&failure.message);
    let failure = Some(failure.into());
    outcome_record(topics, &command, &Verdict { failure, ..write.verdict.clone() })
}

fn shorten(message: &str) -> String {
    if message.len() <= MESSAGE_SHORT {
        return message.to_owned();
    }
    let mut end = MESSAGE_SHORT;
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    format!("{} … (shortened, {} bytes in all)", &message[..end], message.len())
}

/// The record of one outcome; intake publishes some too.
pub(in crate::shell) fn outcome_record(
    topics: &Topics,
    command: &Command,
    verdict: &Verdict,
) -> OutRecord {
    let key = wire::outcome::key(command);
    let headers = wire::headers::outcome(command, verdict, &key).into_iter().map(header).collect();
    OutRecord {
        topic: Arc::clone(&topics.outcomes),
        partition: None,
        payload: Some(wire::outcome::encode(command, verdict)),
        headers,
        key: Some(key.into_bytes()),
    }
}

fn dead_letter(topics: &Topics, write: &DeadLetterWrite) -> OutRecord {
    let source = Source {
        topic: topics.commands.to_string(),
        partition: write.partition.0,
        offset: write.offset.0,
    };
    let letter = DeadLetter {
        rejection: Rejection::new(DeadLetterReason::InvalidCommand, &*write.record.reason),
        source,
        recorded_at: None,
        rejected_at: Timestamp::now(),
    };
    OutRecord {
        topic: Arc::clone(&topics.dead_letters),
        partition: None,
        key: write.record.key.clone(),
        payload: write.record.payload.clone(),
        headers: wire::headers::dead_letter(&letter).map(header).collect(),
    }
}

fn ledger_record(topics: &Topics, write: &LedgerWrite) -> OutRecord {
    OutRecord {
        topic: Arc::clone(&topics.ledger),
        partition: Some(write.partition.0),
        key: Some(wire::ledger::encode_key(write.batch).into_bytes()),
        payload: write.record.as_ref().map(wire::ledger::encode),
        headers: Vec::new(),
    }
}

pub(in crate::shell) fn header((name, value): Header<'_>) -> (Arc<str>, Vec<u8>) {
    (name.into(), value.into_owned().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_shortened_between_characters_and_says_so() {
        assert_eq!(shorten("said"), "said");
        let long = format!("{}é{}", "x".repeat(MESSAGE_SHORT - 1), "y".repeat(1 << 20));
        let short = shorten(&long);
        assert!(short.starts_with(&"x".repeat(MESSAGE_SHORT - 1)) && !short.contains('é'));
        assert!(short.len() < 400 && short.contains("1048833 bytes in all"), "{short}");
    }
}
