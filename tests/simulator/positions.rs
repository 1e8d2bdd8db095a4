//! What happens to a lane's position: commands are deleted, positions forgotten, the topic is made
//! anew, workers die in between. One lane, the real engine, the real decision where to begin; the
//! API does at once what it is asked. Beside the great simulation, which has none of this.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use zerotouch_worker::engine::positions::{self, CommandsLog, News, Seen, Sight};
use zerotouch_worker::engine::{
    AccountOptions, CommandContent, CommandRead, Effect, Input, Mono, Now, Options, Transaction,
    Worker,
};
use zerotouch_worker::model::{
    Action, Anchor, BatchId, Cause, Command, Customer, DeviceHash, DeviceResult, DeviceState,
    DeviceVerdict, Epoch, Identifiers, LedgerRecord, Metadata, Offset, OperationReply,
    PackedCommand, Partition, Source,
};

const LANE: Partition = Partition(0);
/// How far clocks of workers may be apart, as the worker takes it.
const MARGIN_MS: i64 = 120_000;
const STEPS: usize = 60;

/// A record of the commands topic.
#[derive(Clone, Debug)]
struct Entry {
    offset: i64,
    number: u64,
    at_ms: i64,
    command: Arc<Command>,
}

impl Entry {
    fn anchor(&self) -> Anchor {
        Anchor::of(self.offset, Some(self.at_ms), None, Some(&self.number.to_le_bytes()))
    }
}

struct Session {
    worker: Worker,
    epoch: Epoch,
    effects: VecDeque<Effect>,
    /// From where commands are read on.
    next: Option<i64>,
    anchor: Option<Anchor>,
}

struct Lane {
    rng: ChaCha8Rng,
    now_ms: i64,
    log: Vec<Entry>,
    log_start: i64,
    log_end: i64,
    committed: Option<(i64, Option<Anchor>)>,
    ledger: BTreeMap<BatchId, LedgerRecord>,
    last_word: Option<i64>,
    outcomes: BTreeMap<u64, u32>,
    /// Commands that were deleted, or went with their topic, by number.
    deleted: BTreeSet<u64>,
    told: BTreeSet<u64>,
    /// Commands of topics that are gone: nobody can tell their number.
    gone: BTreeSet<u64>,
    /// What is known of the offsets of commands that were deleted.
    places: BTreeMap<i64, u64>,
    session: Option<Session>,
    known: Option<Option<Anchor>>,
    epochs: u64,
    numbers: u64,
    operations: BTreeMap<Arc<str>, Vec<PackedCommand>>,
    holders: BTreeMap<DeviceHash, Customer>,
    is_stopped: bool,
    /// The ledger may still speak of the old topic.
    was_made_anew_unsettled: bool,
    log_lines: Vec<String>,
}

/// Runs one seed; what broke, if anything did.
pub(crate) fn simulate(seed: u64) -> Result<(), String> {
    let mut lane = Lane::new(seed);
    for _ in 0..STEPS {
        lane.step();
        lane.at_most_once()?;
    }
    lane.settle()
}

impl Lane {
    fn new(seed: u64) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            now_ms: 1_767_225_600_000,
            log: Vec::new(),
            log_start: 0,
            log_end: 0,
            committed: None,
            ledger: BTreeMap::new(),
            last_word: None,
            outcomes: BTreeMap::new(),
            deleted: BTreeSet::new(),
            told: BTreeSet::new(),
            gone: BTreeSet::new(),
            places: BTreeMap::new(),
            session: None,
            known: None,
            epochs: 0,
            numbers: 0,
            operations: BTreeMap::new(),
            holders: BTreeMap::new(),
            is_stopped: false,
            was_made_anew_unsettled: false,
            log_lines: Vec::new(),
        }
    }

    fn step(&mut self) {
        self.now_ms += self.rng.random_range(1..5_000);
        match self.rng.random_range(0..100) {
            0..30 => self.write(),
            30..45 => self.start(),
            45..80 => self.work(),
            80..88 => self.kill(),
            88..93 => self.delete(),
            93..95 => self.forget(),
            95..97 => self.make_anew(),
            _ => self.now_ms += self.rng.random_range(0..1_000_000),
        }
    }

    fn write(&mut self) {
        for _ in 0..self.rng.random_range(1..6) {
            self.numbers += 1;
            let entry = Entry {
                offset: self.log_end,
                number: self.numbers,
                at_ms: self.now_ms,
                command: Arc::new(claim(self.numbers, self.now_ms)),
            };
            self.places.insert(entry.offset, entry.number);
            self.log.push(entry);
            self.log_end += 1;
        }
        // The mark of the transaction.
        self.log_end += 1;
        self.hand_over();
    }

    /// What is known of the lane, and the record at the place of its anchor or the first one.
    fn look(&self) -> (Seen, Option<Anchor>) {
        let anchor = self.committed.map_or(self.known.flatten(), |(_, anchor)| anchor);
        let at_anchor = |anchor: Anchor| {
            if anchor.offset < self.log_start || anchor.offset >= self.log_end {
                return Sight::Unknown;
            }
            match self.log.iter().find(|entry| entry.offset == anchor.offset) {
                Some(entry) if entry.anchor() == anchor => Sight::Same,
                Some(_) => Sight::Other,
                None => Sight::Missing,
            }
        };
        let sight = anchor.map_or(Sight::Unknown, at_anchor);
        let place = anchor.map_or(self.log_start, |anchor| anchor.offset);
        let place = if place < self.log_end { place.max(self.log_start) } else { self.log_start };
        let found = self.log.iter().find(|entry| entry.offset >= place).map(Entry::anchor);
        let first = self.log.iter().find(|entry| entry.offset >= self.log_start);
        let seen = Seen {
            committed: self.committed.map(|(offset, _)| offset),
            anchor,
            sight,
            log_start: self.log_start,
            log_end: self.log_end,
            first_ms: first.filter(|_| sight == Sight::Unknown).map(|entry| entry.at_ms),
            was_read_here: self.known.is_some(),
        };
        (seen, found)
    }

    /// A worker takes the lane over.
    fn start(&mut self) {
        if self.session.is_some() {
            return;
        }
        let (seen, found) = self.look();
        let anchor = seen.anchor;
        let position = positions::commands(&seen, self.last_word, MARGIN_MS);
        self.note(|| format!("starts: {seen:?} -> {position:?}"));
        let Ok(position) = position else {
            self.is_stopped = true;
            return;
        };
        self.is_stopped = false;
        let told = match position.news {
            News::Lost { from, to } => Some(from..to),
            News::MadeAnew { .. } => Some(0..position.from),
            News::None | News::First { .. } => None,
        };
        if let Some(told) = told {
            self.told.extend(self.places.range(told).map(|(_, number)| *number));
        }
        let account = AccountOptions {
            name: "main".into(),
            partner_id: "1".into(),
            quota_calls: 1_000_000,
            quota_window: Duration::from_secs(1),
        };
        let options = Options {
            accounts: vec![account],
            batch_items_max: 3,
            batch_linger: Duration::ZERO,
            batch_linger_max: Duration::ZERO,
            seed: self.rng.random(),
            ..Options::default()
        };
        let is_kept = self.committed.is_some() && position.log != CommandsLog::New;
        self.epochs += 1;
        let epoch = Epoch(self.epochs);
        self.session = Some(Session {
            worker: Worker::new(options),
            epoch,
            effects: VecDeque::new(),
            next: None,
            anchor: found.or(anchor.filter(|_| is_kept)),
        });
        self.feed(Input::Assigned { partition: LANE, epoch });
        let records = self.ledger.iter().map(|(id, record)| (*id, record.clone())).collect();
        self.feed(Input::LedgerRead {
            partition: LANE,
            epoch,
            committed: Offset(position.from),
            log: Ok(position.log),
            records: Ok(records),
        });
        self.known = Some(self.session.as_ref().and_then(|session| session.anchor));
    }

    fn feed(&mut self, input: Input) {
        let now = self.now();
        let Some(session) = &mut self.session else { return };
        session.worker.handle(now, input);
        session.effects.extend(std::iter::from_fn(|| session.worker.next_effect()));
    }

    fn now(&self) -> Now {
        let wall = Timestamp::from_millisecond(self.now_ms).unwrap();
        Now { mono: Mono(1) + Duration::from_millis(self.now_ms.unsigned_abs()), wall }
    }

    /// Some of what the worker wants done.
    fn work(&mut self) {
        for _ in 0..self.rng.random_range(1..12) {
            self.turn();
        }
    }

    /// One thing; `false` if there is nothing to do.
    fn turn(&mut self) -> bool {
        let Some(session) = &mut self.session else { return false };
        let Some(effect) = session.effects.pop_front() else {
            let now = self.now();
            let wake = self.session.as_mut().and_then(|session| session.worker.wake_at(now));
            let Some(wake) = wake else { return false };
            self.now_ms += i64::try_from(wake.since(now.mono).as_millis()).unwrap() + 1;
            self.feed(Input::TimePassed);
            return true;
        };
        match effect {
            Effect::Start { from, .. } => {
                session.next = Some(from.0);
                self.hand_over();
            }
            Effect::Commit(transaction) => {
                self.commit(&transaction);
                self.feed(Input::Committed { transaction: transaction.number });
            }
            Effect::Submit(submit) => {
                let name: Arc<str> = format!("operations/{}", self.operations.len()).into();
                for packed in &submit.commands {
                    let command = packed.unpack();
                    let device = command.facts().unwrap().device;
                    self.holders.insert(device, command.customer.unwrap());
                }
                self.operations.insert(Arc::clone(&name), submit.commands);
                self.feed(Input::Submitted { call: submit.call, result: Ok(name) });
            }
            Effect::Poll { call, operation, .. } => {
                let result = |packed: &PackedCommand| DeviceResult {
                    device: Some(packed.unpack().facts().unwrap().device),
                    verdict: DeviceVerdict::Succeeded { device_id: None },
                };
                let results = self.operations[&operation].iter().map(result).collect();
                self.feed(Input::Polled { call, result: Ok(OperationReply::Done { results }) });
            }
            Effect::Lookup { call, command, .. } => {
                let command = command.unpack();
                let held = self.holders.get(&command.facts().unwrap().device);
                let state = held.map(|customer| DeviceState {
                    device_id: None,
                    owner: Some(customer.clone()),
                    reseller: Some("1".into()),
                    metadata: command.metadata.clone(),
                });
                self.feed(Input::LookedUp { call, result: Ok(state) });
            }
            _ => {}
        }
        true
    }

    fn commit(&mut self, transaction: &Transaction) {
        for write in &transaction.outcomes {
            let number = write.command.unpack().source.offset.unsigned_abs();
            *self.outcomes.entry(number).or_default() += 1;
        }
        for write in &transaction.ledger {
            self.last_word = Some(self.now_ms);
            match &write.record {
                Some(record) => drop(self.ledger.insert(write.batch, record.clone())),
                None => drop(self.ledger.remove(&write.batch)),
            }
        }
        let Some(session) = &mut self.session else { return };
        for write in &transaction.offsets {
            let position = write.offset.0;
            if session.anchor.is_none() {
                let below = self.log.iter().rev().find(|entry| entry.offset < position);
                let any = self.log.first().filter(|_| session.next > Some(self.log_start));
                session.anchor = below.or(any).map(Entry::anchor);
            }
            self.committed = Some((position, session.anchor));
            self.was_made_anew_unsettled = false;
            self.known = Some(session.anchor);
        }
        let (committed, outcomes) = (self.committed, &transaction.outcomes);
        let offsets: Vec<i64> = outcomes.iter().map(|write| write.offset.0).collect();
        self.note(|| format!("commits {committed:?}, outcomes {offsets:?}"));
    }

    /// What can be read comes to the worker.
    fn hand_over(&mut self) {
        let Some(session) = &mut self.session else { return };
        let Some(next) = session.next else { return };
        if next < self.log_start {
            // Kafka says that there is nothing: the session ends and decides anew.
            self.session = None;
            return;
        }
        let epoch = session.epoch;
        let commands: Vec<CommandRead> = self
            .log
            .iter()
            .filter(|entry| entry.offset >= next)
            .map(|entry| CommandRead {
                offset: Offset(entry.offset),
                content: CommandContent::Command {
                    purpose: None,
                    facts: entry.command.facts().unwrap(),
                    account: Some(0),
                    packed: PackedCommand::pack(&entry.command),
                },
            })
            .collect();
        session.next = Some(self.log_end);
        self.feed(Input::CommandsRead { partition: LANE, epoch, commands });
        self.feed(Input::CaughtUp { partition: LANE });
    }

    fn kill(&mut self) {
        self.note(|| "is killed".into());
        (self.session, self.known) = (None, None);
    }

    fn delete(&mut self) {
        // Both before the place in the new topic is committed is one accident too many: the anchor
        // is gone with the records.
        if self.was_made_anew_unsettled {
            return;
        }
        let to = self.rng.random_range(self.log_start..=self.log_end);
        self.note(|| format!("records below {to} are deleted"));
        for entry in self.log.iter().filter(|entry| entry.offset < to) {
            self.deleted.insert(entry.number);
            if self.committed.is_none() && self.last_word.is_some() {
                self.gone.insert(entry.number);
            }
        }
        self.log.retain(|entry| entry.offset >= to);
        self.log_start = to;
        // Whoever has read them already does them; whoever reads on from below finds nothing.
        let position = self.committed.map_or(0, |(offset, _)| offset);
        if position < to && self.rng.random_bool(0.7) {
            self.kill();
        }
    }

    /// Kafka forgets the position of a group without members.
    fn forget(&mut self) {
        if self.session.is_none() {
            self.note(|| "the position is forgotten".into());
            (self.committed, self.known) = (None, None);
            // What was before it cannot be told any more from what was behind it.
            self.gone.extend(self.deleted.iter());
        }
    }

    fn make_anew(&mut self) {
        // A log without a record has nothing by which it is known; only the topic's id tells then.
        if matches!(self.committed, Some((_, None))) {
            return;
        }
        self.note(|| "the topic is made anew".into());
        // Kafka forgets the position with the topic, unless a worker commits it again.
        let is_forgotten = self.session.is_none() || self.rng.random_bool(0.5);
        if self.session.is_none() {
            self.known = None;
        }
        if is_forgotten {
            self.committed = None;
        }
        self.was_made_anew_unsettled = true;
        self.gone.extend(self.log.iter().map(|entry| entry.number));
        self.gone.extend(self.deleted.iter());
        self.log.clear();
        self.places.clear();
        (self.log_start, self.log_end, self.session) = (0, 0, None);
    }

    fn at_most_once(&self) -> Result<(), String> {
        match self.outcomes.iter().find(|(_, count)| **count > 1) {
            Some((number, count)) => {
                Err(self.broken(&format!("command {number}: {count} outcomes")))
            }
            None => Ok(()),
        }
    }

    /// No more accidents: all that is there gets its outcome, and what is not was told.
    fn settle(&mut self) -> Result<(), String> {
        self.session = None;
        self.start();
        if self.is_stopped && !self.was_made_anew_unsettled {
            // The operator finds the first command without outcome.
            let open = self.log.iter().find(|entry| !self.outcomes.contains_key(&entry.number));
            let place = open.map_or(self.log_end, |entry| entry.offset);
            self.note(|| format!("the operator sets the position to {place}"));
            self.committed = Some((place, None));
            self.start();
        }
        if self.is_stopped {
            return Ok(());
        }
        for _ in 0..10_000 {
            if !self.turn() {
                break;
            }
        }
        self.at_most_once()?;
        let reason = self.session.as_ref().and_then(|session| {
            session.worker.report().lanes.first().and_then(|lane| lane.reason.clone())
        });
        if reason.is_some() {
            return Ok(());
        }
        for entry in &self.log {
            if !self.outcomes.contains_key(&entry.number) {
                return Err(self.broken(&format!("command {} has no outcome", entry.number)));
            }
        }
        let lost = self.deleted.iter().find(|number| {
            let is_known = self.told.contains(number) || self.gone.contains(number);
            !is_known && !self.outcomes.contains_key(number)
        });
        match lost {
            Some(number) => Err(self.broken(&format!("command {number} is lost untold"))),
            None => Ok(()),
        }
    }

    fn note(&mut self, text: impl FnOnce() -> String) {
        self.log_lines.push(format!("{} {}", self.now_ms, text()));
    }

    fn broken(&self, what: &str) -> String {
        format!("{what}\n{}", self.log_lines.join("\n"))
    }
}

fn claim(number: u64, at_ms: i64) -> Command {
    let at = Timestamp::from_millisecond(at_ms).unwrap();
    let device = Identifiers {
        serial_number: Some(format!("S{number}")),
        manufacturer: Some("Maker".into()),
        model: Some("Model".into()),
        ..Identifiers::default()
    };
    Command {
        recorded_at: None,
        action: Action::Claim,
        cause: Cause::Sale,
        event_id: format!("event-{number}"),
        order_id: format!("order-{number}"),
        line: "1".into(),
        account: "main".into(),
        customer: Some(Customer::ZeroTouch("100".into())),
        device,
        device_id: None,
        metadata: Metadata::new(),
        configuration_id: None,
        pre_provisioning_token: None,
        occurred_at: at,
        received_at: at,
        source: Source {
            topic: "orders".into(),
            partition: 0,
            offset: i64::try_from(number).unwrap(),
        },
        traceparent: None,
    }
}

#[test]
fn nothing_is_skipped_or_done_again_untold_whatever_happens_to_positions() {
    let count = crate::runner::number("SIM_SEEDS").unwrap_or(2_000);
    for seed in 0..count {
        if let Err(what) = simulate(seed) {
            panic!("seed {seed}: {what}");
        }
    }
}
