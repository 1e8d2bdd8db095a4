//! Which librdkafka settings every client gets.
//!
//! The protocol of the worker rests on some of them (read committed, no automatic commits, …). A
//! user's property that would change one of those is refused ([`owned_property`]).

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaConfRes;

use super::repeats;
use crate::config::owned_property;

/// How members of a consumer group agree on who reads what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GroupProtocol {
    /// The protocol of all brokers; partitions move one by one (cooperative).
    #[default]
    Classic,
    /// KIP-848: the broker decides. Needs Kafka 4.0.
    Consumer,
}

/// How to reach Kafka, and the bounds of every client.
#[derive(Clone)]
pub struct KafkaOptions {
    /// Brokers to ask first, `host:port`, separated by commas.
    pub bootstrap_servers: String,
    /// What brokers call this process in logs and quotas.
    pub client_id: String,
    /// The consumer group.
    pub group_id: String,
    /// A name that stays over restarts, so that a quick one moves no partition.
    pub group_instance_id: Option<String>,
    /// How the group shares out partitions.
    pub group_protocol: GroupProtocol,
    /// Further librdkafka properties, such as those for TLS and SASL. May hold secrets, so only
    /// names are ever printed.
    pub properties: BTreeMap<String, String>,
    /// A member that is silent for this long is out of the group (classic protocol only). Four
    /// fifths of it are what a driver has for releasing revoked partitions: longer than
    /// `commit_timeout`.
    pub session_timeout: Duration,
    /// How long the group waits for a member in a rebalance. Not below `session_timeout`.
    pub max_poll_interval: Duration,
    /// The broker aborts a transaction that is open for longer, and a new owner may have to wait
    /// for that long: keep it short.
    pub transaction_timeout: Duration,
    /// How long one commit may take, from its first record on. Shorter than the above.
    pub commit_timeout: Duration,
    /// How long a request that is no part of a transaction may take.
    pub request_timeout: Duration,
    /// Memory for records fetched ahead, for each consumer, in KiB.
    pub queued_max_kbytes: u32,
    /// The largest record, key and headers included, that is written, in bytes.
    pub record_bytes_max: u32,
}

impl Default for KafkaOptions {
    fn default() -> Self {
        Self {
            bootstrap_servers: "localhost:9092".into(),
            client_id: "zerotouch-worker".into(),
            group_id: "zerotouch-worker".into(),
            group_instance_id: None,
            group_protocol: GroupProtocol::default(),
            properties: BTreeMap::new(),
            session_timeout: Duration::from_secs(15),
            max_poll_interval: Duration::from_secs(60),
            transaction_timeout: Duration::from_secs(15),
            commit_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(10),
            queued_max_kbytes: 4_096,
            record_bytes_max: 1_000_000,
        }
    }
}

impl fmt::Debug for KafkaOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaOptions")
            .field("bootstrap_servers", &self.bootstrap_servers)
            .field("client_id", &self.client_id)
            .field("group_id", &self.group_id)
            .field("group_instance_id", &self.group_instance_id)
            .field("group_protocol", &self.group_protocol)
            .field("properties", &self.properties.keys())
            .finish_non_exhaustive()
    }
}

/// A client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A user's property would break the worker.
    #[error("the property `{key}` is {instead}")]
    Owned {
        /// The property.
        key: String,
        /// What to do instead.
        instead: &'static str,
    },
    /// librdkafka refuses a property. Its value may be a secret and is not shown.
    #[error("the Kafka client refuses the property `{key}`: {reason}")]
    Property {
        /// The property.
        key: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Any other failure to make a client or its thread.
    #[error("the Kafka client {client} cannot be made: {reason}")]
    Create {
        /// Which client.
        client: &'static str,
        /// What librdkafka says.
        reason: String,
    },
}

/// What a client is for.
#[derive(Clone, Copy)]
pub(super) enum Role<'a> {
    /// A member of the consumer group; says whether it is to report the ends of partitions.
    Member { report_ends: bool },
    /// Reads partitions that it is told to read; joins nothing, commits nothing.
    Reader,
    /// Asks for offsets as they are, open transactions included; reads nothing.
    Watermarks,
    /// Writes transactions under this id.
    Transactional(&'a str),
    /// Makes and describes topics.
    Admin,
}

/// How often a member of a group tells its state; see `membership`.
const TOLD_EVERY: Duration = Duration::from_secs(5);

/// A batch of records on the wire stays below this, unless a single record is larger. Topics are
/// checked for accepting it, so that only a record on its own can be refused for its size.
pub(super) const BATCH_BYTES: u32 = 512 * 1024;

/// What a reader fetches ahead, in KiB: there is one for each lane that is taken over, and all
/// lanes may be at once.
const READER_KBYTES_MAX: u32 = 1_024;

/// The settings for one client, the user's included.
pub(super) fn config(options: &KafkaOptions, role: Role<'_>) -> Result<ClientConfig, ClientError> {
    let mut config = ClientConfig::new();
    for (key, value) in &options.properties {
        if let Some(instead) = owned_property(key) {
            return Err(ClientError::Owned { key: key.clone(), instead });
        }
        config.set(key, value);
    }
    config.set("bootstrap.servers", &options.bootstrap_servers);
    config.set("client.id", &options.client_id);
    config.set_log_level(log_level());
    // A broker that is back should be found soon; the client's own limit is 10 s.
    default(&mut config, "reconnect.backoff.max.ms", &2_000);
    match role {
        Role::Member { report_ends } => {
            consumer(options, options.queued_max_kbytes, &mut config);
            member(options, &mut config);
            config.set("enable.partition.eof", report_ends.to_string());
            // A topic that was made anew is told in these lines only; see `changed_topic`.
            config.set_log_level(RDKafkaLogLevel::Debug);
            match config.get("debug").map(str::to_owned) {
                None => config.set("debug", "metadata"),
                Some(wanted) => config.set("debug", format!("{wanted},metadata")),
            };
        }
        Role::Reader => {
            consumer(options, options.queued_max_kbytes.min(READER_KBYTES_MAX), &mut config);
            config.set("enable.partition.eof", "true");
        }
        Role::Watermarks => {
            config.set("isolation.level", "read_uncommitted");
        }
        Role::Transactional(id) => producer(options, id, &mut config),
        Role::Admin => {}
    }
    Ok(config)
}

fn consumer(options: &KafkaOptions, queued_max_kbytes: u32, config: &mut ClientConfig) {
    config
        .set("group.id", &options.group_id)
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // Where reading begins is decided by the worker and told; see `engine::positions`.
        .set("auto.offset.reset", "error")
        .set("allow.auto.create.topics", "false")
        .set("queued.max.messages.kbytes", queued_max_kbytes.to_string());
    // One answer may not be much larger than what may be queued.
    let fetch = u64::from(queued_max_kbytes) * 1024;
    let message = u64::from(options.record_bytes_max.max(BATCH_BYTES)) + 512;
    default(config, "fetch.message.max.bytes", &fetch.min(1 << 20));
    default(config, "fetch.max.bytes", &fetch.max(message));
    default(config, "fetch.wait.max.ms", &100);
    // With so little room, a full queue is empty again in a moment: the client's own second of
    // waiting would be most of the time that a replay takes.
    default(config, "fetch.queue.backoff.ms", &10);
}

fn member(options: &KafkaOptions, config: &mut ClientConfig) {
    config.set("max.poll.interval.ms", millis(options.max_poll_interval));
    config.set("statistics.interval.ms", millis(TOLD_EVERY));
    // A topic that is made, or made again, should be read soon; the client's own time is 5 min.
    default(config, "topic.metadata.refresh.interval.ms", &30_000);
    if let Some(id) = &options.group_instance_id {
        config.set("group.instance.id", id);
    }
    match options.group_protocol {
        GroupProtocol::Classic => {
            let beat = options.session_timeout / 5;
            config
                .set("group.protocol", "classic")
                .set("partition.assignment.strategy", "cooperative-sticky")
                .set("session.timeout.ms", millis(options.session_timeout));
            default(config, "heartbeat.interval.ms", &beat.as_millis());
        }
        // The broker sets strategy, session and heartbeat; librdkafka refuses them here.
        GroupProtocol::Consumer => {
            config.set("group.protocol", "consumer");
        }
    }
}

fn producer(options: &KafkaOptions, id: &str, config: &mut ClientConfig) {
    config
        .set("transactional.id", id)
        .set("transaction.timeout.ms", millis(options.transaction_timeout))
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("batch.size", BATCH_BYTES.to_string())
        .set("message.max.bytes", options.record_bytes_max.to_string());
    // A transaction's records are all there before anything waits for them.
    default(config, "linger.ms", &1);
}

/// Sets what the user has not set.
fn default(config: &mut ClientConfig, key: &str, value: &impl ToString) {
    if config.get(key).is_none() {
        config.set(key, value.to_string());
    }
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

/// Turns librdkafka's refusal into an error that shows no value.
pub(super) fn refused(client: &'static str, error: &KafkaError) -> ClientError {
    match error {
        KafkaError::ClientConfig(result, _, key, _) => ClientError::Property {
            key: key.clone(),
            reason: match result {
                RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN => "it does not exist in librdkafka 2.12",
                RDKafkaConfRes::RD_KAFKA_CONF_INVALID | RDKafkaConfRes::RD_KAFKA_CONF_OK => {
                    "its value is not valid"
                }
            },
        },
        other => ClientError::Create { client, reason: other.to_string() },
    }
}

/// Sends librdkafka's log lines to `tracing`.
pub(super) struct LogContext;

impl ClientContext for LogContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_error(&error, reason);
    }
}

impl ConsumerContext for LogContext {}

/// A line of librdkafka's log; see [`repeats`] for how often.
pub(super) fn log_line(level: RDKafkaLogLevel, facility: &str, message: &str) {
    let again = match level {
        RDKafkaLogLevel::Debug => None,
        _ => match repeats::tell(message) {
            Some(again) => again,
            None => return,
        },
    };
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error => {
            tracing::error!(target: "librdkafka", facility, again, "{message}");
        }
        RDKafkaLogLevel::Warning => {
            tracing::warn!(target: "librdkafka", facility, again, "{message}");
        }
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
            tracing::info!(target: "librdkafka", facility, again, "{message}");
        }
        RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", facility, "{message}"),
    }
}

/// The topic that has another id now than it had, if the client says so in this line of its log:
/// it was deleted and made anew. There is no other way to hear of it; from the line on, what is
/// read is of the new topic.
pub(super) fn changed_topic(message: &str) -> Option<&str> {
    let (_, told) = message.split_once("Topic ")?;
    let (topic, ids) = told.split_once(" changed id from ")?;
    let (before, _) = ids.split_once(" to ")?;
    // At first it had none, which is written as zeros in base 64.
    before.chars().any(|c| c != 'A' && c != '=').then_some(topic)
}

/// What a client complains of. Most of it is in the log already, in the same words.
pub(super) fn log_error(error: &KafkaError, reason: &str) {
    // The end of a partition is asked for and no error.
    if error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF) {
        return;
    }
    let Some(again) = repeats::tell(reason) else { return };
    tracing::warn!(target: "librdkafka", %error, again, "{reason}");
}

fn log_level() -> RDKafkaLogLevel {
    if tracing::enabled!(target: "librdkafka", tracing::Level::DEBUG) {
        RDKafkaLogLevel::Debug
    } else {
        RDKafkaLogLevel::Info
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(key: &str, value: &str) -> KafkaOptions {
        let properties = BTreeMap::from([(key.to_string(), value.to_string())]);
        KafkaOptions { properties, ..KafkaOptions::default() }
    }

    const ROLES: [Role<'_>; 5] = [
        Role::Member { report_ends: true },
        Role::Reader,
        Role::Watermarks,
        Role::Transactional("id"),
        Role::Admin,
    ];

    #[test]
    fn every_client_has_settings_that_librdkafka_accepts() {
        for protocol in [GroupProtocol::Classic, GroupProtocol::Consumer] {
            let group_instance_id = Some("pod-0".to_string());
            let group_protocol = protocol;
            let options =
                KafkaOptions { group_instance_id, group_protocol, ..KafkaOptions::default() };
            for role in ROLES {
                let config = config(&options, role).unwrap();
                let consumer: Result<rdkafka::consumer::BaseConsumer, _>;
                let producer: Result<rdkafka::producer::BaseProducer, _>;
                match role {
                    Role::Transactional(_) | Role::Admin => {
                        producer = config.create();
                        assert!(producer.is_ok(), "{:?}", producer.err());
                    }
                    Role::Member { .. } | Role::Reader | Role::Watermarks => {
                        consumer = config.create();
                        assert!(consumer.is_ok(), "{:?}", consumer.err());
                    }
                }
            }
        }
    }

    #[test]
    fn no_client_lets_a_property_be_set_that_is_the_workers_own() {
        // What the worker sets is its own, but for what is a default only.
        let defaults = |key: &str| {
            key.starts_with("fetch.")
                || key.ends_with("backoff.max.ms")
                || key.ends_with("refresh.interval.ms")
        };
        for role in ROLES {
            let own = config(&KafkaOptions::default(), role).unwrap();
            for key in own.config_map().keys().filter(|key| !defaults(key)) {
                if ["linger.ms", "heartbeat.interval.ms", "debug"].contains(key) {
                    continue;
                }
                let error = config(&with(key, "x"), role).err();
                let error = error.unwrap_or_else(|| panic!("{key} can be set")).to_string();
                assert!(error.contains(key) && error.contains("not to be set"), "{error}");
            }
        }
    }

    #[test]
    fn a_topic_made_anew_is_heard_of_and_one_seen_for_the_first_time_is_not() {
        let line = |from| {
            format!("[thrd:main]: Topic shop.orders changed id from {from} to Zm9vYmFyYmF6cXV4eHk")
        };
        assert_eq!(changed_topic(&line("bm9wcXJzdHV2d3h5ejAxMg")), Some("shop.orders"));
        assert_eq!(changed_topic(&line("AAAAAAAAAAAAAAAAAAAAAA")), None);
        assert_eq!(changed_topic("[thrd:main]: Topic shop.orders [0] leader changed"), None);
    }

    #[test]
    fn no_secret_is_printed() {
        let options = with("sasl.password", "hunter2");
        assert!(format!("{options:?}").contains("sasl.password"));
        assert!(!format!("{options:?}").contains("hunter2"));
        let bad = config(&with("security.protocol", "hunter2"), Role::Admin).unwrap();
        let error = bad.create::<rdkafka::producer::BaseProducer>().err().unwrap();
        let error = refused("admin", &error).to_string();
        assert!(error.contains("security.protocol") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn what_is_fetched_ahead_is_bounded_and_for_a_reader_by_less() {
        let queued = |kbytes, role| {
            let options = KafkaOptions { queued_max_kbytes: kbytes, ..KafkaOptions::default() };
            config(&options, role).unwrap().get("queued.max.messages.kbytes").map(str::to_owned)
        };
        let member = Role::Member { report_ends: true };
        assert_eq!(queued(8_192, member).as_deref(), Some("8192"));
        assert_eq!(queued(8_192, Role::Reader).as_deref(), Some("1024"));
        assert_eq!(queued(64, Role::Reader).as_deref(), Some("64"));
    }

    #[test]
    fn other_properties_pass_through_to_every_client() {
        for role in ROLES {
            let config = config(&with("security.protocol", "SASL_SSL"), role).unwrap();
            assert_eq!(config.get("security.protocol"), Some("SASL_SSL"));
        }
    }
}
