//! What waits for the collector, what was lost, and whether the collector answers: for spans and
//! log records alike, since exporting them must harm nothing.
//!
//! The SDK's batch processors do the work, each on a thread of its own. They count what they drop
//! only at their end, so the room in their queues is counted here as well, and they are never
//! over-filled.

use std::fmt;
use std::future::Future;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::shell::lock::locked;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use prometheus::IntCounter;
use tokio::runtime::Handle;

/// How long one export may take, retries included.
pub(super) const EXPORT_MAX: Duration = Duration::from_secs(15);
/// A collector that has not answered for so long is not waited for at the end of the process.
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// Between two log lines about losses.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Why something finds no room.
pub(in crate::shell::telemetry) const FULL: &str =
    "the collector does not keep up, and the queue is full";

/// See the module.
#[derive(Debug)]
pub(in crate::shell::telemetry) struct Watch {
    what: &'static str,
    max: usize,
    began: Instant,
    waiting: AtomicUsize,
    lost: IntCounter,
    /// Seconds since `began` of the next line about losses, and how many were told of.
    tell_at: AtomicU64,
    told: AtomicU64,
    /// Milliseconds from `began` until the export under way began, plus 1; 0 if there is none.
    exporting: AtomicU64,
    /// Why the last request failed, where the SDK keeps that to itself.
    cause: Mutex<Option<String>>,
}

impl Watch {
    /// For a queue of so many; `what` waits in it.
    pub(in crate::shell::telemetry) fn new(
        what: &'static str,
        max: usize,
        lost: IntCounter,
    ) -> Self {
        Self {
            what,
            max,
            began: Instant::now(),
            waiting: AtomicUsize::new(0),
            told: AtomicU64::new(lost.get()),
            lost,
            tell_at: AtomicU64::new(0),
            exporting: AtomicU64::new(0),
            cause: Mutex::new(None),
        }
    }

    /// How many may wait.
    pub(in crate::shell::telemetry) fn max(&self) -> usize {
        self.max
    }

    /// Notes why a request failed, and gives what was noted last.
    pub(super) fn note_cause(&self, cause: Option<String>) -> Option<String> {
        std::mem::replace(&mut *locked(&self.cause), cause)
    }

    /// Whether there is room for one more.
    pub(in crate::shell::telemetry) fn has_room(&self) -> bool {
        self.waiting.load(Relaxed) < self.max
    }

    /// Takes the room for one; if there is none, that one is lost.
    pub(in crate::shell::telemetry) fn take_room(&self) -> bool {
        let has_room = self.waiting.fetch_add(1, Relaxed) < self.max;
        if !has_room {
            self.waiting.fetch_sub(1, Relaxed);
            self.lose(1);
        }
        has_room
    }

    /// Counts a loss, and says nothing: also for where nothing may be logged.
    pub(in crate::shell::telemetry) fn lose(&self, count: u64) {
        self.lost.inc_by(count);
    }

    /// Those lost so far.
    #[cfg(test)]
    pub(in crate::shell::telemetry) fn lost(&self) -> u64 {
        self.lost.get()
    }

    /// Logs what was lost since it was told last, once a minute at most.
    pub(in crate::shell::telemetry) fn tell(&self, why: &dyn fmt::Display) {
        let lost = self.lost.get();
        let now = self.began.elapsed().as_secs();
        let at = self.tell_at.load(Relaxed);
        let next = now + TELL_EVERY.as_secs();
        if lost > self.told.load(Relaxed)
            && now >= at
            && self.tell_at.compare_exchange(at, next, Relaxed, Relaxed).is_ok()
        {
            let lost = lost.saturating_sub(self.told.swap(lost, Relaxed));
            tracing::warn!(lost, %why, "{} were lost; the work goes on", self.what);
        }
    }

    /// Exports what has left the queue, within the runtime that connections need.
    pub(in crate::shell::telemetry) async fn export(
        &self,
        runtime: &Handle,
        count: usize,
        export: impl Future<Output = OTelSdkResult> + Send + 'static,
    ) -> OTelSdkResult {
        self.waiting.fetch_sub(count, Relaxed);
        let since = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.exporting.store(since + 1, Relaxed);
        self.note_cause(None);
        let in_time = async move { tokio::time::timeout(EXPORT_MAX, export).await };
        let result = runtime.spawn(in_time).await;
        self.exporting.store(0, Relaxed);
        let result = match result {
            Ok(in_time) => in_time.unwrap_or(Err(OTelSdkError::Timeout(EXPORT_MAX))),
            Err(error) => Err(OTelSdkError::InternalFailure(error.to_string())),
        };
        match &result {
            Ok(()) => self.tell(&FULL),
            Err(error) => {
                self.lose(count as u64);
                match self.note_cause(None) {
                    Some(cause) => self.tell(&format_args!("{error}: {cause}")),
                    None => self.tell(error),
                }
            }
        }
        result
    }

    /// Whether the collector may be waited for: no export has been under way for long.
    fn answers(&self) -> bool {
        let since = self.exporting.load(Relaxed);
        since == 0
            || self.began.elapsed().saturating_sub(Duration::from_millis(since - 1)) < ANSWER_MAX
    }

    /// Ends the export of what waits, by `shutdown`, which takes as long as it is given at most.
    /// Blocks.
    pub(in crate::shell::telemetry) fn end(
        &self,
        limit: Duration,
        shutdown: impl FnOnce(Duration) -> OTelSdkResult,
    ) {
        let limit = if self.answers() { limit } else { Duration::ZERO };
        if shutdown(limit).is_err() {
            self.lose(self.waiting.load(Relaxed) as u64);
        }
        if self.lost.get() > 0 {
            tracing::warn!(lost = self.lost.get(), "{} that were lost in all", self.what);
        }
    }
}
