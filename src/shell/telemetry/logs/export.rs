//! The way of log lines to the collector: a layer that is always there, and a gate in it that opens
//! once the export has begun.
//!
//! Nothing that happens on this way may log, since that line would take the same way: losses are
//! told of by the thread that exports, and only lines of [`EXPORTED`] are let through, none of the
//! libraries that carry the export, nor of this module's neighbours.

use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use opentelemetry::logs::{AnyValue, LogRecord, Logger, LoggerProvider, Severity};
use opentelemetry::{InstrumentationScope, Key, SpanId, TraceFlags, TraceId};
use opentelemetry_appender_tracing::layer::{OpenTelemetryTracingBridge, TracingSpanAttributes};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{
    BatchConfigBuilder, BatchLogProcessor, LogBatch, LogExporter, SdkLogRecord, SdkLogger,
    SdkLoggerProvider,
};
use prometheus::IntCounter;
use tokio::runtime::Handle;
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::registry::LookupSpan;

use crate::config::TelemetryConfig;
use crate::shell::telemetry::export::{DELAY, EXPORT_ITEMS, Environment, Otlp, Signal, Watch};

/// Targets whose lines are exported.
const EXPORTED: [&str; 3] = ["zerotouch_worker", "librdkafka", "rdkafka"];
/// But not these: what the export says of itself.
const OWN: &str = "zerotouch_worker::shell::telemetry";

/// Fields of spans and lines that are no attributes but the place in a trace.
const TRACE_ID: &str = "trace_id";
const SPAN_ID: &str = "span_id";

/// Whether lines with this target may be exported.
pub(super) fn is_exported(target: &str) -> bool {
    let is_of = |library: &str| {
        target.strip_prefix(library).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    EXPORTED.iter().any(|library| is_of(library)) && !is_of(OWN)
}

/// The layer before the gate.
pub(super) fn layer<S>(gate: &Gate) -> impl Layer<S> + use<S>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
{
    let place = TracingSpanAttributes::allowlist([TRACE_ID, SPAN_ID]);
    OpenTelemetryTracingBridge::builder(gate).with_tracing_span_attributes(place).build()
}

/// Opens once; cheap to clone.
#[derive(Clone, Default)]
pub(in crate::shell::telemetry) struct Gate(Arc<OnceLock<Inner>>);

struct Inner {
    logger: SdkLogger,
    provider: SdkLoggerProvider,
    watch: Arc<Watch>,
    is_closed: AtomicBool,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Gate").field(&self.inner().is_some()).finish()
    }
}

impl Gate {
    /// Begins to export, if that is wanted and a collector is named. What is wrong is logged, and
    /// nothing is exported. To be called within the runtime.
    pub(in crate::shell::telemetry) fn start(
        &self,
        config: &TelemetryConfig,
        environment: &Environment,
        lost: IntCounter,
    ) {
        if !environment.wants(Signal::Logs, config) {
            if config.logs == Some(true) {
                tracing::warn!(
                    "logs are not exported, since no collector is named: set \
                     telemetry.otlp_endpoint"
                );
            }
            return;
        }
        let watch = Arc::new(Watch::new("log lines", config.queue_max, lost));
        let otlp = Otlp { signal: Signal::Logs, config, environment, watch: &watch };
        match otlp.logs() {
            Ok(exporter) => {
                tracing::info!(protocol = ?otlp.protocol(), "logs are exported");
                self.open(exporter, watch);
            }
            Err(reason) => {
                tracing::error!(reason, "logs cannot be exported; the work goes on without");
            }
        }
    }

    fn open(&self, exporter: impl LogExporter + 'static, watch: Arc<Watch>) {
        let max = watch.max();
        let counted = Counted {
            exporter: Arc::new(exporter),
            watch: Arc::clone(&watch),
            runtime: Handle::current(),
        };
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(max)
            .with_max_export_batch_size(EXPORT_ITEMS.min(max))
            .with_scheduled_delay(DELAY)
            .build();
        let processor = BatchLogProcessor::builder(counted).with_batch_config(batches).build();
        let provider = SdkLoggerProvider::builder().with_log_processor(processor).build();
        let logger = provider.logger("zerotouch-worker");
        let is_closed = AtomicBool::new(false);
        // A second worker in one process would find the gate open; lines have one way.
        let _ = self.0.set(Inner { logger, provider, watch, is_closed });
    }

    fn inner(&self) -> Option<&Inner> {
        self.0.get().filter(|inner| !inner.is_closed.load(Ordering::Relaxed))
    }

    /// Exports what waits, for `limit` at most. Blocks.
    pub(in crate::shell::telemetry) fn shutdown(&self, limit: Duration) {
        if let Some(inner) = self.inner() {
            inner.is_closed.store(true, Ordering::Relaxed);
            inner.watch.end(limit, |limit| inner.provider.shutdown_with_timeout(limit));
        }
    }
}

impl LoggerProvider for Gate {
    type Logger = Self;

    fn logger_with_scope(&self, _: InstrumentationScope) -> Self {
        self.clone()
    }
}

impl Logger for Gate {
    type LogRecord = Record;

    fn create_log_record(&self) -> Record {
        let record = self.inner().map(|inner| inner.logger.create_log_record());
        Record { record, trace: None, span: None }
    }

    fn emit(&self, line: Record) {
        let (Some(inner), Some(mut record)) = (self.inner(), line.record) else { return };
        if let Some(trace) = line.trace {
            // Only sampled traces are named in logs.
            let span = line.span.unwrap_or(SpanId::INVALID);
            record.set_trace_context(trace, span, Some(TraceFlags::SAMPLED));
        }
        record.set_timestamp(SystemTime::now());
        if inner.watch.take_room() {
            inner.logger.emit(record);
        }
    }

    fn event_enabled(&self, level: Severity, target: &str, name: Option<&str>) -> bool {
        self.inner().is_some_and(|inner| inner.logger.event_enabled(level, target, name))
    }
}

/// A line on its way, with its place in a trace.
pub(in crate::shell::telemetry) struct Record {
    record: Option<SdkLogRecord>,
    trace: Option<TraceId>,
    span: Option<SpanId>,
}

impl LogRecord for Record {
    /// The name of a line is where it stands in the code: nothing to rely on.
    fn set_event_name(&mut self, _: &'static str) {}

    fn set_target<T: Into<Cow<'static, str>>>(&mut self, target: T) {
        self.each(|record| record.set_target(target));
    }

    fn set_timestamp(&mut self, timestamp: SystemTime) {
        self.each(|record| record.set_timestamp(timestamp));
    }

    fn set_observed_timestamp(&mut self, timestamp: SystemTime) {
        self.each(|record| record.set_observed_timestamp(timestamp));
    }

    fn set_severity_text(&mut self, text: &'static str) {
        self.each(|record| record.set_severity_text(text));
    }

    fn set_severity_number(&mut self, number: Severity) {
        self.each(|record| record.set_severity_number(number));
    }

    fn set_body(&mut self, body: AnyValue) {
        self.each(|record| record.set_body(body));
    }

    fn add_attributes<I, K, V>(&mut self, attributes: I)
    where
        I: IntoIterator<Item = (K, V)>,
        K: Into<Key>,
        V: Into<AnyValue>,
    {
        attributes.into_iter().for_each(|(key, value)| self.add_attribute(key, value));
    }

    fn add_attribute<K: Into<Key>, V: Into<AnyValue>>(&mut self, key: K, value: V) {
        let (key, value) = (key.into(), value.into());
        match (key.as_str(), &value) {
            (TRACE_ID, AnyValue::String(id)) => self.trace = TraceId::from_hex(id.as_str()).ok(),
            (SPAN_ID, AnyValue::String(id)) => self.span = SpanId::from_hex(id.as_str()).ok(),
            _ => self.each(|record| record.add_attribute(key, value)),
        }
    }
}

impl Record {
    fn each(&mut self, change: impl FnOnce(&mut SdkLogRecord)) {
        self.record.as_mut().map(change);
    }
}

/// Counts what leaves the queue and what fails.
#[derive(Debug)]
struct Counted<E> {
    exporter: Arc<E>,
    watch: Arc<Watch>,
    runtime: Handle,
}

impl<E: LogExporter + 'static> LogExporter for Counted<E> {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        // The export runs in the runtime, and may outlive what waits for it.
        let own: Vec<(SdkLogRecord, InstrumentationScope)> =
            batch.iter().map(|(record, scope)| (record.clone(), scope.clone())).collect();
        let (count, exporter) = (own.len(), Arc::clone(&self.exporter));
        let export = async move {
            let lent: Vec<_> = own.iter().map(|(record, scope)| (record, scope)).collect();
            exporter.export(LogBatch::new(&lent)).await
        };
        self.watch.export(&self.runtime, count, export).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Instant;

    use opentelemetry_sdk::error::OTelSdkError;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// Keeps what it is given; or hangs.
    #[derive(Clone, Debug, Default)]
    struct Kept {
        records: Arc<Mutex<Vec<SdkLogRecord>>>,
        hangs: bool,
    }

    impl LogExporter for Kept {
        async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
            self.records.lock().unwrap().extend(batch.iter().map(|(record, _)| record.clone()));
            if self.hangs {
                std::future::pending::<()>().await;
            }
            Err(OTelSdkError::InternalFailure("it is kept, but that is not told".into()))
        }
    }

    fn opened(exporter: Kept) -> (Gate, IntCounter) {
        let lost = IntCounter::new("lost", "lost").unwrap();
        let gate = Gate::default();
        gate.open(exporter, Arc::new(Watch::new("log lines", 128, lost.clone())));
        (gate, lost)
    }

    async fn shut_down(gate: &Gate, limit: Duration) -> Duration {
        let (gate, began) = (gate.clone(), Instant::now());
        tokio::task::spawn_blocking(move || gate.shutdown(limit)).await.unwrap();
        began.elapsed()
    }

    fn logging(gate: &Gate, log: impl FnOnce()) {
        let subscriber = tracing_subscriber::registry().with(layer(gate));
        tracing::subscriber::with_default(subscriber, log);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_line_has_severity_body_attributes_and_the_place_in_its_trace() {
        let kept = Kept::default();
        let (gate, lost) = opened(kept.clone());
        let (trace, span) = ("a".repeat(32), "b".repeat(16));
        logging(&gate, || {
            let around = tracing::error_span!("trace", trace_id = %trace, span_id = %span);
            around.in_scope(|| tracing::warn!(lane = 3, error = "refused", "did not get through"));
            tracing::info!(trace_id = %trace, "without span");
            tracing::info!("without trace");
        });
        shut_down(&gate, Duration::from_secs(30)).await;
        logging(&gate, || tracing::warn!("after the end"));
        let records = kept.records.lock().unwrap();
        let [line, unspanned, untraced] = &records[..] else { panic!("{records:?}") };
        assert_eq!(line.severity_number(), Some(Severity::Warn));
        assert_eq!(line.severity_text(), Some("WARN"));
        assert_eq!(line.body(), Some(&AnyValue::from("did not get through")));
        assert!(line.timestamp().is_some());
        let attributes: Vec<_> = line.attributes_iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(attributes, ["lane", "error"]);
        let place = line.trace_context().unwrap();
        assert_eq!((place.trace_id.to_string(), place.span_id.to_string()), (trace.clone(), span));
        let place = unspanned.trace_context().unwrap();
        assert_eq!((place.trace_id.to_string(), place.span_id), (trace, SpanId::INVALID));
        assert_eq!(untraced.trace_context(), None);
        assert_eq!(lost.get(), 3, "the exporter refused them");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_finds_no_room_is_counted_and_a_frozen_collector_holds_up_nothing() {
        let (gate, lost) = opened(Kept { hangs: true, ..Kept::default() });
        logging(&gate, || (0..1_000).for_each(|_| tracing::info!("line")));
        // One export at most has left the queue, and as many lines may have taken its place.
        assert!((1_000 - 2 * 128..=1_000 - 128).contains(&lost.get()), "{}", lost.get());
        let took = shut_down(&gate, Duration::from_millis(200)).await;
        assert!(took < Duration::from_secs(10), "{took:?}");
    }

    #[test]
    fn the_export_and_what_carries_it_log_to_the_collector_under_no_directive() {
        for target in ["zerotouch_worker", "zerotouch_worker::shell::run", "librdkafka"] {
            assert!(is_exported(target), "{target}");
        }
        for target in [
            "zerotouch_worker::shell::telemetry::export::watch",
            "zerotouch_worker::shell::telemetry",
            "hyper_util::client",
            "h2::codec",
            "tonic::transport",
            "opentelemetry_sdk",
            "zerotouch_worker_other",
        ] {
            assert!(!is_exported(target), "{target}");
        }
        assert!(module_path!().starts_with(OWN));
    }
}
