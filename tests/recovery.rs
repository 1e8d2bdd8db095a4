//! The page on crash points is held to the code: the tests and deliberate bugs that it names exist,
//! and the engine does, step by step, what its worked example says.

// Every expectation here is a test of its own.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use zerotouch_worker::engine::{
    AccountOptions, CallNumber, CommandContent, CommandRead, Effect, Input, Mono, Now, Options,
    Transaction, Worker,
};
use zerotouch_worker::model::{
    Action, Cause, Command, Customer, DeviceHash, DeviceResult, DeviceState, DeviceVerdict, Epoch,
    Identifiers, LedgerRecord, Metadata, Offset, OffsetSet, OperationReply, PackedCommand,
    Partition, Source, Status,
};
use zerotouch_worker::wire::{ledger, schema};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn page() -> String {
    fs::read_to_string(root().join("docs/recovery.md")).unwrap()
}

/// The text of all Rust files of a folder, but this one, which names everything.
fn code(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            text += &code(&path);
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !path.ends_with("tests/recovery.rs")
        {
            text += &fs::read_to_string(path).unwrap();
        }
    }
    text
}

/// Whether a word is in a text, not as a part of a longer one.
fn has_word(text: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        !text[..at].ends_with(is_part) && !text[at + word.len()..].starts_with(is_part)
    })
}

/// The names of tests, and of deliberate bugs and faults, in backquotes.
fn names(page: &str) -> (BTreeSet<&str>, BTreeSet<&str>) {
    // A block's fence is three backquotes, so that what is between two of them alternates still.
    let words = || page.split('`').skip(1).step_by(2);
    let is_test = |word: &&str| {
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        word.matches('_').count() >= 2 && word.chars().all(is_plain)
    };
    let is_bug = |word: &&str| {
        word.starts_with(|c: char| c.is_ascii_uppercase())
            && word.contains(|c: char| c.is_ascii_lowercase())
            && word.chars().all(|c| c.is_ascii_alphabetic())
    };
    (words().filter(is_test).collect(), words().filter(is_bug).collect())
}

#[test]
fn every_test_and_every_bug_that_the_page_names_exists() {
    let page = page();
    let (tests, bugs) = names(&page);
    assert!(tests.len() > 30 && bugs.len() > 25, "{} and {}", tests.len(), bugs.len());
    let code = code(&root().join("tests")) + &code(&root().join("src"));
    let no_test = tests.iter().filter(|name| !code.contains(&format!("fn {name}(")));
    let no_test: Vec<_> = no_test.collect();
    assert!(no_test.is_empty(), "no such tests: {no_test:?}");
    let no_bug = bugs.iter().filter(|name| !has_word(&code, name));
    let no_bug: Vec<_> = no_bug.collect();
    assert!(no_bug.is_empty(), "no such deliberate bugs or faults: {no_bug:?}");
}

#[test]
fn the_names_on_the_page_are_told_from_other_words() {
    let page =
        "`a_b_c` `retry.lease` `kafka_x` ```sh\nx `y_z_a`\n``` `NoGrace` `I1` `ABC` `a_b_c `";
    let (tests, bugs) = names(page);
    assert_eq!(tests, BTreeSet::from(["a_b_c"]));
    assert_eq!(bugs, BTreeSet::from(["NoGrace"]));
    assert!(has_word("x NoGrace,", "NoGrace") && !has_word("NoGraces", "NoGrace"));
}

/// The records of the page in their order, each with what stands above it.
fn records() -> Vec<(String, String)> {
    let page = page();
    let mut found = Vec::new();
    for rest in page.split("<!-- checked: ledger-record ").skip(1) {
        let (said, rest) = rest.split_once(" -->\n```json\n").unwrap();
        let (text, _) = rest.split_once("```").unwrap();
        found.push((said.to_owned(), text.to_owned()));
    }
    assert_eq!(found.len(), page.matches("```json").count(), "every record is checked");
    found
}

#[test]
fn the_records_are_what_a_worker_writes_and_mean_what_stands_above_them() {
    let schema: Value = serde_json::from_str(&schema::schema("ledger-record").unwrap()).unwrap();
    let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
    let records = records();
    assert_eq!(records.len(), 4);
    for (said, text) in records {
        let example: Value = serde_json::from_str(&text).unwrap();
        let errors: Vec<_> = validator.iter_errors(&example).map(|e| e.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?} in {text}");
        let record = ledger::decode_value(text.as_bytes()).unwrap();
        let offsets = |set: &OffsetSet| set.iter().map(|offset| offset.0).collect::<Vec<_>>();
        let meant = format!("{:?} {:?}", offsets(&record.open), offsets(&record.decided));
        assert_eq!(meant, said, "{text}");
        let written: Value = serde_json::from_slice(&ledger::encode(&record)).unwrap();
        assert_eq!(written, example);
    }
}

#[test]
fn links_lead_somewhere() {
    let page = page();
    let anchors = |text: &str| -> BTreeSet<String> {
        let headings = text.lines().filter_map(|line| line.strip_prefix("## "));
        headings
            .map(|heading| heading.to_lowercase().replace(' ', "-").replace([',', '.', '\''], ""))
            .collect()
    };
    let mut count = 0;
    for link in page.split("](").skip(1).filter_map(|rest| rest.split_once(')')) {
        let (file, anchor) = link.0.split_once('#').unwrap_or((link.0, ""));
        let text = if file.is_empty() {
            page.clone()
        } else {
            fs::read_to_string(root().join("docs").join(file)).unwrap()
        };
        assert!(anchor.is_empty() || anchors(&text).contains(anchor), "no heading for {}", link.0);
        count += 1;
    }
    assert!(count > 10, "{count}");
}

/// Lane 3 of the example.
const LANE: Partition = Partition(3);
const EPOCH: Epoch = Epoch(1);
const OPERATION: &str = "operations/apibatchoperation/123";

fn device(name: char) -> Identifiers {
    Identifiers {
        serial_number: Some(name.to_string()),
        manufacturer: Some("Google".into()),
        model: Some("Tablet".into()),
        ..Identifiers::default()
    }
}

fn command(action: Action, name: char) -> Command {
    let cause = match action {
        Action::Claim => Cause::Sale,
        Action::Unclaim => Cause::Return,
        Action::UpdateMetadata => Cause::Amendment,
    };
    let metadata = (action == Action::UpdateMetadata).then(|| ("note".into(), "x".into()));
    Command {
        action,
        cause,
        event_id: format!("{action:?} {name}"),
        order_id: "SO-1".into(),
        line: "1".into(),
        account: "main".into(),
        customer: (action == Action::Claim).then(|| Customer::ZeroTouch("7".into())),
        device: device(name),
        device_id: None,
        metadata: metadata.into_iter().collect::<Metadata>(),
        configuration_id: None,
        pre_provisioning_token: None,
        recorded_at: None,
        occurred_at: Timestamp::UNIX_EPOCH,
        received_at: Timestamp::UNIX_EPOCH,
        source: Source { topic: "orders".into(), partition: 0, offset: 0 },
        traceparent: None,
    }
}

/// The commands of the example, from an offset on.
fn commands(from: i64) -> Vec<(i64, Command)> {
    let all = [
        (1000, command(Action::Claim, 'A')),
        (1001, command(Action::Claim, 'B')),
        (1002, command(Action::Claim, 'C')),
        (1004, command(Action::UpdateMetadata, 'A')),
        (1005, command(Action::Unclaim, 'D')),
    ];
    all.into_iter().filter(|(offset, _)| *offset >= from).collect()
}

fn hash(name: char) -> DeviceHash {
    command(Action::Claim, name).device_key().unwrap().hash()
}

/// The operation succeeded for these devices, and does not mention others.
fn done(devices: &[char]) -> Result<OperationReply, zerotouch_worker::model::CallFailure> {
    let succeeded = |name: &char| DeviceResult {
        device: Some(hash(*name)),
        verdict: DeviceVerdict::Succeeded { device_id: None },
    };
    Ok(OperationReply::Done { results: devices.iter().map(succeeded).collect() })
}

/// The engine, with every answer in the test's hands.
struct Lane {
    worker: Worker,
    mono: Mono,
    effects: VecDeque<Effect>,
}

impl Lane {
    fn assigned(committed: i64, records: Vec<LedgerRecord>) -> Self {
        let account = AccountOptions {
            name: "main".into(),
            partner_id: "1".into(),
            quota_calls: 1_000,
            quota_window: Duration::from_secs(100),
        };
        let zero = Duration::ZERO;
        let options = Options { accounts: vec![account], ..Options::default() };
        let options = Options { batch_linger: zero, batch_linger_max: zero, ..options };
        let worker = Worker::new(options);
        let mut lane = Self { worker, mono: Mono(1), effects: VecDeque::new() };
        lane.feed(Input::Assigned { partition: LANE, epoch: EPOCH });
        lane.feed(Input::LedgerRead {
            partition: LANE,
            epoch: EPOCH,
            committed: Offset(committed),
            log: Ok(Default::default()),
            records: Ok(records.into_iter().map(|record| (record.batch, record)).collect()),
        });
        lane
    }

    fn now(&self) -> Now {
        let began: Timestamp = "2026-05-04T08:00:00Z".parse().unwrap();
        Now { mono: self.mono, wall: began + self.mono.since(Mono(1)) }
    }

    fn feed(&mut self, input: Input) {
        self.worker.handle(self.now(), input);
        self.effects.extend(std::iter::from_fn(|| self.worker.next_effect()));
    }

    fn read(&mut self, commands: &[(i64, Command)]) {
        let commands = commands.iter().map(|(offset, command)| CommandRead {
            offset: Offset(*offset),
            content: CommandContent::Command {
                facts: command.facts().unwrap(),
                account: Some(0),
                packed: PackedCommand::pack(command),
                purpose: None,
            },
        });
        let commands = commands.collect();
        self.feed(Input::CommandsRead { partition: LANE, epoch: EPOCH, commands });
        self.feed(Input::CaughtUp { partition: LANE });
    }

    /// The next effect that is wanted; lets time pass until there is one.
    fn next<T>(&mut self, wanted: impl Fn(&Effect) -> Option<T>) -> T {
        for _ in 0..100 {
            while let Some(effect) = self.effects.pop_front() {
                if let Some(found) = wanted(&effect) {
                    return found;
                }
                if let Effect::Commit(transaction) = effect {
                    self.feed(Input::Committed { transaction: transaction.number });
                }
            }
            let now = self.now();
            self.mono = self.worker.wake_at(now).expect("a timer").max(self.mono);
            self.feed(Input::TimePassed);
        }
        panic!("nothing of the kind happens: {:?}", self.worker.report());
    }

    /// The next transaction with a ledger record, committed.
    fn transaction(&mut self) -> Arc<Transaction> {
        let transaction = self.next(|effect| match effect {
            Effect::Commit(transaction) if !transaction.ledger.is_empty() => {
                Some(Arc::clone(transaction))
            }
            _ => None,
        });
        self.feed(Input::Committed { transaction: transaction.number });
        transaction
    }

    /// Answers the next submit after a second.
    fn submit(&mut self, operation: &str) {
        let call = self.next(|effect| match effect {
            Effect::Submit(submit) => Some(submit.call),
            _ => None,
        });
        self.mono = self.mono + Duration::from_secs(1);
        self.feed(Input::Submitted { call, result: Ok(operation.into()) });
    }

    fn poll(&mut self, of: &str) -> CallNumber {
        self.next(|effect| match effect {
            Effect::Poll { call, operation, .. } if **operation == *of => Some(*call),
            _ => None,
        })
    }

    fn lookup(&mut self, name: char) -> CallNumber {
        self.next(|effect| match effect {
            Effect::Lookup { call, command, .. } if command.unpack().device == device(name) => {
                Some(*call)
            }
            _ => None,
        })
    }
}

/// What a transaction says: ledger values, offsets with outcomes, read positions.
fn said(transaction: &Transaction) -> (Vec<Option<Value>>, Vec<i64>, Vec<i64>) {
    let value = |record: &LedgerRecord| serde_json::from_slice(&ledger::encode(record)).unwrap();
    let ledger = transaction.ledger.iter().map(|write| write.record.as_ref().map(value)).collect();
    let mut outcomes: Vec<i64> = transaction.outcomes.iter().map(|w| w.offset.0).collect();
    outcomes.sort_unstable();
    (ledger, outcomes, transaction.offsets.iter().map(|write| write.offset.0).collect())
}

/// A record of the page, with the batch id that the engine drew.
fn shown(number: usize, like: &Transaction) -> Option<Value> {
    let mut value: Value = serde_json::from_str(&records()[number].1).unwrap();
    value["batchId"] = like.ledger[0].batch.to_string().into();
    Some(value)
}

#[test]
fn the_worked_example_is_what_the_engine_does() {
    let mut lane = Lane::assigned(1000, Vec::new());
    let (unclaim, others) =
        commands(1000).split_last().map(|(l, o)| (l.clone(), o.to_vec())).unwrap();
    lane.read(&others);
    let intent = lane.transaction();
    assert_eq!(said(&intent), (vec![shown(0, &intent)], vec![], vec![1000]));
    lane.submit(OPERATION);
    let accept = lane.transaction();
    assert_eq!(said(&accept), (vec![shown(1, &accept)], vec![], vec![1000]));
    lane.read(&[unclaim]);
    let call = lane.poll(OPERATION);
    lane.feed(Input::Polled { call, result: done(&['A', 'C']) });
    let results = lane.transaction();
    assert_eq!(said(&results), (vec![shown(2, &results)], vec![1000, 1002, 1004], vec![1001]));

    // Killed. The next owner has the record of the page.
    let record = ledger::decode_value(records()[2].1.as_bytes()).unwrap();
    let mut lane = Lane::assigned(1001, vec![record]);
    lane.read(&commands(1001));
    let before = lane.mono;
    let call = lane.poll(OPERATION);
    assert_eq!(lane.mono, before, "polled at once");
    lane.feed(Input::Polled { call, result: done(&['A', 'C']) });
    let call = lane.lookup('B');
    let wanted = command(Action::Claim, 'B');
    let state = DeviceState {
        device_id: None,
        owner: wanted.customer.clone(),
        reseller: Some("1".into()),
        metadata: wanted.metadata,
    };
    lane.feed(Input::LookedUp { call, result: Ok(Some(state)) });
    let last = lane.transaction();
    assert_eq!(said(&last), (vec![None], vec![1001], vec![1005]));
    assert_eq!(last.outcomes[0].verdict.status, Status::Succeeded);
}

#[test]
fn behind_an_older_open_command_the_batch_of_the_example_is_kept_as_resolved() {
    let mut lane = Lane::assigned(990, Vec::new());
    lane.read(&[(990, command(Action::Claim, 'Z'))]);
    lane.submit("operations/older");
    lane.read(&commands(1000)[..4]);
    lane.submit(OPERATION);
    let call = lane.poll(OPERATION);
    lane.feed(Input::Polled { call, result: done(&['A', 'B', 'C']) });
    let results = lane.transaction();
    let (ledger, outcomes, positions) = said(&results);
    assert_eq!((outcomes, positions), (vec![1000, 1001, 1002, 1004], vec![990]));
    let [Some(record)] = &ledger[..] else { panic!("{ledger:?}") };
    let shown = shown(3, &results).unwrap();
    for member in ["batchId", "state", "open", "decided", "attempt"] {
        assert_eq!(record[member], shown[member], "{member}");
    }
}
