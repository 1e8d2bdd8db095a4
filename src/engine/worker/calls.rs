//! What goes out: polls first, then batches to be repeated, then new batches and lookups by turns,
//! each for a token of its account's quota.

use std::collections::BTreeMap;

use rand::RngExt;
use uuid::{Builder, Uuid};

use crate::engine::account::{AccountIx, Kind};
use crate::engine::batch::{Batch, BatchIx, Phase, RECORD_OFFSETS_MAX};
use crate::engine::batcher::{Batcher, Take};
use crate::engine::mutant::{self, Mutant};
use crate::engine::slots::{SlotRef, Stage};
use crate::engine::{CallNumber, Effect, Mono, Now, Submit};
use crate::model::{Action, BatchId, Identifiers, PackedCommand};

use super::Worker;

/// What an answer will be about.
#[derive(Clone, Copy, Debug)]
pub(super) enum Call {
    Submit(BatchIx),
    Poll(BatchIx),
    Lookup(AccountIx, SlotRef),
}

impl Call {
    pub(super) const fn kind(self) -> Kind {
        match self {
            Self::Submit(_) => Kind::Submit,
            Self::Poll(_) => Kind::Poll,
            Self::Lookup(..) => Kind::Lookup,
        }
    }
}

impl Worker {
    pub(super) fn make_calls(&mut self, now: Now, account: AccountIx) {
        self.make_polls(now, account);
        self.make_resends(now, account);
        // Whether the account is at fault is best learnt from what nothing speaks against.
        if self.account(account).doubts == 0 {
            self.make_probes(now, account);
        }
        self.make_others(now, account);
        self.make_probes(now, account);
    }

    /// New batches and lookups, by turns.
    fn make_others(&mut self, now: Now, account: AccountIx) {
        loop {
            let batch = self.due_batcher(now.mono, account);
            let lookup = self.has_lookup(account);
            let state = self.account(account);
            let batch = batch.filter(|_| state.may_call(now.mono, Kind::Submit));
            let lookup = lookup && state.may_call(now.mono, Kind::Lookup);
            let lookup_first = lookup && (batch.is_none() || state.lookup_turn);
            let kind = if lookup_first { Kind::Lookup } else { Kind::Submit };
            let is_waiting = batch.is_some() || lookup;
            if !is_waiting || !state.grant(now.mono, kind) {
                self.note_starved(now.mono, account, is_waiting);
                return;
            }
            state.lookup_turn = !lookup_first;
            match batch {
                Some(action) if !lookup_first => self.close_batch(now, account, action),
                Some(_) | None => self.make_lookup(account),
            }
        }
    }

    /// Whether the quota, and nothing else, holds back a call: one of those at hand, a poll, or
    /// a batch to be repeated.
    fn note_starved(&mut self, now: Mono, account: AccountIx, is_waiting: bool) {
        let resend = self.may_resend(account);
        let state = self.account(account);
        let poll = !state.polls.is_empty() && state.may_call(now, Kind::Poll);
        let resend = resend && state.may_call(now, Kind::Submit);
        state.note_starved(now, is_waiting || poll || resend);
    }

    /// When an account's next call could go out.
    pub(super) fn next_call(&mut self, now: Now) -> Option<Mono> {
        (0..self.accounts.len())
            .filter_map(|ix| self.next_call_of(now, AccountIx(u16::try_from(ix).ok()?)))
            .min()
    }

    fn next_call_of(&mut self, now: Now, account: AccountIx) -> Option<Mono> {
        let lookup = self.has_lookup(account).then_some(now.mono);
        let resend = self.may_resend(account).then_some(now.mono);
        let may_probe = self.may_probe(account);
        let more_to_come = self.more_to_come(account);
        let options = &self.options;
        let state = &mut self.accounts[usize::from(account.0)];
        let poll = (!state.polls.is_empty()).then_some(now.mono);
        let has_room = state.places() < options.operations_max && !state.paused;
        let scarcity = state.quota.scarcity(now.mono);
        let due = |batcher: &Batcher| batcher.due(options, more_to_come, scarcity);
        let dues = state.batchers.iter().filter_map(due);
        let batch = dues.min().filter(|_| has_room).map(|due| due.max(state.batches_after));
        let submit = resend.or(batch);
        let due = [(Kind::Submit, submit), (Kind::Poll, poll), (Kind::Lookup, lookup)]
            .into_iter()
            .filter_map(|(kind, due)| Some(due?.max(state.refused_until(kind))))
            .min();
        let due = due.map(|due| due.max(state.quota.next_grant(now.mono)));
        let probe = may_probe.then(|| state.quota.next_probe(now.mono));
        let probe = probe.map(|due| due.max(state.refused_until(Kind::Submit)));
        due.into_iter().chain(probe).min()
    }

    fn make_polls(&mut self, now: Now, account: AccountIx) {
        while let Some(ix) = self.account(account).polls.front().copied() {
            let operation = self
                .batches
                .get(&ix)
                .filter(|batch| batch.phase == Phase::Polling)
                .and_then(|batch| batch.operation.clone());
            if operation.is_some() && !self.account(account).grant(now.mono, Kind::Poll) {
                return;
            }
            self.account(account).polls.pop_front();
            if let Some(operation) = operation {
                let call = self.number_call(Call::Poll(ix));
                self.effects.push_back(Effect::Poll { call, account: account.0, operation });
            }
        }
    }

    fn make_resends(&mut self, now: Now, account: AccountIx) {
        while self.may_resend(account) && self.account(account).grant(now.mono, Kind::Submit) {
            if let Some(ix) = self.account(account).resends.pop_front()
                && !self.looks_again(now.mono, ix)
            {
                self.intend(now, ix);
            }
        }
    }

    /// Whether the first batch to be repeated is still there and its action has no submit under
    /// way.
    fn may_resend(&mut self, account: AccountIx) -> bool {
        if self.account(account).paused {
            return false;
        }
        while let Some(ix) = self.account(account).resends.front().copied() {
            match self.batches.get(&ix).map(|batch| (batch.phase, batch.action)) {
                Some((Phase::Waiting, action)) => {
                    return self.account(account).batcher(action).submitting.is_none();
                }
                _ => self.account(account).resends.pop_front(),
            };
        }
        false
    }

    /// Of the actions whose batch is due, the one that has waited for longest: full batches of
    /// one action do not starve the others.
    fn due_batcher(&mut self, now: Mono, account: AccountIx) -> Option<Action> {
        let more_to_come = self.more_to_come(account);
        let state = &mut self.accounts[usize::from(account.0)];
        let is_full = state.places() >= self.options.operations_max;
        if is_full || state.paused || now < state.batches_after {
            return None;
        }
        let scarcity = state.quota.scarcity(now);
        let due = |batcher: &Batcher| batcher.due(&self.options, more_to_come, scarcity);
        let batchers = Action::ALL.iter().zip(&state.batchers);
        batchers
            .filter(|(_, batcher)| due(batcher).is_some_and(|due| due <= now))
            .min_by_key(|(_, batcher)| batcher.first())
            .map(|(action, _)| *action)
    }

    /// Whether commands are known to be on their way to the batchers: unread in a partition, or
    /// being looked up, since each lookup lets one or two of them go.
    fn more_to_come(&self, account: AccountIx) -> bool {
        let state = &self.accounts[usize::from(account.0)];
        let is_behind = || self.lanes.values().any(|lane| lane.is_behind) && !self.paused;
        state.lookups_running > 0 || !state.lookups.is_empty() || is_behind()
    }

    fn close_batch(&mut self, now: Now, account: AccountIx, action: Action) {
        let (slots, items_max) = (&self.slots, self.options.batch_items_max);
        let mut offsets = BTreeMap::new();
        let take = |name: SlotRef| {
            let Some(ix) = slots.get(name).filter(|ix| slots[*ix].stage == Stage::Ready) else {
                return Take::Never;
            };
            let in_lane = offsets.entry(slots[ix].lane).or_insert(0);
            *in_lane += slots[ix].offsets();
            if *in_lane <= RECORD_OFFSETS_MAX { Take::Now } else { Take::Later }
        };
        let state = &mut self.accounts[usize::from(account.0)];
        let items = state.batcher(action).close(now.mono, items_max, take);
        let ix = self.new_batch(now, account, action, items);
        self.intend(now, ix);
    }

    /// Puts commands, which are in no batch, into a new one.
    pub(super) fn new_batch(
        &mut self,
        now: Now,
        account: AccountIx,
        action: Action,
        items: Vec<SlotRef>,
    ) -> BatchIx {
        let ix = self.number_batch();
        let id = BatchId(self.random_id());
        let mut batch = Batch::new(id, (account, action), now, &self.options);
        for name in &items {
            self.leave_deferral(name.ix);
            let slot = &mut self.slots[name.ix];
            (slot.stage, slot.batch) = (Stage::InBatch, ix);
            let part = batch.lanes.entry(slot.lane).or_default();
            self.slots.add_to(part, name.ix);
        }
        self.account(account).batches += 1;
        (batch.waiting, batch.items) = (items.len(), items);
        self.tell_batch(&batch, "a batch begins");
        self.batches.insert(ix, batch);
        ix
    }

    /// Begins a lease: the call follows once this intent has committed.
    pub(super) fn intend(&mut self, now: Now, ix: BatchIx) {
        let (deadline, deadline_at) = (
            now.mono + self.options.operation_deadline,
            now.wall_after(self.options.operation_deadline),
        );
        let Some(batch) = self.batches.get_mut(&ix) else { return };
        batch.phase = Phase::Intending;
        (batch.intended, batch.intended_at) = (now.mono, now.wall);
        if batch.sends == 0 || !mutant::is(Mutant::DeadlineKept) {
            (batch.deadline, batch.deadline_at) = (deadline, deadline_at);
        }
        self.commit.dirty.extend(batch.lanes.keys().map(|lane| (*lane, ix)));
        if !batch.is_probe {
            let state = &mut self.accounts[usize::from(batch.account.0)];
            state.batcher(batch.action).submitting = Some(ix);
        }
    }

    /// Makes the call of a batch. Its only caller holds the proof that the intent whose lease
    /// began at `began` has committed (I5).
    pub(super) fn submit(&mut self, now: Now, ix: BatchIx, began: Mono) {
        let Some(batch) = self.batches.get_mut(&ix) else { return };
        if batch.phase != Phase::Intending || batch.intended != began {
            return;
        }
        let began = if mutant::is(Mutant::LeaseFromAcknowledgement) { now.mono } else { began };
        let mut lease_until = began + self.options.lease;
        if mutant::is(Mutant::LeaseByWallClock) {
            lease_until = now.mono + now.until(batch.intended_at + self.options.lease);
        }
        if now.mono >= lease_until {
            tracing::warn!(batch = %batch.id, "an intent outlasted its lease; intended anew");
            return self.intend(now, ix);
        }
        let slots = &self.slots;
        batch.items.retain(|name| slots.get(*name).is_some());
        if batch.items.is_empty() {
            return self.finish_batch(ix);
        }
        let by_id = &self.by_id;
        let command = |name: &SlotRef| match by_id.get(name) {
            Some(id) => named_by_id(&slots[name.ix].packed, id),
            None => slots[name.ix].packed.clone(),
        };
        let commands = batch.items.iter().map(command).collect();
        batch.phase = Phase::Submitting;
        (batch.submitted, batch.submitted_at) = (now.mono, Some(now.wall));
        let (account, action) = (batch.account.0, batch.action);
        let call = self.number_call(Call::Submit(ix));
        let submit = Submit { call, account, action, lease_until, commands };
        self.effects.push_back(Effect::Submit(submit));
    }

    /// No item is left in a batch: it counts no longer, and stays only for the ledger.
    pub(super) fn finish_batch(&mut self, ix: BatchIx) {
        let Some(batch) = self.batches.get_mut(&ix) else { return };
        if batch.phase == Phase::Finished {
            return;
        }
        batch.phase = Phase::Finished;
        self.end_probe(ix);
        self.set_suspect(ix, false);
        self.leave_refusal(ix, false);
        let Some(batch) = self.batches.get_mut(&ix) else { return };
        let state = &mut self.accounts[usize::from(batch.account.0)];
        state.batches -= usize::from(!batch.is_deferral);
        let batcher = state.batcher(batch.action);
        if batcher.submitting == Some(ix) {
            batcher.submitting = None;
        }
        self.commit.dirty.extend(batch.lanes.keys().map(|lane| (*lane, ix)));
        batch.items = Vec::new();
        if let Some(batch) = self.batches.get(&ix) {
            self.tell_finished(batch);
        }
    }

    pub(super) fn account(&mut self, account: AccountIx) -> &mut crate::engine::account::Account {
        &mut self.accounts[usize::from(account.0)]
    }

    pub(super) fn account_named(&self, name: &str) -> Option<AccountIx> {
        let place = self.accounts.iter().position(|account| &*account.name == name)?;
        u16::try_from(place).ok().map(AccountIx)
    }

    pub(super) fn number_batch(&mut self) -> BatchIx {
        let ix = BatchIx(self.batch_next);
        self.batch_next = self.batch_next.wrapping_add(1) % BatchIx::NONE.0;
        ix
    }

    pub(super) fn number_call(&mut self, call: Call) -> CallNumber {
        let number = CallNumber(self.call_next);
        self.call_next += 1;
        self.calls.insert(number, call);
        self.tell_call(number.0, call);
        number
    }

    pub(super) fn random_id(&mut self) -> Uuid {
        Builder::from_random_bytes(self.rng.random()).into_uuid()
    }
}

/// The command as a call makes it that names the device by the API's own id alone.
fn named_by_id(packed: &PackedCommand, id: &str) -> PackedCommand {
    let mut command = packed.unpack();
    command.device = Identifiers::default();
    command.device_id = Some(id.to_owned());
    PackedCommand::pack(&command)
}
