//! What waits for the next transaction, and the one under way.
//!
//! Only names and decided outcomes are queued; ledger records are written from the state of their
//! batches when the transaction is built, so the last truth is what is committed (group commit).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::model::{Action, BatchId, Epoch, Partition};

use super::account::AccountIx;
use super::batch::BatchIx;
use super::{DeadLetterWrite, Mono, OutcomeWrite, Transaction};

/// Outcomes in one transaction at most, so that its time stays far below the broker's limit.
pub(crate) const OUTCOMES_MAX: usize = 20_000;
/// The same for bytes of outcomes, as they wait; one may pass it.
pub(crate) const OUTCOME_BYTES_MAX: usize = 8 << 20;
/// The same for bytes of dead letters; one may pass it.
pub(crate) const DEAD_LETTER_BYTES_MAX: usize = 4 << 20;

/// An outcome that waits for its transaction.
#[derive(Debug)]
pub(crate) struct Decided {
    pub(crate) batch: BatchIx,
    pub(crate) epoch: Epoch,
    pub(crate) write: OutcomeWrite,
}

/// A transaction that the shell is carrying out.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) transaction: Arc<Transaction>,
    /// The batches whose intents are in it, with the start of the lease that each stands for.
    pub(crate) intents: Vec<(BatchIx, Mono)>,
}

/// The queue before the producer.
#[derive(Debug, Default)]
pub(crate) struct Commit {
    pub(crate) outcomes: VecDeque<Decided>,
    /// Bytes of the queued outcomes.
    pub(crate) outcome_bytes: usize,
    pub(crate) dead_letters: VecDeque<(Epoch, DeadLetterWrite)>,
    /// Bytes of the queued dead letters.
    pub(crate) dead_letter_bytes: usize,
    /// Batches whose ledger record in a lane is no longer what it should be.
    pub(crate) dirty: BTreeSet<(Partition, BatchIx)>,
    /// Deferrals that no transaction has written yet, so that more commands may join them.
    pub(crate) deferrals: BTreeMap<(AccountIx, Action), BatchIx>,
    /// Records that are to end with a tombstone.
    pub(crate) ended: BTreeSet<(Partition, BatchId)>,
    /// Lanes whose watermark moved over offsets decided before this assignment.
    pub(crate) moved: BTreeSet<Partition>,
    pub(crate) running: Option<Running>,
    /// An aborted transaction that is to be written again before anything else.
    pub(crate) aborted: Option<Running>,
    pub(crate) number: u64,
    /// Aborted transactions in a row, and when to try again.
    pub(crate) failures: u32,
    pub(crate) retry_at: Mono,
}

impl Commit {
    /// Queues an outcome.
    pub(crate) fn push_outcome(&mut self, outcome: Decided) {
        self.outcome_bytes += outcome.write.bytes();
        self.outcomes.push_back(outcome);
    }

    /// The next queued outcome.
    pub(crate) fn pop_outcome(&mut self) -> Option<Decided> {
        let next = self.outcomes.pop_front()?;
        self.outcome_bytes -= next.write.bytes();
        Some(next)
    }

    /// Queues a dead letter.
    pub(crate) fn push_dead_letter(&mut self, epoch: Epoch, write: DeadLetterWrite) {
        self.dead_letter_bytes += write.bytes();
        self.dead_letters.push_back((epoch, write));
    }

    /// The next queued dead letter.
    pub(crate) fn pop_dead_letter(&mut self) -> Option<(Epoch, DeadLetterWrite)> {
        let next = self.dead_letters.pop_front()?;
        self.dead_letter_bytes -= next.1.bytes();
        Some(next)
    }

    /// Bytes of outcomes and dead letters that are queued.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.outcome_bytes + self.dead_letter_bytes
    }

    /// Outcomes and dead letters that are queued.
    pub(crate) fn waiting(&self) -> usize {
        self.outcomes.len() + self.dead_letters.len()
    }

    /// Whether there is something to write.
    pub(crate) fn is_due(&self) -> bool {
        !(self.aborted.is_none()
            && self.outcomes.is_empty()
            && self.dead_letters.is_empty()
            && self.dirty.is_empty()
            && self.ended.is_empty()
            && self.moved.is_empty())
    }

    /// Whether something of a lane is queued or under way.
    pub(crate) fn holds(&self, lane: Partition) -> bool {
        let running =
            self.running.iter().chain(&self.aborted).any(|running| {
                running.transaction.offsets.iter().any(|write| write.partition == lane)
            });
        running
            || self.moved.contains(&lane)
            || self.dirty.iter().any(|(dirty, _)| *dirty == lane)
            || self.ended.iter().any(|(ended, _)| *ended == lane)
            || self.outcomes.iter().any(|decided| decided.write.partition == lane)
            || self.dead_letters.iter().any(|(_, write)| write.partition == lane)
    }

    /// Forgets everything of a lane that is not under way.
    pub(crate) fn forget(&mut self, lane: Partition) {
        self.moved.remove(&lane);
        self.dirty.retain(|(dirty, _)| *dirty != lane);
        self.ended.retain(|(ended, _)| *ended != lane);
        self.outcomes.retain(|decided| decided.write.partition != lane);
        self.outcome_bytes = self.outcomes.iter().map(|decided| decided.write.bytes()).sum();
        self.dead_letters.retain(|(_, write)| write.partition != lane);
        self.dead_letter_bytes = self.dead_letters.iter().map(|(_, write)| write.bytes()).sum();
    }
}
