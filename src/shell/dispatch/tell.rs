//! What a session tells of itself: gauges, counters, and how it stands, for the admin page.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::engine::{HeadReport, Input, Mono, Now, Report, Submit, Transaction, Worker};
use crate::model::{BatchId, CallFailure, DeadLetterReason, LedgerRecord, Partition};
use crate::shell::Stats;
use crate::shell::admin::{DispatchView, Lag};
use crate::shell::kafka::{CommitError, Consumer, End, TopicPartition};
use crate::shell::telemetry::metrics::Half;

use super::Dispatch;
use super::ledger::Unread;
use super::translate::Noted;

/// How often the session shows how it stands.
const SHOW_EVERY: Duration = Duration::from_secs(1);
/// How often the heads are looked at: it takes a look at every command in memory.
const HEADS_EVERY: Duration = Duration::from_secs(5);

/// What was told last.
#[derive(Debug, Default)]
pub(super) struct Teller {
    report: Report,
    heads: Arc<Vec<HeadReport>>,
    heads_taken: Option<Instant>,
    next_heads: Mono,
    next_show: Mono,
    assigned: BTreeMap<Partition, Instant>,
}

pub(super) fn lanes(partitions: &[TopicPartition], what: &'static str) {
    let numbers: Vec<i32> = partitions.iter().map(|one| one.partition).collect();
    tracing::info!(lanes = ?numbers, "{what}");
}

/// The ledger of a lane was read: what its earlier owner has left under way goes on here.
pub(super) fn restored(
    lane: Partition,
    failures: Option<u32>,
    records: &Result<Vec<(BatchId, LedgerRecord)>, String>,
) {
    let records = records.as_deref().unwrap_or_default();
    let commands: usize = records.iter().map(|(_, record)| record.open.iter().count()).sum();
    if commands > 0 || failures.is_some() {
        tracing::info!(
            %lane,
            batches = records.len(),
            commands,
            failures,
            "the ledger of a lane was read; its undecided commands go on where they were"
        );
    }
}

impl Teller {
    /// Every few moments: gauges always, the rest when it is time.
    pub(super) fn tell(
        &mut self,
        dispatch: &Dispatch,
        (worker, now): (&Worker, Now),
        unread: &Unread,
        consumer: &Consumer,
    ) {
        let stats = &dispatch.stats;
        let report = worker.report();
        gauges(stats, &report, unread.len());
        stats.unusable.tell_held(&dispatch.topics, Instant::now());
        stats.metrics.engine(&self.report, &report);
        if now.mono >= self.next_heads {
            self.next_heads = now.mono + HEADS_EVERY;
            self.heads = Arc::new(worker.heads(now));
            self.heads_taken = Some(Instant::now());
        }
        if now.mono >= self.next_show {
            self.next_show = now.mono + SHOW_EVERY;
            let (standing, ends) = consumer.told();
            let lag = |end: &End| {
                let lane = report.lanes.iter().find(|lane| lane.partition == end.partition)?;
                let is_known = matches!(lane.phase, "live" | "stopped");
                let done = is_known.then_some(lane.watermark)?;
                let topic = Arc::clone(&dispatch.topics.commands);
                let records = end.lag(Some(done));
                Some(Lag {
                    topic,
                    partition: end.partition,
                    records,
                    done,
                    is_open: end.is_open(Some(done)),
                    is_unread: end.is_unread(),
                })
            };
            let taken = Instant::now();
            stats.board.show_dispatch(DispatchView {
                taken,
                calls: stats.calls(),
                heads: Arc::clone(&self.heads),
                heads_taken: self.heads_taken.unwrap_or(taken),
                unread: unread.partitions().map(|partition| partition.0).collect(),
                unread_because: unread.reason().map(str::to_owned),
                standing,
                lag: ends.iter().filter_map(lag).collect(),
                report: report.clone(),
            });
        }
        self.report = report;
    }

    /// The heads as they were looked at last.
    pub(super) fn heads(&self) -> &[HeadReport] {
        &self.heads
    }

    /// Notes when lanes begin to be restored, and how long that took.
    pub(super) fn note(&mut self, stats: &Stats, input: &Input) {
        match input {
            Input::Assigned { partition, .. } => {
                self.assigned.insert(*partition, Instant::now());
            }
            Input::LedgerRead { partition, .. } => {
                if let Some(since) = self.assigned.remove(partition) {
                    stats.metrics.restored(since.elapsed());
                }
            }
            Input::Revoked { partition } | Input::Lost { partition } => {
                self.assigned.remove(partition);
            }
            _ => {}
        }
    }
}

fn gauges(stats: &Stats, report: &Report, unread: usize) {
    stats.in_memory.set(report.commands as u64);
    stats.lanes_unread.set(unread as u64);
    let tokens: f64 = report.accounts.iter().map(|a| a.quota_tokens.max(0.0)).sum();
    stats.quota_tokens.set(tokens as u64);
    let lanes = |phase: &str| report.lanes.iter().filter(|lane| lane.phase == phase).count();
    stats.lanes_owned.set(report.lanes.len() as u64);
    stats.lanes_live.set(lanes("live") as u64);
    stats.lanes_stopped.set(lanes("stopped") as u64);
}

/// Which accounts are held back by hand, and which are not.
pub(super) fn held(held: &BTreeSet<Arc<str>>, accounts: &BTreeMap<String, u16>) -> Vec<Input> {
    let input = |(name, account): (&String, &u16)| {
        let paused = held.contains(name.as_str());
        Input::AccountPaused { account: *account, paused }
    };
    accounts.iter().map(input).collect()
}

/// A batch goes out. Its lease tells when its intent was begun.
pub(super) fn submit(dispatch: &Dispatch, submit: &Submit) {
    let left = submit.lease_until.since(dispatch.clock.mono());
    let intent = dispatch.engine.lease.saturating_sub(left);
    dispatch.stats.submits.add(1);
    dispatch.stats.metrics.batch(submit.action, submit.commands.len(), intent);
}

/// A call was answered.
pub(super) fn answer(stats: &Stats, input: &Input) {
    let (kind, failure) = match input {
        Input::Submitted { result: Err(failure), .. } => ("submit", failure),
        Input::Polled { result: Err(failure), .. } => ("poll", failure),
        Input::LookedUp { result: Err(failure), .. } => ("lookup", failure),
        _ => return,
    };
    stats.failed_calls.add(1);
    if !matches!(failure, CallFailure::Rejected { .. } | CallFailure::NotFound) {
        stats.metrics.retry(kind);
    }
}

/// A transaction has ended; `decided` are its outcomes.
pub(super) fn committed(
    Dispatch { stats, topics, .. }: &Dispatch,
    contents: &Transaction,
    noted: Noted,
    result: &Result<(), CommitError>,
    took: Duration,
) {
    let Noted { mut decided, shortened } = noted;
    stats.metrics.transaction(Half::Dispatch, word(result), took);
    match result {
        Ok(()) => {
            let dead_letters = contents.dead_letters.len();
            stats.outcomes.add(contents.outcomes.len() as u64);
            stats.dead_letters.add(dead_letters as u64);
            decided.add_dead_letters(DeadLetterReason::InvalidCommand, dead_letters);
            for write in &contents.dead_letters {
                let place = (&*topics.commands, write.partition.0, write.offset.0);
                let why = (DeadLetterReason::InvalidCommand, &*write.record.reason);
                stats.unusable.dead_letter(place, why, topics, Instant::now());
            }
            stats.metrics.published(&decided, jiff::Timestamp::now());
            shortened.tell(stats, topics, Half::Dispatch);
        }
        Err(CommitError::Aborted { .. }) => stats.metrics.retry("transaction"),
        Err(_) => {}
    }
}

/// A transaction of a half was aborted, for this reason. One is ordinary, several in a row are not.
pub(in crate::shell) fn aborted(stats: &Stats, half: Half, reason: &str) {
    const ORDINARY: u32 = 2;
    let in_a_row = stats.board.transaction_failed(half, reason);
    let half = half.as_str();
    if in_a_row <= ORDINARY {
        let text = "a transaction was aborted; what is still owned is written again";
        tracing::info!(half, reason, "{text}");
    } else {
        tracing::warn!(
            half,
            reason,
            in_a_row,
            "transactions keep failing; nothing is lost, and nothing goes on until one succeeds"
        );
    }
}

/// The label of a transaction's result.
pub(in crate::shell) fn word(result: &Result<(), CommitError>) -> &'static str {
    match result {
        Ok(()) => "committed",
        Err(CommitError::Aborted { .. }) => "aborted",
        Err(CommitError::RecordTooLarge { .. }) => "too_large",
        Err(
            CommitError::Unknown { .. } | CommitError::Fenced { .. } | CommitError::Fatal { .. },
        ) => "broken",
    }
}
