//! The workers: processes that crash, freeze and are restarted, and in each a session that treats
//! the engine as `shell::dispatch` does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rand::RngExt;
use zerotouch_worker::engine::{
    CommandContent, CommandRead, Effect, Input, Mono, Now, Options, Transaction, Worker,
};
use zerotouch_worker::model::{Epoch, Offset, PackedCommand, Partition, Purpose};

use crate::http::{HttpCall, What};
use crate::kafka::{Fate, Meta};
use crate::mutants::{Slip, slips};
use crate::plan::{Fault, log_uniform};
use crate::workload::{Hold, Item};
use crate::world::{Event, Message, Replay, Request, World, millis, nanos};

/// A place where a worker runs.
#[derive(Default)]
pub(crate) struct Slot {
    /// Counts its processes.
    pub(crate) incarnation: u32,
    pub(crate) is_alive: bool,
    pub(crate) started: u64,
    pub(crate) frozen_until: u64,
    pub(crate) producer: usize,
    pub(crate) session: Option<Box<Session>>,
    pub(crate) sessions: u32,
    /// How wrong its wall clock is, in nanoseconds.
    pub(crate) wall_error: i128,
    pub(crate) restart_wait: u64,
    pub(crate) is_cut_off: bool,
}

/// What a partition is to the consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Gated,
    Reading { next: i64 },
    Held,
}

/// A revocation that waits for the engine.
#[derive(Debug)]
struct Held {
    waiting: BTreeSet<i32>,
    revoked: BTreeSet<i32>,
    added: BTreeSet<i32>,
}

/// One life of the engine.
pub(crate) struct Session {
    pub(crate) id: u32,
    pub(crate) worker: Worker,
    pub(crate) group: Option<Meta>,
    epochs: BTreeMap<i32, Epoch>,
    epoch_next: u64,
    /// Its name in the group.
    pub(crate) member: Option<u32>,
    owned: BTreeMap<i32, Phase>,
    held: Option<Held>,
    paused: BTreeSet<i32>,
    pub(crate) fetching: BTreeSet<i32>,
    pub(crate) producer_epoch: u32,
    pub(crate) attempt: u64,
    /// The last word of the group's coordinator arrives then, and none before an earlier one.
    pub(crate) heard_until: u64,
    pub(crate) asked_until: u64,
    is_joining: bool,
    /// Requests to join sent so far. Only the last one's answer is listened to.
    join_request: u32,
    pub(crate) running: Option<(Arc<Transaction>, Meta)>,
    pub(crate) wake: Option<u64>,
    wake_token: u64,
    began: u64,
    ended: Option<Ended>,
    draining: bool,
}

#[derive(Debug)]
pub(crate) enum Ended {
    Broken(&'static str),
    Drained,
    Crashed,
}

impl Session {
    pub(crate) fn is_reading(&self, partition: i32) -> bool {
        matches!(self.owned.get(&partition), Some(Phase::Reading { .. }))
            && !self.paused.contains(&partition)
    }

    fn owned(&self) -> BTreeSet<i32> {
        self.owned.keys().copied().collect()
    }
}

const RESTART_WAIT: (u64, u64) = (500, 30_000);
const RESTART_CALM: u64 = 60_000_000_000;

impl World {
    pub(crate) fn start_process(&mut self, slot: usize, wait: u64) {
        let error = self.draw_wall_error();
        let fresh = self.plan.fresh_transactional_ids;
        let state = &mut self.slots[slot];
        state.incarnation += 1;
        state.is_alive = true;
        state.started = self.now + wait;
        state.frozen_until = 0;
        state.is_cut_off = false;
        state.restart_wait = RESTART_WAIT.0;
        state.wall_error = error;
        if fresh {
            self.kafka.producers.push(crate::kafka::Producer::default());
            state.producer = self.kafka.producers.len() - 1;
        }
        let incarnation = state.incarnation;
        self.after(wait, Event::Begin { slot, incarnation });
    }

    fn draw_wall_error(&mut self) -> i128 {
        let skew = i128::from(nanos(self.plan.skew));
        let drawn = self.rng.random_range(-1.0..=1.0_f64);
        let is_wrong = self.plan.skew > Duration::ZERO;
        if self.plan.is_wild() {
            self.count(Fault::WildClock);
        }
        if is_wrong { (drawn * skew as f64) as i128 } else { 0 }
    }

    pub(crate) fn mono_of(&self, slot: usize) -> Mono {
        Mono(self.now.saturating_sub(self.slots[slot].started) + 1)
    }

    fn now_of(&self, slot: usize) -> Now {
        let error = self.slots[slot].wall_error;
        let wall = self.timestamp(self.now).as_nanosecond() + error;
        Now { mono: self.mono_of(slot), wall: Timestamp::from_nanosecond(wall).unwrap() }
    }

    /// Fences the transactions of an earlier process, then joins the group.
    pub(crate) fn on_begin(&mut self, slot: usize, incarnation: u32) {
        let seed = self.rng.random();
        let state = &mut self.slots[slot];
        if state.incarnation != incarnation || state.session.is_some() {
            return;
        }
        state.sessions += 1;
        let options = Options { seed, ..self.plan.engine.clone() };
        let id = state.sessions;
        state.session = Some(Box::new(Session {
            id,
            worker: Worker::new(options),
            group: None,
            epochs: BTreeMap::new(),
            epoch_next: 0,
            member: None,
            owned: BTreeMap::new(),
            held: None,
            paused: BTreeSet::new(),
            fetching: BTreeSet::new(),
            producer_epoch: 0,
            attempt: 0,
            heard_until: 0,
            asked_until: 0,
            is_joining: false,
            join_request: 0,
            running: None,
            wake: None,
            wake_token: 0,
            began: self.now,
            ended: None,
            draining: false,
        }));
        let producer = state.producer;
        self.note(|| format!("w{slot} session {id} begins"));
        let wait = self.broker_wait();
        self.after(
            wait,
            Event::Broker(Request::Init { slot, session: id, producer, attempt: None }),
        );
    }

    pub(crate) fn on_message(&mut self, slot: usize, message: Message) {
        match message {
            Message::Wake(token) => {
                let session = self.slots[slot].session.as_mut().unwrap();
                if session.wake_token == token {
                    session.wake = None;
                    self.feed(slot, Input::TimePassed);
                }
            }
            Message::Input(input) => {
                self.note_told(slot, &input);
                self.feed(slot, input);
            }
            Message::Ready { epoch } => {
                let session = self.slots[slot].session.as_mut().unwrap();
                session.producer_epoch = epoch;
                self.join(slot);
            }
            Message::Rebalancing { member } => {
                let session = self.slots[slot].session.as_ref().unwrap();
                // A member that holds a revocation joins again once it has answered that.
                if session.member == Some(member) && session.held.is_none() && !session.is_joining {
                    self.join(slot);
                }
            }
            Message::Synced { request, meta, assigned } => {
                let session = self.slots[slot].session.as_ref().unwrap();
                if session.join_request == request {
                    self.on_synced(slot, meta, &assigned);
                }
            }
            Message::Added { member, added } => {
                let session = self.slots[slot].session.as_ref().unwrap();
                if session.member == Some(member) {
                    self.take_over(slot, &added);
                }
            }
            Message::Lost { member } => self.on_lost(slot, member),
            Message::Fetch { partition } => self.on_fetch(slot, partition),
            Message::Transaction { attempt, step } => self.on_step(slot, attempt, step),
        }
    }

    fn join(&mut self, slot: usize) {
        let Some(mut session) = self.slots[slot].session.take() else { return };
        let (member, owned) = (session.member, session.owned());
        self.ask_to_join(slot, &mut session, member, owned);
        self.slots[slot].session = Some(session);
    }

    /// One connection: requests to the coordinator arrive in their order.
    fn ask_to_join(
        &mut self,
        slot: usize,
        session: &mut Session,
        member: Option<u32>,
        owned: BTreeSet<i32>,
    ) {
        let at = (self.now + self.broker_wait()).max(session.asked_until);
        session.asked_until = at;
        session.is_joining = true;
        session.join_request += 1;
        let (session, request) = (session.id, session.join_request);
        self.at(at, Event::Broker(Request::Join { slot, session, request, member, owned }));
    }

    fn on_synced(&mut self, slot: usize, meta: Meta, assigned: &BTreeSet<i32>) {
        let session = self.slots[slot].session.as_mut().unwrap();
        session.is_joining = false;
        session.member = Some(meta.member);
        session.group = Some(meta);
        if !self.kafka.group.members.contains_key(&meta.member) {
            // Given up meanwhile: the next heartbeat will say so.
            self.tell_lost(meta.member, slot);
        }
        let session = self.slots[slot].session.as_mut().unwrap();
        let owned = session.owned();
        let revoked: BTreeSet<i32> = owned.difference(assigned).copied().collect();
        let added: BTreeSet<i32> = assigned.difference(&owned).copied().collect();
        let generation = meta.generation;
        if revoked.is_empty() {
            self.note(|| format!("w{slot} generation {generation}: added {added:?}"));
            return self.take_over(slot, &added);
        }
        for partition in &revoked {
            session.owned.insert(*partition, Phase::Held);
        }
        let waiting = revoked.clone();
        session.held = Some(Held { waiting, revoked: revoked.clone(), added });
        self.note(|| format!("w{slot} generation {generation}: revoked {revoked:?}"));
        for partition in &revoked {
            self.feed(slot, Input::Revoked { partition: Partition(*partition) });
        }
        if slips(Slip::GivenUpInTransaction)
            && let Some(mut session) = self.slots[slot].session.take()
        {
            revoked.iter().for_each(|partition| self.release(slot, &mut session, *partition));
            self.slots[slot].session = Some(session);
        }
    }

    fn take_over(&mut self, slot: usize, added: &BTreeSet<i32>) {
        for partition in added {
            let Some(session) = self.slots[slot].session.as_mut() else { return };
            session.owned.insert(*partition, Phase::Gated);
            session.paused.remove(partition);
            session.epoch_next += 1;
            let epoch = Epoch(session.epoch_next);
            session.epochs.insert(*partition, epoch);
            self.feed(slot, Input::Assigned { partition: Partition(*partition), epoch });
        }
    }

    fn on_lost(&mut self, slot: usize, member: Option<u32>) {
        let session = self.slots[slot].session.as_mut().unwrap();
        if session.member != member {
            return;
        }
        let owned = session.owned();
        for phase in session.owned.values_mut() {
            *phase = Phase::Held;
        }
        self.note(|| format!("w{slot} has lost {owned:?}"));
        for partition in owned {
            self.feed(slot, Input::Lost { partition: Partition(partition) });
        }
        let Some(session) = self.slots[slot].session.as_mut() else { return };
        session.owned.clear();
        session.held = None;
        session.member = None;
        self.join(slot);
    }

    fn on_fetch(&mut self, slot: usize, partition: i32) {
        let session = self.slots[slot].session.as_mut().unwrap();
        session.fetching.remove(&partition);
        let Some(Phase::Reading { next }) = session.owned.get(&partition).copied() else { return };
        if session.paused.contains(&partition) {
            return;
        }
        let lane = &self.kafka.lanes[partition as usize];
        let is_open = slips(Slip::CommandsReadUncommitted);
        let stable = if is_open { lane.commands_end } else { lane.commands_stable() };
        let accounts = &self.plan.engine.accounts;
        let from = lane.commands.partition_point(|entry| entry.offset < next);
        let readable = lane.commands[from..]
            .iter()
            .filter(|entry| entry.offset < stable && (is_open || entry.fate == Fate::Committed));
        let commands: Vec<CommandRead> = readable
            .take(self.plan.fetch_max)
            .map(|entry| CommandRead {
                offset: Offset(entry.offset),
                content: content((slot, self.is_calm), &entry.item, |name| {
                    let place = accounts.iter().position(|account| &*account.name == name);
                    place.map(|place| place as u16)
                }),
            })
            .collect();
        let is_all = commands.len() < self.plan.fetch_max;
        let next = if is_all {
            stable.max(next)
        } else {
            commands.last().map_or(next, |command| command.offset.0 + 1)
        };
        session.owned.insert(partition, Phase::Reading { next });
        let epoch = session.epochs[&partition];
        let partition = Partition(partition);
        if !commands.is_empty() {
            self.feed(slot, Input::CommandsRead { partition, epoch, commands });
        }
        if is_all && self.slots[slot].session.is_some() {
            self.feed(slot, Input::CaughtUp { partition });
        }
        if let Some(mut session) = self.slots[slot].session.take() {
            if !is_all {
                self.ask_fetch(slot, &mut session, partition.0);
            }
            self.slots[slot].session = Some(session);
        }
    }

    /// One input, then all that follows from it; the process may die before any effect.
    pub(crate) fn feed(&mut self, slot: usize, input: Input) {
        let Some(mut session) = self.slots[slot].session.take() else { return };
        session.worker.handle(self.now_of(slot), input);
        while let Some(effect) = session.worker.next_effect() {
            if self.hits(Fault::CrashAtEffect) {
                self.note(|| format!("w{slot} dies before {}", name(&effect)));
                session.ended = Some(Ended::Crashed);
                break;
            }
            self.carry_out(slot, &mut session, effect);
        }
        match session.ended.take() {
            Some(ended) => self.end_session(slot, session, &ended),
            None => {
                self.schedule_wake(slot, &mut session);
                self.slots[slot].session = Some(session);
                if self.hits(Fault::FreezeAtEffect) {
                    self.play(slot, Fault::Freeze);
                }
            }
        }
    }

    fn schedule_wake(&mut self, slot: usize, session: &mut Session) {
        let Some(at) = session.worker.wake_at(self.now_of(slot)) else { return };
        // Timers of the runtime come a little late, never early.
        let slack = self.rng.random_range(0..1_000_000);
        let at = self.slots[slot].started.saturating_add(at.0 - 1).max(self.now) + slack;
        if session.wake.is_none_or(|wake| at < wake) {
            session.wake = Some(at);
            session.wake_token += 1;
            let message = Message::Wake(session.wake_token);
            self.at(at, Event::Inbox { slot, session: session.id, message });
        }
    }

    fn carry_out(&mut self, slot: usize, session: &mut Session, effect: Effect) {
        self.hash(&[self.now, slot as u64]);
        let id = session.id;
        match effect {
            Effect::ReadLedger { partition, epoch } => {
                self.hash(&[1, partition.0 as u64, epoch.0]);
                let wait = self.broker_wait();
                self.after(
                    wait,
                    Event::Broker(Request::ReadLedger {
                        slot,
                        session: id,
                        partition: partition.0,
                        epoch: epoch.0,
                        stage: Replay::Committed,
                    }),
                );
            }
            Effect::Start { partition, from, .. } => {
                self.hash(&[2, partition.0 as u64, from.0 as u64]);
                if session.owned.get(&partition.0) == Some(&Phase::Gated) {
                    // Beginning to read ends a pause, as it does in librdkafka's hands.
                    session.paused.remove(&partition.0);
                    session.owned.insert(partition.0, Phase::Reading { next: from.0 });
                    self.ask_fetch(slot, session, partition.0);
                }
            }
            Effect::Commit(contents) => {
                self.hash(&[3, contents.number, contents.outcomes.len() as u64]);
                self.begin_commit(slot, session, contents);
            }
            Effect::Submit(submit) => {
                self.hash(&[4, submit.call.0, submit.commands.len() as u64, submit.lease_until.0]);
                let (call, account) = (submit.call, submit.account);
                self.call(slot, id, HttpCall { call, account, what: What::Submit(submit) });
            }
            Effect::Poll { call, account, operation } => {
                self.hash(&[5, call.0]);
                self.call(slot, id, HttpCall { call, account, what: What::Poll(operation) });
            }
            Effect::Lookup { call, account, command } => {
                self.hash(&[6, call.0]);
                self.call(slot, id, HttpCall { call, account, what: What::Lookup(command) });
            }
            Effect::Pause(partitions) => {
                self.hash(&[7]);
                session.paused.extend(partitions.iter().map(|partition| partition.0));
            }
            Effect::Resume(partitions) => {
                self.hash(&[8]);
                for partition in partitions {
                    session.paused.remove(&partition.0);
                    self.ask_fetch(slot, session, partition.0);
                }
            }
            Effect::Release { partition } => {
                self.hash(&[9, partition.0 as u64]);
                self.release(slot, session, partition.0);
            }
            Effect::Drained => session.ended = Some(Ended::Drained),
        }
    }

    fn call(&mut self, slot: usize, session: u32, call: HttpCall) {
        let wait = self.rng.random_range(0..3_000_000);
        let incarnation = self.slots[slot].incarnation;
        self.after(wait, Event::Send { slot, incarnation, session, call });
    }

    /// The engine is done with a partition; the revocation is answered as a whole.
    fn release(&mut self, slot: usize, session: &mut Session, partition: i32) {
        let Some(held) = &mut session.held else { return };
        held.waiting.remove(&partition);
        if !held.waiting.is_empty() {
            return;
        }
        let Some(Held { revoked, added, .. }) = session.held.take() else { return };
        self.note(|| format!("w{slot} gives up {revoked:?}"));
        for partition in &revoked {
            session.owned.remove(partition);
        }
        let Some(member) = session.member else { return };
        let mut owned = session.owned();
        owned.extend(&added);
        if !added.is_empty() {
            self.tell(0, slot, session.id, Message::Added { member, added });
        }
        self.ask_to_join(slot, session, Some(member), owned);
    }

    /// A session is over: its consumer leaves the group, and another one begins.
    fn end_session(&mut self, slot: usize, session: Box<Session>, ended: &Ended) {
        let how = match ended {
            Ended::Broken(reason) => reason,
            Ended::Drained => "drained",
            Ended::Crashed => "crashed",
        };
        self.note(|| format!("w{slot} session {} ends: {how}", session.id));
        let lasted = self.now - session.began;
        let (id, static_members) = (session.id, self.plan.static_members);
        drop(session);
        if matches!(ended, Ended::Crashed) {
            return self.die(slot, id);
        }
        if let Some(member) = self.member_of(slot, id) {
            // A static member says nothing when it goes.
            if static_members {
                self.silence(member);
            } else {
                let wait = self.broker_wait();
                self.after(wait, Event::Broker(Request::Leave { member }));
            }
        }
        match ended {
            Ended::Drained => {
                let wait = millis(log_uniform(&mut self.rng, 100, 30_000));
                self.slots[slot].is_alive = false;
                self.start_process(slot, wait);
            }
            Ended::Broken(_) | Ended::Crashed => {
                let state = &mut self.slots[slot];
                if lasted > RESTART_CALM {
                    state.restart_wait = RESTART_WAIT.0;
                }
                let wait = millis(state.restart_wait);
                state.restart_wait = (state.restart_wait * 2).min(RESTART_WAIT.1);
                let incarnation = state.incarnation;
                self.checks.counts.event("sessions restored", how);
                self.after(wait, Event::Begin { slot, incarnation });
            }
        }
    }

    pub(crate) fn break_session(&mut self, slot: usize, reason: &'static str) {
        if let Some(session) = self.slots[slot].session.take() {
            self.end_session(slot, session, &Ended::Broken(reason));
        }
    }

    /// The process is gone; Kafka finds out by its silence.
    fn die(&mut self, slot: usize, session: u32) {
        self.slots[slot].session = None;
        self.slots[slot].is_alive = false;
        if let Some(member) = self.member_of(slot, session) {
            self.silence(member);
        }
        let wait = millis(log_uniform(&mut self.rng, 50, 60_000));
        self.start_process(slot, wait);
    }

    /// The session's name in the group, which it may not have heard of yet.
    pub(crate) fn member_of(&self, slot: usize, session: u32) -> Option<u32> {
        let mut members = self.kafka.group.members.iter();
        members.find(|(_, m)| m.slot == slot && m.session == session).map(|(name, _)| *name)
    }

    fn silence(&mut self, member: u32) {
        let now = self.now;
        if let Some(state) = self.kafka.group.members.get_mut(&member) {
            state.silent_since = Some(now);
            let timeout = nanos(self.plan.session_timeout);
            self.after(timeout, Event::MemberExpires { member, since: now });
        }
    }

    pub(crate) fn on_mischief(&mut self) {
        let kinds = [
            Fault::Crash,
            Fault::Freeze,
            Fault::CutOff,
            Fault::Rebalance,
            Fault::Drain,
            Fault::WallJump,
        ];
        let slot = self.rng.random_range(0..self.slots.len());
        let kind = kinds[self.rng.random_range(0..kinds.len())];
        let is_wanted = self.plan.rate(kind) > 0
            || (kind == Fault::WallJump && self.plan.rate(Fault::WildClock) > 0);
        if !self.is_calm {
            if is_wanted {
                self.count(kind);
                self.play(slot, kind);
            }
            self.next_mischief();
        }
    }

    fn play(&mut self, slot: usize, kind: Fault) {
        let session = self.slots[slot].session.as_ref().map(|session| session.id);
        let member = session.and_then(|session| self.member_of(slot, session));
        let is_silent = self.slots[slot].is_cut_off || self.slots[slot].frozen_until > self.now;
        match kind {
            Fault::Crash => {
                if let Some(session) = session {
                    self.note(|| format!("w{slot} is killed"));
                    self.die(slot, session);
                }
            }
            Fault::Freeze | Fault::CutOff if !is_silent => {
                let longest = 3 * self.plan.session_timeout.as_millis() as u64;
                let span = millis(log_uniform(&mut self.rng, 50, longest));
                self.note(|| format!("w{slot} {kind:?} for {:.3} s", span as f64 / 1e9));
                if kind == Fault::Freeze {
                    self.slots[slot].frozen_until = self.now + span;
                } else {
                    self.slots[slot].is_cut_off = true;
                }
                self.step_clock(slot);
                let incarnation = self.slots[slot].incarnation;
                if let Some(member) = member {
                    self.silence(member);
                }
                self.after(span, Event::Heard { slot, incarnation });
            }
            Fault::Rebalance => {
                self.note(|| "the group deals its partitions anew".into());
                self.kafka.group.shuffle = true;
                self.begin_round();
            }
            Fault::Drain => {
                let draining = self.slots[slot]
                    .session
                    .as_mut()
                    .map(|session| std::mem::replace(&mut session.draining, true));
                if draining == Some(false) {
                    self.note(|| format!("w{slot} is asked to end"));
                    self.feed(slot, Input::DrainRequested);
                }
            }
            Fault::WallJump => self.set_clock(slot),
            _ => {}
        }
    }

    /// A machine that stands still has its clock set now and then.
    pub(crate) fn step_clock(&mut self, slot: usize) {
        let may_jump = self.plan.rate(Fault::WallJump) > 0 && !self.is_calm;
        if self.rng.random_bool(0.5) && may_jump {
            self.count(Fault::WallJump);
            self.set_clock(slot);
        }
    }

    fn set_clock(&mut self, slot: usize) {
        let error = self.draw_wall_error();
        self.note(|| format!("w{slot} wall clock is off by {:.3} s", error as f64 / 1e9));
        self.slots[slot].wall_error = error;
    }

    /// A worker is heard again: if its member was given up meanwhile, it learns of that.
    pub(crate) fn on_heard(&mut self, slot: usize, incarnation: u32) {
        if self.slots[slot].incarnation != incarnation {
            return;
        }
        self.slots[slot].is_cut_off = false;
        let Some(session) = &self.slots[slot].session else { return };
        // Its request to join arrived, and the member that it made is there no longer.
        let is_unanswered = session.is_joining && session.asked_until < self.now;
        let (session, known) = (session.id, session.member);
        let joining = self.kafka.group.joining;
        if let Some(member) = self.member_of(slot, session) {
            let Some(state) = self.kafka.group.members.get_mut(&member) else { return };
            state.silent_since = None;
            if joining && !state.joined {
                self.tell_member_after(millis(1), slot, session, Message::Rebalancing { member });
            }
        } else if let Some(member) = known {
            self.tell_lost(member, slot);
        } else if is_unanswered {
            self.join(slot);
        }
    }
}

/// What a worker makes of a record; it is told who it is, and whether all is put right.
fn content(
    (slot, is_calm): (usize, bool),
    item: &Item,
    account: impl Fn(&str) -> Option<u16>,
) -> CommandContent {
    let (command, purpose) = match item {
        Item::Foreign(_, record) => return CommandContent::Foreign(Arc::clone(record)),
        Item::Held(_, Hold::Newer) if !is_calm && slot.is_multiple_of(2) => {
            return CommandContent::Newer { version: 3, known: 2 };
        }
        Item::Held(command, Hold::Elsewhere) if !is_calm => (command, Some(elsewhere())),
        Item::Command(command) | Item::Held(command, _) => (command, None),
    };
    CommandContent::Command {
        facts: command.facts().unwrap(),
        account: account(&command.account),
        packed: PackedCommand::pack(command),
        purpose,
    }
}

impl World {
    /// Kills every process that works; each starts anew.
    pub(crate) fn restart_all(&mut self) {
        for slot in 0..self.slots.len() {
            if let Some(session) = self.slots[slot].session.as_ref().map(|session| session.id) {
                self.die(slot, session);
            }
        }
    }
}

fn elsewhere() -> Arc<Purpose> {
    let installation = crate::plan::installation();
    let (endpoint, group) = (installation.endpoint, installation.group);
    Arc::new(Purpose { endpoint, partner: "222".into(), group })
}

fn name(effect: &Effect) -> String {
    let text = format!("{effect:?}");
    text.chars().take_while(|c| c.is_alphanumeric()).collect()
}
