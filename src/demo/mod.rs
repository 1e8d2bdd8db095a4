//! The whole product at once: broker, sandbox, a stream of orders, the worker, a summary.
//!
//! All of it is in one process, and the worker is the one that `run` starts, on the same code path;
//! with `--chaos` the workers are processes of their own. What they did is judged by
//! [`crate::verify`] from what can be seen from outside: the topics and the sandbox's log.

mod args;
mod broker;
pub mod chaos;
mod evidence;
mod full_load;
mod orders;
pub mod progress;
pub mod scenario;
pub mod summary;
mod witness;
mod workers;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::model::Source;
use crate::sandbox::{Fault, Method, Options as SandboxOptions, Rule, Sandbox};
use crate::verify::{Expectation, OrderSeen, Orders, check};

use broker::Ready;
use chaos::{Chaos, StopWriting};
use orders::{Places, Written};
use progress::Progress;
use scenario::{Item, Scenario, ScenarioOptions};
use summary::Summary;
use witness::{Seen, Watermarks, Witness};
use workers::{Inside, Workers};

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
/// Something did not start, the stream did not come to its end, or it was interrupted.
pub async fn run(args: DemoArgs) -> Result<(Summary, bool)> {
    args.check().map_err(anyhow::Error::msg)?;
    if !args.chaos {
        return work(&args).await;
    }
    // The workers must not outlive the demo, so it has to end in order.
    let mut signals = Vec::new();
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        signals.push(signal(kind)?);
    }
    let [interrupt, terminate, hangup] = &mut signals[..] else { bail!("no signals") };
    tokio::select! {
        done = work(&args) => done,
        _ = interrupt.recv() => bail!("interrupted"),
        _ = terminate.recv() => bail!("told to end"),
        _ = hangup.recv() => bail!("the terminal is gone"),
    }
}

async fn work(args: &DemoArgs) -> Result<(Summary, bool)> {
    let sandbox = Sandbox::new(sandbox_options(args));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let api = format!("http://{}", listener.local_addr()?);
    let end = CancellationToken::new();
    let serving = tokio::spawn({
        let (sandbox, end) = (sandbox.clone(), end.clone());
        async move { sandbox.serve(listener, end.cancelled_owned()).await }
    });
    let ready = broker::start(args.bootstrap_servers.as_deref()).await?;
    tracing::info!(api, kafka = ready.kafka.bootstrap_servers, "sandbox and broker are up");
    let watermarks = Watermarks::default();
    let servers = ready.kafka.bootstrap_servers.clone();
    let witness = Witness::start(&servers, &ready.topics, Arc::clone(&watermarks))?;
    let mut workers = if args.chaos {
        let options = (args.seed, args.batch_items_max);
        let chaos = Chaos::start(&ready, &api, options, watermarks)?;
        Workers::Killed(Box::new(chaos), outcomes_expected(args))
    } else {
        Workers::Inside(Inside::start(args, &ready, &api, watermarks).await?)
    };
    let page = workers.page();
    if let Some(page) = &page {
        tracing::info!(page, "the worker can be watched");
    }
    let began = Instant::now();
    let places = stream(args, &ready, &sandbox, &workers, &witness, began).await;
    let duration = began.elapsed();
    if args.keep_running && places.is_ok() {
        tracing::info!(
            api,
            kafka = servers,
            page,
            "the stream is done; running on until interrupted"
        );
        tokio::signal::ctrl_c().await?;
    }
    workers.drain().await?;
    let places = places?;
    let seen = tokio::task::spawn_blocking(move || witness.finish()).await??;
    let summary = judge(args, &ready, &sandbox, workers, seen, &places, (began, duration));
    end.cancel();
    serving.await??;
    let held = summary.held();
    Ok((summary, held))
}

fn sandbox_options(args: &DemoArgs) -> SandboxOptions {
    let quiet = SandboxOptions {
        seed: args.seed,
        auto_customers: true,
        operation_time: OPERATION_TIME,
        operation_jitter: 1.0,
        ..SandboxOptions::default()
    };
    if !args.chaos {
        return quiet;
    }
    let millis = chaos::SUBMIT_TIME.as_millis().try_into().unwrap_or(u64::MAX);
    let slow = |method| Rule { method: Some(method), ..Rule::of(Fault::Latency { millis }) };
    let submits = [Method::ClaimAsync, Method::UnclaimAsync, Method::UpdateMetadataAsync];
    SandboxOptions {
        operation_time: chaos::OPERATION_TIME,
        quota_calls: chaos::QUOTA_CALLS as usize,
        faults: submits.map(slow).into(),
        ..quiet
    }
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

/// One for every order line.
fn outcomes_expected(args: &DemoArgs) -> u64 {
    let lines = |item: Item| match item.expectation {
        Expectation::Commands(commands) => commands.len() as u64,
        Expectation::DeadLetter => 0,
    };
    items(args).map(lines).sum()
}

/// Devices to sell in a second; all at once if there is none.
fn pace(args: &DemoArgs) -> Option<f64> {
    let devices = args.devices as f64;
    if args.chaos {
        return Some(devices / chaos::TIME.as_secs_f64());
    }
    (!args.full_load).then(|| (devices / STREAM_TIME.as_secs_f64()).max(50.0))
}

/// Writes the orders and waits until every command has its outcome.
async fn stream(
    args: &DemoArgs,
    ready: &Ready,
    sandbox: &Sandbox,
    workers: &Workers,
    witness: &Witness,
    began: Instant,
) -> Result<Places> {
    let written = Arc::new(Written::default());
    let _stop = StopWriting(Arc::clone(&written));
    let mut writing = tokio::task::spawn_blocking({
        let (items, pace, written) = (items(args), pace(args), Arc::clone(&written));
        let (kafka, topic) = (ready.kafka.clone(), Arc::clone(&ready.topics.orders[0]));
        let read = workers.reading();
        move || {
            let target = (&*kafka.bootstrap_servers, &*topic);
            orders::write(target, items, pace, &read, &written)
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
        let snapshot = workers.snapshot(args, sandbox, (&written, witness), began.elapsed());
        progress.update(&snapshot);
        let standing = workers.standing(&written, witness)?;
        if let Some(places) = places.take_if(|_| standing.is_quiet) {
            progress.finish(&snapshot);
            return Ok(places);
        }
        if witness.has_failed() {
            bail!("the witness cannot read the worker's topics any more");
        }
        let outcomes = snapshot.outcomes;
        if moved.1 != outcomes {
            moved = (Instant::now(), outcomes);
        } else if moved.0.elapsed() > PATIENCE {
            bail!("no outcome came for {PATIENCE:?}: {outcomes} of {}", standing.expected);
        }
    }
}

fn judge(
    args: &DemoArgs,
    ready: &Ready,
    sandbox: &Sandbox,
    workers: Workers,
    mut seen: Seen,
    places: &Places,
    (began, duration): (Instant, Duration),
) -> Summary {
    let state = sandbox.state();
    evidence::add(&mut seen, &state, args.chaos);
    let topic = ready.topics.orders[0].to_string();
    let mut orders = items(args).zip(places).map(|(item, place)| -> OrderSeen {
        let (partition, offset, ms) = *place;
        let recorded_at = Timestamp::from_millisecond(ms).ok();
        item.written_at(Source { topic: topic.clone(), partition, offset }, recorded_at)
    });
    let invariants = check(&seen.history, Orders::Known(&mut orders));
    let mut summary = Summary {
        seed: args.seed,
        broker: ready.kind.clone(),
        duration,
        orders: places.len() as u64,
        devices: args.devices,
        commands: workers.commands(seen.history.commands.len()),
        calls: evidence::calls(&state, u64::from(args.batch_items_max)),
        batch_sizes: evidence::batch_sizes(&state),
        outcomes: Default::default(),
        failures: Default::default(),
        latency: seen.latency.latency(),
        dead_letters: Default::default(),
        invariants,
        chaos: None,
    };
    for outcome in &seen.history.outcomes {
        *summary.outcomes.entry(outcome.status).or_default() += 1;
        if let Some(code) = outcome.code {
            *summary.failures.entry(code).or_default() += 1;
        }
    }
    for letter in &seen.history.dead_letters {
        *summary.dead_letters.entry(letter.reason.clone()).or_default() += 1;
    }
    if let Workers::Killed(chaos, _) = workers {
        let (report, logs) = chaos.finish(&seen, &state, began);
        summary.chaos = Some(report);
        if summary.held() {
            logs.remove();
        }
    }
    summary
}
