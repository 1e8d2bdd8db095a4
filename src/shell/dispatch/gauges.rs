//! The gauges that a session keeps up to date.

use crate::engine::Report;
use crate::shell::Stats;

/// Sets them. `unread`: lanes whose ledger could not be read yet.
pub(super) fn set(stats: &Stats, report: &Report, unread: usize) {
    stats.in_memory.set(report.commands as u64);
    stats.lanes_unread.set(unread as u64);
    let tokens: f64 = report.accounts.iter().map(|a| a.quota_tokens.max(0.0)).sum();
    stats.quota_tokens.set(tokens as u64);
    let lanes = |phase: &str| report.lanes.iter().filter(|lane| lane.phase == phase).count();
    stats.lanes_owned.set(report.lanes.len() as u64);
    stats.lanes_live.set(lanes("live") as u64);
    stats.lanes_stopped.set(lanes("stopped") as u64);
}
