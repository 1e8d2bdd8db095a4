//! What the ledger said of a lane's offsets, consulted while the commands are read again.

use crate::engine::batch::BatchIx;
use crate::model::{LedgerRecord, Offset, Run};

/// What became of an offset before this assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Its outcome is published: skip it.
    Decided,
    /// It is in a batch that was intended or accepted.
    Open(BatchIx),
}

/// The fates of offsets not read yet, in order, and the batches that wait for theirs.
#[derive(Debug, Default)]
pub(crate) struct Restore {
    /// Descending, so that what is behind us is cut off at the end.
    runs: Vec<(Run, Fate)>,
    /// By last open offset, descending: complete once reading has passed it.
    batches: Vec<(Offset, BatchIx)>,
}

impl Restore {
    /// Puts the records of a ledger in order. `batches` gives each record that has open offsets
    /// its batch.
    ///
    /// # Errors
    /// If two records claim the same offset, which no sound ledger says: the text names both.
    pub(crate) fn new(records: &[(LedgerRecord, Option<BatchIx>)]) -> Result<Self, String> {
        let mut runs: Vec<(Run, Fate, &LedgerRecord)> = Vec::new();
        let mut batches = Vec::new();
        for (record, batch) in records {
            runs.extend(record.decided.runs().iter().map(|run| (*run, Fate::Decided, record)));
            if let (Some(batch), Some(last)) = (batch, record.open.last()) {
                let fate = Fate::Open(*batch);
                runs.extend(record.open.runs().iter().map(|run| (*run, fate, record)));
                batches.push((last, *batch));
            }
        }
        runs.sort_by_key(|(run, ..)| run.first);
        if let Some(pair) = runs.windows(2).find(|pair| pair[0].0.end() > pair[1].0.first) {
            return Err(format!(
                "ledger records {} and {} both claim offset {}",
                pair[0].2.batch, pair[1].2.batch, pair[1].0.first
            ));
        }
        batches.sort_unstable();
        let runs = runs.into_iter().rev().map(|(run, fate, _)| (run, fate)).collect();
        batches.reverse();
        Ok(Self { runs, batches })
    }

    /// What became of an offset; to be asked in ascending order.
    pub(crate) fn fate(&mut self, offset: Offset) -> Option<Fate> {
        while self.runs.last().is_some_and(|(run, _)| run.end() <= offset.0) {
            self.runs.pop();
        }
        let (run, fate) = self.runs.last()?;
        (run.first <= offset.0).then_some(*fate)
    }

    /// Whether a batch still waits for commands to be read again.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.batches.is_empty()
    }

    /// A batch whose commands have all been read, now that reading stands at `position`.
    pub(crate) fn completed(&mut self, position: Offset) -> Option<BatchIx> {
        let (last, batch) = *self.batches.last()?;
        (last < position).then(|| {
            self.batches.pop();
            batch
        })
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use uuid::Uuid;

    use super::*;
    use crate::model::{Action, BatchId, BatchState, OffsetSet};

    fn record(id: u128, open: &[i64], decided: &[i64]) -> LedgerRecord {
        let set = |offsets: &[i64]| OffsetSet::new(offsets.iter().copied().map(Offset).collect());
        LedgerRecord {
            batch: BatchId(Uuid::from_u128(id)),
            action: Action::Claim,
            account: "main".into(),
            state: BatchState::Intended,
            open: set(open),
            decided: set(decided),
            retried: Vec::new(),
            attempt: 1,
            intended_at: Timestamp::UNIX_EPOCH,
            deadline: Timestamp::UNIX_EPOCH,
            purpose: None,
        }
    }

    #[test]
    fn fates_are_told_in_order_and_gaps_are_new() {
        let a = (record(1, &[5, 6], &[2]), Some(BatchIx(1)));
        let b = (record(2, &[9], &[]), Some(BatchIx(2)));
        let mut restore = Restore::new(&[b, a]).unwrap();
        let open = |batch| Some(Fate::Open(BatchIx(batch)));
        let expected = [
            (2, Some(Fate::Decided)),
            (3, None),
            (5, open(1)),
            (6, open(1)),
            (8, None),
            (9, open(2)),
        ];
        for (offset, fate) in expected {
            assert_eq!(restore.fate(Offset(offset)), fate, "{offset}");
        }
        assert_eq!(restore.completed(Offset(6)), None);
        assert_eq!(restore.completed(Offset(7)), Some(BatchIx(1)));
        assert_eq!(restore.completed(Offset(7)), None);
        assert_eq!(restore.completed(Offset(10)), Some(BatchIx(2)));
    }

    #[test]
    fn an_offset_claimed_twice_is_an_error_that_names_both_records() {
        let records = [(record(1, &[5], &[]), Some(BatchIx(1))), (record(2, &[], &[4, 5]), None)];
        let error = Restore::new(&records).unwrap_err();
        assert!(error.contains("both claim offset 5"), "{error}");
    }
}
