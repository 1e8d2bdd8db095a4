//! A batch on its way: closed, intended, sent, polled, settled.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::model::{
    Action, BatchId, BatchState, LedgerRecord, LedgerWrite, Offset, OffsetSet, Partition,
};

use super::Mono;
use super::account::AccountIx;
use super::slots::SlotRef;

/// The number of a batch in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct BatchIx(pub(crate) u32);

impl BatchIx {
    /// No batch.
    pub(crate) const NONE: Self = Self(u32::MAX);
}

/// Where a batch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Being put together again from the ledger.
    Restoring,
    /// Its intent is not yet committed.
    Intending,
    /// The call is out.
    Submitting,
    /// Waits to be intended again, for a timer or for the quota.
    Waiting,
    /// The operation runs.
    Polling,
    /// No further call for it as a whole: its last devices are being looked up.
    Settling,
    /// No item is left; only the ledger has to learn of it.
    Finished,
}

/// Commands of one action and one account that share a call.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) id: BatchId,
    pub(crate) account: AccountIx,
    pub(crate) action: Action,
    pub(crate) items: Vec<SlotRef>,
    /// Items that are in it still: neither decided nor gone on elsewhere.
    pub(crate) waiting: usize,
    pub(crate) phase: Phase,
    /// When the lease of the present intent began.
    pub(crate) intended: Mono,
    pub(crate) intended_at: Timestamp,
    /// When the call left.
    pub(crate) submitted: Mono,
    pub(crate) submitted_at: Option<Timestamp>,
    /// When waiting for the operation ends.
    pub(crate) deadline: Mono,
    pub(crate) deadline_at: Timestamp,
    pub(crate) operation: Option<Arc<str>>,
    /// Sends of the items before this batch.
    pub(crate) attempts_before: u16,
    /// Calls that may have arrived.
    pub(crate) sends: u16,
    /// An answer was lost: what an item's failure means must be looked up.
    pub(crate) ambiguous: bool,
    /// Failures in a row of submits or polls, for the back-off.
    pub(crate) failures: u32,
    /// What of it is in which lane.
    pub(crate) lanes: BTreeMap<Partition, LanePart>,
}

/// The offsets of a batch in one lane, those of folded commands included.
#[derive(Debug, Default)]
pub(crate) struct LanePart {
    /// Without published outcome.
    pub(crate) open: Vec<Offset>,
    /// Published.
    pub(crate) decided: Vec<Offset>,
}

impl Batch {
    /// Takes offsets out of a lane's open ones, since they go on elsewhere or are published.
    pub(crate) fn close_offsets(&mut self, lane: Partition, closed: &mut [Offset], decided: bool) {
        let Some(part) = self.lanes.get_mut(&lane) else { return };
        closed.sort_unstable();
        if part.open.len() == closed.len() {
            part.open.clear();
        } else {
            part.open.retain(|offset| closed.binary_search(offset).is_err());
        }
        if decided {
            part.decided.extend_from_slice(closed);
        }
    }

    /// What the ledger is to say of the batch in a lane.
    pub(crate) fn record(&self, lane: Partition, account: &Arc<str>) -> LedgerWrite {
        let part = self.lanes.get(&lane);
        let open = part.map(|part| OffsetSet::new(part.open.clone())).unwrap_or_default();
        let decided = part.map(|part| OffsetSet::new(part.decided.clone())).unwrap_or_default();
        let record = (!open.is_empty() || !decided.is_empty()).then(|| LedgerRecord {
            batch: self.id,
            action: self.action,
            account: Arc::clone(account),
            state: match &self.operation {
                _ if open.is_empty() => BatchState::Resolved,
                Some(operation) => BatchState::Accepted { operation: Arc::clone(operation) },
                None => BatchState::Intended,
            },
            open,
            decided,
            attempt: self.attempts_before.saturating_add(self.sends.max(1)),
            intended_at: self.intended_at,
            deadline: self.deadline_at,
        });
        LedgerWrite { partition: lane, batch: self.id, record }
    }
}
