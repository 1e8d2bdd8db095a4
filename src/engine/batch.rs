//! A batch on its way: closed, intended, sent, polled, settled.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::model::{
    Action, BatchId, BatchState, LedgerRecord, LedgerWrite, Offset, OffsetSet, Partition, Purpose,
    Status,
};

use super::account::AccountIx;
use super::slots::SlotRef;
use super::suspicion::{RefusalIx, Suspicion};
use super::{Mono, Now, Options};

/// The number of a batch in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct BatchIx(pub(crate) u32);

impl BatchIx {
    /// No batch.
    pub(crate) const NONE: Self = Self(u32::MAX);
}

/// Offsets of one lane in one batch at most, so that its ledger record stays far below the 1 MiB
/// that brokers take by default: even if no two of them are neighbours it has about 400 KiB.
pub(crate) const RECORD_OFFSETS_MAX: usize = 40_000;

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
    /// No further call for it as a whole: its last devices are being looked up, or wait to be sent
    /// again.
    Settling,
    /// No item is left; only the ledger has to learn of it.
    Finished,
}

impl Phase {
    /// For people.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Restoring => "restoring",
            Self::Intending => "intending",
            Self::Submitting => "submitting",
            Self::Waiting => "waiting",
            Self::Polling => "polling",
            Self::Settling => "settling",
            Self::Finished => "finished",
        }
    }
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
    /// No call of its own: it stands in the ledger for commands that wait to be sent again.
    pub(crate) is_deferral: bool,
    /// Calls that may have arrived.
    pub(crate) sends: u16,
    /// An answer was lost: what an item's failure means must be looked up.
    pub(crate) ambiguous: bool,
    /// Failures in a row of submits or polls, for the back-off.
    pub(crate) failures: u32,
    /// This process has asked for the operation.
    pub(crate) is_polled: bool,
    /// The last poll got no usable answer.
    pub(crate) is_poll_failing: bool,
    /// Outcomes so far, by their place in [`Status::ALL`].
    pub(crate) outcomes: [u32; Status::ALL.len()],
    /// Since when the API has not known the operation.
    pub(crate) vanished: Option<Mono>,
    /// What speaks against it.
    pub(crate) suspicion: Suspicion,
    /// It waits among the suspects of its account.
    pub(crate) is_suspect: bool,
    /// Its call is one of the suspects' share.
    pub(crate) is_probe: bool,
    /// Its devices are looked up, and those that are not as wanted come back into it.
    pub(crate) is_apart: bool,
    /// Then it is split …
    pub(crate) is_split_next: bool,
    /// … or its only device is given up.
    pub(crate) is_condemned: bool,
    /// When its devices were last looked up.
    pub(crate) looked: Mono,
    /// The refusal that it is part of.
    pub(crate) refusal: Option<RefusalIx>,
    /// How often it was split on the way here.
    pub(crate) depth: u8,
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
    /// Those that were sent in batches before, and how often.
    pub(crate) retried: Vec<(Offset, u16)>,
    /// A transaction has been built that writes it to the ledger.
    pub(crate) is_written: bool,
    /// The lane goes before the first intent was written: only the counts of sends are left to
    /// its next owner.
    pub(crate) is_given_up: bool,
}

impl LanePart {
    /// How often a command was sent in batches before; only in a restored batch, where they are
    /// in order.
    pub(crate) fn attempts_before(&self, offset: Offset) -> u16 {
        let place = self.retried.binary_search_by_key(&offset, |(offset, _)| *offset);
        place.map_or(0, |place| self.retried[place].1)
    }

    /// Leaves the counts of sends to the lane's next owner, and nothing else.
    pub(crate) fn give_up(&mut self) {
        self.open = self.retried.iter().map(|(offset, _)| *offset).collect();
        self.is_given_up = true;
    }

    fn retried_of(&self, open: &OffsetSet) -> Vec<(u16, OffsetSet)> {
        let mut by_count: BTreeMap<u16, Vec<Offset>> = BTreeMap::new();
        for (offset, attempts) in &self.retried {
            if open.contains(*offset) {
                by_count.entry(*attempts).or_default().push(*offset);
            }
        }
        by_count.into_iter().map(|(count, offsets)| (count, OffsetSet::new(offsets))).collect()
    }
}

impl Batch {
    /// A batch without commands that waits for its intent.
    pub(crate) fn new(
        id: BatchId,
        (account, action): (AccountIx, Action),
        now: Now,
        options: &Options,
    ) -> Self {
        Self {
            id,
            account,
            action,
            items: Vec::new(),
            waiting: 0,
            phase: Phase::Waiting,
            intended: now.mono,
            intended_at: now.wall,
            submitted: now.mono,
            submitted_at: None,
            deadline: now.mono + options.operation_deadline,
            deadline_at: now.wall_after(options.operation_deadline),
            operation: None,
            is_deferral: false,
            sends: 0,
            ambiguous: false,
            failures: 0,
            is_polled: false,
            is_poll_failing: false,
            outcomes: [0; Status::ALL.len()],
            vanished: None,
            suspicion: Suspicion::default(),
            is_suspect: false,
            is_probe: false,
            is_apart: false,
            is_split_next: false,
            is_condemned: false,
            looked: now.mono,
            refusal: None,
            depth: 0,
            lanes: BTreeMap::new(),
        }
    }

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
    pub(crate) fn record(
        &self,
        lane: Partition,
        (account, purpose): (&Arc<str>, Option<&Arc<Purpose>>),
    ) -> LedgerWrite {
        let part = self.lanes.get(&lane);
        let open = part.map(|part| OffsetSet::new(part.open.clone())).unwrap_or_default();
        let decided = part.map(|part| OffsetSet::new(part.decided.clone())).unwrap_or_default();
        let is_deferred = self.is_deferral || part.is_some_and(|part| part.is_given_up);
        let record = (!open.is_empty() || !decided.is_empty()).then(|| LedgerRecord {
            batch: self.id,
            action: self.action,
            account: Arc::clone(account),
            state: match &self.operation {
                _ if open.is_empty() => BatchState::Resolved,
                _ if is_deferred => BatchState::Deferred,
                Some(operation) => BatchState::Accepted { operation: Arc::clone(operation) },
                None => BatchState::Intended,
            },
            retried: part.map(|part| part.retried_of(&open)).unwrap_or_default(),
            open,
            decided,
            attempt: match self.phase {
                _ if is_deferred => 0,
                Phase::Intending => self.sends.saturating_add(1),
                _ => self.sends.max(1),
            },
            intended_at: self.intended_at,
            deadline: self.deadline_at,
            purpose: purpose.cloned(),
        });
        LedgerWrite { partition: lane, batch: self.id, record }
    }
}
