//! Workers of two versions one after the other: records that version 1 wrote, byte for byte, are
//! gone on from in the middle of their batches, and what is written for version 1 is what it knows.

// Every expectation here is a test of its own.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use zerotouch_worker::engine::{
    AccountOptions, CommandContent, CommandRead, Effect, Input, Installation, Mono, Now, Options,
    Transaction, Worker,
};
use zerotouch_worker::model::{
    Command, DeviceHash, DeviceResult, DeviceVerdict, Epoch, LedgerRecord, Offset, OperationReply,
    PackedCommand, Partition, Purpose, Status,
};
use zerotouch_worker::wire::{command, ledger};

/// Commands at the offsets 0 to 5, as the encoder of version 1 wrote them.
const COMMANDS: &str = include_str!("data/version-1/commands.jsonl");
/// Offset 1 is intended, 2 accepted, 3 deferred and 4 resolved; 0 and 5 are in no batch.
const LEDGER: &str = include_str!("data/version-1/ledger.jsonl");

const LANE: Partition = Partition(0);
const EPOCH: Epoch = Epoch(1);

fn commands() -> Vec<Command> {
    COMMANDS.lines().map(|line| command::decode(line.as_bytes()).unwrap()).collect()
}

fn records() -> Vec<LedgerRecord> {
    LEDGER.lines().map(|line| ledger::decode_value(line.as_bytes()).unwrap()).collect()
}

fn purpose() -> Purpose {
    Purpose { endpoint: "https://api".into(), partner: "123".into(), group: "g".into() }
}

fn options() -> Options {
    Options {
        accounts: vec![AccountOptions {
            name: "main".into(),
            partner_id: "123".into(),
            quota_calls: 1_000,
            quota_window: Duration::from_secs(100),
        }],
        installation: Some(Installation { endpoint: "https://api".into(), group: "g".into() }),
        ..Options::default()
    }
}

/// A worker in virtual time, and an API at which all goes well.
struct Successor {
    worker: Worker,
    now: Mono,
    sent: BTreeMap<Arc<str>, Vec<DeviceHash>>,
    polled: BTreeSet<Arc<str>>,
    transactions: Vec<Arc<Transaction>>,
}

impl Successor {
    fn feed(&mut self, input: Input) -> Vec<Effect> {
        let began: Timestamp = "2026-05-04T08:00:30Z".parse().unwrap();
        let wall = began + Duration::from_nanos(self.now.0);
        self.worker.handle(Now { mono: self.now, wall }, input);
        std::iter::from_fn(|| self.worker.next_effect()).collect()
    }

    fn answer(&mut self, effect: Effect) -> Vec<Effect> {
        let input = match effect {
            Effect::Commit(transaction) => {
                let number = transaction.number;
                self.transactions.push(transaction);
                Input::Committed { transaction: number }
            }
            Effect::Submit(submit) => {
                let name: Arc<str> = format!("operations/new/{}", submit.call.0).into();
                let devices = submit.commands.iter().map(|one| one.unpack().facts().unwrap());
                self.sent.insert(Arc::clone(&name), devices.map(|facts| facts.device).collect());
                Input::Submitted { call: submit.call, result: Ok(name) }
            }
            Effect::Poll { call, operation, .. } => {
                let earlier = || vec![commands()[2].facts().unwrap().device];
                let devices = self.sent.get(&operation).cloned().unwrap_or_else(earlier);
                self.polled.insert(operation);
                let results = devices.into_iter().map(|device| DeviceResult {
                    device: Some(device),
                    verdict: DeviceVerdict::Succeeded { device_id: None },
                });
                Input::Polled {
                    call,
                    result: Ok(OperationReply::Done { results: results.collect() }),
                }
            }
            Effect::Lookup { call, .. } => Input::LookedUp { call, result: Ok(None) },
            _ => return Vec::new(),
        };
        self.feed(input)
    }

    /// Until nothing is left to be done.
    fn work(&mut self, mut effects: Vec<Effect>) {
        for _ in 0..1_000 {
            let next: Vec<Effect> =
                effects.drain(..).flat_map(|effect| self.answer(effect)).collect();
            effects = next;
            if effects.is_empty() {
                let now = Now { mono: self.now, wall: Timestamp::UNIX_EPOCH };
                let Some(at) = self.worker.wake_at(now) else { return };
                self.now = self.now.max(at);
                effects = self.feed(Input::TimePassed);
            }
        }
        panic!("there is no end: {:?}", self.worker.report());
    }
}

#[test]
fn a_worker_goes_on_from_what_version_1_left_in_the_middle_of_its_batches() {
    let mut next = Successor {
        worker: Worker::new(options()),
        now: Mono(1),
        sent: BTreeMap::new(),
        polled: BTreeSet::new(),
        transactions: Vec::new(),
    };
    next.feed(Input::Assigned { partition: LANE, epoch: EPOCH });
    let records = records().into_iter().map(|record| (record.batch, record)).collect();
    let committed = Offset(0);
    let mut effects = next.feed(Input::LedgerRead {
        partition: LANE,
        epoch: EPOCH,
        committed,
        log: Ok(Default::default()),
        records: Ok(records),
    });
    assert!(matches!(effects[..], [Effect::Start { .. }]), "{effects:?}");
    let read = COMMANDS.lines().zip(0..).map(|(line, offset)| {
        let (command, purpose) = command::decode_for(line.as_bytes()).unwrap();
        assert_eq!(purpose, None);
        let content = CommandContent::Command {
            facts: command.facts().unwrap(),
            account: Some(0),
            packed: PackedCommand::pack(&command),
            purpose: None,
        };
        CommandRead { offset: Offset(offset), content }
    });
    let commands_read = read.collect();
    let input = Input::CommandsRead { partition: LANE, epoch: EPOCH, commands: commands_read };
    effects.extend(next.feed(input));
    effects.extend(next.feed(Input::CaughtUp { partition: LANE }));
    next.work(effects);

    // One outcome each, under the id that version 1 has given it; none for what it has published.
    let mut outcomes: Vec<_> = next
        .transactions
        .iter()
        .flat_map(|transaction| &transaction.outcomes)
        .map(|write| (write.offset.0, write.command.unpack().id(), write.verdict.status))
        .collect();
    outcomes.sort_by_key(|(offset, ..)| *offset);
    let wanted: Vec<_> = COMMANDS
        .lines()
        .zip(0_i64..)
        .filter(|(_, offset)| *offset != 4)
        .map(|(line, offset)| {
            let record: Value = serde_json::from_str(line).unwrap();
            let id = serde_json::from_value(record["commandId"].clone()).unwrap();
            (offset, id, Status::Succeeded)
        })
        .collect();
    assert_eq!(outcomes, wanted);
    // The accepted operation was asked for, and its device was not sent a second time.
    assert!(next.polled.contains("operations/apibatchoperation/42"), "{:?}", next.polled);
    let mut sent: Vec<DeviceHash> = next.sent.into_values().flatten().collect();
    let total = sent.len();
    sent.sort_unstable();
    sent.dedup();
    assert_eq!((total, sent.len()), (4, 4), "each once");
    for done in [2, 4] {
        assert!(!sent.contains(&commands()[done].facts().unwrap().device));
    }
    let offsets = next.transactions.iter().flat_map(|transaction| &transaction.offsets);
    assert_eq!(offsets.last().map(|write| write.offset), Some(Offset(6)));
}

/// Without the members that version 1 passes over.
fn without_purpose(bytes: &[u8]) -> Value {
    let mut record: Value = serde_json::from_slice(bytes).unwrap();
    assert!(record.as_object_mut().unwrap().remove("for").is_some());
    record
}

#[test]
fn what_is_written_for_version_1_is_what_version_1_writes() {
    for (line, command) in COMMANDS.lines().zip(commands()) {
        assert_eq!(String::from_utf8(command::encode(&command, None)).unwrap(), line);
        let written = command::encode(&command, Some(&purpose()));
        assert_eq!(without_purpose(&written), serde_json::from_str::<Value>(line).unwrap());
    }
    for (line, record) in LEDGER.lines().zip(records()) {
        assert_eq!(String::from_utf8(ledger::encode(&record)).unwrap(), line);
        let written = ledger::encode(&LedgerRecord { purpose: Some(purpose().into()), ..record });
        assert_eq!(without_purpose(&written), serde_json::from_str::<Value>(line).unwrap());
    }
}
