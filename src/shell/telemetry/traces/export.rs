//! The bounded queue before the collector, and the exporter behind it.
//!
//! The SDK's batch processor does the work, on a thread of its own. It counts what it drops only
//! at its end, so the room in its queue is counted here as well, and it is never over-filled.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use opentelemetry::KeyValue;
use opentelemetry_otlp::tonic_types::metadata::MetadataMap;
use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig};
use opentelemetry_otlp::{
    OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_PROTOCOL, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT,
    OTEL_EXPORTER_OTLP_TRACES_PROTOCOL, Protocol, SpanExporter, WithExportConfig as _,
    WithHttpConfig as _, WithTonicConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanExporter as _, SpanProcessor as _,
};
use opentelemetry_semantic_conventions::attribute::{SERVICE_NAME, SERVICE_VERSION};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use secrecy::ExposeSecret as _;
use tokio::runtime::Handle;

use crate::config::{OtlpProtocol, TelemetryConfig};
use crate::shell::http::tls;

/// How long spans wait for others before they go out together.
const DELAY: Duration = Duration::from_secs(1);
/// Spans in one export.
const EXPORT_SPANS: usize = 512;
/// How long one export may take, retries included.
const EXPORT_MAX: Duration = Duration::from_secs(15);
/// The same for one request over HTTP; the SDK sees to gRPC itself.
const REQUEST_MAX: Duration = Duration::from_secs(10);
/// Between two log lines about lost spans.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Whether a collector is named: by the configuration, else by OpenTelemetry's variables.
pub(super) fn is_wanted(config: &TelemetryConfig) -> bool {
    let is_disabled = variable("OTEL_SDK_DISABLED").is_some_and(|v| v.eq_ignore_ascii_case("true"));
    config.otlp_endpoint.is_some() || (!is_disabled && endpoint_of_environment().is_some())
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn endpoint_of_environment() -> Option<String> {
    variable(OTEL_EXPORTER_OTLP_TRACES_ENDPOINT).or_else(|| variable(OTEL_EXPORTER_OTLP_ENDPOINT))
}

/// Spans that wait, and those that were lost.
#[derive(Debug)]
struct Watch {
    began: Instant,
    waiting: AtomicUsize,
    lost: AtomicU64,
    /// Seconds since `began` of the next line about lost spans, and how many were told of.
    tell_at: AtomicU64,
    told: AtomicU64,
}

impl Watch {
    fn new() -> Self {
        Self {
            began: Instant::now(),
            waiting: AtomicUsize::new(0),
            lost: AtomicU64::new(0),
            tell_at: AtomicU64::new(0),
            told: AtomicU64::new(0),
        }
    }

    /// Counts lost spans, and says so once a minute at most.
    fn lose(&self, spans: u64, why: &dyn fmt::Display) {
        let lost = self.lost.fetch_add(spans, Ordering::Relaxed) + spans;
        let now = self.began.elapsed().as_secs();
        let at = self.tell_at.load(Ordering::Relaxed);
        let next = now + TELL_EVERY.as_secs();
        let order = Ordering::Relaxed;
        if now >= at && self.tell_at.compare_exchange(at, next, order, order).is_ok() {
            let spans = lost.saturating_sub(self.told.swap(lost, order));
            tracing::warn!(spans, %why, "spans were lost; the work goes on");
        }
    }
}

/// The queue before the collector.
pub(super) struct Queue {
    processor: BatchSpanProcessor,
    watch: Arc<Watch>,
    max: usize,
}

impl Queue {
    /// Reads certificates, and opens no connection yet.
    pub(super) fn start(config: &TelemetryConfig) -> Result<Self, String> {
        let exporter = exporter(config)?;
        Ok(Self::before(exporter, config.queue_max))
    }

    fn before(exporter: impl opentelemetry_sdk::trace::SpanExporter + 'static, max: usize) -> Self {
        let watch = Arc::new(Watch::new());
        let counted = Counted {
            exporter: Arc::new(exporter),
            watch: Arc::clone(&watch),
            runtime: Handle::current(),
        };
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(max)
            .with_max_export_batch_size(EXPORT_SPANS.min(max))
            .with_scheduled_delay(DELAY)
            .build();
        Self { processor: BatchSpanProcessor::new(counted, batches), watch, max }
    }

    pub(super) fn lost(&self) -> u64 {
        self.watch.lost.load(Ordering::Relaxed)
    }

    pub(super) fn has_room(&self) -> bool {
        let has_room = self.watch.waiting.load(Ordering::Relaxed) < self.max;
        if !has_room {
            self.watch.lose(1, &"the collector does not keep up, and the queue is full");
        }
        has_room
    }

    pub(super) fn push(&self, span: SpanData) {
        if self.watch.waiting.fetch_add(1, Ordering::Relaxed) < self.max {
            self.processor.on_end(span);
        } else {
            self.watch.waiting.fetch_sub(1, Ordering::Relaxed);
            self.watch.lose(1, &"the collector does not keep up, and the queue is full");
        }
    }

    /// Blocks, for `limit` at most.
    pub(super) fn shutdown(&self, limit: Duration) {
        if let Err(error) = self.processor.shutdown_with_timeout(limit) {
            let waiting = self.watch.waiting.load(Ordering::Relaxed);
            self.watch.lose(waiting as u64, &error);
        }
    }
}

/// Counts what leaves the queue and what fails; runs the exporter within the runtime that its
/// connections need.
#[derive(Debug)]
struct Counted<E> {
    exporter: Arc<E>,
    watch: Arc<Watch>,
    runtime: Handle,
}

impl<E> opentelemetry_sdk::trace::SpanExporter for Counted<E>
where
    E: opentelemetry_sdk::trace::SpanExporter + 'static,
{
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        self.watch.waiting.fetch_sub(count, Ordering::Relaxed);
        let exporter = Arc::clone(&self.exporter);
        let export = async move {
            let export = exporter.export(batch);
            let timed_out = Err(OTelSdkError::Timeout(EXPORT_MAX));
            tokio::time::timeout(EXPORT_MAX, export).await.unwrap_or(timed_out)
        };
        let result = self.runtime.spawn(export).await;
        let result =
            result.unwrap_or_else(|error| Err(OTelSdkError::InternalFailure(error.to_string())));
        if let Err(error) = &result {
            self.watch.lose(count as u64, error);
        }
        result
    }
}

fn exporter(config: &TelemetryConfig) -> Result<SpanExporter, String> {
    let pem = match &config.ca_file {
        None => None,
        Some(path) => Some(
            std::fs::read(path)
                .map_err(|error| format!("cannot read {}: {error}", path.display()))?,
        ),
    };
    let mut headers = HeaderMap::new();
    for (name, value) in &config.otlp_headers {
        let wrong = |_| format!("the header {name} has a name or value that cannot be sent");
        let name = name.parse::<HeaderName>().map_err(|_| wrong(()))?;
        let mut value = HeaderValue::from_str(value.expose_secret()).map_err(|_| wrong(()))?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    let exporter = match protocol(config) {
        OtlpProtocol::Grpc => {
            let mut builder = SpanExporter::builder()
                .with_tonic()
                .with_metadata(MetadataMap::from_headers(headers));
            let endpoint = config.otlp_endpoint.clone().or_else(endpoint_of_environment);
            if endpoint.is_some_and(|url| url.starts_with("https")) {
                let mut tls = ClientTlsConfig::new().with_native_roots();
                if let Some(pem) = pem {
                    tls = tls.ca_certificate(Certificate::from_pem(pem));
                }
                builder = builder.with_tls_config(tls);
            }
            match &config.otlp_endpoint {
                Some(endpoint) => builder.with_endpoint(endpoint),
                None => builder,
            }
            .build()
        }
        OtlpProtocol::Http => {
            let client = http_client(config, headers)?;
            let builder = SpanExporter::builder()
                .with_http()
                .with_http_client(client)
                .with_protocol(Protocol::HttpBinary);
            match &config.otlp_endpoint {
                Some(endpoint) => builder.with_endpoint(traces_url(endpoint)),
                None => builder,
            }
            .build()
        }
    };
    let mut exporter = exporter.map_err(|error| error.to_string())?;
    exporter.set_resource(&resource(config));
    Ok(exporter)
}

/// The variables decide only where the endpoint is theirs too.
fn protocol(config: &TelemetryConfig) -> OtlpProtocol {
    let named = variable(OTEL_EXPORTER_OTLP_TRACES_PROTOCOL)
        .or_else(|| variable(OTEL_EXPORTER_OTLP_PROTOCOL))
        .filter(|_| config.otlp_endpoint.is_none());
    match named.as_deref() {
        None => config.otlp_protocol,
        Some(name) if name.starts_with("http") => OtlpProtocol::Http,
        Some(_) => OtlpProtocol::Grpc,
    }
}

/// With the headers in the client, a redirect or a log of the exporter cannot show them.
fn http_client(config: &TelemetryConfig, headers: HeaderMap) -> Result<reqwest::Client, String> {
    let tls = tls::client_config(config.ca_file.as_deref(), false).map_err(|e| e.to_string())?;
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(reqwest::redirect::Policy::none())
        .default_headers(headers)
        .timeout(REQUEST_MAX)
        .build()
        .map_err(|error| error.to_string())
}

fn traces_url(endpoint: &str) -> String {
    let path = "/v1/traces";
    if endpoint.ends_with(path) { endpoint.to_owned() } else { format!("{endpoint}{path}") }
}

/// Defaults, then the environment, then the configuration.
fn resource(config: &TelemetryConfig) -> Resource {
    let environment = Resource::builder().build();
    let name = opentelemetry::Key::new(SERVICE_NAME);
    let is_named =
        environment.get(&name).is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    let mut builder = Resource::builder_empty()
        .with_attribute(KeyValue::new(SERVICE_VERSION, env!("CARGO_PKG_VERSION")))
        .with_attributes(environment.iter().map(|(k, v)| KeyValue::new(k.clone(), v.clone())));
    if !is_named {
        builder = builder.with_service_name("zerotouch-worker");
    }
    let own = config.resource.iter();
    builder.with_attributes(own.map(|(k, v)| KeyValue::new(k.clone(), v.clone()))).build()
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::SpanKind;

    use super::*;
    use crate::shell::telemetry::traces::Span;
    use crate::wire::headers::TraceParent;

    /// An exporter that never answers, or always refuses.
    #[derive(Debug)]
    struct Bad {
        hangs: bool,
    }

    impl opentelemetry_sdk::trace::SpanExporter for Bad {
        async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
            if self.hangs {
                std::future::pending::<()>().await;
            }
            Err(OTelSdkError::InternalFailure("refused".into()))
        }
    }

    fn span() -> SpanData {
        let started = std::time::SystemTime::now();
        Span::new("span", SpanKind::Internal, TraceParent::of("span"), started).into()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_finds_no_room_is_counted_and_a_frozen_collector_holds_up_nothing() {
        let queue = Arc::new(Queue::before(Bad { hangs: true }, 128));
        let began = Instant::now();
        for _ in 0..1_000 {
            if queue.has_room() {
                queue.push(span());
            }
        }
        // One export at most has left the queue, and as many spans may have taken its place.
        assert!((1_000 - 2 * 128..=1_000 - 128).contains(&queue.lost()), "{}", queue.lost());
        let closing = Arc::clone(&queue);
        let limit = Duration::from_millis(200);
        tokio::task::spawn_blocking(move || closing.shutdown(limit)).await.unwrap();
        assert!(began.elapsed() < EXPORT_MAX, "{:?}", began.elapsed());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn spans_that_a_collector_refuses_are_counted() {
        let queue = Arc::new(Queue::before(Bad { hangs: false }, 128));
        (0..100).for_each(|_| queue.push(span()));
        let closing = Arc::clone(&queue);
        let limit = Duration::from_secs(30);
        tokio::task::spawn_blocking(move || closing.shutdown(limit)).await.unwrap();
        assert_eq!(queue.lost(), 100);
        assert_eq!(queue.watch.waiting.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn the_resource_has_a_name_a_version_and_what_the_configuration_says() {
        let own = ("deployment.environment.name".to_owned(), "tests".to_owned());
        let config = TelemetryConfig {
            otlp_endpoint: None,
            otlp_protocol: OtlpProtocol::Grpc,
            otlp_headers: Default::default(),
            ca_file: None,
            sample_one_in: 1,
            queue_max: 128,
            resource: [own].into(),
        };
        let resource = resource(&config);
        let get = |name: &'static str| resource.get(&name.into()).map(|value| value.to_string());
        assert_eq!(get(SERVICE_VERSION).as_deref(), Some(env!("CARGO_PKG_VERSION")));
        assert_eq!(get("deployment.environment.name").as_deref(), Some("tests"));
        assert!(get(SERVICE_NAME).is_some_and(|name| !name.starts_with("unknown")));
    }

    #[test]
    fn the_path_of_traces_is_added_once() {
        assert_eq!(traces_url("http://c:4318"), "http://c:4318/v1/traces");
        assert_eq!(traces_url("http://c/otlp/v1/traces"), "http://c/otlp/v1/traces");
    }
}
