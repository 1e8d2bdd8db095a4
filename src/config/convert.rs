//! From checked settings to what the rest of the program takes. Decides nothing.

use std::sync::Arc;
use std::time::Duration;

use super::names::Names;
use super::settings::{AccountSettings, AuthKind, Others, Settings, UnclaimGuard};
use super::validated::{
    AccountConfig, AdminConfig, ApiConfig, AuthConfig, Config, IntakeConfig, KafkaConfig,
    LogConfig, TelemetryConfig, TopicsConfig,
};
use crate::engine::{AccountOptions, GuardMode, Installation, Options};

/// What the default of `retry.ambiguous_grace` adds to lease and request time-out.
const GRACE_MARGIN: Duration = Duration::from_secs(30);

/// The configuration of settings that have no mistakes.
pub(super) fn config(settings: &Settings, explained: Vec<String>) -> Config {
    let accounts: Vec<_> = settings.accounts.iter().map(account).collect();
    let first = accounts.first().map(|account| account.name.clone()).unwrap_or_default();
    Config {
        kafka: kafka(settings),
        topics: topics(settings),
        api: ApiConfig {
            endpoint: endpoint(settings).to_owned(),
            connect_timeout: settings.api.connect_timeout.0,
            request_timeout: settings.api.request_timeout.0,
            response_bytes_max: settings.api.response_memory.bytes(),
            ca_file: settings.api.ca_file.clone(),
        },
        accounts,
        default_account: settings.default_account.as_deref().map_or(first, Arc::from),
        engine: engine(settings),
        intake: IntakeConfig {
            enabled: settings.intake.enabled,
            records_max: count(settings.intake.records_max),
            linger: settings.intake.linger.0,
            skips_others: settings.intake.others == Others::Skip,
            start: settings.intake.start.map(|start| start.0),
            order_devices_max: count(settings.limits.order_devices_max),
            order_bytes_max: settings.limits.order_bytes_max.bytes(),
        },
        shutdown_grace: settings.shutdown.grace.0,
        log: LogConfig { format: settings.log.format, level: settings.log.level.clone() },
        telemetry: telemetry(settings),
        admin: admin(settings),
        explained,
    }
}

/// Without a slash at the end: the client adds paths to it, and records name it.
fn endpoint(settings: &Settings) -> &str {
    settings.api.endpoint.trim_end_matches('/')
}

fn admin(settings: &Settings) -> AdminConfig {
    let given = settings.admin.listen.as_deref();
    // Off is no address.
    let address = |text: &str| text.parse().ok();
    let listen = given.map_or(Some(AdminConfig::LISTEN), address);
    AdminConfig {
        listen,
        is_asked_for: listen.is_some_and(|listen| listen != AdminConfig::LISTEN),
        expose: settings.admin.expose.as_deref().and_then(address),
    }
}

fn kafka(settings: &Settings) -> KafkaConfig {
    let (kafka, names) = (&settings.kafka, Names::of(settings));
    let properties = kafka.properties.iter();
    KafkaConfig {
        bootstrap_servers: kafka.bootstrap_servers.clone().unwrap_or_default(),
        group_id: names.group_id,
        client_id: names.client_id,
        group_instance_id: kafka.group_instance_id.clone(),
        group_protocol: kafka.group_protocol,
        properties: properties.map(|(name, value)| (name.clone(), value.0.clone())).collect(),
        session_timeout: kafka.session_timeout.0,
        max_poll_interval: kafka.max_poll_interval.0,
        transaction_timeout: kafka.transaction_timeout.0,
        commit_timeout: kafka.commit_timeout.0,
        fetch_memory: kafka.fetch_memory.bytes(),
        record_version: kafka.record_version,
    }
}

fn topics(settings: &Settings) -> TopicsConfig {
    let (topics, names) = (settings.topics.clone(), Names::of(settings));
    TopicsConfig {
        orders: topics.orders,
        commands: names.commands,
        ledger: names.ledger,
        outcomes: names.outcomes,
        dead_letters: names.dead_letters,
        partitions: topics.partitions,
        replication_factor: topics.replication_factor,
    }
}

fn telemetry(settings: &Settings) -> TelemetryConfig {
    let telemetry = settings.telemetry.clone();
    let headers = telemetry.otlp_headers.into_iter();
    TelemetryConfig {
        otlp_endpoint: telemetry.otlp_endpoint.map(|url| url.trim_end_matches('/').to_owned()),
        otlp_protocol: telemetry.otlp_protocol,
        otlp_headers: headers.map(|(name, value)| (name, value.0)).collect(),
        ca_file: telemetry.ca_file,
        logs: telemetry.logs,
        sample_one_in: telemetry.sample_one_in,
        queue_max: count(telemetry.queue_max),
        resource: telemetry.resource,
    }
}

fn account(account: &AccountSettings) -> AccountConfig {
    let file = account.auth.file.clone().unwrap_or_default();
    AccountConfig {
        name: Arc::from(account.name.as_str()),
        partner_id: Arc::from(account.partner_id.to_string()),
        auth: match account.auth.kind {
            AuthKind::ServiceAccountKey => AuthConfig::ServiceAccountKey(file),
            AuthKind::ApplicationDefault => AuthConfig::ApplicationDefault,
            AuthKind::MetadataServer => AuthConfig::MetadataServer,
            AuthKind::None => AuthConfig::None,
        },
    }
}

fn engine(settings: &Settings) -> Options {
    let Settings { kafka, batch, operation, retry, guard, limits, api, .. } = settings;
    let accounts = settings.accounts.iter().map(|account| AccountOptions {
        name: Arc::from(account.name.as_str()),
        partner_id: Arc::from(account.partner_id.to_string()),
        quota_calls: account.quota_calls,
        quota_window: account.quota_window.0,
    });
    let grace = retry.lease.0 + api.request_timeout.0 + GRACE_MARGIN;
    let unknown_here = Options::default();
    Options {
        accounts: accounts.collect(),
        installation: Some(Installation {
            endpoint: endpoint(settings).into(),
            group: Names::of(settings).group_id.into(),
        }),
        partitions_total: unknown_here.partitions_total,
        batch_items_max: count(batch.items_max),
        batch_linger: batch.linger.0,
        batch_linger_max: batch.linger_max.0,
        lease: retry.lease.0,
        ambiguous_grace: retry.ambiguous_grace.map_or(grace, |grace| grace.0),
        // The group waits for its members' shorter patience; two fifths of it leave room for
        // the last transaction.
        revocation_wait: kafka.session_timeout.0.min(kafka.max_poll_interval.0) * 2 / 5,
        operation_deadline: operation.deadline.0,
        poll_delay_min: operation.poll_delay_min.0,
        poll_delay_max: operation.poll_delay_max.0,
        device_attempts_max: retry.device_attempts_max,
        backoff_min: retry.backoff_min.0,
        backoff_max: retry.backoff_max.0,
        guard: match guard.unclaim {
            UnclaimGuard::Always => GuardMode::Always,
            UnclaimGuard::Unknown => GuardMode::Unknown,
            UnclaimGuard::Never => GuardMode::Never,
        },
        guard_match_order: guard.match_order,
        guard_memory_max: count(guard.memory_max),
        commands_max: count(limits.commands_max),
        command_bytes_max: limits.command_memory.bytes(),
        operations_max: count(operation.operations_max),
        lookups_max: count(retry.lookups_max),
        seed: unknown_here.seed,
    }
}

fn count(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
