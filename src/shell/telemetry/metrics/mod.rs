//! What is counted and timed while the worker works. The handles are taken once, so counting costs
//! an atomic addition; gauges are read off the engine's report when somebody scrapes.

mod observe;
mod process;
mod render;
mod table;

use prometheus::core::Collector;
use prometheus::{
    Counter, CounterVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts,
    Registry,
};

use crate::engine::intake::PassedOver;
use crate::model::{Action, DeadLetterReason, FailureCode, Status};
use crate::shell::admin::Closed;

pub use observe::{CallObserver, Decided};
pub(in crate::shell) use observe::{Half, Part};
pub(in crate::shell) use render::text;
pub use table::{Kind, Metric, TABLE, page};

/// The counters and histograms of a process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    commands: IntCounterVec,
    folded: IntCounter,
    outcomes: IntCounterVec,
    dead_letters: IntCounterVec,
    shortened: IntCounterVec,
    passed_over: IntCounterVec,
    batches: IntCounterVec,
    batch_devices: HistogramVec,
    api_calls: IntCounterVec,
    api_seconds: HistogramVec,
    lost_answers: IntCounter,
    unusable_results: IntCounterVec,
    split: IntCounter,
    set_aside: IntCounter,
    retries: IntCounterVec,
    quota_wait: CounterVec,
    transactions: HistogramVec,
    sessions: IntCounterVec,
    restore: Histogram,
    latency: Histogram,
    parts: [Histogram; Part::ALL.len()],
    telemetry_lost: IntCounterVec,
    admin_closed: IntCounterVec,
    records_lost: IntCounterVec,
    topics_anew: IntCounterVec,
}

impl Default for Metrics {
    fn default() -> Self {
        let registry = Registry::new();
        let parts = histogram_vec(&registry, &table::PART_SECONDS);
        let plain = |metric| histogram_vec(&registry, metric).with_label_values::<&str>(&[]);
        let count = |metric| counter_vec(&registry, metric).with_label_values::<&str>(&[]);
        let metrics = Self {
            commands: counter_vec(&registry, &table::COMMANDS),
            folded: count(&table::FOLDED),
            outcomes: counter_vec(&registry, &table::OUTCOMES),
            dead_letters: counter_vec(&registry, &table::DEAD_LETTERS),
            shortened: counter_vec(&registry, &table::SHORTENED),
            passed_over: counter_vec(&registry, &table::PASSED_OVER),
            batches: counter_vec(&registry, &table::BATCHES),
            batch_devices: histogram_vec(&registry, &table::BATCH_DEVICES),
            api_calls: counter_vec(&registry, &table::API_CALLS),
            api_seconds: histogram_vec(&registry, &table::API_SECONDS),
            lost_answers: count(&table::LOST_ANSWERS),
            unusable_results: counter_vec(&registry, &table::UNUSABLE_RESULTS),
            split: count(&table::SPLIT),
            set_aside: count(&table::SET_ASIDE),
            retries: counter_vec(&registry, &table::RETRIES),
            quota_wait: made(
                CounterVec::new(opts(&table::QUOTA_WAIT), table::QUOTA_WAIT.labels),
                &registry,
            ),
            transactions: histogram_vec(&registry, &table::TRANSACTIONS_SECONDS),
            sessions: counter_vec(&registry, &table::SESSIONS),
            restore: plain(&table::RESTORE),
            latency: plain(&table::LATENCY_SECONDS),
            telemetry_lost: counter_vec(&registry, &table::TELEMETRY_LOST),
            admin_closed: counter_vec(&registry, &table::ADMIN_CLOSED),
            records_lost: counter_vec(&registry, &table::RECORDS_LOST),
            topics_anew: counter_vec(&registry, &table::TOPICS_ANEW),
            parts: Part::ALL.map(|part| parts.with_label_values(&[part.as_str()])),
            registry,
        };
        metrics.begin_at_zero();
        metrics
    }
}

impl Metrics {
    /// Series that are known beforehand are there from the start: the first event of a series that
    /// appears with it is no increase to a query.
    fn begin_at_zero(&self) {
        for action in Action::ALL {
            let action = action.as_str();
            self.commands.with_label_values(&[action]);
            self.batches.with_label_values(&[action]);
            self.batch_devices.with_label_values(&[action]);
            for status in Status::ALL {
                self.outcomes.with_label_values(&[action, status.as_str(), ""]);
            }
            // A person has to look at each of these, so that an alert must see the first one.
            for code in
                [FailureCode::DeadlineExceeded, FailureCode::ResultMissing, FailureCode::NoAnswer]
            {
                let status = Status::Unresolved.as_str();
                self.outcomes.with_label_values(&[action, status, code.as_str()]);
            }
        }
        let (unclaim, stale) = (Action::Unclaim.as_str(), Status::Stale.as_str());
        self.outcomes.with_label_values(&[unclaim, stale, FailureCode::StaleUnclaim.as_str()]);
        for reason in DeadLetterReason::ALL {
            self.dead_letters.with_label_values(&[reason.as_str()]);
        }
        for kind in ["outcome", "dead_letter"] {
            self.shortened(kind, 0);
        }
        for kind in PassedOver::ALL {
            self.passed_over.with_label_values(&[kind.as_str()]);
        }
        for kind in ["submit", "poll", "lookup", "device", "transaction", "ledger"] {
            self.retries.with_label_values(&[kind]);
        }
        for signal in ["traces", "logs"] {
            self.lost(signal);
        }
        for kind in ["beyond", "unreadable"] {
            self.unusable_results.with_label_values(&[kind]);
        }
        for listener in ["admin.listen", "admin.expose"] {
            for reason in Closed::ALL {
                self.admin_closed.with_label_values(&[listener, reason.as_str()]);
            }
        }
        for half in [Half::Intake, Half::Dispatch] {
            self.sessions.with_label_values(&[half.as_str()]);
            self.transactions.with_label_values(&[half.as_str(), "committed"]);
        }
    }

    /// A topic is going to be read: its series are there from now on.
    pub(in crate::shell) fn reads(&self, topic: &str) {
        self.records_lost.with_label_values(&[topic]);
        self.topics_anew.with_label_values(&[topic]);
    }

    /// Records of a topic were deleted before they were read.
    pub(in crate::shell) fn records_lost(&self, topic: &str, records: i64) {
        let records = u64::try_from(records).unwrap_or_default();
        self.records_lost.with_label_values(&[topic]).inc_by(records);
    }

    /// A partition is of a topic that was made anew.
    pub(in crate::shell) fn topic_made_anew(&self, topic: &str) {
        self.topics_anew.with_label_values(&[topic]).inc();
    }

    /// What of a signal, `traces` or `logs`, did not reach the collector.
    pub(super) fn lost(&self, signal: &str) -> IntCounter {
        self.telemetry_lost.with_label_values(&[signal])
    }

    /// The admin server closed a connection of a listener, for a reason.
    pub(in crate::shell) fn admin_closed(&self, listener: &str, reason: &str) {
        self.admin_closed.with_label_values(&[listener, reason]).inc();
    }

    /// Outcomes so far, by action, status and failure code.
    pub(in crate::shell) fn outcomes_by_kind(&self) -> Vec<([String; 3], u64)> {
        let families = self.outcomes.collect();
        let series = families.iter().flat_map(|family| family.get_metric());
        let mut kinds = Vec::new();
        for metric in series {
            let value = |name: &str| {
                let label = metric.get_label().iter().find(|label| label.name() == name);
                label.map(|label| label.value().to_owned()).unwrap_or_default()
            };
            let count = metric.get_counter().get_value();
            kinds.push(([value("action"), value("status"), value("code")], count as u64));
        }
        kinds.sort();
        kinds
    }
}

fn opts(metric: &Metric) -> Opts {
    Opts::new(metric.name, metric.help)
}

fn counter_vec(registry: &Registry, metric: &Metric) -> IntCounterVec {
    made(IntCounterVec::new(opts(metric), metric.labels), registry)
}

fn histogram_vec(registry: &Registry, metric: &Metric) -> HistogramVec {
    let buckets = match metric.kind {
        Kind::Histogram(buckets) => buckets.to_vec(),
        Kind::Counter | Kind::Gauge => Vec::new(),
    };
    let opts = HistogramOpts::new(metric.name, metric.help).buckets(buckets);
    made(HistogramVec::new(opts, metric.labels), registry)
}

/// Names, labels and buckets are constants; every test that makes a [`Metrics`] checks them.
fn made<C: Collector + Clone + 'static>(made: prometheus::Result<C>, registry: &Registry) -> C {
    #[allow(clippy::expect_used)]
    let metric = made.expect("the table of metrics is sound");
    #[allow(clippy::expect_used)]
    registry.register(Box::new(metric.clone())).expect("the names of metrics are unique");
    metric
}

/// Adds to a counter with a fraction.
fn add(counter: &Counter, more: f64) {
    if more > 0.0 {
        counter.inc_by(more);
    }
}
