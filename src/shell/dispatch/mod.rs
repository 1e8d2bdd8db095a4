//! The dispatch half: commands in, calls and outcomes out. It drives the engine, decides nothing.
//!
//! A session is one consumer, one producer and one engine. Whatever cannot be gone on with (the
//! fate of a transaction unknown, a client broken) ends the session; the next one recovers every
//! lane from the ledger, which is always right and never a retry.

mod heads;
mod ledger;
mod message;
mod session;
mod spans;
mod tell;
mod translate;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::engine::{Options, Transaction};
use crate::shell::http::ResellerClient;
use crate::shell::kafka::{Anchors, KafkaOptions};
use crate::shell::telemetry::metrics::Half;
use crate::shell::telemetry::traces::Traces;
use crate::shell::{Clock, Stats, Topics};

pub use ledger::{Replay, replay as replay_ledger};
use message::Ended;
use session::Session;
pub(in crate::shell) use tell::{aborted, word as result_word};
pub(in crate::shell) use translate::{header, letter_record, outcome_record};

/// What dispatch works with.
pub struct Dispatch {
    /// Kafka; the group is that of the commands.
    pub kafka: KafkaOptions,
    /// The id under which transactions are written; of this process alone.
    pub transactional_id: String,
    /// The topics.
    pub topics: Topics,
    /// The engine's options.
    pub engine: Options,
    /// One client for each of the engine's accounts, in the same order.
    pub clients: Vec<Arc<ResellerClient>>,
    /// The counters.
    pub stats: Arc<Stats>,
    /// The clock.
    pub clock: Clock,
    /// Where spans go.
    pub traces: Traces,
    /// Told of every committed transaction, for those who watch.
    pub observer: Option<Observer>,
}

/// Is told of every committed transaction; must not block.
pub type Observer = Arc<dyn Fn(&Transaction) + Send + Sync>;

/// Between two sessions, at first and at most.
const RESTART_WAIT: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// A session that lasted this long was not a failed start.
const RESTART_CALM: Duration = Duration::from_secs(60);

/// Works until `drain` is cancelled and what could not be handed over is finished.
pub async fn run(dispatch: Arc<Dispatch>, drain: CancellationToken) {
    let mut wait = RESTART_WAIT.0;
    let anchors = Anchors::default();
    loop {
        let began = dispatch.clock.mono();
        let ended = Session::run(Arc::clone(&dispatch), anchors.clone(), drain.clone()).await;
        let stats = &dispatch.stats;
        for gauge in [&stats.lanes_owned, &stats.lanes_live, &stats.lanes_stopped] {
            gauge.set(0);
        }
        let reason = match ended {
            Ended::Drained => return,
            Ended::Broken(reason) => reason,
        };
        stats.board.waits(Half::Dispatch, &reason);
        if dispatch.clock.mono().since(began) > RESTART_CALM {
            wait = RESTART_WAIT.0;
        }
        dispatch.stats.restarts.add(1);
        tracing::warn!(reason, ?wait, "dispatch begins anew and recovers from the ledger");
        tokio::select! {
            () = drain.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
        wait = (wait * 2).min(RESTART_WAIT.1);
    }
}
