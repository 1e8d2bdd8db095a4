//! `run`: a checked configuration becomes a working worker, until a signal ends it.
//!
//! What can be put right without this process is waited for, be it a Kafka that cannot be reached,
//! a topic that is not there or a right that is missing: a sidecar that ends keeps its pod's own
//! containers from starting.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::admin::{self, Admin, AdminError, Facts};
use super::dispatch::{self, Dispatch};
use super::http::{Auth, ClientError, ClientOptions, ResellerClient};
use super::intake::{self, Intake};
use super::kafka::{
    GroupProtocol, KafkaOptions, TopicError, TopicPlan, TopicProblem, check_topics, repeats,
    tell_offsets_retention, topic_shapes,
};
use super::partitions::{self, LOOK_EVERY};
use super::telemetry::logs::LogsHandle;
use super::telemetry::metrics::CallObserver;
use super::telemetry::traces::Traces;
use super::telemetry::{CUT_SHORT_MAX, END_MAX, Telemetry};
use super::{Clock, Stats, Topics, neighbours, reach, rights, shutdown};
use crate::config::{self, AdminConfig, AuthConfig, Config};
use crate::engine::Options;
use crate::engine::intake::IntakeOptions;
use crate::wire::order::Limits;

/// Why the worker did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Topics are missing or would lose something.
    #[error("the topics are not right (`topics create` makes the worker's own):\n{}", list(.0))]
    Topics(Vec<TopicProblem>),
    /// Kafka refuses to be asked.
    #[error(transparent)]
    Kafka(#[from] TopicError),
    /// The admin server cannot listen where it was told to.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// A client of the API cannot be made.
    #[error("the client of account {account} cannot be made")]
    Account {
        /// The account.
        account: Arc<str>,
        /// What is wrong.
        source: ClientError,
    },
}

fn list(problems: &[TopicProblem]) -> String {
    problems.iter().map(|problem| format!("  {problem}")).collect::<Vec<_>>().join("\n")
}

/// In one line.
fn reason(problems: &[TopicProblem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// How the worker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everything that had to be finished was.
    Drained,
    /// A second signal came, or the grace time passed. Nothing is lost: the next start recovers.
    CutShort,
    /// The number of partitions was changed meanwhile, so the worker stopped; the log says what to
    /// do.
    PartitionsChanged,
}

/// Waits before Kafka is asked again.
const KAFKA_WAIT: Duration = Duration::from_secs(5);
/// Before it is looked again whether the topics are as they must be, at first and at most.
const TOPICS_WAIT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));
/// How often the runtime shows that it is alive.
const BEAT_EVERY: Duration = Duration::from_secs(1);
/// Order events read ahead, in bytes, beyond which the order topics pause.
const BACKLOG_BYTES_MAX: usize = 8 << 20;

/// Works until a signal. With `logs`, the admin server can change what is logged.
///
/// # Errors
/// The worker did not start.
pub async fn run(config: &Config, logs: Option<LogsHandle>) -> Result<Ended, StartError> {
    let stats = Arc::new(Stats::default());
    let telemetry = Telemetry::start(&config.telemetry, logs.as_ref(), &stats.metrics);
    let ended = until_signal(config, logs, &stats, telemetry.traces()).await;
    match &ended {
        Ok(Ended::Drained) => tracing::info!("drained"),
        Ok(Ended::CutShort) => tracing::warn!(
            "ended before all was finished; nothing is lost, the next start recovers"
        ),
        Ok(Ended::PartitionsChanged) | Err(_) => {}
    }
    let is_cut_short = matches!(ended, Ok(Ended::CutShort));
    telemetry.shutdown(if is_cut_short { CUT_SHORT_MAX } else { END_MAX }).await;
    ended
}

async fn until_signal(
    config: &Config,
    logs: Option<LogsHandle>,
    stats: &Arc<Stats>,
    traces: Traces,
) -> Result<Ended, StartError> {
    let signals = shutdown::Signals::new();
    let _watched = watched(&config.admin, stats, facts(config), logs, &signals.drain)?;
    let ended = run_watched(config, stats, traces, &signals).await?;
    stats.board.set_drained();
    if ended == Ended::Drained && !signals.end.is_cancelled() {
        tracing::info!("drained; the process stays until it is told to end (SIGTERM)");
        signals.end.cancelled().await;
    }
    Ok(ended)
}

async fn run_watched(
    config: &Config,
    stats: &Arc<Stats>,
    traces: Traces,
    signals: &shutdown::Signals,
) -> Result<Ended, StartError> {
    let kafka = kafka(config);
    let clients = clients(config, Some(stats)).await?;
    let _reaching = reach::try_all(&clients, stats);
    let plan = plan(config);
    let partitions = tokio::select! {
        () = signals.drain.cancelled() => return Ok(Ended::Drained),
        ready = wait_for_topics(&kafka, &plan, &config.topics.commands, stats) => ready?,
    };
    // Beside the work: brokers that may not be asked hold nobody up.
    let told = tell_offsets_retention(kafka.clone(), plan);
    let _told = AbortOnDropHandle::new(tokio::spawn(told));
    tokio::select! {
        () = signals.drain.cancelled() => return Ok(Ended::Drained),
        () = neighbours::wait(config, &kafka, partitions, stats) => {}
    }
    stats.board.topics_are_ready();
    let id = instance(config);
    let drain = signals.drain.clone();
    tracing::info!(partitions, instance = id, "the worker is up");
    let watched = kafka.clone();
    let board = Arc::clone(stats);
    let told = (Arc::clone(stats), traces);
    let work = work(config.clone(), kafka, clients, partitions, id, told, drain.clone());
    // A task of its own: when time is up, it is left behind, not waited for.
    let mut work = tokio::spawn(work);
    let topics = [config.topics.commands.as_str(), config.topics.ledger.as_str()];
    let mut changed = pin!(partitions::changed(&watched, topics, partitions, LOOK_EVERY));
    let mut grace = pin!(async {
        drain.cancelled().await;
        board.board.set_draining();
        tracing::info!(grace = ?config.shutdown_grace, "draining");
        tokio::time::sleep(config.shutdown_grace).await;
        // After a drain by request the process is not ended before it is told to.
        signals.end.cancelled().await;
    });
    let mut ended = Ended::Drained;
    loop {
        tokio::select! {
            finished = &mut work => {
                if let Err(panic) = finished {
                    std::panic::resume_unwind(panic.into_panic());
                }
                return Ok(ended);
            }
            change = &mut changed, if ended == Ended::Drained => {
                tracing::error!("{change}");
                ended = Ended::PartitionsChanged;
                signals.end.cancel();
                drain.cancel();
            }
            () = &mut grace => {
                return Ok(if ended == Ended::Drained { Ended::CutShort } else { ended });
            }
            () = signals.stop.cancelled() => return Ok(Ended::CutShort),
        }
    }
}

/// What shows a worker to those who watch it, while it is kept.
#[derive(Debug)]
pub struct Watched {
    admin: Option<Admin>,
    _beats: AbortOnDropHandle<()>,
}

impl Watched {
    /// Where the status page, metrics and controls are served; nowhere if they are not.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().and_then(|admin| admin.address)
    }
}

/// Lets a worker that counts into `stats` be watched; `drain` is cancelled when somebody asks for
/// that. With `logs`, what is logged can be changed.
///
/// # Errors
/// The admin server cannot listen where it was told to.
pub fn watched(
    config: &AdminConfig,
    stats: &Arc<Stats>,
    facts: Facts,
    logs: Option<LogsHandle>,
    drain: &CancellationToken,
) -> Result<Watched, AdminError> {
    stats.board.set_facts(facts);
    Ok(Watched {
        admin: admin::start(config, stats, logs, drain)?,
        _beats: AbortOnDropHandle::new(tokio::spawn(beat(Arc::clone(stats)))),
    })
}

/// Shows that the runtime is alive.
async fn beat(stats: Arc<Stats>) {
    let mut every = tokio::time::interval(BEAT_EVERY);
    loop {
        every.tick().await;
        stats.board.beat();
    }
}

fn facts(config: &Config) -> Facts {
    Facts {
        intake_enabled: config.intake.enabled,
        accounts: config.accounts.iter().map(|account| Arc::clone(&account.name)).collect(),
        batch_items_max: config.engine.batch_items_max,
        commands_max: config.engine.commands_max,
        operations_max: config.engine.operations_max,
    }
}

async fn work(
    config: Config,
    kafka: KafkaOptions,
    clients: Vec<Arc<ResellerClient>>,
    partitions: u32,
    id: String,
    (stats, traces): (Arc<Stats>, Traces),
    drain: CancellationToken,
) {
    let half = |name: &str| rights::half(&kafka, name);
    let transactional = |name: &str| rights::transactional_id(&kafka, name, &id);
    let dispatch = Dispatch {
        kafka: half("dispatch"),
        transactional_id: transactional("dispatch"),
        topics: topics(&config),
        engine: Options { partitions_total: partitions, ..config.engine.clone() },
        clients,
        stats: Arc::clone(&stats),
        clock: Clock::start(),
        traces: traces.clone(),
        observer: None,
    };
    let intake = Intake {
        kafka: half("intake"),
        transactional_id: transactional("intake"),
        topics: topics(&config),
        options: IntakeOptions {
            accounts: config.accounts.iter().map(|account| account.name.to_string()).collect(),
            default_account: Some(config.default_account.to_string()),
            skips_others: config.intake.skips_others,
        },
        purposes: config.engine.purposes(),
        record_version: config.kafka.record_version,
        limits: Limits {
            payload_bytes_max: config.intake.order_bytes_max,
            devices_max: config.intake.order_devices_max,
        },
        records_max: config.intake.records_max,
        linger: config.intake.linger,
        start: config.intake.start,
        backlog_bytes_max: BACKLOG_BYTES_MAX,
        stats,
        traces,
    };
    let enabled = config.intake.enabled;
    let taking = async {
        if enabled {
            intake::run(Arc::new(intake), drain.clone()).await;
        }
    };
    let dispatch = Arc::new(dispatch);
    tokio::join!(taking, dispatch::run(Arc::clone(&dispatch), drain.clone()));
    dispatch.stats.unusable.tell_rest(&dispatch.topics);
    dispatch.stats.passed_overs.tell_rest();
}

/// The topics as they must be; waits until they are, and for a Kafka that cannot be reached. Gives
/// the number of partitions of the commands topic.
async fn wait_for_topics(
    kafka: &KafkaOptions,
    plan: &TopicPlan,
    commands: &str,
    stats: &Stats,
) -> Result<u32, StartError> {
    let mut wait = TOPICS_WAIT.0;
    loop {
        match topics_ready(kafka, plan, commands).await {
            Err(StartError::Kafka(error @ TopicError::Ask { .. })) => {
                stats.board.kafka_is_waited_for(&error.to_string());
                if let Some(again) = repeats::tell(&error.to_string()) {
                    tracing::warn!(
                        %error, again, every = ?KAFKA_WAIT,
                        "Kafka is not there yet; it is asked until it is"
                    );
                }
                tokio::time::sleep(KAFKA_WAIT).await;
            }
            // Nothing was begun, so nothing is lost by waiting.
            Err(StartError::Topics(problems)) => {
                let reason = reason(&problems);
                stats.board.topics_are_waited_for(&reason);
                if let Some(again) = repeats::tell(&reason) {
                    tracing::error!(
                        reason,
                        again,
                        "the topics are not right, and the worker waits until they are: \
                         `zerotouch-worker topics create` makes its own that are missing, \
                         `zerotouch-worker check-config --connect` shows all that is wrong"
                    );
                }
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(TOPICS_WAIT.1);
            }
            Ok(TopicsReady { lanes, single_copy }) => {
                if !single_copy.is_empty() {
                    let topics = single_copy.join(", ");
                    tracing::warn!(topics, "{SINGLE_COPY}");
                }
                return Ok(lanes);
            }
            Err(error) => return Err(error),
        }
    }
}

/// What is wrong with topics of one copy.
pub const SINGLE_COPY: &str = "\
partitions of these topics are on one broker only: if its disk is lost, so is what they hold, and \
while it is down their lanes stand still; give them three replicas";

/// Topics that are as they must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicsReady {
    /// Partitions of the commands topic.
    pub lanes: u32,
    /// The worker's own topics of which only one copy is kept; see [`SINGLE_COPY`].
    pub single_copy: Vec<String>,
}

/// Checks the topics once.
///
/// # Errors
/// They are not as they must be, or Kafka does not answer.
pub async fn topics_ready(
    kafka: &KafkaOptions,
    plan: &TopicPlan,
    commands: &str,
) -> Result<TopicsReady, StartError> {
    let problems = check_topics(kafka, plan).await?;
    if !problems.is_empty() {
        return Err(StartError::Topics(problems));
    }
    let options = kafka.clone();
    let shapes = tokio::task::spawn_blocking(move || topic_shapes(&options)).await;
    let shapes = shapes.unwrap_or_else(|_| Ok(Default::default()))?;
    let own = [&plan.commands, &plan.ledger, &plan.outcomes, &plan.dead_letters];
    let is_single = |topic: &&&String| shapes.get(**topic).is_some_and(|shape| shape.copies == 1);
    Ok(TopicsReady {
        lanes: shapes.get(commands).map_or(1, |shape| shape.partitions.unsigned_abs()),
        single_copy: own.iter().filter(is_single).map(|topic| topic.to_string()).collect(),
    })
}

/// One client for each account, in order; their calls are counted in `stats`.
///
/// # Errors
/// Credentials cannot be loaded; the message names the file.
pub async fn clients(
    config: &Config,
    stats: Option<&Arc<Stats>>,
) -> Result<Vec<Arc<ResellerClient>>, StartError> {
    let mut clients = Vec::with_capacity(config.accounts.len());
    for account in &config.accounts {
        let options = ClientOptions {
            base_url: config.api.endpoint.clone(),
            auth: match &account.auth {
                AuthConfig::ServiceAccountKey(path) => Auth::ServiceAccountKey(path.clone()),
                AuthConfig::ApplicationDefault => Auth::ApplicationDefault,
                AuthConfig::MetadataServer => Auth::MetadataServer,
                AuthConfig::None => Auth::None,
            },
            connect_timeout: config.api.connect_timeout,
            request_timeout: config.api.request_timeout,
            ca_file: config.api.ca_file.clone(),
            response_bytes_max: config.api.response_bytes_max,
            results_max: 2 * config.engine.batch_items_max.max(1_000),
            observer: stats.map(CallObserver::new),
            ..ClientOptions::new(Arc::clone(&account.name), account.partner_id.to_string())
        };
        let client = ResellerClient::new(options)
            .await
            .map_err(|source| StartError::Account { account: Arc::clone(&account.name), source })?;
        clients.push(Arc::new(client));
    }
    Ok(clients)
}

/// The Kafka options of a configuration.
#[must_use]
pub fn kafka(config: &Config) -> KafkaOptions {
    let kafka = &config.kafka;
    let secret = |(key, value): (&String, &secrecy::SecretString)| {
        (key.clone(), value.expose_secret().to_owned())
    };
    KafkaOptions {
        bootstrap_servers: kafka.bootstrap_servers.clone(),
        client_id: kafka.client_id.clone(),
        group_id: kafka.group_id.clone(),
        group_instance_id: kafka.group_instance_id.clone(),
        group_protocol: match kafka.group_protocol {
            config::GroupProtocol::Classic => GroupProtocol::Classic,
            config::GroupProtocol::Consumer => GroupProtocol::Consumer,
        },
        properties: kafka.properties.iter().map(secret).collect(),
        session_timeout: kafka.session_timeout,
        max_poll_interval: kafka.max_poll_interval,
        transaction_timeout: kafka.transaction_timeout,
        commit_timeout: kafka.commit_timeout,
        queued_max_kbytes: u32::try_from(kafka.fetch_memory / 1_024).unwrap_or(u32::MAX),
        ..KafkaOptions::default()
    }
}

/// The topics as `topics create` makes them and `run` wants them.
#[must_use]
pub fn plan(config: &Config) -> TopicPlan {
    TopicPlan {
        orders: if config.intake.enabled { config.topics.orders.clone() } else { Vec::new() },
        commands: config.topics.commands.clone(),
        ledger: config.topics.ledger.clone(),
        outcomes: config.topics.outcomes.clone(),
        dead_letters: config.topics.dead_letters.clone(),
        partitions: i32::try_from(config.topics.partitions).unwrap_or(i32::MAX),
        replication_factor: Some(i32::from(config.topics.replication_factor)),
        ..TopicPlan::default()
    }
}

fn topics(config: &Config) -> Topics {
    Topics {
        orders: config.topics.orders.iter().map(|topic| topic.as_str().into()).collect(),
        commands: config.topics.commands.as_str().into(),
        ledger: config.topics.ledger.as_str().into(),
        outcomes: config.topics.outcomes.as_str().into(),
        dead_letters: config.topics.dead_letters.as_str().into(),
    }
}

/// The name under which this process writes transactions: the one that stays over restarts, so
/// that the next start fences the last one at once, or one of its own.
fn instance(config: &Config) -> String {
    let own = || uuid::Uuid::new_v4().simple().to_string();
    config.kafka.group_instance_id.clone().unwrap_or_else(own)
}
