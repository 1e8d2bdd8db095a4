//! The worker's topics: what they should be like, making them, and asking what they are like.
//!
//! A topic that exists is never changed: it is compared, and every difference is reported.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use rdkafka::admin::{
    AdminClient, AdminOptions, NewTopic, OwnedResourceSpecifier, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;

use super::client::{BATCH_BYTES, ClientError, KafkaOptions, LogContext, Role, config, refused};
use super::complaints::{Complaints, explained};
use super::topic_check::{self, Settings, TopicProblem};

/// Between two looks for a new topic.
const VISIBLE_WAIT: Duration = Duration::from_millis(100);

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The topics that a worker uses.
#[derive(Clone, Debug)]
pub struct TopicPlan {
    /// Order topics. They are the user's: never made, only looked for.
    pub orders: Vec<String>,
    /// The commands topic.
    pub commands: String,
    /// The ledger topic, with as many partitions.
    pub ledger: String,
    /// The outcomes topic.
    pub outcomes: String,
    /// The dead-letters topic.
    pub dead_letters: String,
    /// Partitions of new topics: at least as many as workers will ever share the load.
    pub partitions: i32,
    /// Replicas of new topics; the broker's default if there is none. How many of them have to be
    /// in sync (`min.insync.replicas`) is left to the broker's default.
    pub replication_factor: Option<i32>,
    /// How long commands are kept: longer than the longest operation and the longest outage.
    pub commands_retention: Duration,
    /// How long outcomes are kept, in a new topic.
    pub outcomes_retention: Duration,
    /// How long dead letters are kept, in a new topic.
    pub dead_letters_retention: Duration,
}

impl Default for TopicPlan {
    fn default() -> Self {
        Self {
            orders: Vec::new(),
            commands: "zerotouch.commands".into(),
            ledger: "zerotouch.ledger".into(),
            outcomes: "zerotouch.outcomes".into(),
            dead_letters: "zerotouch.dead-letters".into(),
            partitions: 12,
            replication_factor: None,
            commands_retention: 14 * DAY,
            outcomes_retention: 14 * DAY,
            dead_letters_retention: 90 * DAY,
        }
    }
}

/// What became of one topic that was to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicReport {
    /// It was made.
    Created {
        /// The topic.
        topic: String,
    },
    /// It was there, as it should be.
    Present {
        /// The topic.
        topic: String,
    },
    /// It was there, and something about it is wrong; nothing was changed.
    Wrong {
        /// The topic.
        topic: String,
        /// What is wrong.
        problems: Vec<TopicProblem>,
    },
    /// It could not be made.
    Failed {
        /// The topic.
        topic: String,
        /// What Kafka said.
        reason: String,
    },
}

/// Kafka could not be asked about its topics.
#[derive(Debug, thiserror::Error)]
pub enum TopicError {
    /// No client could be made.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Kafka did not answer.
    #[error("Kafka at {servers} could not be asked for {what}: {reason}")]
    Ask {
        /// The bootstrap servers.
        servers: String,
        /// What it was asked for.
        what: &'static str,
        /// What went wrong.
        reason: String,
    },
}

/// Makes those of the worker's topics that are missing, and compares the others.
pub async fn create_topics(
    options: &KafkaOptions,
    plan: &TopicPlan,
) -> Result<Vec<TopicReport>, TopicError> {
    let admin = admin(options)?;
    let wanted = wanted(options, plan);
    let counts = counts(options).await?;
    let present: Vec<&str> =
        wanted.iter().map(|topic| topic.name).filter(|name| counts.contains_key(*name)).collect();
    let missing: Vec<NewTopic<'_>> = wanted
        .iter()
        .filter(|topic| !counts.contains_key(topic.name))
        .map(|topic| topic.to_new(plan))
        .collect();
    let mut reports = make(&admin, options, &missing).await?;
    let settings = settings(&admin, options, &present).await?;
    let problems = topic_check::problems(plan, options, &counts, &settings);
    for name in present {
        // A pair that does not fit together is wrong on both sides.
        let mut own = problems.clone();
        own.retain(|problem| !problem.is_missing() && problem.concerns(name));
        let topic = name.to_string();
        reports.push(match own.is_empty() {
            true => TopicReport::Present { topic },
            false => TopicReport::Wrong { topic, problems: own },
        });
    }
    Ok(reports)
}

/// Everything about the topics that would keep a worker from doing its work, or would lose some.
pub async fn check_topics(
    options: &KafkaOptions,
    plan: &TopicPlan,
) -> Result<Vec<TopicProblem>, TopicError> {
    let admin = admin(options)?;
    let counts = counts(options).await?;
    let own = wanted(options, plan);
    let present: Vec<&str> =
        own.iter().map(|topic| topic.name).filter(|name| counts.contains_key(*name)).collect();
    let settings = settings(&admin, options, &present).await?;
    Ok(topic_check::problems(plan, options, &counts, &settings))
}

/// The largest batch that each of the worker's own topics takes, as far as that can be read.
///
/// # Errors
/// Kafka does not answer.
pub async fn message_limits(
    options: &KafkaOptions,
    plan: &TopicPlan,
) -> Result<BTreeMap<String, i64>, TopicError> {
    let own = [&plan.commands, &plan.ledger, &plan.outcomes, &plan.dead_letters];
    let own: Vec<&str> = own.iter().map(|topic| topic.as_str()).collect();
    let settings = settings(&admin(options)?, options, &own).await?;
    let limit = |(topic, settings): (String, Settings)| {
        let bytes = settings.ok()?.get("max.message.bytes")?.parse().ok()?;
        Some((topic, bytes))
    };
    Ok(settings.into_iter().filter_map(limit).collect())
}

/// What metadata say of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicShape {
    /// Its partitions.
    pub partitions: i32,
    /// Copies of the partition that has the fewest.
    pub copies: usize,
}

/// Every topic with its shape. Blocks. Needs no admin request, so that it also works where there
/// are none, as on librdkafka's mock cluster.
pub fn topic_shapes(options: &KafkaOptions) -> Result<BTreeMap<String, TopicShape>, TopicError> {
    shapes(options, None)
}

/// Every topic with its number of partitions. Blocks.
pub fn partition_counts(options: &KafkaOptions) -> Result<BTreeMap<String, i32>, TopicError> {
    let shapes = topic_shapes(options)?;
    Ok(shapes.into_iter().map(|(topic, shape)| (topic, shape.partitions)).collect())
}

/// The number of partitions of one topic; 0 if it is not there. Blocks.
pub fn partition_count(options: &KafkaOptions, topic: &str) -> Result<u32, TopicError> {
    let shapes = shapes(options, Some(topic))?;
    Ok(shapes.get(topic).map_or(0, |shape| shape.partitions.unsigned_abs()))
}

fn shapes(
    options: &KafkaOptions,
    topic: Option<&str>,
) -> Result<BTreeMap<String, TopicShape>, TopicError> {
    let client: BaseConsumer<Complaints> = config(options, Role::Watermarks)?
        .create_with_context(Complaints::default())
        .map_err(|error| refused("metadata", &error))?;
    let metadata = client
        .fetch_metadata(topic, options.request_timeout)
        .map_err(|error| ask(options, "its topics", &explained(&client, &error)))?;
    let topics = metadata.topics().iter().filter(|topic| topic.error().is_none());
    Ok(topics
        .map(|topic| {
            let partitions = topic.partitions();
            let shape = TopicShape {
                partitions: i32::try_from(partitions.len()).unwrap_or(i32::MAX),
                copies: partitions.iter().map(|one| one.replicas().len()).min().unwrap_or(0),
            };
            (topic.name().to_string(), shape)
        })
        .collect())
}

async fn counts(options: &KafkaOptions) -> Result<BTreeMap<String, i32>, TopicError> {
    let owned = options.clone();
    match tokio::task::spawn_blocking(move || partition_counts(&owned)).await {
        Ok(counts) => counts,
        Err(error) => Err(ask(options, "its topics", &error)),
    }
}

struct Wanted<'a> {
    name: &'a str,
    settings: Vec<(&'static str, String)>,
}

impl Wanted<'_> {
    fn to_new<'b>(&'b self, plan: &TopicPlan) -> NewTopic<'b> {
        let replication = TopicReplication::Fixed(plan.replication_factor.unwrap_or(-1));
        let topic = NewTopic::new(self.name, plan.partitions, replication);
        self.settings.iter().fold(topic, |topic, (key, value)| topic.set(key, value))
    }
}

/// The worker's own topics, and the settings of new ones.
fn wanted<'a>(options: &KafkaOptions, plan: &'a TopicPlan) -> Vec<Wanted<'a>> {
    let delete = |retention: Duration| {
        vec![
            ("cleanup.policy", "delete".to_string()),
            ("retention.ms", retention.as_millis().to_string()),
            // A limit of size would delete what has not been worked off yet.
            ("retention.bytes", "-1".to_string()),
        ]
    };
    let compact = vec![
        ("cleanup.policy", "compact".to_string()),
        // The replay reads all that has not been compacted: compact early and in small pieces.
        ("min.cleanable.dirty.ratio", "0.1".to_string()),
        ("segment.ms", "3600000".to_string()),
        ("segment.bytes", "67108864".to_string()),
        ("max.compaction.lag.ms", DAY.as_millis().to_string()),
    ];
    let topics = [
        (&plan.commands, delete(plan.commands_retention)),
        (&plan.ledger, compact),
        (&plan.outcomes, delete(plan.outcomes_retention)),
        (&plan.dead_letters, delete(plan.dead_letters_retention)),
    ];
    let bytes = message_bytes_min(options).max(1_048_588).to_string();
    topics
        .into_iter()
        .map(|(name, mut settings)| {
            settings.push(("max.message.bytes", bytes.clone()));
            Wanted { name, settings }
        })
        .collect()
}

/// What a topic must accept: the largest record or the largest batch, with what Kafka adds.
pub(in crate::shell) fn message_bytes_min(options: &KafkaOptions) -> i64 {
    i64::from(options.record_bytes_max.max(BATCH_BYTES)) + 512
}

pub(super) fn admin(options: &KafkaOptions) -> Result<AdminClient<LogContext>, ClientError> {
    config(options, Role::Admin)?
        .create_with_context(LogContext)
        .map_err(|error| refused("admin", &error))
}

pub(super) fn limits(options: &KafkaOptions) -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(options.request_timeout))
        .operation_timeout(Some(options.request_timeout))
}

async fn make(
    admin: &AdminClient<LogContext>,
    options: &KafkaOptions,
    missing: &[NewTopic<'_>],
) -> Result<Vec<TopicReport>, TopicError> {
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    let results = admin
        .create_topics(missing, &limits(options))
        .await
        .map_err(|error| ask(options, "new topics", &error))?;
    wait_until_visible(options, results.iter().flatten()).await?;
    Ok(results
        .into_iter()
        .map(|result| match result {
            Ok(topic) => TopicReport::Created { topic },
            // Somebody was quicker, with the same plan or another: the next check will tell.
            Err((topic, RDKafkaErrorCode::TopicAlreadyExists)) => TopicReport::Present { topic },
            Err((topic, code)) => {
                let reason = unmade(missing.iter().find(|new| new.name == topic), code);
                TopicReport::Failed { topic, reason }
            }
        })
        .collect())
}

/// A broker may answer for the controller before it knows of a new topic itself. Whoever starts a
/// worker right after this must not be told that the topic is missing.
async fn wait_until_visible(
    options: &KafkaOptions,
    made: impl Iterator<Item = &String> + Clone,
) -> Result<(), TopicError> {
    let until = tokio::time::Instant::now() + options.request_timeout;
    loop {
        let counts = counts(options).await?;
        if made.clone().all(|topic| counts.contains_key(topic)) {
            return Ok(());
        }
        if tokio::time::Instant::now() >= until {
            let servers = options.bootstrap_servers.clone();
            let reason = "new topics were accepted but are still not there".to_string();
            return Err(TopicError::Ask { servers, what: "its new topics", reason });
        }
        tokio::time::sleep(VISIBLE_WAIT).await;
    }
}

/// Makes one topic with the broker's default settings.
///
/// # Errors
/// Kafka does not answer, or refuses.
pub async fn create_topic(
    options: &KafkaOptions,
    name: &str,
    partitions: i32,
) -> Result<(), TopicError> {
    let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(-1));
    match make(&admin(options)?, options, &[topic]).await?.pop() {
        Some(TopicReport::Failed { topic, reason }) => {
            let servers = options.bootstrap_servers.clone();
            let reason = format!("{topic}: {reason}");
            Err(TopicError::Ask { servers, what: "a new topic", reason })
        }
        _ => Ok(()),
    }
}

fn unmade(topic: Option<&NewTopic<'_>>, code: RDKafkaErrorCode) -> String {
    match (code, topic.map(|topic| &topic.replication)) {
        (
            RDKafkaErrorCode::InvalidReplicationFactor,
            Some(TopicReplication::Fixed(copies @ 1..)),
        ) => format!(
            "{code}: {copies} copies of each partition were asked for, and there are fewer \
             brokers; set `topics.replication_factor` (1 on a single broker, for trials only)"
        ),
        _ => code.to_string(),
    }
}

pub(super) async fn settings(
    admin: &AdminClient<LogContext>,
    options: &KafkaOptions,
    topics: &[&str],
) -> Result<BTreeMap<String, Settings>, TopicError> {
    if topics.is_empty() {
        return Ok(BTreeMap::new());
    }
    let resources: Vec<ResourceSpecifier<'_>> =
        topics.iter().map(|topic| ResourceSpecifier::Topic(topic)).collect();
    let answers = admin
        .describe_configs(&resources, &limits(options))
        .await
        .map_err(|error| ask(options, "the settings of its topics", &error))?;
    Ok(topics
        .iter()
        .zip(answers)
        .map(|(asked, answer)| match answer {
            Ok(resource) => {
                let name = match resource.specifier {
                    OwnedResourceSpecifier::Topic(name) => name,
                    _ => asked.to_string(),
                };
                let entries = resource.entries.into_iter();
                (name, Ok(entries.filter_map(|entry| Some((entry.name, entry.value?))).collect()))
            }
            Err(code) => (asked.to_string(), Err(code.to_string())),
        })
        .collect())
}

fn ask(options: &KafkaOptions, what: &'static str, error: &dyn Display) -> TopicError {
    let servers = options.bootstrap_servers.clone();
    TopicError::Ask { servers, what, reason: error.to_string() }
}
