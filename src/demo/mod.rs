//! The whole product in one process: embedded broker, sandbox, a stream of orders, a summary.
//!
//! The worker is the one that `run` starts, on the same code path. What it did is judged by
//! [`crate::verify`] from what can be seen from outside: the topics and the sandbox's log.

mod args;
mod broker;
mod evidence;
mod full_load;
mod orders;
pub mod progress;
pub mod scenario;
pub mod summary;
mod witness;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::engine::intake::IntakeOptions;
use crate::engine::{AccountOptions, Options, Transaction};
use crate::model::Source;
use crate::sandbox::{Options as SandboxOptions, Sandbox};
use crate::shell::dispatch::{self, Dispatch};
use crate::shell::http::{Auth, ClientOptions, ResellerClient};
use crate::shell::intake::{self, Intake};
use crate::shell::kafka::KafkaOptions;
use crate::shell::{Clock, Stats};
use crate::verify::{OrderSeen, Orders, check};

use broker::Ready;
use orders::{Places, Written};
use progress::{Progress, Snapshot};
use scenario::{Item, Scenario, ScenarioOptions};
use summary::Summary;
use witness::{Seen, Watermarks, Witness};

pub use args::{DemoArgs, SummaryForm};

const ACCOUNT: &str = "demo";
const PARTNER: &str = "11110000";
const OPERATION_TIME: Duration = Duration::from_secs(2);
/// How long the stream is spread out, so that returns meet claims that are made already.
const STREAM_TIME: Duration = Duration::from_secs(12);
/// Without any outcome for this long, something is wrong.
const PATIENCE: Duration = Duration::from_secs(180);
const TICK: Duration = Duration::from_millis(100);

/// Runs the demo. `true` if every invariant was checked and held.
///
/// # Errors
/// Something did not start, or the stream did not come to its end.
pub async fn run(args: DemoArgs) -> Result<(Summary, bool)> {
    let sandbox = Sandbox::new(SandboxOptions {
        seed: args.seed,
        auto_customers: true,
        operation_time: OPERATION_TIME,
        operation_jitter: 1.0,
        ..SandboxOptions::default()
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let api = format!("http://{}", listener.local_addr()?);
    let end = CancellationToken::new();
    let serving = tokio::spawn({
        let (sandbox, end) = (sandbox.clone(), end.clone());
        async move { sandbox.serve(listener, end.cancelled_owned()).await }
    });
    let ready = broker::start(args.bootstrap_servers.as_deref()).await?;
    tracing::info!(api, kafka = ready.kafka.bootstrap_servers, "sandbox and broker are up");
    let stats = Arc::new(Stats::default());
    let watermarks = Watermarks::default();
    let servers = ready.kafka.bootstrap_servers.clone();
    let witness = Witness::start(&servers, &ready.topics, Arc::clone(&watermarks))?;
    let drain = CancellationToken::new();
    let worker = start_worker(&args, &ready, &api, &stats, watermarks, drain.clone()).await?;
    let began = Instant::now();
    let places = stream(&args, &ready, &stats, &witness, began).await;
    let duration = began.elapsed();
    if args.keep_running && places.is_ok() {
        tracing::info!(api, kafka = servers, "the stream is done; running on until interrupted");
        tokio::signal::ctrl_c().await?;
    }
    drain.cancel();
    worker.await.context("the worker panicked")?;
    let seen = tokio::task::spawn_blocking(move || witness.finish()).await??;
    end.cancel();
    serving.await??;
    let summary = judge(&args, &ready, &sandbox, &stats, seen, &places?, duration);
    let held = summary.held();
    Ok((summary, held))
}

fn items(args: &DemoArgs) -> Box<dyn Iterator<Item = Item> + Send> {
    let (devices, seed) = (args.devices, args.seed);
    if args.full_load {
        return Box::new(full_load::items(devices, seed));
    }
    // The stream is the same whenever it is made, so that it can be made again for the oracle.
    let start = Timestamp::from_second(1_767_225_600).unwrap_or_default();
    Box::new(Scenario::new(ScenarioOptions { devices, seed, start }))
}

/// Writes the orders and waits until every command has its outcome.
async fn stream(
    args: &DemoArgs,
    ready: &Ready,
    stats: &Arc<Stats>,
    witness: &Witness,
    began: Instant,
) -> Result<Places> {
    let written = Arc::new(Written::default());
    let items = items(args);
    let pace =
        (!args.full_load).then(|| (args.devices as f64 / STREAM_TIME.as_secs_f64()).max(50.0));
    let mut writing = tokio::task::spawn_blocking({
        let (written, stats) = (Arc::clone(&written), Arc::clone(stats));
        let (kafka, topic) = (ready.kafka.clone(), Arc::clone(&ready.topics.orders[0]));
        move || {
            let target = (&*kafka.bootstrap_servers, &*topic);
            orders::write(target, items, pace, &stats, &written)
        }
    });
    let mut progress = Progress::detect();
    let mut places = None;
    let mut moved = (Instant::now(), 0);
    loop {
        tokio::time::sleep(TICK).await;
        if places.is_none() && writing.is_finished() {
            places = Some((&mut writing).await??);
        }
        use std::sync::atomic::Ordering::SeqCst;
        let outcomes = witness.outcomes.load(SeqCst);
        let snapshot = snapshot(args, stats, &written, outcomes, began.elapsed());
        progress.update(&snapshot);
        let expected = stats.commands.get() + stats.refused.get();
        let all_read = stats.orders.get() == written.orders.get();
        let all_seen =
            outcomes == expected && witness.commands.load(SeqCst) == stats.commands.get();
        if let Some(places) = places.take_if(|_| all_read && all_seen) {
            progress.finish(&snapshot);
            return Ok(places);
        }
        if witness.has_failed() {
            bail!("the witness cannot read the worker's topics any more");
        }
        if moved.1 != outcomes {
            moved = (Instant::now(), outcomes);
        } else if moved.0.elapsed() > PATIENCE {
            bail!("no outcome came for {PATIENCE:?}: {outcomes} of {expected}");
        }
    }
}

fn snapshot(
    args: &DemoArgs,
    stats: &Stats,
    written: &Written,
    outcomes: u64,
    elapsed: Duration,
) -> Snapshot {
    Snapshot {
        elapsed,
        orders: written.orders.get(),
        devices: written.lines.get(),
        devices_total: args.devices,
        commands: stats.commands.get(),
        in_flight: stats.in_memory.get(),
        outcomes,
        calls: stats.calls(),
        quota_left: stats.quota_tokens.get(),
        quota: 100,
    }
}

/// Starts intake and dispatch just as `run` does.
async fn start_worker(
    args: &DemoArgs,
    ready: &Ready,
    api: &str,
    stats: &Arc<Stats>,
    watermarks: Watermarks,
    drain: CancellationToken,
) -> Result<tokio::task::JoinHandle<()>> {
    let client = ResellerClient::new(ClientOptions {
        base_url: api.to_owned(),
        auth: Auth::None,
        ..ClientOptions::new(ACCOUNT, PARTNER)
    })
    .await?;
    let observer = move |transaction: &Transaction| {
        let mut marks = watermarks.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for write in &transaction.offsets {
            marks.insert(write.partition.0, write.offset.0);
        }
    };
    let group = |half: &str| KafkaOptions {
        group_id: format!("{}.{half}", ready.kafka.group_id),
        ..ready.kafka.clone()
    };
    let dispatch = Dispatch {
        kafka: group("dispatch"),
        transactional_id: format!("{}.dispatch", ready.kafka.group_id),
        topics: ready.topics.clone(),
        engine: Options {
            accounts: vec![AccountOptions {
                name: ACCOUNT.into(),
                partner_id: PARTNER.into(),
                quota_calls: 1_000,
                quota_window: Duration::from_secs(100),
            }],
            partitions_total: broker::PARTITIONS.unsigned_abs(),
            batch_items_max: args.batch_items_max as usize,
            ..Options::default()
        },
        clients: vec![Arc::new(client)],
        stats: Arc::clone(stats),
        clock: Clock::start(),
        observer: Some(Arc::new(observer)),
    };
    let intake = Intake {
        kafka: group("intake"),
        transactional_id: format!("{}.intake", ready.kafka.group_id),
        topics: ready.topics.clone(),
        options: IntakeOptions {
            accounts: std::iter::once(ACCOUNT.to_owned()).collect(),
            default_account: Some(ACCOUNT.to_owned()),
        },
        limits: Default::default(),
        records_max: 1_000,
        linger: Duration::from_millis(20),
        backlog_bytes_max: 8 << 20,
        stats: Arc::clone(stats),
    };
    Ok(tokio::spawn(async move {
        let dispatching = dispatch::run(Arc::new(dispatch), drain.clone());
        tokio::join!(intake::run(Arc::new(intake), drain.clone()), dispatching);
    }))
}

fn judge(
    args: &DemoArgs,
    ready: &Ready,
    sandbox: &Sandbox,
    stats: &Stats,
    seen: Seen,
    places: &Places,
    duration: Duration,
) -> Summary {
    let Seen { mut history, latency } = seen;
    let state = sandbox.state();
    evidence::add(&mut history, &state);
    let topic = ready.topics.orders[0].to_string();
    let mut orders = items(args).zip(places).map(|(item, (partition, offset))| -> OrderSeen {
        item.written_at(Source { topic: topic.clone(), partition: *partition, offset: *offset })
    });
    let invariants = check(&history, Orders::Known(&mut orders));
    let mut summary = Summary {
        seed: args.seed,
        broker: ready.kind.clone(),
        duration,
        orders: places.len() as u64,
        devices: args.devices,
        commands: stats.commands.get(),
        calls: evidence::calls(&state, u64::from(args.batch_items_max)),
        batch_sizes: evidence::batch_sizes(&state),
        outcomes: Default::default(),
        failures: Default::default(),
        latency: latency.latency(),
        dead_letters: Default::default(),
        invariants,
    };
    for outcome in &history.outcomes {
        *summary.outcomes.entry(outcome.status).or_default() += 1;
        if let Some(code) = outcome.code {
            *summary.failures.entry(code).or_default() += 1;
        }
    }
    for letter in &history.dead_letters {
        *summary.dead_letters.entry(letter.reason.clone()).or_default() += 1;
    }
    summary
}
