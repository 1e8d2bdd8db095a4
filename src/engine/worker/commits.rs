//! Transactions: what is decided becomes visible at once, together with the watermarks.
//!
//! Holds I4: offsets are taken from the watermarks after exactly the outcomes of this transaction
//! were marked decided, so they can never run ahead of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::engine::backoff::backoff;
use crate::engine::batch::{BatchIx, Phase};
use crate::engine::commit::{DEAD_LETTER_BYTES_MAX, OUTCOME_BYTES_MAX, OUTCOMES_MAX, Running};
use crate::engine::mutant::{self, Mutant};
use crate::engine::{Effect, Mono, Now, OffsetWrite, Transaction};
use crate::model::{
    Action, BatchId, BatchState, LedgerRecord, LedgerWrite, Offset, OffsetSet, Partition,
};

use super::Worker;

/// Offsets that the transaction decides, by lane and batch.
type DecidedOffsets = BTreeMap<(Partition, BatchIx), Vec<Offset>>;

impl Worker {
    /// Starts the next transaction if none is under way and there is something to write.
    pub(super) fn begin_transaction(&mut self, now: Now) {
        if self.commit.running.is_some() || self.commit.retry_at > now.mono {
            return;
        }
        let aborted = self.commit.aborted.take();
        let is_unasked = mutant::is(Mutant::AbortedWrittenUnasked);
        let owned = |aborted| if is_unasked { Some(aborted) } else { self.owned_of(aborted) };
        if let Some(aborted) = aborted.and_then(owned) {
            return self.start(aborted);
        }
        if !self.commit.is_due() {
            return;
        }
        self.commit.number += 1;
        let mut transaction = Transaction { number: self.commit.number, ..Transaction::default() };
        let mut decided = DecidedOffsets::new();
        self.commit.deferrals.clear();
        self.take_outcomes(&mut transaction, &mut decided);
        self.take_dead_letters(&mut transaction, &mut decided);
        let mut touched: BTreeSet<Partition> = std::mem::take(&mut self.commit.moved);
        touched.extend(decided.keys().map(|(lane, _)| *lane));
        let intents = self.write_ledger(now, &mut transaction, decided, &mut touched);
        self.write_tombstones(&mut transaction, &touched);
        transaction.offsets = touched
            .iter()
            .filter_map(|partition| {
                let lane = self.lanes.get(partition)?;
                let offset = lane.watermark.position();
                Some(OffsetWrite { partition: *partition, epoch: lane.epoch, offset })
            })
            .collect();
        if !transaction.offsets.is_empty() {
            let early = if mutant::is(Mutant::CallBeforeIntent) { intents.clone() } else { vec![] };
            self.start(Running { transaction: Arc::new(transaction), intents });
            early.into_iter().for_each(|(batch, began)| self.submit(now, batch, began));
        }
    }

    fn start(&mut self, running: Running) {
        self.effects.push_back(Effect::Commit(mutant::spoil(&running.transaction)));
        self.commit.running = Some(running);
    }

    fn take_outcomes(&mut self, transaction: &mut Transaction, decided: &mut DecidedOffsets) {
        transaction.outcomes.reserve_exact(self.commit.outcomes.len().min(OUTCOMES_MAX));
        let (mut count, mut bytes) = (0, 0);
        while count < OUTCOMES_MAX && bytes < OUTCOME_BYTES_MAX {
            let Some(outcome) = self.commit.pop_outcome() else { break };
            (count, bytes) = (count + 1, bytes + outcome.write.bytes());
            let (partition, offset) = (outcome.write.partition, outcome.write.offset);
            let Some(lane) = self.lanes.get_mut(&partition) else { continue };
            if lane.epoch == outcome.epoch {
                lane.watermark.decide(offset);
                decided.entry((partition, outcome.batch)).or_default().push(offset);
                transaction.outcomes.push(outcome.write);
            }
        }
    }

    fn take_dead_letters(&mut self, transaction: &mut Transaction, decided: &mut DecidedOffsets) {
        let mut bytes = 0;
        while bytes < DEAD_LETTER_BYTES_MAX && transaction.dead_letters.len() < OUTCOMES_MAX {
            let Some((epoch, write)) = self.commit.pop_dead_letter() else { break };
            bytes += write.bytes();
            let Some(lane) = self.lanes.get_mut(&write.partition) else { continue };
            if lane.epoch == epoch {
                lane.watermark.decide(write.offset);
                let key = (write.partition, BatchIx::NONE);
                decided.entry(key).or_default().push(write.offset);
                transaction.dead_letters.push(write);
            }
        }
    }

    /// Writes the records of all batches that changed, as they are now. Returns the intents among
    /// them.
    fn write_ledger(
        &mut self,
        now: Now,
        transaction: &mut Transaction,
        decided: DecidedOffsets,
        touched: &mut BTreeSet<Partition>,
    ) -> Vec<(BatchIx, Mono)> {
        let mut dirty = std::mem::take(&mut self.commit.dirty);
        for ((partition, ix), mut offsets) in decided {
            if let Some(batch) = self.batches.get_mut(&ix) {
                batch.close_offsets(partition, &mut offsets, true);
                dirty.insert((partition, ix));
            } else {
                self.write_unbatched(now, transaction, partition, offsets);
            }
        }
        let mut intents = BTreeSet::new();
        for (partition, ix) in dirty {
            if self.write_batch(transaction, partition, ix) {
                touched.insert(partition);
            }
            if let Some(batch) = self.batches.get(&ix) {
                match batch.phase {
                    Phase::Intending => drop(intents.insert((ix, batch.intended))),
                    Phase::Finished if batch.lanes.is_empty() => drop(self.batches.remove(&ix)),
                    _ => {}
                }
            }
        }
        for (partition, batch) in std::mem::take(&mut self.commit.ended) {
            if self.lanes.contains_key(&partition) {
                transaction.ledger.push(LedgerWrite { partition, batch, record: None });
                touched.insert(partition);
            }
        }
        intents.into_iter().collect()
    }

    /// Writes what the ledger is to say of one batch in one lane. `false` if the lane is gone.
    fn write_batch(
        &mut self,
        transaction: &mut Transaction,
        partition: Partition,
        ix: BatchIx,
    ) -> bool {
        let (Some(lane), Some(batch)) = (self.lanes.get_mut(&partition), self.batches.get_mut(&ix))
        else {
            return false;
        };
        let mark = lane.watermark.position();
        if let Some(part) = batch.lanes.get_mut(&partition) {
            part.decided.retain(|offset| *offset >= mark);
            part.is_written = true;
        }
        let account = &self.accounts[usize::from(batch.account.0)];
        let write = batch.record(partition, (&account.name, account.purpose.as_ref()));
        match &write.record {
            None => drop(batch.lanes.remove(&partition)),
            Some(record) if record.state == BatchState::Resolved => {
                batch.lanes.remove(&partition);
                lane.resolved.extend(record.decided.last().map(|last| (last, batch.id)));
            }
            Some(_) => {}
        }
        transaction.ledger.push(write);
        true
    }

    /// Outcomes that no batch stands for need a record too, as long as the watermark is below.
    fn write_unbatched(
        &mut self,
        now: Now,
        transaction: &mut Transaction,
        partition: Partition,
        mut offsets: Vec<Offset>,
    ) {
        let id = BatchId(self.random_id());
        let Some(lane) = self.lanes.get_mut(&partition) else { return };
        let mark = lane.watermark.position();
        offsets.retain(|offset| *offset >= mark);
        let decided = OffsetSet::new(offsets);
        let Some(last) = decided.last() else { return };
        lane.resolved.insert((last, id));
        let record = LedgerRecord {
            batch: id,
            action: Action::Claim,
            account: Arc::from(""),
            state: BatchState::Resolved,
            open: OffsetSet::default(),
            decided,
            retried: Vec::new(),
            attempt: 0,
            intended_at: now.wall,
            deadline: now.wall,
            // No account's in particular: nothing is under way.
            purpose: self.accounts.first().and_then(|account| account.purpose.clone()),
        };
        transaction.ledger.push(LedgerWrite { partition, batch: id, record: Some(record) });
    }

    /// Ends the records that the watermark has passed.
    fn write_tombstones(&mut self, transaction: &mut Transaction, touched: &BTreeSet<Partition>) {
        for partition in touched {
            let Some(lane) = self.lanes.get_mut(partition) else { continue };
            let mark = lane.watermark.position();
            while let Some((last, batch)) = lane.resolved.first().copied() {
                if last >= mark && !mutant::is(Mutant::TombstoneTooEarly) {
                    break;
                }
                lane.resolved.pop_first();
                transaction.ledger.push(LedgerWrite { partition: *partition, batch, record: None });
            }
        }
    }

    pub(super) fn on_committed(&mut self, now: Now, number: u64) {
        let running = self.commit.running.take_if(|running| running.transaction.number == number);
        let Some(running) = running else { return };
        self.commit.failures = 0;
        for (batch, began) in running.intents {
            self.submit(now, batch, began);
        }
    }

    /// None of it is visible. What belongs to lanes that are still ours is written again; the
    /// offsets are those that were decided then, since nothing has committed in between.
    pub(super) fn on_aborted(&mut self, now: Now, number: u64) {
        let running = self.commit.running.take_if(|running| running.transaction.number == number);
        let Some(running) = running else { return };
        self.commit.failures = self.commit.failures.saturating_add(1);
        let Some(running) = self.owned_of(running) else { return };
        if mutant::is(Mutant::AbortedForgotten) {
            return;
        }
        let wait = backoff(
            self.commit.failures,
            std::time::Duration::from_millis(100),
            self.options.backoff_max,
            &mut self.rng,
        );
        self.commit.retry_at = now.mono + wait;
        self.commit.aborted = Some(running);
    }

    /// What of an aborted transaction belongs to assignments that are still ours, under a new
    /// number. Asked again right before it is written: the group checks the membership, not the
    /// ownership, so the part of a lane that was lost meanwhile would go through under the next
    /// membership.
    fn owned_of(&mut self, aborted: Running) -> Option<Running> {
        let mut again = Transaction::clone(&aborted.transaction);
        again.offsets.retain(|write| {
            self.lanes
                .get(&write.partition)
                .is_some_and(|lane| lane.epoch == write.epoch || mutant::is(Mutant::EpochIgnored))
        });
        let owned: BTreeSet<Partition> =
            again.offsets.iter().map(|write| write.partition).collect();
        again.ledger.retain(|write| owned.contains(&write.partition));
        again.outcomes.retain(|write| owned.contains(&write.partition));
        again.dead_letters.retain(|write| owned.contains(&write.partition));
        if owned.is_empty() {
            return None;
        }
        self.commit.number += 1;
        again.number = self.commit.number;
        Some(Running { transaction: Arc::new(again), intents: aborted.intents })
    }
}
