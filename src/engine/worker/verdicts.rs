//! Outcomes: a command is decided once, together with those folded into it, and the next command
//! of its device moves up.

use crate::engine::batch::BatchIx;
use crate::engine::commit::Decided;
use crate::engine::guard::Holder;
use crate::engine::slots::{SlotIx, Stage};
use crate::engine::{Now, OutcomeWrite};
use crate::model::{Action, Failure, Status, Verdict};

use super::Worker;
use super::trail::tell_outcome;

impl Worker {
    /// Decides the first command of a device.
    pub(super) fn decide(
        &mut self,
        now: Now,
        ix: SlotIx,
        status: Status,
        failure: Option<Failure>,
        device_id: Option<Box<str>>,
    ) {
        let attempts = self.sends_of(ix);
        let batch_ix = self.slots[ix].batch;
        let mut batch = self.batches.get_mut(&batch_ix);
        if let Some(batch) = &mut batch {
            // Before the batch can end, with the commands folded into this one.
            batch.outcomes[status as usize] += 1;
            for folded in self.slots.list(self.slots[ix].folded) {
                batch.outcomes[self.slots[folded].folded_as as usize] += 1;
            }
        }
        let batch = batch.as_deref();
        let verdict = Verdict {
            status,
            failure: failure.map(Box::new),
            decided_by: None,
            device_id,
            operation: batch.and_then(|batch| batch.operation.clone()),
            attempts,
            submitted_at: batch.and_then(|batch| batch.submitted_at),
            completed_at: now.wall,
        };
        self.note_refused(batch_ix, ix, status);
        self.remember(ix, status);
        self.by_id.remove(&self.slots.name(ix));
        self.leave_stage(ix);
        self.move_up(ix);
        if self.slots[ix].folded != SlotIx::NONE {
            self.publish_folded(ix, batch_ix, &verdict);
        }
        self.publish(ix, batch_ix, verdict);
    }

    fn publish_folded(&mut self, ix: SlotIx, batch: BatchIx, verdict: &Verdict) {
        let decider = self.slots[ix].packed.unpack().id();
        let folded: Vec<SlotIx> = self.slots.list(self.slots[ix].folded).collect();
        for ix in folded {
            let verdict = Verdict {
                status: self.slots[ix].folded_as,
                failure: None,
                decided_by: Some(decider),
                ..verdict.clone()
            };
            self.publish(ix, batch, verdict);
        }
    }

    /// Queues the outcome of one command for the next transaction and frees its slot.
    pub(super) fn publish(&mut self, ix: SlotIx, batch: BatchIx, verdict: Verdict) {
        let (partition, offset) = (self.slots[ix].lane, self.slots[ix].offset);
        let command = self.slots.remove(ix);
        if let Some(epoch) = self.lanes.get(&partition).map(|lane| lane.epoch) {
            tell_outcome(&command, &verdict);
            if verdict.status == Status::Unresolved {
                self.tell_unresolved(batch, &command, &verdict);
            }
            let write = OutcomeWrite { partition, offset, command, verdict };
            self.commit.push_outcome(Decided { batch, epoch, write });
        }
    }

    /// Lets the commands that became the first of their devices go on.
    pub(super) fn activate_moved_up(&mut self, now: Now) {
        while let Some(name) = self.moved_up.pop_front() {
            if let Some(ix) = self.slots.get(name)
                && self.slots[ix].stage == Stage::Queued
            {
                self.activate(now, ix);
            }
        }
    }

    /// What the guard may rely on from now on.
    fn remember(&mut self, ix: SlotIx, status: Status) {
        let slot = &self.slots[ix];
        let (facts, lanes) = (slot.facts, self.lanes.len().max(1));
        let Some(lane) = self.lanes.get_mut(&slot.lane) else { return };
        let max = self.options.guard_memory_max / lanes;
        match (facts.action, status) {
            (Action::Claim, Status::Succeeded) => {
                lane.memory.remember(facts.device, Some(Holder::of_claim(&facts)), max);
            }
            (Action::Unclaim, Status::Succeeded) => {
                lane.memory.remember(facts.device, None, max);
            }
            (Action::Claim | Action::Unclaim, Status::Failed | Status::Unresolved) => {
                lane.memory.forget(facts.device);
            }
            (Action::UpdateMetadata, _) if facts.names_order => {
                lane.memory.forget(facts.device);
            }
            (Action::Claim | Action::Unclaim | Action::UpdateMetadata, _) => {}
        }
    }

    /// A bug on purpose: what waits behind the commands of a batch no longer waits for them.
    pub(super) fn move_up_all(&mut self, ix: BatchIx) {
        let items = self.batches.get(&ix).map(|batch| batch.items.clone()).unwrap_or_default();
        for ix in items.into_iter().filter_map(|name| self.slots.get(name)).collect::<Vec<_>>() {
            self.move_up(ix);
            self.slots[ix].next = SlotIx::NONE;
        }
    }

    /// The next command of the device becomes the first. It is activated later, from a queue: a
    /// thousand stale unclaims behind one another must not become a thousand nested calls.
    fn move_up(&mut self, ix: SlotIx) {
        let slot = &self.slots[ix];
        let (device, next, tail) = (slot.facts.device, slot.next, slot.tail);
        let Some(lane) = self.lanes.get_mut(&slot.lane) else { return };
        if next == SlotIx::NONE {
            lane.devices.remove(device, ix);
        } else {
            lane.devices.replace(device, ix, next);
            self.slots[next].tail = tail;
            self.moved_up.push_back(self.slots.name(next));
        }
    }
}
