//! Virtual time: a queue of events, and the state of everything that they touch.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use zerotouch_worker::engine::{Input, Transaction};
use zerotouch_worker::sandbox::{self, State};

use crate::checks::{Checks, OTHERS_FOR};
use crate::counts::Counts;
use crate::http::HttpCall;
use crate::kafka::{Fate, Kafka, Mark, Meta};
use crate::plan::{Fault, Plan, log_uniform};
use crate::process::{Session, Slot};
use crate::queue::Queue;
use crate::workload::{self, BEGIN, Hold, Item, UNKNOWN_ACCOUNT, Write};

/// Something that happens at a time.
#[derive(Debug)]
pub(crate) enum Event {
    /// Comes to a session; waits while its process is frozen, is lost if the session has ended.
    Inbox {
        slot: usize,
        session: u32,
        message: Message,
    },
    /// A call is about to leave; outlives the session, not the process.
    Send {
        slot: usize,
        incarnation: u32,
        session: u32,
        call: HttpCall,
    },
    /// A call has come to the API.
    Arrive {
        slot: usize,
        session: u32,
        call: HttpCall,
        sent: u64,
    },
    /// A request has come to the broker.
    Broker(Request),
    /// A member may have been silent for too long.
    MemberExpires {
        member: u32,
        since: u64,
    },
    /// A rebalance has waited long enough for those who have not joined.
    RoundEnds {
        round: u32,
    },
    TransactionExpires {
        transaction: usize,
    },
    Marked {
        transaction: usize,
        mark: Mark,
    },
    /// A session begins.
    Begin {
        slot: usize,
        incarnation: u32,
    },
    /// A worker that was silent is heard again.
    Heard {
        slot: usize,
        incarnation: u32,
    },
    Mischief,
    Write(usize),
    IntakeEnds {
        intake: u64,
    },
    Compact {
        partition: i32,
    },
    Calm,
    OutageEnds,
    /// Another order comes, while the culprit holds something up.
    Traffic(u64),
}

/// What comes to a session.
#[derive(Debug)]
pub(crate) enum Message {
    Wake(u64),
    Input(Input),
    Ready { epoch: u32 },
    Rebalancing { member: u32 },
    Synced { request: u32, meta: Meta, assigned: BTreeSet<i32> },
    Added { member: u32, added: BTreeSet<i32> },
    Lost { member: Option<u32> },
    Fetch { partition: i32 },
    Transaction { attempt: u64, step: Step },
}

/// How far a transaction is, as its client hears of it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Written(usize),
    OffsetsTaken(usize),
    Refused {
        transaction: Option<usize>,
        reason: &'static str,
    },
    Committed,
    Aborted,
    Fenced,
    /// No answer came in time.
    Silence,
    /// A new producer has settled it.
    Settled,
}

/// What is asked of the broker.
#[derive(Debug)]
pub(crate) enum Request {
    Init { slot: usize, session: u32, producer: usize, attempt: Option<u64> },
    Join { slot: usize, session: u32, request: u32, member: Option<u32>, owned: BTreeSet<i32> },
    Leave { member: u32 },
    Write { from: Client, began: u64, contents: Arc<Transaction> },
    Offsets { from: Client, transaction: usize, meta: Meta },
    End { from: Client, transaction: usize, commit: bool, silent: bool },
    ReadLedger { slot: usize, session: u32, partition: i32, epoch: u64, stage: Replay },
}

/// Who asks for something about a transaction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client {
    pub(crate) slot: usize,
    pub(crate) session: u32,
    pub(crate) attempt: u64,
    pub(crate) producer: usize,
    pub(crate) epoch: u32,
}

/// How far a lane's recovery is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Replay {
    Committed,
    End { committed: i64 },
    Records { committed: i64, end: i64 },
}

/// A promise was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) what: String,
    /// Words by which lines of the log about it are found.
    pub(crate) about: Vec<String>,
}

/// What a run gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) violation: Option<Violation>,
    pub(crate) trace: u64,
    pub(crate) steps: u64,
    pub(crate) counts: Counts,
}

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) now: u64,
    pub(crate) rng: ChaCha8Rng,
    queue: Queue,
    pub(crate) slots: Vec<Slot>,
    pub(crate) kafka: Kafka,
    pub(crate) api: State,
    pub(crate) checks: Checks,
    pub(crate) writes: Vec<Write>,
    pub(crate) intakes: u64,
    /// Lane and offset of each command, by its number.
    pub(crate) places: Vec<Option<(i32, i64)>>,
    /// Faults have stopped.
    pub(crate) is_calm: bool,
    pub(crate) trace: u64,
    pub(crate) steps: u64,
    pub(crate) log: Option<Vec<String>>,
    /// When everything was seen settled.
    settled_since: Option<u64>,
}

const SECOND: u64 = 1_000_000_000;
/// Quiet time after which late answers have come, too.
const QUIET: u64 = 300 * SECOND;
/// Phase two ends at the latest.
const PATIENCE: u64 = 24 * 3_600 * SECOND;
/// Events in one run; more mean that it goes in circles.
const STEPS_MAX: u64 = 2_000_000;

pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

pub(crate) fn millis(time: u64) -> u64 {
    time * 1_000_000
}

impl World {
    pub(crate) fn new(plan: Plan, verbose: bool) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(plan.seed.wrapping_add(1));
        let api = State::new(sandbox::Options {
            seed: rng.random(),
            auto_customers: true,
            semantics: plan.semantics.clone(),
            operation_time: plan.operation_time,
            operation_jitter: plan.operation_jitter,
            quota_calls: plan.api_quota,
            quota_window: Duration::from_secs(20),
            retry_after: rng.random_bool(0.5),
            faults: [crate::http::rules(&plan), crate::http::culprit_rules(&plan)].concat(),
            ..sandbox::Options::default()
        });
        let writes = workload::writes(&plan);
        let slots = (0..plan.workers).map(|_| Slot::default()).collect();
        let mut world = Self {
            kafka: Kafka::new(plan.partitions),
            now: SECOND,
            rng,
            queue: Queue::default(),
            slots,
            api,
            checks: Checks::default(),
            writes,
            intakes: 0,
            places: Vec::new(),
            is_calm: false,
            trace: 0xcbf2_9ce4_8422_2325,
            steps: 0,
            log: verbose.then(Vec::new),
            settled_since: None,
            plan,
        };
        world.schedule_all();
        world
    }

    fn schedule_all(&mut self) {
        for slot in 0..self.slots.len() {
            self.kafka.producers.push(crate::kafka::Producer::default());
            self.slots[slot].producer = slot;
            let wait = self.rng.random_range(0..2_000);
            self.start_process(slot, millis(wait));
        }
        for index in 0..self.writes.len() {
            self.at(SECOND + self.writes[index].at, Event::Write(index));
        }
        let calm = SECOND + nanos(self.plan.phase_one);
        self.at(calm, Event::Calm);
        self.next_mischief();
        for partition in 0..self.plan.partitions {
            self.after(5 * SECOND, Event::Compact { partition });
        }
    }

    pub(crate) fn at(&mut self, time: u64, event: Event) {
        self.queue.push(time.max(self.now), event);
    }

    pub(crate) fn after(&mut self, wait: u64, event: Event) {
        self.at(self.now + wait, event);
    }

    pub(crate) fn tell(&mut self, wait: u64, slot: usize, session: u32, message: Message) {
        self.after(wait, Event::Inbox { slot, session, message });
    }

    /// Whether a fault hits now. Draws in any case, so that switching one off moves little else.
    pub(crate) fn hits(&mut self, fault: Fault) -> bool {
        let drawn = self.rng.random_range(0..10_000);
        let hit = !self.is_calm && drawn < self.plan.rate(fault);
        if hit {
            self.count(fault);
        }
        hit
    }

    pub(crate) fn count(&mut self, fault: Fault) {
        self.checks.counts.fault(fault);
    }

    pub(crate) fn note(&mut self, text: impl FnOnce() -> String) {
        if let Some(log) = &mut self.log {
            let seconds = self.now as f64 / 1e9;
            log.push(format!("{seconds:10.3} {}", text()));
        }
    }

    pub(crate) fn hash(&mut self, words: &[u64]) {
        for word in words {
            self.trace = (self.trace ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
        }
    }

    /// The true time.
    pub(crate) fn timestamp(&self, at: u64) -> Timestamp {
        Timestamp::from_second(BEGIN).unwrap() + Duration::from_nanos(at)
    }

    /// Ordinary time to the broker, or back; now and then a long one.
    pub(crate) fn broker_wait(&mut self) -> u64 {
        let longest = self.plan.broker_ms * 1_000_000;
        let wait = self.rng.random_range(longest / 10..=longest);
        if self.hits(Fault::SlowBroker) {
            wait + millis(log_uniform(&mut self.rng, 100, 20_000))
        } else {
            wait
        }
    }

    /// Runs to the end, or to the first violation.
    pub(crate) fn run(&mut self) {
        while self.checks.violation.is_none() {
            let Some((time, event)) = self.queue.pop() else { break };
            self.now = time;
            self.steps += 1;
            self.handle(event);
            if self.is_calm && self.is_over() {
                break;
            }
        }
        if self.checks.violation.is_none() {
            self.check_end();
        }
    }

    fn is_over(&mut self) -> bool {
        let limit = SECOND + nanos(self.plan.phase_one) + PATIENCE;
        if self.steps > STEPS_MAX || self.now > limit {
            let what = self.unsettled().unwrap_or_else(|| "it settles too late".into());
            self.violate(format!("phase two does not come to rest: {what}"), &[]);
            return true;
        }
        // Looking is dear, and a little later is as good.
        if self.steps.is_multiple_of(64) || self.queue.len() < 6 {
            if self.unsettled().is_some() {
                self.settled_since = None;
                self.check_others();
            } else {
                self.settled_since.get_or_insert(self.now);
            }
        }
        self.settled_since.is_some_and(|since| self.now > since + QUIET)
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Inbox { slot, session, message } => {
                let state = &self.slots[slot];
                if state.session.as_ref().is_none_or(|current| current.id != session) {
                    return;
                }
                if state.frozen_until > self.now {
                    let thaw = state.frozen_until;
                    return self.at(thaw, Event::Inbox { slot, session, message });
                }
                self.on_message(slot, message);
            }
            Event::Send { slot, incarnation, session, call } => {
                let state = &self.slots[slot];
                if state.incarnation != incarnation {
                    return;
                }
                if state.frozen_until > self.now {
                    let thaw = state.frozen_until;
                    return self.at(thaw, Event::Send { slot, incarnation, session, call });
                }
                self.on_send(slot, session, call);
            }
            Event::Arrive { slot, session, call, sent } => {
                self.on_arrive(slot, session, &call, sent);
            }
            Event::Broker(request) => self.on_request(request),
            Event::MemberExpires { member, since } => self.on_member_expires(member, since),
            Event::RoundEnds { round } => self.on_round_ends(round),
            Event::TransactionExpires { transaction } => self.on_transaction_expires(transaction),
            Event::Marked { transaction, mark } => self.on_marked(transaction, mark),
            Event::Begin { slot, incarnation } => self.on_begin(slot, incarnation),
            Event::Heard { slot, incarnation } => self.on_heard(slot, incarnation),
            Event::Mischief => self.on_mischief(),
            Event::Write(index) => self.on_write(index),
            Event::IntakeEnds { intake } => self.on_intake_ends(intake),
            Event::Compact { partition } => self.on_compact(partition),
            Event::Calm => self.on_calm(),
            Event::OutageEnds => self.on_outage_ends(),
            Event::Traffic(number) => self.on_traffic(number),
        }
    }

    fn on_calm(&mut self) {
        self.note(|| "faults stop".into());
        self.is_calm = true;
        // All workers are upgraded and put right, if anything asks for it.
        let asks = [Fault::NewerCommand, Fault::ForeignPurpose];
        if asks.iter().any(|fault| self.plan.rate(*fault) > 0) {
            self.restart_all();
        }
        self.api.faults_mut().clear();
        let mut rules = crate::http::culprit_rules(&self.plan);
        if self.plan.rate(Fault::Outage) > 0 {
            rules.extend(crate::http::outage_rules(&self.plan));
            self.after(nanos(self.plan.outage), Event::OutageEnds);
        } else {
            self.after(0, Event::OutageEnds);
        }
        for rule in rules {
            self.api.faults_mut().add(rule);
        }
    }

    /// Now only the culprit is left to hold anything up.
    fn on_outage_ends(&mut self) {
        self.api.faults_mut().clear();
        for rule in crate::http::culprit_rules(&self.plan) {
            self.api.faults_mut().add(rule);
        }
        self.checks.working_since = Some(self.now);
        if self.plan.rate(Fault::Culprit) > 0 {
            self.after(SECOND, Event::Traffic(0));
        }
    }

    /// With nothing else to compare with, a worker rightly waits: so others come now and then.
    fn on_traffic(&mut self, number: u64) {
        let is_over = |since: u64| self.now > since + OTHERS_FOR;
        if self.unsettled().is_none() || self.checks.working_since.is_some_and(is_over) {
            return;
        }
        let accounts = self.plan.engine.accounts.len() as u64;
        let device = 10_000 + number * accounts + self.plan.culprit.0 % accounts;
        let item = workload::fresh_sale(&self.plan, 1_000_000 + number.cast_signed(), device);
        self.writes.push(Write { at: 0, items: vec![item], is_giant: false });
        self.on_write(self.writes.len() - 1);
        let wait = self.plan.engine.ambiguous_grace / 2 + Duration::from_secs(30);
        self.after(nanos(wait), Event::Traffic(number + 1));
    }

    fn on_compact(&mut self, partition: i32) {
        let tombstones = self.rng.random_bool(0.5);
        self.kafka.compact(partition, tombstones);
        if !self.is_calm {
            let wait = self.rng.random_range(1..30);
            self.after(wait * SECOND, Event::Compact { partition });
        }
    }

    /// Records come into the commands topic, some in a transaction of the intake that is open yet.
    fn on_write(&mut self, index: usize) {
        let items = std::mem::take(&mut self.writes[index].items);
        if self.writes[index].is_giant {
            self.count(Fault::GiantOrder);
        }
        self.intakes += 1;
        let intake = self.intakes;
        let is_open = self.hits(Fault::OpenIntake);
        let fate = if is_open { Fate::Open } else { Fate::Committed };
        let mut touched = BTreeSet::new();
        for item in items {
            let partition = match &item {
                Item::Foreign(partition, _) => *partition,
                Item::Command(command) | Item::Held(command, _) => {
                    let hash = command.facts().unwrap().device.0;
                    (hash % self.plan.partitions as u128) as i32
                }
            };
            touched.insert(partition);
            self.count_item(&item);
            let what =
                if self.log.is_some() { crate::checks::describe(&item) } else { String::new() };
            let lane = self.kafka.lane(partition);
            let offset = lane.commands_end;
            lane.commands_end += 1;
            if let Some(command) = item.command() {
                let number = command.source.offset as usize;
                self.places.resize(self.places.len().max(number + 1), None);
                self.places[number] = Some((partition, offset));
            }
            if fate == Fate::Committed {
                lane.undecided.insert(offset);
            }
            lane.commands.push(crate::kafka::CommandEntry { offset, item, fate, intake });
            self.note(|| format!("written p{partition}@{offset} {fate:?} {what}"));
        }
        if is_open {
            let wait = millis(log_uniform(&mut self.rng, 10, 30_000));
            self.after(wait, Event::IntakeEnds { intake });
        } else {
            self.end_records(&touched);
        }
    }

    fn count_item(&mut self, item: &Item) {
        let counts = &mut self.checks.counts;
        match item {
            Item::Foreign(..) => counts.fault(Fault::Foreign),
            Item::Held(_, Hold::Newer) => counts.fault(Fault::NewerCommand),
            Item::Held(_, Hold::Elsewhere) => counts.fault(Fault::ForeignPurpose),
            Item::Command(command) => {
                counts.event("command", command.action.as_str());
                if command.account == UNKNOWN_ACCOUNT {
                    counts.fault(Fault::UnknownAccount);
                }
            }
        }
    }

    fn on_intake_ends(&mut self, intake: u64) {
        let commits = self.rng.random_bool(0.5);
        let mut touched = BTreeSet::new();
        for (partition, lane) in (0..).zip(&mut self.kafka.lanes) {
            for entry in &mut lane.commands {
                if entry.intake == intake {
                    entry.fate = if commits { Fate::Committed } else { Fate::Aborted };
                    if commits {
                        lane.undecided.insert(entry.offset);
                    }
                    touched.insert(partition);
                }
            }
        }
        self.end_records(&touched);
    }

    /// Markers end a transaction, and those who wait get to read.
    fn end_records(&mut self, touched: &BTreeSet<i32>) {
        for partition in touched {
            self.kafka.lane(*partition).commands_end += 1;
            self.wake_readers(*partition);
        }
    }

    fn wake_readers(&mut self, partition: i32) {
        for slot in 0..self.slots.len() {
            let Some(mut session) = self.slots[slot].session.take() else { continue };
            self.ask_fetch(slot, &mut session, partition);
            self.slots[slot].session = Some(session);
        }
    }

    /// Lets a session read what there is, unless it is about to.
    pub(crate) fn ask_fetch(&mut self, slot: usize, session: &mut Session, partition: i32) {
        if session.is_reading(partition) && session.fetching.insert(partition) {
            let wait = self.broker_wait();
            self.tell(wait, slot, session.id, Message::Fetch { partition });
        }
    }

    pub(crate) fn next_mischief(&mut self) {
        let mean = nanos(self.plan.mischief);
        let wait = self.rng.random_range(mean / 10..=2 * mean);
        self.after(wait, Event::Mischief);
    }

    pub(crate) fn violate(&mut self, what: String, about: &[String]) {
        self.note(|| format!("VIOLATION {what}"));
        self.checks.violation.get_or_insert(Violation { what, about: about.to_vec() });
    }

    pub(crate) fn outcome(&self) -> Outcome {
        Outcome {
            violation: self.checks.violation.clone(),
            trace: self.trace,
            steps: self.steps,
            counts: self.checks.counts.clone(),
        }
    }
}
