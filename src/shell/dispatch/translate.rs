//! Records of the commands topic into inputs, and the engine's transactions into records.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;

use crate::engine::{
    CommandContent, CommandRead, DeadLetterWrite, ForeignRecord, OffsetWrite, Options, Transaction,
};
use crate::model::{
    Command, DeadLetter, DeadLetterReason, LedgerWrite, Offset, PackedCommand, Purpose, Rejection,
    Source, Verdict,
};
use crate::shell::Topics;
use crate::shell::kafka::{OutRecord, RecordBatch, Records};
use crate::shell::lock::locked;
use crate::shell::rooms::{Rooms, Shortened};
use crate::shell::telemetry::metrics::Decided;
use crate::wire;
use crate::wire::PurposeJson;
use crate::wire::command::{CommandError, VERSION};
use crate::wire::fit::{Letter, Room};
use crate::wire::headers::Header;

/// Decodes commands.
#[derive(Debug)]
pub(super) struct Reader {
    /// The accounts' places in the engine's options, by name.
    pub(super) accounts: BTreeMap<String, u16>,
    purposes: Purposes,
}

impl Reader {
    pub(super) fn new(options: &Options) -> Self {
        let accounts = options.accounts.iter().map(|account| account.name.to_string());
        Self { accounts: accounts.zip(0..).collect(), purposes: Purposes::default() }
    }

    /// Decodes records, by lane.
    pub(super) fn commands(&mut self, records: &RecordBatch) -> BTreeMap<i32, Vec<CommandRead>> {
        let Self { accounts, purposes } = self;
        let mut lanes: BTreeMap<i32, Vec<_>> = BTreeMap::new();
        for record in records.iter() {
            let account = |name: &str| accounts.get(name).copied();
            let content = content(record.key(), record.payload(), account, purposes);
            let command = CommandRead { offset: Offset(record.offset()), content };
            lanes.entry(record.partition()).or_default().push(command);
        }
        lanes
    }
}

/// What commands were meant for lately, so that thousands of them share it.
#[derive(Debug, Default)]
struct Purposes(Vec<Arc<Purpose>>);

/// One for each account is the rule; what comes beyond these is kept by its command alone.
const PURPOSES_MAX: usize = 16;

impl Purposes {
    fn shared(&mut self, json: PurposeJson<'_>) -> Arc<Purpose> {
        if let Some(known) = self.0.iter().find(|known| json.is(known)) {
            return Arc::clone(known);
        }
        let purpose: Arc<Purpose> = Arc::new(json.into());
        if self.0.len() < PURPOSES_MAX {
            self.0.push(Arc::clone(&purpose));
        }
        purpose
    }
}

/// Decodes one record. Never fails: what is no command is foreign, and what is of a newer version
/// is said to be so.
fn content(
    key: Option<&[u8]>,
    payload: Option<&[u8]>,
    account: impl Fn(&str) -> Option<u16>,
    purposes: &mut Purposes,
) -> CommandContent {
    let foreign = |reason: String| {
        CommandContent::Foreign(Arc::new(ForeignRecord {
            key: key.map(<[u8]>::to_vec),
            payload: payload.map(<[u8]>::to_vec),
            reason,
        }))
    };
    match wire::command::decode_for(payload.unwrap_or_default()) {
        Ok((command, purpose)) => match command.facts() {
            Some(facts) => CommandContent::Command {
                facts,
                account: account(&command.account),
                packed: PackedCommand::pack(&command),
                purpose: purpose.map(|purpose| purposes.shared(purpose)),
            },
            None => foreign("the command names no device".into()),
        },
        Err(CommandError::Newer(version)) => CommandContent::Newer { version, known: VERSION },
        Err(error) => foreign(error.to_string()),
    }
}

/// The records of a transaction, each encoded when the producer asks for it: outcomes, then dead
/// letters, then the ledger.
#[derive(Debug)]
pub(super) struct Encoding {
    topics: Topics,
    contents: Arc<Transaction>,
    rooms: Rooms,
    noted: Mutex<Noted>,
}

/// What was noted while the records were encoded.
#[derive(Debug, Default)]
pub(super) struct Noted {
    pub(super) decided: Decided,
    pub(super) shortened: Shortened,
}

impl Encoding {
    pub(super) fn new(topics: &Topics, contents: &Arc<Transaction>, rooms: Rooms) -> Self {
        let (topics, contents) = (topics.clone(), Arc::clone(contents));
        Self { topics, contents, rooms, noted: Mutex::default() }
    }

    /// To be taken once all records have been encoded.
    pub(super) fn noted(&self) -> Noted {
        std::mem::take(&mut *locked(&self.noted))
    }
}

impl Records for Encoding {
    fn each(&self, take: &mut dyn FnMut(&OutRecord) -> ControlFlow<()>) -> ControlFlow<()> {
        let (mut noted, topics) = (Noted::default(), &self.topics);
        for write in &self.contents.outcomes {
            let command = write.command.unpack();
            noted.decided.add(&command, &write.verdict);
            let room = self.rooms.outcomes;
            let (record, short) = outcome_record(topics, &command, &write.verdict, room);
            noted.shortened.outcomes += u64::from(short);
            take(&record)?;
        }
        for write in &self.contents.dead_letters {
            let mut letter = dead_letter(topics, write);
            let short = letter.fit(self.rooms.dead_letters);
            noted.shortened.dead_letters += u64::from(short);
            take(&letter_record(topics, letter))?;
        }
        for write in &self.contents.ledger {
            take(&ledger_record(topics, write))?;
        }
        *locked(&self.noted) = noted;
        ControlFlow::Continue(())
    }
}

/// The offsets of a transaction.
pub(super) fn offsets(topics: &Topics, contents: &Transaction) -> Vec<(Arc<str>, i32, i64)> {
    let offset =
        |write: &OffsetWrite| (Arc::clone(&topics.commands), write.partition.0, write.offset.0);
    contents.offsets.iter().map(offset).collect()
}

/// The record of one outcome, and whether it had to be shortened; intake publishes some too.
pub(in crate::shell) fn outcome_record(
    topics: &Topics,
    command: &Command,
    verdict: &Verdict,
    room: Room,
) -> (OutRecord, bool) {
    let fitted = wire::fit::outcome(command, verdict, room);
    let own = |(name, value): (&'static str, String)| (name.into(), value.into_bytes());
    let record = OutRecord {
        topic: Arc::clone(&topics.outcomes),
        partition: None,
        key: Some(fitted.key.into_bytes()),
        payload: Some(fitted.value),
        headers: fitted.headers.into_iter().map(own).collect(),
    };
    (record, fitted.is_shortened)
}

/// The record of one dead letter; intake writes some too.
pub(in crate::shell) fn letter_record(topics: &Topics, letter: Letter) -> OutRecord {
    OutRecord {
        topic: Arc::clone(&topics.dead_letters),
        partition: None,
        key: letter.key,
        payload: letter.value,
        headers: letter.headers.into_iter().chain(letter.ours).collect(),
    }
}

fn dead_letter(topics: &Topics, write: &DeadLetterWrite) -> Letter {
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
    Letter {
        key: write.record.key.clone(),
        value: write.record.payload.clone(),
        headers: Vec::new(),
        ours: wire::headers::dead_letter(&letter).map(header).collect(),
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
    fn a_command_of_a_newer_version_is_no_dead_letter_and_a_purpose_is_shared() {
        let mut purposes = Purposes::default();
        let mut read = |value: &[u8]| content(None, Some(value), |_| Some(0), &mut purposes);
        let newer = read(br#"{"version":3,"action":"relocate"}"#);
        assert!(matches!(newer, CommandContent::Newer { version: 3, known: VERSION }), "{newer:?}");
        for foreign in [&b"{}"[..], br#"{"version":2,"action":"relocate"}"#, b"\xff"] {
            assert!(matches!(read(foreign), CommandContent::Foreign(_)));
        }
        let sample = include_bytes!("../../../schemas/examples/command.claim.json");
        let [one, other] = [read(sample), read(sample)].map(|content| match content {
            CommandContent::Command { purpose: Some(purpose), .. } => purpose,
            content => panic!("{content:?}"),
        });
        assert!(Arc::ptr_eq(&one, &other));
    }
}
