//! Partitions come and go: recovery from the ledger, revocation as a barrier, loss.

use std::collections::BTreeSet;

use crate::engine::account::AccountIx;
use crate::engine::batch::{Batch, BatchIx, LanePart, Phase};
use crate::engine::lane::{Fitted, Lane, LanePhase, Restore, Watermark, fit, tell_gone};
use crate::engine::mutant::{self, Mutant};
use crate::engine::positions::CommandsLog;
use crate::engine::purpose::foreign_record;
use crate::engine::slots::{SlotIx, Stage};
use crate::engine::{Effect, Now, Options};
use crate::model::{BatchId, BatchState, Epoch, LedgerRecord, Offset, Partition};

use super::{Timer, Worker};

impl Worker {
    pub(super) fn on_assigned(&mut self, now: Now, partition: Partition, epoch: Epoch) {
        self.drop_lane(now, partition);
        self.commit.forget(partition);
        self.lanes.insert(partition, Lane::new(epoch));
        self.share_quota(now);
        self.effects.push_back(Effect::ReadLedger { partition, epoch });
    }

    pub(super) fn on_ledger_read(
        &mut self,
        now: Now,
        (partition, epoch): (Partition, Epoch),
        (committed, log): (Offset, Result<CommandsLog, String>),
        records: Result<Vec<(BatchId, LedgerRecord)>, String>,
    ) {
        let is_awaited = self
            .lanes
            .get(&partition)
            .filter(|lane| lane.epoch == epoch || mutant::is(Mutant::EpochIgnored))
            .is_some_and(|lane| lane.phase == LanePhase::Recovering);
        if !is_awaited {
            return;
        }
        let records = records.map_err(|reason| {
            format!("its ledger cannot be understood: {reason}. Repair or remove the record")
        });
        let restored = log.and_then(|log| {
            let at = (partition, committed);
            records.and_then(|records| self.restore(now, at, log, records))
        });
        let Some(lane) = self.lanes.get_mut(&partition) else { return };
        lane.watermark = Watermark::at(committed);
        match restored {
            Ok(restore) => {
                lane.restore = restore;
                lane.phase = LanePhase::Live;
                if self.paused && !lane.restore.is_waiting() {
                    lane.start_from = Some(committed);
                } else {
                    self.effects.push_back(Effect::Start { partition, epoch, from: committed });
                }
            }
            Err(reason) => {
                tracing::error!(
                    %partition, reason,
                    "this lane is stopped, all others go on. Do what the reason says, then restart \
                     the worker"
                );
                lane.stop(reason);
            }
        }
    }

    fn restore(
        &mut self,
        now: Now,
        (partition, committed): (Partition, Offset),
        log: CommandsLog,
        records: Vec<(BatchId, LedgerRecord)>,
    ) -> Result<Restore, String> {
        let is_whole = log == CommandsLog::Whole;
        for (id, record) in records.iter().filter(|_| log != CommandsLog::New) {
            self.check_record(*id, record, is_whole.then_some(committed))?;
        }
        let Fitted { kept: records, changed, ended, gone } = fit(records, committed, log);
        tell_gone(partition, &gone);
        if !is_whole {
            // Where it goes on now is committed at once: the next owner has nothing to tell again.
            self.commit.moved.insert(partition);
            self.commit.ended.extend(ended.into_iter().map(|id| (partition, id)));
        }
        let mut fates = Vec::with_capacity(records.len());
        for (id, record) in records {
            let is_changed = changed.contains(&id);
            if record.open.is_empty() && !is_changed {
                if let Some((last, lane)) =
                    record.decided.last().zip(self.lanes.get_mut(&partition))
                {
                    lane.resolved.insert((last, id));
                }
                fates.push((record, None));
                continue;
            }
            let Some(account) = self.account_named(&record.account) else { continue };
            let batch = self.number_batch();
            let mut restored = restored_batch(now, (partition, account), &record, &self.options);
            if is_changed {
                self.commit.dirty.insert((partition, batch));
            }
            if record.open.is_empty() {
                // Nothing is waited for; only its record is still to be put right.
                restored.phase = Phase::Finished;
                self.batches.insert(batch, restored);
                fates.push((record, None));
                continue;
            }
            self.accounts[usize::from(account.0)].batches += usize::from(!restored.is_deferral);
            self.batches.insert(batch, restored);
            fates.push((record, Some(batch)));
        }
        Restore::new(&fates)
    }

    /// Whether a record can be gone on from. `from` is where reading begins, if all that the
    /// ledger knows is to be there.
    fn check_record(
        &self,
        id: BatchId,
        record: &LedgerRecord,
        from: Option<Offset>,
    ) -> Result<(), String> {
        if let Some(purpose) = &record.purpose {
            let account =
                if record.open.is_empty() { None } else { self.account_named(&record.account) };
            let foreign = foreign_record(&self.options, account.map(|ix| ix.0), purpose);
            if let Some(why) = foreign {
                return Err(format!("ledger record {id} {why}"));
            }
        }
        if let Some((first, from)) = record.open.iter().next().zip(from)
            && first < from
        {
            return Err(format!(
                "ledger record {id} holds offsets open that are below the committed one, {from}"
            ));
        }
        if !record.open.is_empty() && self.account_named(&record.account).is_none() {
            return Err(format!(
                "ledger record {id} is of account {:?}, which is not configured and has operations \
                 under way; configure it until they are done",
                record.account
            ));
        }
        Ok(())
    }

    /// All commands of a restored batch are here again: go on where the last owner stopped.
    pub(super) fn on_restored(&mut self, now: Now, ix: BatchIx) {
        let Some(batch) = self.batches.get_mut(&ix) else { return };
        // A command that the topic no longer holds can have no outcome; the batch must not wait
        // for it for ever.
        let slots = &self.slots;
        let found = batch.items.iter().flat_map(|name| slots.with_folded(name.ix));
        let mut found: Vec<Offset> = found.map(|ix| slots[ix].offset).collect();
        found.sort_unstable();
        for (partition, part) in &mut batch.lanes {
            let known = part.open.len();
            part.open.retain(|offset| found.binary_search(offset).is_ok());
            if part.open.len() < known {
                tracing::error!(
                    batch = %batch.id, %partition, missing = known - part.open.len(),
                    "commands of an unfinished batch are no longer in the commands topic; its \
                     retention is shorter than an outage was"
                );
                self.commit.dirty.insert((*partition, ix));
            }
        }
        if batch.is_deferral {
            batch.phase = Phase::Settling;
            let items = std::mem::take(&mut batch.items);
            self.on_deferral_restored(now, items);
        } else if batch.operation.is_some() {
            batch.phase = Phase::Polling;
            self.timers.insert((now.mono, Timer::Poll(ix)));
        } else {
            // Perhaps the call was made, perhaps not: let it take effect before it is repeated.
            batch.phase = Phase::Waiting;
            let grace = self.options.ambiguous_grace;
            let due = batch.intended_at.checked_add(grace).unwrap_or(now.wall);
            let wait = now.until(due).min(grace);
            self.timers.insert((now.mono + wait, Timer::Resend(ix)));
        }
        let Some(batch) = self.batches.get(&ix) else { return };
        self.tell_batch(batch, "a batch of an earlier owner goes on");
        if batch.waiting == 0 {
            self.finish_batch(ix);
        }
    }

    /// The lane is closed at once; the partition is released when nothing of it is queued, in a
    /// running transaction, or in a call whose answer will name an operation.
    pub(super) fn on_revoked(&mut self, now: Now, partition: Partition) {
        if let Some(lane) = self.lanes.get_mut(&partition) {
            lane.phase = LanePhase::Closing;
            lane.closing_until = now.mono + self.options.revocation_wait;
            self.timers.insert((lane.closing_until, Timer::Release(partition)));
            // An intent that is not committed yet will never be followed by a call.
            let intending: BTreeSet<BatchIx> = self
                .batches
                .iter()
                .filter(|(_, batch)| batch.phase == Phase::Intending)
                .map(|(ix, _)| *ix)
                .collect();
            // Dropping commands empties batches; what the ledger says of them stays as it is.
            let dirty = self.commit.dirty.iter();
            let changed: BTreeSet<(Partition, BatchIx)> =
                dirty.filter(|(lane, _)| *lane == partition).copied().collect();
            self.drop_commands(now, partition);
            self.commit.dirty.retain(|one| one.0 != partition || changed.contains(one));
            self.give_up_intents(partition, &intending);
        } else {
            self.effects.push_back(Effect::Release { partition });
        }
    }

    /// What the ledger knows of these batches in a lane stays as it is. Of commands that left
    /// their deferral for an intent that was never written, the next owner learns how often they
    /// were sent.
    fn give_up_intents(&mut self, partition: Partition, intending: &BTreeSet<BatchIx>) {
        for ix in intending {
            let batch = self.batches.get_mut(ix);
            let part = batch.and_then(|batch| batch.lanes.get_mut(&partition));
            match part {
                Some(part) if !part.is_written && !part.retried.is_empty() => part.give_up(),
                _ => drop(self.commit.dirty.remove(&(partition, *ix))),
            }
        }
    }

    pub(super) fn on_lost(&mut self, now: Now, partition: Partition) {
        self.drop_lane(now, partition);
        self.commit.forget(partition);
        self.share_quota(now);
    }

    /// Gives up the partitions whose last transaction has ended.
    pub(super) fn release_closed(&mut self, now: Now) {
        let is_called = |partition: &Partition| {
            let mut batches = self.batches.values();
            batches.any(|b| b.phase == Phase::Submitting && b.lanes.contains_key(partition))
        };
        let closed: Vec<Partition> = self
            .lanes
            .iter()
            .filter(|(partition, lane)| {
                lane.phase == LanePhase::Closing
                    && !self.commit.holds(**partition)
                    && (lane.closing_until <= now.mono || !is_called(partition))
            })
            .map(|(partition, _)| *partition)
            .collect();
        for partition in closed {
            self.forget_lane(partition);
            self.effects.push_back(Effect::Release { partition });
        }
    }

    fn drop_lane(&mut self, now: Now, partition: Partition) {
        self.drop_commands(now, partition);
        self.forget_lane(partition);
    }

    /// Drops every command of a lane that has no outcome yet.
    fn drop_commands(&mut self, now: Now, partition: Partition) {
        let Some(lane) = self.lanes.get_mut(&partition) else { return };
        let heads = lane.devices.drain();
        for head in heads {
            let queue: Vec<SlotIx> = self.slots.list(head).collect();
            for ix in queue {
                self.leave_stage(ix);
                let all: Vec<SlotIx> = self.slots.with_folded(ix).collect();
                for ix in all {
                    self.by_id.remove(&self.slots.name(ix));
                    self.slots.remove(ix);
                }
            }
        }
        self.share_quota(now);
    }

    /// Takes a command out of whatever counts it, because it goes away or moves on.
    pub(super) fn leave_stage(&mut self, ix: SlotIx) {
        let slot = &self.slots[ix];
        let (stage, account, call) = (slot.stage, slot.account, slot.call);
        match stage {
            Stage::Ready => self.accounts[usize::from(account.0)].batcher(call).leave(),
            Stage::Guarding | Stage::Verifying => {
                self.questions.remove(&self.slots.name(ix));
            }
            Stage::Queued | Stage::InBatch | Stage::Retrying | Stage::Folded => {}
        }
        self.leave_batch(ix);
    }

    /// One command less that a batch waits for.
    pub(super) fn leave_batch(&mut self, ix: SlotIx) {
        let batch = self.slots[ix].batch;
        if batch != BatchIx::NONE {
            self.slots[ix].batch = BatchIx::NONE;
            if let Some(batch_state) = self.batches.get_mut(&batch) {
                batch_state.waiting -= 1;
                // The answer to a call under way still has to be written down.
                let is_open = matches!(batch_state.phase, Phase::Restoring | Phase::Submitting);
                if batch_state.waiting == 0 && !is_open {
                    self.finish_batch(batch);
                } else if batch_state.is_apart {
                    self.apart.insert(batch);
                }
            }
        }
    }

    fn forget_lane(&mut self, partition: Partition) {
        self.lanes.remove(&partition);
        let mut empty = Vec::new();
        for (ix, batch) in &mut self.batches {
            batch.lanes.remove(&partition);
            if batch.lanes.is_empty() {
                empty.push(*ix);
            }
        }
        for ix in empty {
            self.finish_batch(ix);
            self.batches.remove(&ix);
        }
    }

    /// The quota is shared by lanes: ours is the part of the partitions that we own.
    fn share_quota(&mut self, now: Now) {
        let owned = self.lanes.values().filter(|lane| lane.phase != LanePhase::Closing).count();
        let share = owned as f64 / f64::from(self.options.partitions_total.max(1));
        for account in &mut self.accounts {
            account.quota.set_share(now.mono, share);
        }
    }
}

/// What a record that has open offsets says, as a batch that waits for its commands.
fn restored_batch(
    now: Now,
    (partition, account): (Partition, AccountIx),
    record: &LedgerRecord,
    options: &Options,
) -> Batch {
    let by_count = record.retried.iter();
    let mut retried: Vec<(Offset, u16)> =
        by_count.flat_map(|(count, offsets)| offsets.iter().map(|o| (o, *count))).collect();
    retried.sort_unstable();
    let part = LanePart {
        open: record.open.iter().collect(),
        decided: record.decided.iter().collect(),
        retried,
        is_written: true,
        is_given_up: false,
    };
    let operation = match &record.state {
        BatchState::Accepted { operation } => Some(operation.clone()),
        BatchState::Intended | BatchState::Deferred | BatchState::Resolved => None,
    };
    let is_deferral = record.state == BatchState::Deferred;
    Batch {
        phase: Phase::Restoring,
        intended_at: record.intended_at,
        submitted_at: (!is_deferral).then_some(record.intended_at),
        // A clock that was ahead when this was written must not hold up the lane.
        deadline: now.mono + now.until(record.deadline).min(options.operation_deadline),
        deadline_at: record.deadline,
        // Of calls before the last one the ledger does not tell how they were answered.
        ambiguous: operation.is_none()
            || record.attempt > 1 && !mutant::is(Mutant::LostAnswerForgotten),
        operation,
        is_deferral,
        sends: record.attempt,
        lanes: std::iter::once((partition, part)).collect(),
        ..Batch::new(record.batch, (account, record.action), now, options)
    }
}
