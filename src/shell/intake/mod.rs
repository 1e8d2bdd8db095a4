//! The intake half: order events in, commands, refused lines and dead letters out.
//!
//! Stateless: what was read together is written in one transaction together with its input
//! offsets. A transaction that is aborted is written again for the partitions that are still owned;
//! one whose fate is unknown ends the session, and the next one reads from the committed offsets.

mod check;
mod parts;
mod session;
mod spans;
mod start;
mod tell;
mod translate;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::engine::StartFrom;
use crate::engine::intake::IntakeOptions;
use crate::model::Purpose;
use crate::shell::kafka::{Anchors, KafkaOptions};
use crate::shell::telemetry::metrics::Half;
use crate::shell::telemetry::traces::Traces;
use crate::shell::{Stats, Topics};
use crate::wire::order::Limits;

pub(in crate::shell) use check::order_topics;
use session::{Ended, Session};

/// What intake works with.
#[derive(Debug)]
pub struct Intake {
    /// Kafka; the group is that of the order topics.
    pub kafka: KafkaOptions,
    /// The id under which transactions are written; of this process alone.
    pub transactional_id: String,
    /// The topics.
    pub topics: Topics,
    /// Accounts by name.
    pub options: IntakeOptions,
    /// What the commands of each account are meant for.
    pub purposes: BTreeMap<Arc<str>, Arc<Purpose>>,
    /// Version in which commands are written: 1 or 2.
    pub record_version: u32,
    /// Bounds of an order event.
    pub limits: Limits,
    /// Order events in one transaction at most.
    pub records_max: usize,
    /// How long a transaction that is not full waits for more.
    pub linger: Duration,
    /// Where to begin in topics that the group has not read yet.
    pub start: Option<StartFrom>,
    /// Bytes read ahead at most; beyond them the order topics pause.
    pub backlog_bytes_max: usize,
    /// The counters.
    pub stats: Arc<Stats>,
    /// Where spans go.
    pub traces: Traces,
}

/// Between two sessions, at first and at most.
const RESTART_WAIT: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// Works until `drain` is cancelled and the running transaction has ended.
pub async fn run(intake: Arc<Intake>, drain: CancellationToken) {
    let mut wait = RESTART_WAIT.0;
    let anchors = Anchors::default();
    loop {
        let began = std::time::Instant::now();
        let reason = match Session::run(Arc::clone(&intake), anchors.clone(), drain.clone()).await {
            Ended::Drained => return,
            Ended::Broken(reason) => reason,
        };
        if began.elapsed() > RESTART_WAIT.1 * 2 {
            wait = RESTART_WAIT.0;
        }
        intake.stats.board.waits(Half::Intake, &reason);
        intake.stats.restarts.add(1);
        tracing::warn!(reason, ?wait, "intake begins anew from the committed offsets");
        tokio::select! {
            () = drain.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
        wait = (wait * 2).min(RESTART_WAIT.1);
    }
}
