//! Batches as the ledger knows them: who is in one, and how far it has come.

use std::sync::Arc;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Action, Offset, Partition, Purpose};

/// Identity of a batch; random, and the key of its ledger records.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct BatchId(pub Uuid);

impl std::fmt::Display for BatchId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A set of offsets of one partition, kept as runs: a batch of neighbours costs 16 bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OffsetSet {
    runs: Vec<Run>,
}

/// Consecutive offsets: `first`, `first + 1`, … (`len` of them).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Lowest offset of the run.
    pub first: i64,
    /// How many; never 0.
    pub len: u64,
}

impl OffsetSet {
    /// Builds the set from offsets in any order; repeated ones count once.
    #[must_use]
    pub fn new(mut offsets: Vec<Offset>) -> Self {
        offsets.sort_unstable();
        let mut runs: Vec<Run> = Vec::new();
        for Offset(offset) in offsets {
            match runs.last_mut() {
                Some(run) if offset < run.end() => {}
                Some(run) if offset == run.end() => run.len += 1,
                _ => runs.push(Run { first: offset, len: 1 }),
            }
        }
        Self { runs }
    }

    /// Builds the set from runs; `None` unless they are ascending, apart from each other, and none
    /// of them is empty, negative or past the end of int64.
    #[must_use]
    pub fn from_runs(runs: Vec<Run>) -> Option<Self> {
        let mut end: Option<i64> = None;
        for run in &runs {
            let next = i64::try_from(run.len).ok().and_then(|len| run.first.checked_add(len))?;
            if run.len == 0 || run.first < 0 || end.is_some_and(|end| run.first <= end) {
                return None;
            }
            end = Some(next);
        }
        Some(Self { runs })
    }

    /// The runs, ascending.
    #[must_use]
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The offsets, ascending.
    pub fn iter(&self) -> impl Iterator<Item = Offset> + '_ {
        self.runs.iter().flat_map(|run| (run.first..run.end()).map(Offset))
    }

    /// How many offsets.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.runs.iter().map(|run| run.len).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The highest offset.
    #[must_use]
    pub fn last(&self) -> Option<Offset> {
        self.runs.last().map(|run| Offset(run.end() - 1))
    }

    /// Whether all offsets of another set are in this one.
    #[must_use]
    pub fn contains_all(&self, other: &Self) -> bool {
        other.runs.iter().all(|run| {
            let after = self.runs.partition_point(|own| own.first <= run.first);
            after > 0 && run.end() <= self.runs[after - 1].end()
        })
    }

    /// Whether the offset is in the set.
    #[must_use]
    pub fn contains(&self, offset: Offset) -> bool {
        let after = self.runs.partition_point(|run| run.first <= offset.0);
        after > 0 && offset.0 < self.runs[after - 1].end()
    }
}

impl Run {
    /// The offset after the last one.
    #[must_use]
    pub fn end(&self) -> i64 {
        // `from_runs` and `new` only make runs that fit.
        self.first.saturating_add_unsigned(self.len)
    }
}

/// How far a batch has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchState {
    /// Written before the call: from here on the call may have been made.
    Intended,
    /// The API has taken it and named the operation.
    Accepted {
        /// `operations/…`.
        operation: Arc<str>,
    },
    /// No call of its own: its commands were sent before, without success, and wait to be sent
    /// again in other batches. The record keeps how often they were sent.
    Deferred,
    /// Every command of it in this lane has its outcome.
    Resolved,
}

/// What the ledger says of one batch in one lane. Each record replaces the one before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerRecord {
    /// The batch; it may have records in other lanes too.
    pub batch: BatchId,
    /// What it does.
    pub action: Action,
    /// The account that makes the call.
    pub account: Arc<str>,
    /// How far it is.
    pub state: BatchState,
    /// Commands without outcome, those folded into them included.
    pub open: OffsetSet,
    /// Commands whose outcomes are published, in this record's transaction at the latest.
    pub decided: OffsetSet,
    /// Those of the open commands that were sent in batches before, by how often: ascending, and
    /// no count is 0. What is folded into a command is not counted by itself.
    pub retried: Vec<(u16, OffsetSet)>,
    /// How often this batch has been sent, this time included; 0 if it never is.
    pub attempt: u16,
    /// When the call was intended.
    pub intended_at: Timestamp,
    /// When waiting for the operation ends.
    pub deadline: Timestamp,
    /// Whom it was made for; none if an older worker wrote it.
    pub purpose: Option<Arc<Purpose>>,
}

/// One write to the ledger: a record, or the tombstone that ends the batch in its lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerWrite {
    /// The lane.
    pub partition: Partition,
    /// The key.
    pub batch: BatchId,
    /// `None` is the tombstone.
    pub record: Option<LedgerRecord>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(offsets: &[i64]) -> OffsetSet {
        OffsetSet::new(offsets.iter().copied().map(Offset).collect())
    }

    #[test]
    fn neighbours_share_a_run_and_repeats_count_once() {
        let set = set(&[7, 5, 6, 9, 5]);
        assert_eq!(set.runs(), [Run { first: 5, len: 3 }, Run { first: 9, len: 1 }]);
        assert_eq!(set.len(), 4);
        assert_eq!(set.last(), Some(Offset(9)));
    }

    #[test]
    fn membership_is_exact_at_the_edges() {
        let set = set(&[5, 6, 9]);
        let inside: Vec<i64> = (0..12).filter(|o| set.contains(Offset(*o))).collect();
        assert_eq!(inside, [5, 6, 9]);
        assert_eq!(set.iter().map(|o| o.0).collect::<Vec<_>>(), [5, 6, 9]);
    }

    #[test]
    fn a_part_is_told_from_what_reaches_beyond() {
        let whole = set(&[5, 6, 7, 9]);
        for part in [&[][..], &[5], &[6, 7], &[5, 6, 7, 9], &[7, 9]] {
            assert!(whole.contains_all(&set(part)), "{part:?}");
        }
        for other in [&[4][..], &[4, 5], &[7, 8], &[9, 10], &[5, 6, 7, 8, 9]] {
            assert!(!whole.contains_all(&set(other)), "{other:?}");
        }
    }

    #[test]
    fn runs_that_touch_overlap_or_overflow_are_refused() {
        let run = |first, len| Run { first, len };
        assert!(OffsetSet::from_runs(vec![run(0, 2), run(3, 1)]).is_some());
        for bad in [
            vec![run(0, 2), run(2, 1)],
            vec![run(5, 1), run(1, 1)],
            vec![run(0, 0)],
            vec![run(-1, 1)],
            vec![run(i64::MAX, 2)],
            vec![run(0, u64::MAX)],
        ] {
            assert_eq!(OffsetSet::from_runs(bad), None);
        }
    }
}
