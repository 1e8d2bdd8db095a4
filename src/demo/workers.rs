//! Who does the work of the demo: a worker in this process, or processes that are killed.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::broker::{PARTITIONS, Ready};
use super::chaos::Chaos;
use super::evidence;
use super::orders::Written;
use super::progress::{Kills, Snapshot};
use super::witness::{Watermarks, Witness};
use super::{ACCOUNT, DemoArgs, PARTNER};
use crate::config::AdminConfig;
use crate::engine::intake::IntakeOptions;
use crate::engine::{AccountOptions, Installation, Options, StartFrom, Transaction};
use crate::sandbox::Sandbox;
use crate::shell::admin::Facts;
use crate::shell::dispatch::{self, Dispatch};
use crate::shell::http::{Auth, ClientOptions, ResellerClient};
use crate::shell::intake::{self, Intake};
use crate::shell::kafka::KafkaOptions;
use crate::shell::run::{self, Watched};
use crate::shell::telemetry::metrics::CallObserver;
use crate::shell::{Clock, Stats};

/// A worker in this process.
pub(super) struct Inside {
    stats: Arc<Stats>,
    drain: CancellationToken,
    task: JoinHandle<()>,
    watched: Watched,
}

/// Who works.
pub(super) enum Workers {
    /// One worker, in this process, on the code path of `run`.
    Inside(Inside),
    /// Processes of their own, killed again and again; how many outcomes there must be at the end.
    Killed(Box<Chaos>, u64),
}

/// How far the work is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    /// Outcomes that there will be, as far as it is known by now.
    pub(super) expected: u64,
    /// Whether the order events written so far are worked off.
    pub(super) is_quiet: bool,
}

impl Workers {
    /// Where the worker in this process can be watched.
    pub(super) fn page(&self) -> Option<String> {
        match self {
            Self::Inside(Inside { watched, .. }) => {
                watched.address().map(|address| format!("http://{address}/"))
            }
            Self::Killed(..) => None,
        }
    }

    /// Tells how many order events were read, for a writer that must not run too far ahead.
    pub(super) fn reading(&self) -> Box<dyn Fn() -> u64 + Send> {
        match self {
            Self::Inside(Inside { stats, .. }) => {
                let stats = Arc::clone(stats);
                Box::new(move || stats.orders.get())
            }
            // A real broker keeps everything.
            Self::Killed(..) => Box::new(|| u64::MAX),
        }
    }

    /// How far the work is.
    pub(super) fn standing(&self, written: &Written, witness: &Witness) -> Result<Standing> {
        let (commands, outcomes) = (witness.commands(), witness.outcomes());
        let orders = written.orders.get();
        Ok(match self {
            Self::Inside(Inside { stats, .. }) => {
                let expected = stats.commands.get() + stats.refused.get();
                let all_seen = outcomes == expected && commands == stats.commands.get();
                Standing { expected, is_quiet: stats.orders.get() == orders && all_seen }
            }
            Self::Killed(chaos, expected) => {
                chaos.check()?;
                let is_quiet = chaos.orders_read() >= orders && outcomes >= *expected;
                Standing { expected: *expected, is_quiet }
            }
        })
    }

    /// What to show.
    pub(super) fn snapshot(
        &self,
        args: &DemoArgs,
        sandbox: &Sandbox,
        (written, witness): (&Written, &Witness),
        elapsed: Duration,
    ) -> Snapshot {
        let snapshot = Snapshot {
            elapsed,
            orders: written.orders.get(),
            devices: written.devices.get(),
            devices_total: args.devices,
            outcomes: witness.outcomes(),
            ..Snapshot::default()
        };
        match self {
            Self::Inside(Inside { stats, .. }) => Snapshot {
                commands: stats.commands.get(),
                in_flight: stats.in_memory.get(),
                calls: stats.calls(),
                quota_left: stats.quota_tokens.get(),
                quota: 100,
                ..snapshot
            },
            Self::Killed(chaos, _) => {
                let (done, planned) = chaos.kills();
                let state = sandbox.state();
                Snapshot {
                    commands: witness.commands(),
                    in_flight: evidence::in_flight(&state),
                    calls: evidence::calls_made(&state),
                    kills: Some(Kills { done, planned }),
                    ..snapshot
                }
            }
        }
    }

    /// Commands made.
    pub(super) fn commands(&self, seen: usize) -> u64 {
        match self {
            Self::Inside(Inside { stats, .. }) => stats.commands.get(),
            Self::Killed(..) => seen as u64,
        }
    }

    /// Lets a worker in this process finish; processes go on until they are killed.
    pub(super) async fn drain(&mut self) -> Result<()> {
        match self {
            Self::Inside(Inside { drain, task, .. }) => {
                drain.cancel();
                task.await.context("the worker panicked")
            }
            Self::Killed(..) => Ok(()),
        }
    }
}

impl Inside {
    /// Starts intake and dispatch just as `run` does.
    pub(super) async fn start(
        args: &DemoArgs,
        ready: &Ready,
        api: &str,
        watermarks: Watermarks,
    ) -> Result<Self> {
        let (stats, drain) = (Arc::new(Stats::default()), CancellationToken::new());
        let client = ResellerClient::new(ClientOptions {
            base_url: api.to_owned(),
            auth: Auth::None,
            observer: Some(CallObserver::new(&stats)),
            ..ClientOptions::new(ACCOUNT, PARTNER)
        })
        .await?;
        let observer = move |transaction: &Transaction| {
            let mut marks = watermarks.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            for write in &transaction.offsets {
                marks.insert(write.partition.0, write.offset.0);
            }
        };
        let dispatch = Dispatch {
            kafka: group(ready, "dispatch"),
            transactional_id: format!("{}.dispatch", ready.kafka.group_id),
            topics: ready.topics.clone(),
            engine: Options {
                accounts: vec![AccountOptions {
                    name: ACCOUNT.into(),
                    partner_id: PARTNER.into(),
                    quota_calls: 1_000,
                    quota_window: Duration::from_secs(100),
                }],
                installation: Some(Installation {
                    endpoint: api.into(),
                    group: ready.kafka.group_id.as_str().into(),
                }),
                partitions_total: PARTITIONS.unsigned_abs(),
                batch_items_max: args.batch_items_max as usize,
                ..Options::default()
            },
            clients: vec![Arc::new(client)],
            stats: Arc::clone(&stats),
            clock: Clock::start(),
            traces: Default::default(),
            observer: Some(Arc::new(observer)),
        };
        let intake = Intake {
            kafka: group(ready, "intake"),
            transactional_id: format!("{}.intake", ready.kafka.group_id),
            topics: ready.topics.clone(),
            options: IntakeOptions {
                accounts: std::iter::once(ACCOUNT.to_owned()).collect(),
                default_account: Some(ACCOUNT.to_owned()),
                skips_others: false,
            },
            purposes: dispatch.engine.purposes(),
            record_version: crate::wire::command::VERSION,
            limits: Default::default(),
            records_max: 1_000,
            linger: Duration::from_millis(20),
            start: Some(StartFrom::Earliest),
            backlog_bytes_max: 8 << 20,
            stats: Arc::clone(&stats),
            traces: Default::default(),
        };
        let watched = watch(args, &dispatch.engine, &stats, &drain)?;
        stats.board.topics_are_ready();
        let until = drain.clone();
        let task = tokio::spawn(async move {
            let dispatching = dispatch::run(Arc::new(dispatch), until.clone());
            tokio::join!(intake::run(Arc::new(intake), until.clone()), dispatching);
        });
        Ok(Self { stats, drain, task, watched })
    }
}

fn watch(
    args: &DemoArgs,
    engine: &Options,
    stats: &Arc<Stats>,
    drain: &CancellationToken,
) -> Result<Watched> {
    let facts = Facts {
        intake_enabled: true,
        accounts: vec![ACCOUNT.into()],
        batch_items_max: engine.batch_items_max,
        commands_max: engine.commands_max,
        operations_max: engine.operations_max,
    };
    let admin = AdminConfig {
        listen: Some(args.admin.unwrap_or(AdminConfig::LISTEN)),
        is_asked_for: args.admin.is_some(),
        expose: None,
    };
    Ok(run::watched(&admin, stats, facts, None, drain)?)
}

fn group(ready: &Ready, half: &str) -> KafkaOptions {
    KafkaOptions { group_id: format!("{}.{half}", ready.kafka.group_id), ..ready.kafka.clone() }
}
