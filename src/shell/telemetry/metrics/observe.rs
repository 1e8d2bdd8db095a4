//! What the halves of the worker tell, and which series that becomes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::{Metrics, add};
use crate::engine::Report;
use crate::engine::intake::PassedOver;
use crate::model::{Action, CallFailure, Command, DeadLetterReason, FailureCode, Status, Verdict};
use crate::shell::Stats;
use crate::wire::google::Method;

/// A half of the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::shell) enum Half {
    /// Order events in, commands out.
    Intake,
    /// Commands in, outcomes out.
    Dispatch,
}

impl Half {
    /// The label.
    pub(in crate::shell) const fn as_str(self) -> &'static str {
        match self {
            Self::Intake => "intake",
            Self::Dispatch => "dispatch",
        }
    }
}

/// A part of the time from the order event to the outcome; see the table.
#[derive(Clone, Copy, Debug)]
pub(in crate::shell) enum Part {
    /// Taken in until the commands are committed.
    Intake,
    /// Taken in until the call left.
    Wait,
    /// The ledger record of a batch.
    Intent,
    /// The submit.
    Call,
    /// The call left until it is decided.
    Operation,
    /// Decided until committed.
    Publish,
}

impl Part {
    pub(super) const ALL: [Self; 6] =
        [Self::Intake, Self::Wait, Self::Intent, Self::Call, Self::Operation, Self::Publish];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Intake => "intake",
            Self::Wait => "wait",
            Self::Intent => "intent",
            Self::Call => "call",
            Self::Operation => "operation",
            Self::Publish => "publish",
        }
    }
}

/// Outcomes by action, status and code.
type Kinds = BTreeMap<(Action, Status, Option<FailureCode>), u64>;

/// The outcomes of a transaction, until it is known whether it has committed.
#[derive(Debug, Default)]
pub struct Decided {
    kinds: Kinds,
    /// When each was taken in, sent and decided; for outcomes of dispatch.
    times: Vec<(Timestamp, Option<Timestamp>, Timestamp)>,
    dead_letters: BTreeMap<DeadLetterReason, u64>,
}

impl Decided {
    /// One more outcome.
    pub fn add(&mut self, command: &Command, verdict: &Verdict) {
        self.add_refused(command, verdict);
        self.times.push((command.received_at, verdict.submitted_at, verdict.completed_at));
    }

    /// One more outcome of intake: it was never waited for.
    pub(in crate::shell) fn add_refused(&mut self, command: &Command, verdict: &Verdict) {
        let code = verdict.failure.as_ref().map(|failure| failure.code);
        *self.kinds.entry((command.action, verdict.status, code)).or_default() += 1;
    }

    /// More dead letters.
    pub(in crate::shell) fn add_dead_letters(&mut self, reason: DeadLetterReason, count: usize) {
        *self.dead_letters.entry(reason).or_default() += count as u64;
    }
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64().max(0.0)
}

impl Metrics {
    /// A transaction with these outcomes has committed.
    pub fn published(&self, decided: &Decided, now: Timestamp) {
        for ((action, status, code), count) in &decided.kinds {
            let code = code.map_or("", FailureCode::as_str);
            let labels = [action.as_str(), status.as_str(), code];
            self.outcomes.with_label_values(&labels).inc_by(*count);
        }
        for (reason, count) in &decided.dead_letters {
            self.dead_letters.with_label_values(&[reason.as_str()]).inc_by(*count);
        }
        if decided.times.is_empty() {
            return;
        }
        let latency = self.latency.local();
        let [wait, operation, publish] = [Part::Wait, Part::Operation, Part::Publish]
            .map(|part| self.parts[part as usize].local());
        for (received, submitted, completed) in &decided.times {
            latency.observe(seconds(*received, now));
            wait.observe(seconds(*received, submitted.unwrap_or(*completed)));
            if let Some(submitted) = submitted {
                operation.observe(seconds(*submitted, *completed));
            }
            publish.observe(seconds(*completed, now));
        }
        for local in [latency, wait, operation, publish] {
            local.flush();
        }
    }

    /// Records of this kind were shortened to fit.
    pub(in crate::shell) fn shortened(&self, kind: &'static str, count: u64) {
        self.shortened.with_label_values(&[kind]).inc_by(count);
    }

    /// Intake has passed over a record.
    pub(in crate::shell) fn passed_over(&self, kind: PassedOver) {
        self.passed_over.with_label_values(&[kind.as_str()]).inc();
    }

    /// Intake has written these commands.
    pub(in crate::shell) fn commands(&self, action: Action, count: u64) {
        self.commands.with_label_values(&[action.as_str()]).inc_by(count);
    }

    /// A batch goes out.
    pub(in crate::shell) fn batch(&self, action: Action, devices: usize, intent: Duration) {
        self.batches.with_label_values(&[action.as_str()]).inc();
        self.batch_devices.with_label_values(&[action.as_str()]).observe(devices as f64);
        self.part(Part::Intent, intent);
    }

    /// A part that is not told by an outcome.
    pub(in crate::shell) fn part(&self, part: Part, took: Duration) {
        self.parts[part as usize].observe(took.as_secs_f64());
    }

    /// A transaction has ended.
    pub(in crate::shell) fn transaction(&self, half: Half, result: &'static str, took: Duration) {
        let labels = [half.as_str(), result];
        self.transactions.with_label_values(&labels).observe(took.as_secs_f64());
    }

    /// A half begins a session.
    pub(in crate::shell) fn session(&self, half: Half) {
        self.sessions.with_label_values(&[half.as_str()]).inc();
    }

    /// A lane's ledger was read.
    pub(in crate::shell) fn restored(&self, took: Duration) {
        self.restore.observe(took.as_secs_f64());
    }

    /// Something is done again.
    pub(in crate::shell) fn retry(&self, kind: &'static str) {
        self.retries.with_label_values(&[kind]).inc();
    }

    /// What the engine counts itself: the difference of two reports of one session.
    pub(in crate::shell) fn engine(&self, before: &Report, now: &Report) {
        self.folded.inc_by(now.folded.saturating_sub(before.folded));
        self.lost_answers.inc_by(now.lost_answers.saturating_sub(before.lost_answers));
        self.split.inc_by(now.split.saturating_sub(before.split));
        self.set_aside.inc_by(now.set_aside.saturating_sub(before.set_aside));
        let retried = now.retried.saturating_sub(before.retried);
        self.retries.with_label_values(&["device"]).inc_by(retried);
        for (at, account) in now.accounts.iter().enumerate() {
            let earlier = before.accounts.get(at).map_or(0.0, |known| known.quota_wait_seconds);
            let counter = self.quota_wait.with_label_values(&[&*account.name]);
            add(&counter, account.quota_wait_seconds - earlier);
        }
    }
}

/// Told of every call of the API, by the clients of the accounts.
#[derive(Clone, Debug)]
pub struct CallObserver(Arc<Stats>);

impl CallObserver {
    /// Counts into these.
    #[must_use]
    pub fn new(stats: &Arc<Stats>) -> Self {
        Self(Arc::clone(stats))
    }

    /// A call has ended; without being made, if there was `no_token` for it.
    pub(in crate::shell) fn call(
        &self,
        (account, method): (&str, Method),
        failure: Option<&CallFailure>,
        no_token: bool,
        took: Duration,
    ) {
        self.0.board.api_called(account, failure, no_token);
        let metrics = &self.0.metrics;
        let class = failure.map_or("ok", CallFailure::class);
        metrics.api_calls.with_label_values(&[account, method.id(), class]).inc();
        metrics.api_seconds.with_label_values(&[method.id()]).observe(took.as_secs_f64());
        if Action::ALL.iter().any(|action| Method::from(*action) == method) {
            metrics.part(Part::Call, took);
        }
    }

    /// An operation gave results that are not used.
    pub(in crate::shell) fn unusable_results(&self, beyond: usize, unreadable: usize) {
        let counter = &self.0.metrics.unusable_results;
        for (kind, count) in [("beyond", beyond), ("unreadable", unreadable)] {
            counter.with_label_values(&[kind]).inc_by(count as u64);
        }
    }
}
