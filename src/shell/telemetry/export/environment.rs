//! OpenTelemetry's variables: which are read, and which are set in vain. A key of the configuration
//! that says the same wins.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::config::{OtlpProtocol, TelemetryConfig};

const DISABLED: &str = "OTEL_SDK_DISABLED";
const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const SAMPLER_ARG: &str = "OTEL_TRACES_SAMPLER_ARG";
/// What this worker speaks.
const PROTOCOLS: [&str; 2] = ["grpc", "http/protobuf"];
/// What names the process; the SDK reads them.
const RESOURCE: [&str; 2] = ["OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"];

/// What is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::shell::telemetry) enum Signal {
    /// Spans.
    Traces,
    /// Log lines.
    Logs,
}

impl Signal {
    const ALL: [Self; 2] = [Self::Traces, Self::Logs];

    /// Under which they are received over HTTP.
    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Traces => "/v1/traces",
            Self::Logs => "/v1/logs",
        }
    }

    const fn infix(self) -> &'static str {
        match self {
            Self::Traces => "TRACES",
            Self::Logs => "LOGS",
        }
    }

    fn exporter(self) -> String {
        format!("OTEL_{}_EXPORTER", self.infix())
    }

    /// The variable of this signal alone, and that of all; the first that is set counts.
    fn names(self, setting: &str) -> [String; 2] {
        let own = format!("OTEL_EXPORTER_OTLP_{}_{setting}", self.infix());
        [own, format!("OTEL_EXPORTER_OTLP_{setting}")]
    }
}

/// The variables of OpenTelemetry that are set; one that is empty is not, as OpenTelemetry says.
#[derive(Clone, Debug, Default)]
pub(in crate::shell::telemetry) struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Those of this process.
    pub(in crate::shell::telemetry) fn of_process() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self::of(std::env::vars_os().filter_map(text))
    }

    /// Those among these.
    pub(in crate::shell::telemetry) fn of(
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let is_set = |(name, value): &(String, String)| {
            name.starts_with("OTEL_") && !value.trim().is_empty()
        };
        Self(variables.into_iter().filter(is_set).collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.trim())
    }

    fn of_signal(&self, signal: Signal, setting: &str) -> Option<&str> {
        signal.names(setting).iter().find_map(|name| self.get(name))
    }

    /// Whether a signal is to be exported, and there is somewhere to export it to.
    pub(in crate::shell::telemetry) fn wants(
        &self,
        signal: Signal,
        config: &TelemetryConfig,
    ) -> bool {
        let is_disabled = self.get(DISABLED).is_some_and(|text| text.eq_ignore_ascii_case("true"));
        let has_endpoint = config.otlp_endpoint.is_some()
            || (!is_disabled && self.of_signal(signal, "ENDPOINT").is_some());
        let exporter = self.get(&signal.exporter()).map(|names| {
            let mut names = names.split(',').map(str::trim);
            names.any(|name| name.eq_ignore_ascii_case("otlp"))
        });
        has_endpoint
            && match signal {
                Signal::Traces => exporter.unwrap_or(true),
                Signal::Logs => config.logs.or(exporter).unwrap_or(false),
            }
    }

    /// Whether anything is exported.
    pub(in crate::shell::telemetry) fn wants_any(&self, config: &TelemetryConfig) -> bool {
        Signal::ALL.into_iter().any(|signal| self.wants(signal, config))
    }

    /// The variables decide only where the endpoint is theirs too.
    pub(super) fn protocol(&self, signal: Signal, config: &TelemetryConfig) -> OtlpProtocol {
        let named = self.of_signal(signal, "PROTOCOL").filter(|_| config.otlp_endpoint.is_none());
        match named {
            None => config.otlp_protocol,
            Some(name) if name.starts_with("http") => OtlpProtocol::Http,
            Some(_) => OtlpProtocol::Grpc,
        }
    }

    /// Whether the protocol that is named is spoken; another one is replaced by the nearest.
    fn speaks(&self, signal: Signal) -> bool {
        self.of_signal(signal, "PROTOCOL").is_none_or(|name| PROTOCOLS.contains(&name))
    }

    /// Certificates to trust beside the usual ones.
    pub(super) fn ca_file(&self, signal: Signal, config: &TelemetryConfig) -> Option<PathBuf> {
        config.ca_file.clone().or_else(|| self.of_signal(signal, "CERTIFICATE").map(PathBuf::from))
    }

    /// The sampler and its argument, if one is named.
    pub(in crate::shell::telemetry) fn sampler(&self) -> Option<(&str, Option<&str>)> {
        Some((self.get(SAMPLER)?, self.get(SAMPLER_ARG)))
    }

    /// The variables that are set and not read: the configuration says otherwise, the signal is
    /// not exported, it names a protocol that this worker does not speak (`http/json`), or this
    /// worker has nothing that they could change.
    pub(in crate::shell::telemetry) fn unread(&self, config: &TelemetryConfig) -> Vec<&str> {
        let mut read: Vec<String> = RESOURCE.map(str::to_owned).to_vec();
        let is_theirs = config.otlp_endpoint.is_none();
        if is_theirs {
            read.push(DISABLED.to_owned());
        }
        if config.sample_one_in.is_none() {
            read.extend([SAMPLER, SAMPLER_ARG].map(str::to_owned));
        }
        for signal in Signal::ALL {
            if signal == Signal::Traces || config.logs.is_none() {
                read.push(signal.exporter());
            }
            if !self.wants(signal, config) {
                continue;
            }
            let is_grpc = self.protocol(signal, config) == OtlpProtocol::Grpc;
            for (setting, is_read) in [
                ("ENDPOINT", is_theirs),
                ("PROTOCOL", is_theirs && self.speaks(signal)),
                ("INSECURE", is_theirs && is_grpc),
                ("CERTIFICATE", config.ca_file.is_none()),
                ("HEADERS", true),
                ("TIMEOUT", true),
            ] {
                read.extend(signal.names(setting).into_iter().filter(|_| is_read));
            }
        }
        self.0.keys().filter(|name| !read.contains(name)).map(String::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::telemetry::export::tests::config;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Environment::of(variables.iter().map(owned))
    }

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317");

    #[test]
    fn a_collector_is_named_by_the_configuration_else_by_a_variable_that_is_not_empty() {
        let wants =
            |variables: &[_], config: &_| environment(variables).wants(Signal::Traces, config);
        let mut config = config();
        assert!(!wants(&[], &config));
        assert!(!wants(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")], &config));
        assert!(wants(&[ENDPOINT], &config));
        assert!(wants(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c")], &config));
        assert!(!wants(&[("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://c")], &config));
        assert!(!wants(&[ENDPOINT, ("OTEL_SDK_DISABLED", "TRUE")], &config));
        assert!(!wants(&[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")], &config));
        assert!(wants(&[ENDPOINT, ("OTEL_TRACES_EXPORTER", "console, otlp")], &config));
        config.otlp_endpoint = Some("http://own".into());
        assert!(wants(&[("OTEL_SDK_DISABLED", "true")], &config), "the configuration wins");
    }

    #[test]
    fn logs_are_exported_if_the_configuration_says_so_else_if_the_variable_does() {
        let wants =
            |variables: &[_], config: &_| environment(variables).wants(Signal::Logs, config);
        let mut config = config();
        let by_variable = [ENDPOINT, ("OTEL_LOGS_EXPORTER", "otlp")];
        assert!(!wants(&[ENDPOINT], &config), "off unless asked for");
        assert!(wants(&by_variable, &config));
        config.logs = Some(false);
        assert!(!wants(&by_variable, &config));
        config.logs = Some(true);
        assert!(!wants(&[], &config), "there is no collector");
        assert!(wants(&[ENDPOINT, ("OTEL_LOGS_EXPORTER", "none")], &config));
    }

    #[test]
    fn the_variable_of_a_signal_goes_before_that_of_all_and_the_configuration_before_both() {
        let environment = environment(&[
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/all.pem"),
            ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "/traces.pem"),
        ]);
        let mut config = config();
        assert_eq!(environment.protocol(Signal::Traces, &config), OtlpProtocol::Http);
        assert_eq!(environment.protocol(Signal::Logs, &config), OtlpProtocol::Grpc);
        let file = |signal, config: &_| environment.ca_file(signal, config).unwrap();
        assert_eq!(file(Signal::Traces, &config), PathBuf::from("/traces.pem"));
        assert_eq!(file(Signal::Logs, &config), PathBuf::from("/all.pem"));
        config.otlp_endpoint = Some("http://own".into());
        config.ca_file = Some("/own.pem".into());
        assert_eq!(environment.protocol(Signal::Traces, &config), OtlpProtocol::Grpc);
        assert_eq!(file(Signal::Traces, &config), PathBuf::from("/own.pem"));
    }

    #[test]
    fn variables_that_are_set_in_vain_are_named() {
        let environment = environment(&[
            ENDPOINT,
            ("OTEL_SERVICE_NAME", "name"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=b"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", "1000"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem"),
            ("OTEL_TRACES_SAMPLER", "always_on"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "7"),
            ("OTEL_PROPAGATORS", "b3"),
            ("PATH", "/bin"),
        ]);
        for (protocol, is_named) in [("grpc", false), ("http/protobuf", false), ("http/json", true)]
        {
            let name = "OTEL_EXPORTER_OTLP_PROTOCOL";
            let environment = self::environment(&[ENDPOINT, (name, protocol)]);
            assert_eq!(environment.unread(&config()).contains(&name), is_named, "{protocol}");
        }
        let always = [
            "OTEL_BSP_MAX_QUEUE_SIZE",
            "OTEL_EXPORTER_OTLP_COMPRESSION",
            "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT",
            "OTEL_PROPAGATORS",
        ];
        let mut config = config();
        assert_eq!(environment.unread(&config), always);
        config.logs = Some(true);
        assert!(!environment.unread(&config).contains(&"OTEL_EXPORTER_OTLP_LOGS_TIMEOUT"));
        config.otlp_endpoint = Some("http://own".into());
        config.sample_one_in = Some(2);
        config.ca_file = Some("/own.pem".into());
        let unread = environment.unread(&config);
        for name in [ENDPOINT.0, "OTEL_TRACES_SAMPLER", "OTEL_EXPORTER_OTLP_CERTIFICATE"] {
            assert!(unread.contains(&name), "{name} {unread:?}");
        }
    }
}
