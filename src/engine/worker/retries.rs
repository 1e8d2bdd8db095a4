//! Commands sent again, in other batches than before.
//!
//! While one waits for that, a deferral stands for it in the ledger: a record without a call, so
//! that how often it was sent outlives the process.

use crate::engine::account::AccountIx;
use crate::engine::backoff::backoff;
use crate::engine::batch::{Batch, BatchIx, Phase, RECORD_OFFSETS_MAX};
use crate::engine::slots::{SlotIx, SlotRef, Stage};
use crate::engine::{GuardMode, Now};
use crate::model::{Action, BatchId, Partition};

use super::lookups::Question;
use super::{Timer, Worker};

impl Worker {
    pub(super) fn may_retry(&self, ix: SlotIx) -> bool {
        self.sends_of(ix) < self.options.device_attempts_max
    }

    /// How often a command has been sent.
    pub(super) fn sends_of(&self, ix: SlotIx) -> u16 {
        let slot = &self.slots[ix];
        let sends = self.batches.get(&slot.batch).map_or(0, |batch| batch.sends);
        slot.attempts.saturating_add(sends)
    }

    /// Sends a command again after a while, in another batch.
    pub(super) fn retry(&mut self, now: Now, ix: SlotIx) {
        let sends = self.sends_of(ix);
        self.retried += 1;
        self.close_in_batch(ix);
        self.leave_stage(ix);
        self.slots[ix].attempts = sends;
        self.defer(now, ix);
        self.wait_for_retry(now, ix);
    }

    fn wait_for_retry(&mut self, now: Now, ix: SlotIx) {
        let attempts = u32::from(self.slots[ix].attempts);
        let (min, max) = (self.options.backoff_min, self.options.backoff_max);
        let wait = backoff(attempts, min, max, &mut self.rng);
        self.slots[ix].stage = Stage::Retrying;
        self.timers.insert((now.mono + wait, Timer::Retry(self.slots.name(ix))));
    }

    pub(super) fn on_retry_due(&mut self, now: Now, command: SlotRef) {
        if let Some(ix) = self.slots.get(command) {
            self.make_ready(now, ix);
        }
    }

    /// The commands of a restored deferral are here again. How long they have waited is not known:
    /// an unclaim may have become somebody else's device, so the guard looks once more.
    pub(super) fn on_deferral_restored(&mut self, now: Now, items: Vec<SlotRef>) {
        for name in items {
            let Some(ix) = self.slots.get(name) else { continue };
            let is_guarded = self.options.guard != GuardMode::Never;
            if is_guarded && self.slots[ix].facts.action == Action::Unclaim {
                self.slots[ix].stage = Stage::Guarding;
                self.ask(ix, Question::MayUnclaim);
            } else {
                self.wait_for_retry(now, ix);
            }
        }
    }

    /// Puts a command into a deferral that no transaction has written yet, its own or a new one.
    fn defer(&mut self, now: Now, ix: SlotIx) {
        let slot = &self.slots[ix];
        let (lane, kind, offsets) = (slot.lane, (slot.account, slot.call), slot.offsets());
        let deferral = match self.commit.deferrals.get(&kind) {
            Some(known) if self.has_room(*known, lane, offsets) => *known,
            _ => self.new_deferral(now, kind),
        };
        let Some(batch) = self.batches.get_mut(&deferral) else { return };
        self.slots.add_to(batch.lanes.entry(lane).or_default(), ix);
        batch.waiting += 1;
        self.slots[ix].batch = deferral;
        self.commit.dirty.insert((lane, deferral));
    }

    fn has_room(&self, deferral: BatchIx, lane: Partition, offsets: usize) -> bool {
        self.batches.get(&deferral).is_some_and(|batch| {
            let open = batch.lanes.get(&lane).map_or(0, |part| part.open.len());
            batch.phase == Phase::Settling && open + offsets <= RECORD_OFFSETS_MAX
        })
    }

    fn new_deferral(&mut self, now: Now, kind: (AccountIx, Action)) -> BatchIx {
        let (ix, id) = (self.number_batch(), BatchId(self.random_id()));
        let batch = Batch::new(id, kind, now, &self.options);
        self.batches.insert(ix, Batch { is_deferral: true, phase: Phase::Settling, ..batch });
        self.commit.deferrals.insert(kind, ix);
        ix
    }

    /// A command goes on in a new batch: one transaction writes that and ends its deferral.
    pub(super) fn leave_deferral(&mut self, ix: SlotIx) {
        self.close_in_batch(ix);
        self.leave_batch(ix);
    }

    /// The ledger record of a command's batch goes on without it.
    fn close_in_batch(&mut self, ix: SlotIx) {
        let (batch, lane) = (self.slots[ix].batch, self.slots[ix].lane);
        if let Some(state) = self.batches.get_mut(&batch) {
            let offsets = self.slots.with_folded(ix).map(|ix| self.slots[ix].offset);
            state.close_offsets(lane, &mut offsets.collect::<Vec<_>>(), false);
            self.commit.dirty.insert((lane, batch));
        }
    }
}
