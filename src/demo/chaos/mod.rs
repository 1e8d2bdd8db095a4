//! `demo --chaos`: the workers are processes of their own, and are killed while the orders run.
//!
//! What they did is judged as in the quiet demo, from the topics and the sandbox's log, by the same
//! oracle. On top of it every change that was made twice has to be explained by a lost reply.

mod offsets;
mod processes;
mod recovery;
mod report;
mod settings;
mod writes;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::broker::Ready;
use super::evidence;
use super::witness::{Seen, Watermarks};
use crate::sandbox::State;

use offsets::Offsets;
use processes::{Processes, WORKERS};
use recovery::Lanes;
use report::KillReport;
use writes::Write;

pub use report::ChaosReport;
#[cfg(test)]
pub(super) use report::tests;
pub(super) use settings::{OPERATION_TIME, QUOTA_CALLS, SUBMIT_TIME};

/// How long orders are written and workers are killed.
pub(super) const TIME: Duration = Duration::from_secs(40);

/// The workers, what kills them, and what watches the group.
pub(super) struct Chaos {
    processes: Processes,
    offsets: Offsets,
    /// After the processes, which write into them.
    logs: Logs,
    planned: u64,
}

impl Chaos {
    /// Starts everything. The sandbox and the topics are there already.
    pub(super) fn start(
        ready: &Ready,
        api: &str,
        (seed, batch_items_max): (u64, u32),
        watermarks: Watermarks,
    ) -> Result<Self> {
        let logs = Logs(settings::write(ready, api, batch_items_max)?);
        let offsets = Offsets::watch(ready, watermarks)?;
        let schedule = processes::schedule(seed, TIME);
        let planned = schedule.len() as u64;
        let processes = Processes::start(&logs.0, schedule)?;
        Ok(Self { processes, offsets, logs, planned })
    }

    /// Kills so far, and planned.
    pub(super) fn kills(&self) -> (u64, u64) {
        (self.processes.done().kills.len() as u64, self.planned)
    }

    /// Order events taken in, by the committed offsets.
    pub(super) fn orders_read(&self) -> u64 {
        self.offsets.orders.load(SeqCst)
    }

    /// Whether the workers are still kept running.
    pub(super) fn check(&self) -> Result<()> {
        self.processes.check()
    }

    /// Ends the workers, and tells what the killing came to.
    pub(super) fn finish(self, seen: &Seen, state: &State, began: Instant) -> (ChaosReport, Logs) {
        let Self { processes, logs, .. } = self;
        let done = processes.done();
        drop(processes);
        let lanes = Lanes::of(seen);
        let killed: Vec<KillReport> = done
            .kills
            .iter()
            .map(|kill| KillReport {
                at_seconds: kill.at.duration_since(began).as_secs_f64(),
                worker: kill.worker + 1,
                recovery_seconds: lanes.recovery(kill.at).map(|time| time.as_secs_f64()),
            })
            .collect();
        let operations = &state.log().operations.entries;
        let lost: BTreeSet<&str> = operations
            .iter()
            .map(|operation| &*operation.name)
            .filter(|name| !seen.named.contains(*name))
            .collect();
        let items = evidence::writes(state).collect::<Vec<_>>();
        let writes = items.iter().map(|(operation, device, action)| Write {
            device,
            action: *action,
            is_lost: lost.contains(operation),
        });
        let writes = writes::count(&seen.history, writes);
        let report = ChaosReport {
            workers: WORKERS,
            kills: done.kills.len() as u64,
            restarts: done.restarts,
            own_ends: done.own_ends,
            writes: writes.all,
            duplicated_writes: writes.duplicated,
            duplicated_writes_explained: writes.explained,
            operations_lost: lost.len() as u64,
            recovery_seconds: ChaosReport::recovery(&killed, None),
            killed,
        };
        (report, logs)
    }
}

/// The workers' configuration and logs. Unless they are removed, their path is told at the end.
pub(super) struct Logs(PathBuf);

impl Logs {
    /// All went well: nobody will want to read them.
    pub(super) fn remove(mut self) {
        settings::remove(&std::mem::take(&mut self.0));
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        if !self.0.as_os_str().is_empty() {
            tracing::warn!("the workers' configuration and logs are in {}", self.0.display());
        }
    }
}

/// Makes the thread that writes orders end when nobody waits for it any more.
pub(super) struct StopWriting(pub(super) Arc<super::orders::Written>);

impl Drop for StopWriting {
    fn drop(&mut self) {
        self.0.stop();
    }
}
