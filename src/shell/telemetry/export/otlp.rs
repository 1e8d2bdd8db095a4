//! The exporters: OTLP over gRPC or HTTP, to the collector that the configuration or
//! OpenTelemetry's variables name.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::tonic_types::transport::ClientTlsConfig;
use opentelemetry_otlp::{
    LogExporter, Protocol, SpanExporter, WithExportConfig, WithHttpConfig, WithTonicConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::LogExporter as _;
use opentelemetry_sdk::trace::SpanExporter as _;
use opentelemetry_semantic_conventions::attribute::{SERVICE_NAME, SERVICE_VERSION};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use secrecy::ExposeSecret as _;

use super::environment::{Environment, Signal};
use super::watch::Watch;
use crate::config::{OtlpProtocol, TelemetryConfig};
use crate::shell::http::tls;

/// How long one request over HTTP may take; the SDK sees to gRPC itself.
const REQUEST_MAX: Duration = Duration::from_secs(10);

/// Where a signal goes, and how.
#[derive(Debug)]
pub(in crate::shell::telemetry) struct Otlp<'a> {
    pub(in crate::shell::telemetry) signal: Signal,
    pub(in crate::shell::telemetry) config: &'a TelemetryConfig,
    pub(in crate::shell::telemetry) environment: &'a Environment,
    /// Learns why requests fail.
    pub(in crate::shell::telemetry) watch: &'a Arc<Watch>,
}

impl Otlp<'_> {
    /// Reads certificates, and opens no connection yet.
    pub(in crate::shell::telemetry) fn spans(&self) -> Result<SpanExporter, String> {
        let exporter = match self.protocol() {
            OtlpProtocol::Grpc => self.grpc(SpanExporter::builder().with_tonic())?.build(),
            OtlpProtocol::Http => self.http(SpanExporter::builder().with_http())?.build(),
        };
        let mut exporter = exporter.map_err(|error| error.to_string())?;
        exporter.set_resource(&resource(self.config));
        Ok(exporter)
    }

    /// The same for log records.
    pub(in crate::shell::telemetry) fn logs(&self) -> Result<LogExporter, String> {
        let exporter = match self.protocol() {
            OtlpProtocol::Grpc => self.grpc(LogExporter::builder().with_tonic())?.build(),
            OtlpProtocol::Http => self.http(LogExporter::builder().with_http())?.build(),
        };
        let mut exporter = exporter.map_err(|error| error.to_string())?;
        exporter.set_resource(&resource(self.config));
        Ok(exporter)
    }

    /// As it is spoken.
    pub(in crate::shell::telemetry) fn protocol(&self) -> OtlpProtocol {
        self.environment.protocol(self.signal, self.config)
    }

    fn grpc<B: WithTonicConfig + WithExportConfig>(&self, builder: B) -> Result<B, String> {
        let headers = self.headers()?;
        // Unlike metadata of the builder, an interceptor comes after the headers of the variables.
        let builder = builder.with_interceptor(move |mut request: tonic::Request<()>| {
            for (name, value) in &headers {
                request.metadata_mut().as_mut().insert(name, value.clone());
            }
            Ok(request)
        });
        let ca_file = self.environment.ca_file(self.signal, self.config);
        let roots = tls::roots(ca_file.as_deref(), false).map_err(|error| error.to_string())?;
        // Without TLS in the URL none of it is used.
        let builder = builder.with_tls_config(ClientTlsConfig::new().trust_anchors(roots.roots));
        Ok(match &self.config.otlp_endpoint {
            Some(endpoint) => builder.with_endpoint(endpoint),
            None => builder,
        })
    }

    fn http<B: WithHttpConfig + WithExportConfig>(&self, builder: B) -> Result<B, String> {
        let ca_file = self.environment.ca_file(self.signal, self.config);
        let tls = tls::client_config(ca_file.as_deref(), false).map_err(|e| e.to_string())?;
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none())
            .timeout(REQUEST_MAX)
            .build()
            .map_err(|error| error.to_string())?;
        let builder = builder
            .with_http_client(Client {
                client,
                headers: self.headers()?,
                watch: Arc::clone(self.watch),
            })
            .with_protocol(Protocol::HttpBinary);
        Ok(match &self.config.otlp_endpoint {
            Some(endpoint) => builder.with_endpoint(url(endpoint, self.signal)),
            None => builder,
        })
    }

    fn headers(&self) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.config.otlp_headers {
            let wrong = |_| format!("the header {name} has a name or value that cannot be sent");
            let name = name.parse::<HeaderName>().map_err(|_| wrong(()))?;
            let mut value = HeaderValue::from_str(value.expose_secret()).map_err(|_| wrong(()))?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        Ok(headers)
    }
}

/// Sets the headers of the configuration last, so that they win against those of the variables, and
/// notes what failures come from, which the SDK does not tell.
#[derive(Debug)]
struct Client {
    client: reqwest::Client,
    headers: HeaderMap,
    watch: Arc<Watch>,
}

impl HttpClient for Client {
    fn send_bytes<'c, 'f>(
        &'c self,
        mut request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'f>>
    where
        'c: 'f,
        Self: 'f,
    {
        for (name, value) in &self.headers {
            request.headers_mut().insert(name, value.clone());
        }
        Box::pin(async move {
            let answer = self.client.send_bytes(request).await;
            if let Err(error) = &answer {
                self.watch.note_cause(Some(root_cause(&**error)));
            }
            answer
        })
    }
}

/// What it all began with; what is above names the URL, which may hold a secret.
fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(cause) = error.source() {
        error = cause;
    }
    match error.downcast_ref::<reqwest::Error>() {
        Some(error) if error.is_timeout() => "no answer in time".to_owned(),
        Some(_) => "the request could not be sent".to_owned(),
        None => error.to_string(),
    }
}

fn url(endpoint: &str, signal: Signal) -> String {
    let path = signal.path();
    // One that was given whole for traces is meant for the collector behind it.
    let base = endpoint.strip_suffix(Signal::Traces.path()).unwrap_or(endpoint);
    format!("{base}{path}")
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
    use super::*;
    use crate::shell::telemetry::export::tests::config;

    #[test]
    fn the_resource_has_a_name_a_version_and_what_the_configuration_says() {
        let own = ("deployment.environment.name".to_owned(), "tests".to_owned());
        let resource = resource(&TelemetryConfig { resource: [own].into(), ..config() });
        let get = |name: &'static str| resource.get(&name.into()).map(|value| value.to_string());
        assert_eq!(get(SERVICE_VERSION).as_deref(), Some(env!("CARGO_PKG_VERSION")));
        assert_eq!(get("deployment.environment.name").as_deref(), Some("tests"));
        assert!(get(SERVICE_NAME).is_some_and(|name| !name.starts_with("unknown")));
    }

    #[test]
    fn the_path_of_a_signal_is_added_once() {
        assert_eq!(url("http://c:4318", Signal::Traces), "http://c:4318/v1/traces");
        assert_eq!(url("http://c/otlp/v1/traces", Signal::Traces), "http://c/otlp/v1/traces");
        assert_eq!(url("http://c/otlp/v1/traces", Signal::Logs), "http://c/otlp/v1/logs");
    }
}
