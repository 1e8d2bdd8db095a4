//! Worker processes that are killed at moments drawn from a seed, and started again at once.
//!
//! Nothing outlives the demo: a worker is killed when what holds it is dropped, and it ends by
//! itself when its standard input closes, which it does even if the demo is killed.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::config::VARIABLE_PREFIX;
use crate::shell::chain;

/// Worker processes. The first has a name that stays, so that its restarts move no partitions; the
/// others have none, so that each of their deaths moves partitions twice.
pub(super) const WORKERS: usize = 2;

/// Between two kills.
const PAUSE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(5));
/// How often it is looked whether a worker has ended although nobody killed it.
const WATCH: Duration = Duration::from_millis(200);
/// Workers that end by themselves, at most: a few may give up on a hung client, as they should.
const OWN_ENDS_MAX: u64 = 10;
/// Exit statuses of a worker that could not start, so starting it again is no use.
const REFUSALS: [i32; 2] = [1, 64];

/// A kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kill {
    /// When.
    pub(super) at: Instant,
    /// Which worker, from 0.
    pub(super) worker: usize,
}

/// What was done so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Done {
    pub(super) kills: Vec<Kill>,
    pub(super) restarts: u64,
    /// Workers that ended although nobody killed them.
    pub(super) own_ends: u64,
    failed: Option<String>,
}

/// When which worker is killed: the same for the same seed.
pub(super) fn schedule(seed: u64, for_how_long: Duration) -> Vec<(Duration, usize)> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut kills = Vec::new();
    let mut at = Duration::ZERO;
    loop {
        at += rng.random_range(PAUSE.0..PAUSE.1);
        let worker = rng.random_range(0..WORKERS);
        if at > for_how_long {
            return kills;
        }
        kills.push((at, worker));
    }
}

/// The workers, and the thread that kills them. All end when this is dropped.
pub(super) struct Processes {
    done: Arc<Mutex<Done>>,
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Processes {
    /// Starts the workers, and begins to kill them.
    pub(super) fn start(directory: &Path, schedule: Vec<(Duration, usize)>) -> Result<Self> {
        let mut fleet = Fleet { workers: Vec::new(), done: Arc::default() };
        for number in 0..WORKERS {
            fleet.workers.push(Worker::start(directory, number)?);
        }
        let done = Arc::clone(&fleet.done);
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("chaos".into())
            .spawn(move || fleet.run(&schedule, &stopped))?;
        Ok(Self { done, stop: Some(stop), thread: Some(thread) })
    }

    /// What was done so far.
    pub(super) fn done(&self) -> Done {
        lock(&self.done).clone()
    }

    /// Whether the workers are still kept running.
    pub(super) fn check(&self) -> Result<()> {
        match &lock(&self.done).failed {
            Some(reason) => bail!("{reason}"),
            None => Ok(()),
        }
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(done: &Mutex<Done>) -> MutexGuard<'_, Done> {
    done.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the thread works with.
struct Fleet {
    workers: Vec<Worker>,
    done: Arc<Mutex<Done>>,
}

impl Fleet {
    fn run(&mut self, schedule: &[(Duration, usize)], stopped: &mpsc::Receiver<()>) {
        let began = Instant::now();
        let mut kills = schedule.iter().peekable();
        loop {
            let until_kill = kills.peek().map(|(at, _)| at.saturating_sub(began.elapsed()));
            let wait = until_kill.map_or(WATCH, |wait| wait.min(WATCH));
            if stopped.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            let due = kills.next_if(|(at, _)| began.elapsed() >= *at);
            let result = match due {
                Some((_, worker)) => self.kill(*worker),
                None => self.watch(),
            };
            if let Err(error) = result {
                lock(&self.done).failed = Some(chain(&*error));
                return;
            }
        }
    }

    fn kill(&mut self, number: usize) -> Result<()> {
        let worker = &mut self.workers[number];
        // The moment before: what is seen after it may have been done by the next one.
        let at = Instant::now();
        worker.kill().with_context(|| format!("killing worker {}", number + 1))?;
        lock(&self.done).kills.push(Kill { at, worker: number });
        worker.restart()?;
        lock(&self.done).restarts += 1;
        Ok(())
    }

    /// Starts workers again that have ended by themselves.
    fn watch(&mut self) -> Result<()> {
        for worker in &mut self.workers {
            let Some(status) = worker.child.try_wait()? else { continue };
            let number = worker.number + 1;
            let ends = {
                let mut done = lock(&self.done);
                done.own_ends += 1;
                done.own_ends
            };
            let is_refusal = status.code().is_some_and(|code| REFUSALS.contains(&code));
            if is_refusal || ends > OWN_ENDS_MAX {
                bail!("worker {number} ended by itself ({status}), see {}", worker.log.display());
            }
            tracing::warn!(number, %status, "a worker ended by itself; it is started again");
            worker.restart()?;
        }
        Ok(())
    }
}

/// A worker process; dead once this is dropped.
struct Worker {
    number: usize,
    config: PathBuf,
    log: PathBuf,
    child: Child,
}

impl Worker {
    fn start(directory: &Path, number: usize) -> Result<Self> {
        let config = directory.join(super::settings::FILE);
        let log = directory.join(format!("worker-{}.log", number + 1));
        let child = spawn(number, &config, &log)?;
        Ok(Self { number, config, log, child })
    }

    /// SIGKILL; then nothing of it runs any more.
    fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    fn restart(&mut self) -> Result<()> {
        self.child = spawn(self.number, &self.config, &self.log)?;
        Ok(())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

fn spawn(number: usize, config: &Path, log: &Path) -> Result<Child> {
    let program = std::env::current_exe().context("finding this program")?;
    let to = File::options().create(true).append(true).open(log);
    let to = to.with_context(|| format!("opening {}", log.display()))?;
    let mut command = Command::new(program);
    command.arg("run").arg("--config").arg(config).arg("--until-stdin-ends");
    if number == 0 {
        command.arg("--set").arg("kafka.group_instance_id=worker-1");
    }
    // What is set for other workers of this machine must not change these.
    for (name, _) in std::env::vars_os() {
        let is_setting = name.to_str().is_some_and(|name| name.starts_with(VARIABLE_PREFIX));
        if is_setting {
            command.env_remove(name);
        }
    }
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(to)
        // An interrupt at the terminal is for the demo, which ends them.
        .process_group(0)
        .spawn()
        .with_context(|| format!("starting worker {}", number + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_kills_the_same_workers_at_the_same_moments() {
        let minute = Duration::from_secs(60);
        assert_eq!(schedule(7, minute), schedule(7, minute));
        assert_ne!(schedule(7, minute), schedule(8, minute));
    }

    #[test]
    fn kills_come_at_random_moments_and_every_worker_has_its_turn() {
        for seed in 0..50 {
            let kills = schedule(seed, Duration::from_secs(120));
            assert!(kills.len() >= 24 && kills.len() <= 60, "{}", kills.len());
            let mut before = Duration::ZERO;
            for (at, _) in &kills {
                assert!(*at >= before + PAUSE.0 && *at < before + PAUSE.1);
                before = *at;
            }
            for worker in 0..WORKERS {
                assert!(kills.iter().any(|(_, killed)| *killed == worker), "seed {seed}");
            }
        }
    }
}
