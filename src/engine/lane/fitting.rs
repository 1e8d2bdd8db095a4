//! What of a lane's ledger still holds, when records of the commands topic are gone.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::engine::positions::CommandsLog;
use crate::model::{Action, BatchId, BatchState, LedgerRecord, Offset, OffsetSet, Partition};

/// A batch under way whose commands are gone, all or some.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Gone {
    pub(crate) batch: BatchId,
    pub(crate) account: Arc<str>,
    pub(crate) action: Action,
    /// What the API called it, if it had taken it.
    pub(crate) operation: Option<Arc<str>>,
    /// The commands that will have no outcome.
    pub(crate) commands: OffsetSet,
}

/// A ledger without what is gone.
#[derive(Debug, Default)]
pub(crate) struct Fitted {
    pub(crate) kept: Vec<(BatchId, LedgerRecord)>,
    /// Those of the kept that are to be written as they are now.
    pub(crate) changed: BTreeSet<BatchId>,
    /// Records that speak of nothing that is there.
    pub(crate) ended: Vec<BatchId>,
    pub(crate) gone: Vec<Gone>,
}

/// Takes out of the records what lies below `from`, or all of it if it is of a topic that is gone.
pub(crate) fn fit(records: Vec<(BatchId, LedgerRecord)>, from: Offset, log: CommandsLog) -> Fitted {
    let mut fitted = Fitted::default();
    let is_gone = |offset: &Offset| match log {
        CommandsLog::Whole => false,
        CommandsLog::Cut => *offset < from,
        CommandsLog::New => true,
    };
    for (id, mut record) in records {
        if log == CommandsLog::Whole {
            fitted.kept.push((id, record));
            continue;
        }
        let (gone, open): (Vec<_>, Vec<_>) = record.open.iter().partition(is_gone);
        let decided: Vec<_> = record.decided.iter().filter(|offset| !is_gone(offset)).collect();
        if !gone.is_empty() {
            fitted.gone.push(Gone {
                batch: id,
                account: Arc::clone(&record.account),
                action: record.action,
                operation: match &record.state {
                    BatchState::Accepted { operation } => Some(Arc::clone(operation)),
                    BatchState::Intended | BatchState::Deferred | BatchState::Resolved => None,
                },
                commands: OffsetSet::new(gone),
            });
            fitted.changed.insert(id);
        }
        if open.is_empty() && decided.is_empty() {
            fitted.changed.remove(&id);
            fitted.ended.push(id);
            continue;
        }
        (record.open, record.decided) = (OffsetSet::new(open), OffsetSet::new(decided));
        for (_, offsets) in &mut record.retried {
            *offsets = OffsetSet::new(offsets.iter().filter(|o| !is_gone(o)).collect());
        }
        record.retried.retain(|(_, offsets)| !offsets.is_empty());
        fitted.kept.push((id, record));
    }
    fitted
}

/// Lines about batches whose commands are gone, at most; a lane has far fewer as a rule.
const GONE_TOLD: usize = 50;
/// Stretches of offsets in one line, at most.
const RUNS_TOLD: usize = 20;

/// Says which commands will have no outcome. Their devices are not known any more.
pub(crate) fn tell_gone(partition: Partition, gone: &[Gone]) {
    for Gone { batch, account, action, operation, commands } in gone.iter().take(GONE_TOLD) {
        let runs = commands.runs().iter().take(RUNS_TOLD);
        let offsets: Vec<String> =
            runs.map(|run| format!("{}-{}", run.first, run.end() - 1)).collect();
        tracing::error!(
            %partition, %batch, account = &**account, action = action.as_str(),
            operation = operation.as_deref(),
            commands = commands.len(), offsets = offsets.join(" "),
            "commands of a batch under way are gone from the commands topic: they get no outcome, \
             though the API may carry them out. Compare the devices of their orders with the portal"
        );
    }
    if gone.len() > GONE_TOLD {
        let more = gone.len() - GONE_TOLD;
        tracing::error!(%partition, more, "and more such batches");
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use uuid::Uuid;

    use super::*;

    fn record(id: u128, open: &[i64], decided: &[i64]) -> (BatchId, LedgerRecord) {
        let set = |offsets: &[i64]| OffsetSet::new(offsets.iter().copied().map(Offset).collect());
        let batch = BatchId(Uuid::from_u128(id));
        let record = LedgerRecord {
            purpose: None,
            batch,
            action: Action::Claim,
            account: "main".into(),
            state: BatchState::Accepted { operation: "operations/1".into() },
            open: set(open),
            decided: set(decided),
            retried: vec![(1, set(open))],
            attempt: 1,
            intended_at: Timestamp::UNIX_EPOCH,
            deadline: Timestamp::UNIX_EPOCH,
        };
        (batch, record)
    }

    fn ids(of: impl IntoIterator<Item = BatchId>) -> Vec<u128> {
        of.into_iter().map(|id| id.0.as_u128()).collect()
    }

    fn ledger() -> Vec<(BatchId, LedgerRecord)> {
        vec![
            record(1, &[2, 3], &[]),
            record(2, &[4, 7], &[5]),
            record(3, &[4], &[6]),
            record(4, &[8], &[]),
        ]
    }

    #[test]
    fn a_whole_log_changes_nothing() {
        let fitted = fit(ledger(), Offset(9), CommandsLog::Whole);
        assert_eq!(fitted.kept, ledger());
        assert!(fitted.gone.is_empty() && fitted.ended.is_empty() && fitted.changed.is_empty());
    }

    #[test]
    fn what_lies_below_the_cut_is_told_and_the_rest_goes_on() {
        let fitted = fit(ledger(), Offset(5), CommandsLog::Cut);
        assert_eq!(ids(fitted.ended), [1]);
        assert_eq!(ids(fitted.changed), [2, 3]);
        let gone: Vec<(u128, u64)> =
            fitted.gone.iter().map(|g| (g.batch.0.as_u128(), g.commands.len())).collect();
        assert_eq!(gone, [(1, 2), (2, 1), (3, 1)]);
        assert_eq!(fitted.gone[0].operation.as_deref(), Some("operations/1"));
        let open: Vec<Vec<i64>> =
            fitted.kept.iter().map(|(_, r)| r.open.iter().map(|o| o.0).collect()).collect();
        assert_eq!(open, [vec![7], vec![], vec![8]]);
        assert_eq!(fitted.kept[0].1.retried.len(), 1);
        assert_eq!(fitted.kept[1].1.retried.len(), 0);
    }

    #[test]
    fn of_a_topic_that_is_gone_nothing_holds() {
        let fitted = fit(ledger(), Offset(0), CommandsLog::New);
        assert_eq!(ids(fitted.ended), [1, 2, 3, 4]);
        assert!(fitted.kept.is_empty() && fitted.changed.is_empty());
        assert_eq!(fitted.gone.len(), 4);
    }
}
