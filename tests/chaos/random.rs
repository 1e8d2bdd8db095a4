//! One to four workers join, leave, are killed and frozen at random while the API misbehaves; in
//! the end nothing is lost, nothing came twice, and every device is as its orders say.
//!
//! All chance comes from a seed, but the processes keep their own time: the same seed disturbs the
//! same way and does not give the same run.
//!
//! `CHAOS_SEED`, `CHAOS_KILLS` and `CHAOS_CHANGES` make it another run or a longer one, and
//! `ZEROTOUCH_WORKER_BIN` names an optimised build for it.

use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;

use crate::client::Record;
use crate::judge::{self, DEADLINE_SECONDS, Disturbances};
use crate::process::{Process, wait_for};
use crate::workload::Workload;
use crate::world::{Setup, World};

const WORKERS_MAX: usize = 4;
/// Commands without outcome that the producer of orders allows at once.
const BACKLOG: usize = 1_500;
/// Without anything new for this long, something is stuck.
const STALL: Duration = Duration::from_secs(120);
const READ_WAIT: Duration = Duration::from_millis(50);

const SETTINGS: [(&str, &str); 15] = [
    ("batch.items_max", "25"),
    ("kafka.session_timeout", "\"3s\""),
    ("kafka.max_poll_interval", "\"10s\""),
    ("kafka.transaction_timeout", "\"3s\""),
    ("kafka.commit_timeout", "\"2s\""),
    ("operation.poll_delay_min", "\"100ms\""),
    ("operation.poll_delay_max", "\"400ms\""),
    ("retry.lease", "\"2s\""),
    ("retry.ambiguous_grace", "\"2s\""),
    ("retry.backoff_min", "\"50ms\""),
    ("retry.backoff_max", "\"500ms\""),
    ("retry.lookups_max", "64"),
    ("retry.device_attempts_max", "20"),
    ("api.request_timeout", "\"3s\""),
    ("api.connect_timeout", "\"2s\""),
];

const ACCOUNT: &str = r#"
[[accounts]]
name = "main"
partner_id = 1001
auth = { kind = "none" }
quota_calls = 1000000
"#;

const SANDBOX: [&str; 24] = [
    "--operation-time",
    "250ms",
    "--operation-jitter",
    "0.5",
    "--error-rate",
    "claimAsync=0.02:503",
    "--error-rate",
    "unclaimAsync=0.02:429",
    "--error-rate",
    "updateMetadataAsync=0.02:500",
    "--error-rate",
    "operations.get=0.02:503",
    "--error-rate",
    "findByIdentifier=0.01:429",
    "--lost-reply-rate",
    "0.01",
    "--stuck-rate",
    "0.005",
    "--short-result-rate",
    "0.02",
    "--duplicate-result-rate",
    "0.05",
    "--reordered-result-rate",
    "0.1",
];

pub(crate) fn of_environment<T: std::str::FromStr>(name: &str, otherwise: T) -> T {
    let Ok(text) = std::env::var(name) else { return otherwise };
    text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number"))
}

struct Worker {
    process: Process,
    is_frozen: bool,
}

struct Run {
    world: World,
    workload: Workload,
    rng: ChaCha8Rng,
    workers: Vec<Worker>,
    leaving: Vec<Process>,
    disturbances: Disturbances,
    kills: usize,
    outcomes: usize,
    /// When something new was last seen.
    news: Instant,
}

/// What a disturbance waits for.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// This many more outcomes.
    Outcomes(usize),
    /// This many more operations that the API has accepted.
    Operations(u64),
    /// This many more records of the ledger.
    Ledger(usize),
    /// The newest worker has started, and this much later: while it joins and recovers.
    Start(Duration),
}

impl Run {
    fn new(seed: u64) -> Self {
        let setup = Setup {
            sandbox: &SANDBOX,
            settings: &SETTINGS,
            accounts: Some(ACCOUNT),
            ..Setup::default()
        };
        let mut world = World::new("chaos", setup);
        world.set("operation.deadline", &format!("\"{DEADLINE_SECONDS}s\""));
        let rule = |probability: f64, method: &str, fault: serde_json::Value| {
            world
                .sandbox
                .rule(&json!({"method": method, "probability": probability, "fault": fault}));
        };
        for method in ["claimAsync", "unclaimAsync", "updateMetadataAsync"] {
            rule(0.01, method, json!({"kind": "status", "http": 502, "after": true}));
            rule(0.003, method, json!({"kind": "loseReply", "hang": true}));
            rule(0.005, method, json!({"kind": "operationError", "code": 13}));
            rule(0.05, method, json!({"kind": "latency", "millis": 400}));
        }
        Self {
            world,
            workload: Workload::new(),
            rng: ChaCha8Rng::seed_from_u64(seed),
            workers: Vec::new(),
            leaving: Vec::new(),
            disturbances: Disturbances::default(),
            kills: 0,
            outcomes: 0,
            news: Instant::now(),
        }
    }

    fn join(&mut self) {
        let process = self.world.worker();
        self.workers.push(Worker { process, is_frozen: false });
        self.disturbances.note("join");
    }

    /// Sends order events up to the backlog, and looks how far the workers are.
    fn go_on(&mut self, changes_max: usize) {
        let open = self.workload.changes - self.outcomes;
        let room =
            BACKLOG.saturating_sub(open).min(changes_max - self.workload.changes.min(changes_max));
        if room > BACKLOG / 10 || (open == 0 && room > 0) {
            let topic = self.world.topic("orders");
            let drawn = self.workload.draw(&mut self.rng, &topic, room);
            let (events, records): (Vec<_>, Vec<Record>) = drawn.into_iter().unzip();
            self.world.send_records(&events, &records);
        }
        let topic = self.world.topic("outcomes");
        let (outcomes, _) = self.world.client.count(&topic, READ_WAIT);
        if outcomes > self.outcomes {
            self.news = Instant::now();
        }
        self.outcomes = outcomes;
        assert!(self.news.elapsed() < STALL, "no outcome for {STALL:?}, {outcomes} so far");
        for worker in &mut self.workers {
            assert!(worker.process.ended().is_none(), "a worker ended by itself");
        }
    }

    fn draw_moment(&mut self, pace: usize) -> Moment {
        match self.rng.random_range(0..10) {
            0..4 => Moment::Outcomes(self.rng.random_range(1..=2 * pace)),
            4..6 => Moment::Operations(self.rng.random_range(1..=25)),
            6..8 => Moment::Ledger(self.rng.random_range(1..=20)),
            _ => Moment::Start(Duration::from_millis(self.rng.random_range(0..2_500))),
        }
    }

    fn wait_for(&mut self, moment: Moment, changes_max: usize) {
        let ledger = self.world.topic("ledger");
        let operations = |run: &Self| run.world.sandbox.stats()["operations"].as_u64().unwrap();
        let records = |run: &mut Self| run.world.client.count(&ledger, READ_WAIT).0;
        match moment {
            Moment::Outcomes(more) => {
                let until = self.outcomes + more;
                while self.outcomes < until && self.can_progress(changes_max) {
                    self.go_on(changes_max);
                }
            }
            Moment::Operations(more) => {
                let until = operations(self) + more;
                while operations(self) < until && self.can_progress(changes_max) {
                    self.go_on(changes_max);
                }
            }
            Moment::Ledger(more) => {
                // What has piled up since the last look is not new.
                let (mut seen, mut known) = (records(self), 0);
                while seen > known {
                    (known, seen) = (seen, records(self));
                }
                let until = records(self) + more;
                while records(self) < until && self.can_progress(changes_max) {
                    self.go_on(changes_max);
                }
            }
            Moment::Start(later) => {
                if let Some(newest) = self.workers.last().filter(|worker| !worker.is_frozen) {
                    wait_for("a worker is up", STALL, || {
                        newest.process.stderr().contains("the worker is up").then_some(())
                    });
                    std::thread::park_timeout(later);
                }
                self.go_on(changes_max);
            }
        }
    }

    /// Whether the workers have anything to do, or will get it.
    fn can_progress(&self, changes_max: usize) -> bool {
        self.outcomes < self.workload.changes || self.workload.changes < changes_max
    }

    fn disturb(&mut self) {
        let chosen = self.rng.random_range(0..self.workers.len());
        let frozen = self.workers.iter().position(|worker| worker.is_frozen);
        match self.rng.random_range(0..100) {
            0..65 => {
                let mut victim = self.workers.remove(chosen);
                self.disturbances.note("kill");
                victim.process.kill9();
                self.kills += 1;
                if self.rng.random_bool(0.7) {
                    self.join();
                }
            }
            65..80 if self.workers.len() < WORKERS_MAX => self.join(),
            80..88 if !self.workers[chosen].is_frozen => {
                let leaver = self.workers.remove(chosen);
                self.disturbances.note("leave");
                leaver.process.signal("-TERM");
                self.leaving.push(leaver.process);
            }
            88..95 if frozen.is_none() => {
                self.workers[chosen].is_frozen = true;
                self.disturbances.note("freeze");
                self.workers[chosen].process.signal("-STOP");
            }
            _ => self.thaw(),
        }
        if self.workers.iter().all(|worker| worker.is_frozen) {
            self.join();
        }
    }

    fn thaw(&mut self) {
        for worker in self.workers.iter_mut().filter(|worker| worker.is_frozen) {
            worker.is_frozen = false;
            self.disturbances.note("freeze");
            worker.process.signal("-CONT");
        }
    }

    /// Lets everything settle, and ends all workers.
    fn settle(&mut self) {
        self.thaw();
        while self.outcomes < self.workload.changes {
            self.go_on(0);
        }
        wait_for("all is decided", STALL, || self.world.progress().is_quiet.then_some(()));
        for worker in self.workers.drain(..) {
            worker.process.signal("-TERM");
            self.leaving.push(worker.process);
        }
        for mut process in self.leaving.drain(..) {
            let code = process.exit_code(STALL);
            // Cut short, if it was told to end in the middle of a rebalance.
            assert!(code == 0 || code == 75, "a worker that was told to end gave {code}");
        }
    }
}

#[test]
fn random_kills_joins_and_freezes_lose_nothing_and_double_nothing() {
    let seed: u64 = of_environment("CHAOS_SEED", 5);
    let kills: usize = of_environment("CHAOS_KILLS", 8);
    let changes: usize = of_environment("CHAOS_CHANGES", 5_000);
    eprintln!("chaos: CHAOS_SEED={seed} CHAOS_KILLS={kills} CHAOS_CHANGES={changes}");
    let began = Instant::now();
    let pace = (changes / kills.max(1) / 2).max(10);
    let mut run = Run::new(seed);
    run.join();
    let mut told = 0;
    while run.kills < kills || run.workload.changes < changes {
        // More changes than asked for, if the kills take longer.
        let changes_max = changes.max(run.outcomes + BACKLOG);
        let changes_max = if run.kills < kills { changes_max } else { changes };
        let moment = run.draw_moment(pace);
        run.wait_for(moment, changes_max);
        if run.kills < kills {
            run.disturb();
        } else if run.workers.iter().all(|worker| worker.is_frozen) {
            run.join();
        }
        if run.kills >= told {
            let (kills, workers) = (run.kills, run.workers.len());
            let at = began.elapsed();
            eprintln!("{at:.0?}: {kills} kills, {} outcomes, {workers} workers", run.outcomes);
            told += 10;
        }
    }
    run.settle();
    let ran = began.elapsed();
    let report = judge::report(&run.world, &run.disturbances);
    eprintln!("chaos: {ran:.1?}, seed {seed}, {report:#}");
    assert_eq!(report["violations_count"], 0, "{report:#}");
    assert!(report["changes"].as_u64().unwrap() >= changes as u64, "{report:#}");
    assert!(report["disturbances"]["kill"].as_u64().unwrap() >= kills as u64, "{report:#}");
}
