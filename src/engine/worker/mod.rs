//! The root machine: sole owner of the state, sole writer of effects.
//!
//! After every input it does its upkeep: timers that are due, calls that the quota grants,
//! partitions to pause or resume, the next transaction. Its parts: `lanes` (partitions come and
//! go), `admit` (commands come in), `calls` (what goes out), `answers` and `lookups` (what comes
//! back), `refusals` (what the API refuses), `suspects` and `refused` (which device is at fault),
//! `retries` (what is sent again), `verdicts` (outcomes),
//! `commits` (transactions), `heads` (what holds the lanes), `trail` (what is logged of all that).

mod admit;
mod answers;
mod calls;
mod commits;
mod heads;
mod lanes;
mod lookups;
mod refusals;
mod refused;
mod retries;
mod suspects;
mod trail;
mod verdicts;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::model::Partition;

use super::account::{Account, AccountIx};
use super::batch::{Batch, BatchIx};
use super::commit::Commit;
use super::lane::{Lane, LanePhase};
use super::mutant::{self, Mutant};
use super::report::{AccountReport, LaneReport, Report};
use super::slots::{SlotRef, Slots};
use super::suspicion::{Refusal, RefusalIx, Suspicion};
use super::{CallNumber, Effect, Input, Mono, Now, Options};

use calls::Call;
use lookups::Question;

/// What happens when a time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// Ask for the batch's operation.
    Poll(BatchIx),
    /// Intend the batch once more.
    Resend(BatchIx),
    /// The command may be sent again.
    Retry(SlotRef),
    /// The device may be looked up again.
    Lookup(SlotRef),
    /// A revoked lane has waited long enough for answers.
    Release(Partition),
}

/// The engine.
#[derive(Debug)]
pub struct Worker {
    options: Options,
    accounts: Vec<Account>,
    lanes: BTreeMap<Partition, Lane>,
    slots: Slots,
    batches: BTreeMap<BatchIx, Batch>,
    batch_next: u32,
    calls: BTreeMap<CallNumber, Call>,
    call_next: u64,
    /// Why commands are being looked up.
    questions: BTreeMap<SlotRef, (Question, Suspicion)>,
    timers: BTreeSet<(Mono, Timer)>,
    /// Batches whose devices are looked up one by one, of which something has changed.
    apart: BTreeSet<BatchIx>,
    refusals: BTreeMap<RefusalIx, Refusal>,
    refusal_next: u64,
    refusals_changed: BTreeSet<RefusalIx>,
    /// Refusals logged lately: since when, and how many.
    refusals_told: (Mono, u32),
    /// Unclaims that are sent by the API's own id of their device, since it knows no other.
    by_id: BTreeMap<SlotRef, Box<str>>,
    commit: Commit,
    effects: VecDeque<Effect>,
    /// Commands that became the first of their devices and are to be activated.
    moved_up: VecDeque<SlotRef>,
    rng: ChaCha8Rng,
    paused: bool,
    draining: bool,
    drained: bool,
    folded: u64,
    lost_answers: u64,
    retried: u64,
    split: u64,
    set_aside: u64,
}

impl Worker {
    /// A worker without lanes.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let accounts = options.accounts.iter();
        let accounts = accounts.map(|one| Account::new(one).of(options.purpose(&one.partner_id)));
        Self {
            accounts: accounts.collect(),
            rng: ChaCha8Rng::seed_from_u64(options.seed),
            options,
            lanes: BTreeMap::new(),
            slots: Slots::default(),
            batches: BTreeMap::new(),
            batch_next: 0,
            calls: BTreeMap::new(),
            call_next: 0,
            questions: BTreeMap::new(),
            timers: BTreeSet::new(),
            apart: BTreeSet::new(),
            refusals: BTreeMap::new(),
            refusal_next: 0,
            refusals_changed: BTreeSet::new(),
            refusals_told: (Mono::default(), 0),
            by_id: BTreeMap::new(),
            commit: Commit::default(),
            effects: VecDeque::new(),
            moved_up: VecDeque::new(),
            paused: false,
            draining: false,
            drained: false,
            folded: 0,
            lost_answers: 0,
            retried: 0,
            split: 0,
            set_aside: 0,
        }
    }

    /// Takes one input and does what follows from it.
    pub fn handle(&mut self, now: Now, input: Input) {
        match input {
            Input::Assigned { partition, epoch } => self.on_assigned(now, partition, epoch),
            Input::LedgerRead { partition, epoch, committed, log, records } => {
                self.on_ledger_read(now, (partition, epoch), (committed, log), records);
            }
            Input::CommandsRead { partition, epoch, commands } => {
                self.on_commands_read(now, (partition, epoch), commands);
            }
            Input::CaughtUp { partition } => {
                if let Some(lane) = self.lanes.get_mut(&partition) {
                    lane.is_behind = false;
                }
            }
            Input::Revoked { partition } => self.on_revoked(now, partition),
            Input::Lost { partition } => self.on_lost(now, partition),
            Input::Committed { transaction } => self.on_committed(now, transaction),
            Input::Aborted { transaction } => self.on_aborted(now, transaction),
            Input::Submitted { call, result } => self.on_submitted(now, call, result),
            Input::Polled { call, result } => self.on_polled(now, call, result),
            Input::LookedUp { call, result } => self.on_looked_up(now, call, result),
            Input::TimePassed => {}
            Input::AccountPaused { account, paused } => {
                if let Some(account) = self.accounts.get_mut(usize::from(account)) {
                    account.paused = paused;
                }
            }
            Input::DrainRequested => self.draining = true,
        }
        self.upkeep(now);
    }

    /// The next thing to do; carry out all of them before the next input.
    pub fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When to send [`Input::TimePassed`] if nothing else happens before.
    #[must_use]
    pub fn wake_at(&mut self, now: Now) -> Option<Mono> {
        let timer = self.timers.first().map(|(at, _)| *at);
        let retry = (self.commit.running.is_none() && self.commit.is_due())
            .then_some(self.commit.retry_at)
            .filter(|at| *at > now.mono);
        let call = if self.draining { None } else { self.next_call(now) };
        [timer, retry, call].into_iter().flatten().min()
    }

    /// A snapshot for people and metrics.
    #[must_use]
    pub fn report(&self) -> Report {
        Report {
            commands: self.slots.len(),
            command_bytes: self.slots.bytes(),
            paused: self.paused,
            folded: self.folded,
            lost_answers: self.lost_answers,
            retried: self.retried,
            split: self.split,
            set_aside: self.set_aside,
            lanes: self
                .lanes
                .iter()
                .map(|(partition, lane)| lane_report(*partition, lane))
                .collect(),
            accounts: self.accounts.iter().map(account_report).collect(),
        }
    }

    fn upkeep(&mut self, now: Now) {
        self.fire_timers(now);
        self.review_apart(now);
        self.review_refusals(now);
        self.activate_moved_up(now);
        for account in &mut self.accounts {
            account.note_wait_over(now.mono);
        }
        if !self.draining {
            for account in 0..self.accounts.len() {
                self.make_calls(now, AccountIx(u16::try_from(account).unwrap_or(u16::MAX)));
            }
        }
        self.pause_or_resume();
        self.begin_transaction(now);
        for lane in self.lanes.values_mut() {
            lane.note_head(now.mono);
        }
        self.release_closed(now);
        self.finish_draining();
    }

    fn fire_timers(&mut self, now: Now) {
        while let Some((at, timer)) = self.timers.first().copied() {
            if at > now.mono {
                break;
            }
            self.timers.pop_first();
            match timer {
                Timer::Poll(batch) => self.on_poll_due(now, batch),
                Timer::Resend(batch) => self.on_resend_due(now, batch),
                Timer::Retry(command) => self.on_retry_due(now, command),
                Timer::Lookup(command) => self.queue_lookup(command),
                // Upkeep does it.
                Timer::Release(_) => {}
            }
        }
    }

    /// Holds I8: past a bound no partition is read; reading goes on once a quarter is free again,
    /// so that it does not flutter.
    ///
    /// A lane whose restored batches wait for their commands is read in any case: those batches
    /// hold places among the operations, so what fills the memory might wait for them. That adds
    /// no more than the last owner had in memory.
    fn pause_or_resume(&mut self) {
        // What waits for its transaction counts too: it is in memory all the same.
        let commands = self.slots.len() + self.commit.waiting();
        let bytes = self.slots.bytes() + self.commit.waiting_bytes();
        let (commands_max, bytes_max) = (self.options.commands_max, self.options.command_bytes_max);
        let lanes = self.lanes.iter().filter(|(_, lane)| !lane.is_stopped());
        let live = lanes.map(|(partition, _)| *partition).collect();
        if !self.paused && (commands >= commands_max || bytes >= bytes_max) {
            self.paused = true;
            let lanes = self.lanes.iter().filter(|(_, lane)| !lane.restore.is_waiting());
            let lanes = lanes.map(|(partition, _)| *partition).collect();
            self.effects.push_back(Effect::Pause(lanes));
        } else if self.paused && commands <= commands_max / 4 * 3 && bytes <= bytes_max / 4 * 3 {
            if mutant::is(Mutant::PausedForEver) {
                return;
            }
            self.paused = false;
            self.effects.push_back(Effect::Resume(live));
            for (partition, lane) in &mut self.lanes {
                if let Some(from) = lane.start_from.take() {
                    let (partition, epoch) = (*partition, lane.epoch);
                    self.effects.push_back(Effect::Start { partition, epoch, from });
                }
            }
        }
    }

    fn finish_draining(&mut self) {
        let submitting = || self.accounts.iter().any(|account| account.is_submitting());
        if self.draining
            && !self.drained
            && self.commit.running.is_none()
            && !self.commit.is_due()
            && !submitting()
        {
            self.drained = true;
            self.effects.push_back(Effect::Drained);
        }
    }
}

fn lane_report(partition: Partition, lane: &Lane) -> LaneReport {
    let (phase, reason) = match &lane.phase {
        LanePhase::Recovering => ("recovering", None),
        LanePhase::Live => ("live", None),
        LanePhase::Stopped(reason) => ("stopped", Some(reason.clone())),
        LanePhase::Closing => ("closing", None),
    };
    LaneReport {
        partition: partition.0,
        phase,
        reason,
        watermark: lane.watermark.position().0,
        position: lane.watermark.read_position().0,
        devices: lane.devices.len(),
        pending: lane.watermark.len(),
    }
}

fn account_report(account: &Account) -> AccountReport {
    let [claims, unclaims, updates] = &account.batchers;
    AccountReport {
        name: account.name.clone(),
        ready: [claims.len(), unclaims.len(), updates.len()],
        batches: account.batches,
        lookups: account.lookups.len() + account.lookups_running,
        quota_tokens: account.quota.tokens(),
        quota_wait_seconds: account.starved_before.as_secs_f64(),
        paused: account.paused,
        refused_because: account.refused_because(),
        suspects: account.aside,
        waiting_since: account.asked_to_wait.map(|wait| wait.since_at),
        waiting_until: account.asked_to_wait.map(|wait| wait.until_at),
    }
}
