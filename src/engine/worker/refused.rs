//! A refusal of a call as a whole: which of its devices does it mean?
//!
//! What it names is believed. Else the batch is halved until the commands at fault stand alone. If
//! all parts are refused in the same words, and so are a number of devices each alone, it is the
//! shape of the requests, and what remains gets the same verdict without a call of its own: a batch
//! of a thousand devices costs some tens of calls then, not two thousand.

use std::collections::BTreeSet;

use crate::engine::Now;
use crate::engine::account::AccountIx;
use crate::engine::batch::{BatchIx, Phase};
use crate::engine::slots::{SlotIx, SlotRef};
use crate::engine::suspicion::{
    NAMED_ROUNDS_MAX, Refusal, RefusalIx, SHAPE_DEPTH, SHAPE_MIN, SHAPE_SINGLES,
};
use crate::model::{Action, DeviceFault, Named, Status};

use super::Worker;
use super::answers::{failure, needs_lookup};
use super::lookups::{Question, Why};

impl Worker {
    /// The API refused the call of a batch.
    pub(super) fn on_refused(&mut self, now: Now, ix: BatchIx, fault: &DeviceFault, named: &Named) {
        let Some(batch) = self.batches.get_mut(&ix) else { return };
        batch.sends = batch.sends.saturating_add(1);
        let slots = &self.slots;
        let mut items = std::mem::take(&mut batch.items);
        // Places count in what was sent.
        let is_named = |(place, name): (usize, &SlotRef)| {
            let device = slots.get(*name).map(|ix| slots[ix].facts.device);
            named.items.contains(&place)
                || device.is_some_and(|device| named.devices.contains(&device))
        };
        let meant: BTreeSet<SlotRef> = if items.len() > 1 {
            items.iter().enumerate().filter(|item| is_named(*item)).map(|(_, name)| *name).collect()
        } else {
            items.iter().copied().collect()
        };
        items.retain(|name| slots.get(*name).is_some());
        let refusal = self.refusal_of(ix, fault, items.len());
        let Some(state) = self.refusals.get_mut(&refusal) else { return };
        state.is_mixed |= !state.says(fault);
        let is_alone = items.len() == 1;
        if !meant.is_empty() && (is_alone || state.named < NAMED_ROUNDS_MAX) {
            state.named += 1;
            return self.set_aside(now, ix, fault, items, &meant);
        }
        let batch = self.batches.get_mut(&ix);
        let depth = batch.as_ref().map_or(0, |batch| batch.depth);
        let is_ambiguous = batch.as_ref().is_some_and(|batch| batch.ambiguous);
        if let Some(batch) = batch {
            batch.items = items;
        }
        let Some(state) = self.refusals.get_mut(&refusal) else { return };
        let may_be_shape = state.devices >= SHAPE_MIN && !state.is_mixed && !is_ambiguous;
        if may_be_shape && depth >= SHAPE_DEPTH {
            state.parked.insert(ix);
            self.with_phase(ix, Phase::Waiting);
            self.refusals_changed.insert(refusal);
        } else {
            self.split_evenly(now, ix, 2);
        }
    }

    fn with_phase(&mut self, ix: BatchIx, phase: Phase) {
        if let Some(batch) = self.batches.get_mut(&ix) {
            batch.phase = phase;
        }
    }

    fn refusal_of(&mut self, ix: BatchIx, fault: &DeviceFault, devices: usize) -> RefusalIx {
        if let Some(known) = self.batches.get(&ix).and_then(|batch| batch.refusal)
            && self.refusals.contains_key(&known)
        {
            return known;
        }
        self.refusal_next += 1;
        let refusal = RefusalIx(self.refusal_next);
        let kind = self.batches.get(&ix).map(|batch| (batch.account, batch.action));
        let kind = kind.unwrap_or((AccountIx(0), Action::Claim));
        let mut state = Refusal::new(kind, fault.clone(), devices);
        state.parts.insert(ix);
        self.refusals.insert(refusal, state);
        if let Some(batch) = self.batches.get_mut(&ix) {
            batch.refusal = Some(refusal);
        }
        refusal
    }

    /// These devices of a batch are at fault; the others go on in a batch of their own.
    fn set_aside(
        &mut self,
        now: Now,
        ix: BatchIx,
        fault: &DeviceFault,
        items: Vec<SlotRef>,
        meant: &BTreeSet<SlotRef>,
    ) {
        self.with_phase(ix, Phase::Settling);
        let (meant, others): (Vec<SlotRef>, Vec<SlotRef>) =
            items.into_iter().partition(|name| meant.contains(name));
        if !others.is_empty() {
            self.split_off(now, ix, others);
        }
        for name in meant {
            self.refuse_device(now, name.ix, fault);
        }
    }

    fn split_off(&mut self, now: Now, ix: BatchIx, others: Vec<SlotRef>) {
        let Some(batch) = self.batches.get(&ix) else { return };
        let (account, action, refusal) = (batch.account, batch.action, batch.refusal);
        let (ambiguous, looked, depth) = (batch.ambiguous, batch.looked, batch.depth);
        let (suspicion, sends) = (batch.suspicion.of_part(), batch.sends);
        let part = self.new_batch(now, account, action, others);
        if let Some(batch) = self.batches.get_mut(&part) {
            (batch.ambiguous, batch.sends) = (ambiguous, if ambiguous { sends } else { 0 });
            (batch.looked, batch.refusal, batch.depth) = (looked, refusal, depth);
            batch.suspicion = suspicion;
            self.commit.dirty.extend(batch.lanes.keys().map(|lane| (*lane, part)));
        }
        if let Some(refusal) = refusal.and_then(|refusal| self.refusals.get_mut(&refusal)) {
            refusal.parts.insert(part);
        }
        self.set_suspect(part, true);
        self.account(account).suspects.push_back(part);
    }

    /// A device is refused alone. What a claim wants may hold already, whatever the API said.
    fn refuse_device(&mut self, now: Now, ix: SlotIx, fault: &DeviceFault) {
        let batch = self.batches.get(&self.slots[ix].batch);
        let (is_ambiguous, action) =
            batch.map_or((true, self.slots[ix].call), |batch| (batch.ambiguous, batch.action));
        if is_ambiguous || action == Action::Claim || needs_lookup(action, fault) {
            return self.ask(ix, Question::verify(Why::Failed(Box::new(fault.clone()))));
        }
        self.decide(now, ix, Status::Failed, Some(failure(fault)), None);
    }

    /// A device of a refused batch is decided.
    pub(super) fn note_refused(&mut self, batch: BatchIx, ix: SlotIx, status: Status) {
        let Some(refusal) = self.batches.get(&batch).and_then(|batch| batch.refusal) else {
            return;
        };
        let Some(state) = self.refusals.get_mut(&refusal) else { return };
        let slot = &self.slots[ix];
        if status == Status::Failed {
            state.refused += 1;
            state.orders.insert(slot.facts.order);
            if state.first.is_none() {
                let command = slot.packed.unpack();
                let device = command.device_key().map(|key| key.to_string());
                state.first = Some((command.order_id, device));
            }
        } else {
            // It holds already, so it is not the shape that the API refuses.
            state.is_mixed = true;
        }
        self.refusals_changed.insert(refusal);
    }

    /// A batch has no part in its refusal any more: it was accepted, or is done.
    pub(super) fn leave_refusal(&mut self, ix: BatchIx, is_accepted: bool) {
        let Some(batch) = self.batches.get_mut(&ix) else { return };
        let Some(refusal) = batch.refusal.take() else { return };
        if let Some(state) = self.refusals.get_mut(&refusal) {
            state.parts.remove(&ix);
            state.parked.remove(&ix);
            state.is_mixed |= is_accepted;
            self.refusals_changed.insert(refusal);
        }
    }

    /// Goes on with refusals of which something has become known.
    pub(super) fn review_refusals(&mut self, now: Now) {
        while let Some(refusal) = self.refusals_changed.pop_first() {
            let Some(state) = self.refusals.get_mut(&refusal) else { continue };
            if state.parts.is_empty() {
                if let Some(state) = self.refusals.remove(&refusal) {
                    self.tell_refusal(now, &state);
                }
            } else if state.parked.is_empty() {
                // Halving goes on.
            } else if state.is_mixed {
                for ix in std::mem::take(&mut state.parked) {
                    self.split_evenly(now, ix, 2);
                }
            } else if state.parked.len() < state.parts.len() {
                // Others of it are not answered yet.
            } else if std::mem::replace(&mut state.is_sampled, true) {
                if state.refused < SHAPE_SINGLES / 2 {
                    // They went on in some other way.
                    state.is_mixed = true;
                    self.refusals_changed.insert(refusal);
                } else {
                    self.condemn(now, refusal);
                }
            } else {
                self.sample(now, refusal);
            }
        }
    }

    /// Takes devices out of the parked batches, to be sent one by one: of each order one, then
    /// evenly.
    fn sample(&mut self, now: Now, refusal: RefusalIx) {
        let Some(state) = self.refusals.get_mut(&refusal) else { return };
        let parked = std::mem::take(&mut state.parked);
        let each = SHAPE_SINGLES.div_ceil(parked.len().max(1));
        let mut orders = BTreeSet::new();
        for ix in parked {
            let Some(batch) = self.batches.get_mut(&ix) else { continue };
            let items = std::mem::take(&mut batch.items);
            let live: Vec<SlotRef> =
                items.into_iter().filter(|name| self.slots.get(*name).is_some()).collect();
            let mut is_new = |name: &SlotRef| orders.insert(self.slots[name.ix].facts.order);
            let mut chosen: BTreeSet<SlotRef> =
                live.iter().filter(|name| is_new(name)).take(each).copied().collect();
            let stride = live.len().div_ceil(each).max(1);
            let even = live.iter().step_by(stride).copied();
            chosen.extend(even.take(each.saturating_sub(chosen.len())).collect::<Vec<_>>());
            let (alone, rest): (Vec<SlotRef>, Vec<SlotRef>) =
                live.into_iter().partition(|name| chosen.contains(name));
            let has_rest = !rest.is_empty();
            let mut parts: Vec<Vec<SlotRef>> = alone.into_iter().map(|name| vec![name]).collect();
            parts.push(rest);
            let last = self.split_into(now, ix, parts).pop().filter(|_| has_rest);
            if let Some((state, last)) = self.refusals.get_mut(&refusal).zip(last) {
                state.parked.insert(last);
            }
        }
    }

    /// The shape is refused: what remains gets the verdict of those that were sent alone.
    fn condemn(&mut self, now: Now, refusal: RefusalIx) {
        let Some(state) = self.refusals.get_mut(&refusal) else { return };
        let (refused, fault) = (state.refused, state.fault.clone());
        for ix in std::mem::take(&mut state.parked) {
            let Some(batch) = self.batches.get_mut(&ix) else { continue };
            batch.phase = Phase::Settling;
            for name in std::mem::take(&mut batch.items) {
                let Some(ix) = self.slots.get(name) else { continue };
                let mut failure = failure(&fault);
                failure.message = format!(
                    "{}; it refused {refused} other devices of the same call one by one in these \
                     words, so this one was not sent alone",
                    failure.message
                );
                failure.retryable = true;
                self.decide(now, ix, Status::Failed, Some(failure), None);
            }
        }
    }
}
