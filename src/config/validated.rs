//! The configuration as the rest of the program sees it: checked, and without text to parse.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use super::settings::{GroupProtocol, LogFormat, OtlpProtocol};
use crate::engine::{Options, StartFrom};

/// A configuration without mistakes. Printing it shows no secrets.
#[derive(Clone, Debug)]
pub struct Config {
    /// The Kafka cluster.
    pub kafka: KafkaConfig,
    /// Topic names.
    pub topics: TopicsConfig,
    /// The reseller API.
    pub api: ApiConfig,
    /// The accounts, in the order of `engine.accounts`; at least one, names are unique.
    pub accounts: Vec<AccountConfig>,
    /// The account of order events that name none.
    pub default_account: Arc<str>,
    /// Options of the engine. `partitions_total` and `seed` are the shell's to fill in.
    pub engine: Options,
    /// The stage that reads order events.
    pub intake: IntakeConfig,
    /// How long ending may take.
    pub shutdown_grace: Duration,
    /// Logs.
    pub log: LogConfig,
    /// Traces.
    pub telemetry: TelemetryConfig,
    /// How the worker is watched and controlled.
    pub admin: AdminConfig,
    /// What was set, one line for each key, with where it was set: `batch.items_max = 500
    /// (worker.toml:12)`. What is not listed has its default. Shows no secrets.
    pub explained: Vec<String>,
}

/// The Kafka cluster and the membership in a group.
#[derive(Clone)]
pub struct KafkaConfig {
    /// `host:port`, several separated by commas.
    pub bootstrap_servers: String,
    /// Consumer group.
    pub group_id: String,
    /// The client's name at the brokers.
    pub client_id: String,
    /// Static membership.
    pub group_instance_id: Option<String>,
    /// Rebalance protocol.
    pub group_protocol: GroupProtocol,
    /// Further librdkafka properties; none that this worker sets itself.
    pub properties: BTreeMap<String, SecretString>,
    /// Silence after which a member is out (classic protocol).
    pub session_timeout: Duration,
    /// Longest time between two reads.
    pub max_poll_interval: Duration,
    /// Longest open transaction; shorter than `max_poll_interval`.
    pub transaction_timeout: Duration,
    /// Longest commit; shorter than `transaction_timeout`.
    pub commit_timeout: Duration,
    /// Bytes fetched ahead, for each consumer.
    pub fetch_memory: usize,
    /// Version in which commands are written: 1 or 2.
    pub record_version: u32,
}

impl fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names of properties only: their values may be secret.
        let properties: Vec<_> = self.properties.keys().collect();
        f.debug_struct("KafkaConfig")
            .field("bootstrap_servers", &self.bootstrap_servers)
            .field("group_id", &self.group_id)
            .field("client_id", &self.client_id)
            .field("group_instance_id", &self.group_instance_id)
            .field("group_protocol", &self.group_protocol)
            .field("properties", &properties)
            .field("session_timeout", &self.session_timeout)
            .field("max_poll_interval", &self.max_poll_interval)
            .field("transaction_timeout", &self.transaction_timeout)
            .field("commit_timeout", &self.commit_timeout)
            .field("fetch_memory", &self.fetch_memory)
            .field("record_version", &self.record_version)
            .finish()
    }
}

/// Topic names, all different.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicsConfig {
    /// Order events; not empty if intake is enabled.
    pub orders: Vec<String>,
    /// Commands.
    pub commands: String,
    /// Ledger.
    pub ledger: String,
    /// Outcomes.
    pub outcomes: String,
    /// Dead letters.
    pub dead_letters: String,
    /// Partitions of topics to create.
    pub partitions: u32,
    /// Copies of topics to create.
    pub replication_factor: u16,
}

/// The reseller API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiConfig {
    /// Base URL without a slash at the end.
    pub endpoint: String,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Longest wait for a whole reply.
    pub request_timeout: Duration,
    /// Bytes of one reply at most.
    pub response_bytes_max: usize,
    /// Certificates to trust beside the usual ones.
    pub ca_file: Option<PathBuf>,
}

/// Where access tokens come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthConfig {
    /// A service account's key file.
    ServiceAccountKey(PathBuf),
    /// Application default credentials.
    ApplicationDefault,
    /// The metadata server.
    MetadataServer,
    /// No tokens.
    None,
}

/// What calls for an account need; its quota is in [`Config::engine`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountConfig {
    /// The name that order events use.
    pub name: Arc<str>,
    /// The partner id, a positive number.
    pub partner_id: Arc<str>,
    /// Where access tokens come from.
    pub auth: AuthConfig,
}

/// The stage that reads order events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntakeConfig {
    /// Whether it runs.
    pub enabled: bool,
    /// Order events in one transaction at most.
    pub records_max: usize,
    /// Wait before a transaction that is not full goes out.
    pub linger: Duration,
    /// Whether events of other types are passed over.
    pub skips_others: bool,
    /// Where to begin in topics that the group has not read yet.
    pub start: Option<StartFrom>,
    /// Devices in one order event at most.
    pub order_devices_max: usize,
    /// Bytes of one order event at most.
    pub order_bytes_max: usize,
}

/// Logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// How lines look.
    pub format: LogFormat,
    /// Directives of `EnvFilter`.
    pub level: String,
}

/// Export of traces and logs.
#[derive(Clone)]
pub struct TelemetryConfig {
    /// The collector, without a slash at the end; `None`: what the variables of OpenTelemetry say.
    pub otlp_endpoint: Option<String>,
    /// How it is spoken to.
    pub otlp_protocol: OtlpProtocol,
    /// Headers of every export.
    pub otlp_headers: BTreeMap<String, SecretString>,
    /// Certificates to trust beside the usual ones.
    pub ca_file: Option<PathBuf>,
    /// Whether logs are exported too; `None`: as the variables of OpenTelemetry say.
    pub logs: Option<bool>,
    /// One in so many of the order events without trace context begins a trace; `None`: as the
    /// variables of OpenTelemetry say.
    pub sample_one_in: Option<u32>,
    /// Spans that wait for the collector, at most, and as many log lines.
    pub queue_max: usize,
    /// Attributes of this process, beside those of the environment.
    pub resource: BTreeMap<String, String>,
}

impl fmt::Debug for TelemetryConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values of headers are secret.
        let headers: Vec<_> = self.otlp_headers.keys().collect();
        f.debug_struct("TelemetryConfig")
            .field("otlp_endpoint", &self.otlp_endpoint)
            .field("otlp_protocol", &self.otlp_protocol)
            .field("otlp_headers", &headers)
            .field("ca_file", &self.ca_file)
            .field("logs", &self.logs)
            .field("sample_one_in", &self.sample_one_in)
            .field("queue_max", &self.queue_max)
            .field("resource", &self.resource)
            .finish()
    }
}

/// How the worker is watched and controlled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AdminConfig {
    /// Where everything is served; nowhere if it is off.
    pub listen: Option<SocketAddr>,
    /// Whether that is another address than the default: then it must be free.
    pub is_asked_for: bool,
    /// Where probes and metrics alone are served too.
    pub expose: Option<SocketAddr>,
}

impl AdminConfig {
    /// Where everything is served unless it is said otherwise.
    pub const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9_700);
    /// In place of an address: no admin server.
    pub const OFF: &str = "off";
}
