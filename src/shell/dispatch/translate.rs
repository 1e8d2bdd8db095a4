//! Records of the commands topic into inputs, and the engine's transactions into records.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;

use crate::engine::{
    CommandContent, CommandRead, DeadLetterWrite, ForeignRecord, OutcomeWrite, Transaction,
};
use crate::model::{
    DeadLetter, DeadLetterReason, LedgerWrite, Offset, PackedCommand, Rejection, Source,
};
use crate::shell::Topics;
use crate::shell::kafka::{self, GroupMetadata, OutRecord, RecordView};
use crate::wire;
use crate::wire::headers::Header;

/// Decodes one record. Never fails: what is no command is foreign.
pub(super) fn command(
    record: &RecordView<'_>,
    account: impl Fn(&str) -> Option<u16>,
) -> CommandRead {
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

/// Which of its dead letters stands at a place among the records of a transaction.
pub(super) fn dead_letter_at(contents: &Transaction, index: usize) -> Option<usize> {
    let place = index.checked_sub(contents.outcomes.len())?;
    (place < contents.dead_letters.len()).then_some(place)
}

/// Encodes a transaction: outcomes, then dead letters, those `stripped` without their bytes, then
/// the ledger.
pub(super) fn transaction(
    topics: &Topics,
    contents: &Transaction,
    stripped: &BTreeSet<usize>,
    group: Option<Arc<GroupMetadata>>,
) -> kafka::Transaction {
    let Transaction { ledger, outcomes, dead_letters, offsets, .. } = contents;
    let mut records = Vec::with_capacity(ledger.len() + outcomes.len() + dead_letters.len());
    records.extend(outcomes.iter().map(|write| outcome(topics, write)));
    records.extend(dead_letters.iter().enumerate().map(|(place, write)| {
        let mut record = dead_letter(topics, write);
        record.payload.take_if(|_| stripped.contains(&place));
        record
    }));
    records.extend(ledger.iter().map(|write| ledger_record(topics, write)));
    let offsets = offsets
        .iter()
        .map(|write| (Arc::clone(&topics.commands), write.partition.0, write.offset.0))
        .collect();
    kafka::Transaction { records, offsets, group }
}

fn outcome(topics: &Topics, write: &OutcomeWrite) -> OutRecord {
    outcome_record(topics, &write.command.unpack(), &write.verdict)
}

/// The record of one outcome; intake publishes some too.
pub(in crate::shell) fn outcome_record(
    topics: &Topics,
    command: &crate::model::Command,
    verdict: &crate::model::Verdict,
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
