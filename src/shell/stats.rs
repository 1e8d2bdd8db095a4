//! Counters that the shell keeps while it works: what a progress line shows and metrics export.

use std::sync::atomic::{AtomicU64, Ordering};

use super::admin::Board;
use super::telemetry::metrics::Metrics;
use super::telemetry::{PassedOvers, Unusable};

/// A count that only grows, or a gauge that is set.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds to a count.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// Sets a gauge.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Reads it.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the worker of this process did so far, and how it stands.
#[derive(Debug, Default)]
pub struct Stats {
    /// Order events read, dead letters included.
    pub orders: Count,
    /// Commands written by intake.
    pub commands: Count,
    /// Lines refused by intake, each with an outcome.
    pub refused: Count,
    /// Outcomes published, by intake and dispatch.
    pub outcomes: Count,
    /// Dead letters written, by intake and dispatch.
    pub dead_letters: Count,
    /// Records of order topics that were passed over.
    pub passed_over: Count,
    /// Submits made.
    pub submits: Count,
    /// Polls made.
    pub polls: Count,
    /// Lookups made.
    pub lookups: Count,
    /// Calls that failed.
    pub failed_calls: Count,
    /// Transactions committed, by intake and dispatch.
    pub transactions: Count,
    /// Transactions aborted.
    pub aborted: Count,
    /// Times that a half of the worker was begun anew.
    pub restarts: Count,
    /// Times that the ledger of a lane could not be read and the lane went on waiting.
    pub ledger_retries: Count,
    /// Gauge: lanes whose ledger could not be read so far.
    pub lanes_unread: Count,
    /// Gauge: commands in memory.
    pub in_memory: Count,
    /// Gauge: calls that the quota would grant at once, over all accounts.
    pub quota_tokens: Count,
    /// Gauge: lanes of this worker, in whatever state.
    pub lanes_owned: Count,
    /// Gauge: lanes that are stopped until somebody has decided.
    pub lanes_stopped: Count,
    /// Gauge: lanes that take commands.
    pub lanes_live: Count,
    /// What is counted and timed in more detail.
    pub metrics: Metrics,
    /// How the halves stand.
    pub board: Board,
    /// Logs what could not be used.
    pub(in crate::shell) unusable: Unusable,
    /// Logs what is passed over.
    pub(in crate::shell) passed_overs: PassedOvers,
}

impl Stats {
    /// All API calls made.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.submits.get() + self.polls.get() + self.lookups.get()
    }
}
