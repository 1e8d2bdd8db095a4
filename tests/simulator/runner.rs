//! Runs seeds, each twice, and tells what it took to break a promise.
//!
//! `SIM_SEED` runs one seed, `SIM_SEEDS` that many, `SIM_SECONDS` for that long; `SIM_FIRST` is
//! the first seed. `SIM_OFF` names faults to leave out and `SIM_COMMANDS` cuts the orders short:
//! a failure prints the smallest that it found to fail.

use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, Once};
use std::time::{Duration, Instant};

use crate::counts::Counts;
use crate::plan::{Fault, Plan};
use crate::world::{Outcome, Violation, World};

/// Seeds that failed once, with the reason.
const PAST: &str = include_str!("seeds.txt");
/// Enough for a build that is not optimised.
const SECONDS: u64 = 20;
/// Seeds among which every kind of fault happens.
const SEEDS_FOR_ALL_FAULTS: u64 = 1_000;
/// Seeds after which a long run says how far it is.
const TOLD_EVERY: u64 = 100_000;
/// Lines of history that a failure shows.
const LINES: u64 = 160;

pub(crate) fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// What is left out of a plan.
#[derive(Clone, Debug, Default)]
struct Cut {
    off: Vec<Fault>,
    commands: Option<usize>,
}

impl Cut {
    fn of_environment() -> Self {
        let names = std::env::var("SIM_OFF").unwrap_or_default();
        let is_named = |fault: &Fault| names.split(',').any(|name| name == fault.name());
        let off = Fault::ALL.into_iter().filter(is_named).collect();
        Self { off, commands: number("SIM_COMMANDS").map(|count| count as usize) }
    }

    fn plan(&self, seed: u64) -> Plan {
        let mut plan = Plan::draw(seed);
        for fault in &self.off {
            plan.rates[*fault as usize] = 0;
        }
        if let Some(commands) = self.commands {
            plan.commands = plan.commands.min(commands);
        }
        plan
    }
}

pub(crate) fn simulate(plan: Plan, verbose: bool) -> (Outcome, Vec<String>) {
    let mut world = World::new(plan, verbose);
    let ran = catch_unwind(AssertUnwindSafe(|| world.run()));
    if let Err(panic) = ran {
        let text = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_else(|| "a panic".into());
        world.checks.violation = Some(Violation { what: format!("panic: {text}"), about: vec![] });
    }
    (world.outcome(), world.log.unwrap_or_default())
}

/// Runs a seed twice; both must go the same way.
fn run_seed(seed: u64, cut: &Cut) -> Outcome {
    let (mut first, _) = simulate(cut.plan(seed), false);
    let (second, _) = simulate(cut.plan(seed), false);
    if first != second && first.violation.is_none() {
        let what = "the same seed went two ways".to_owned();
        first.violation = Some(Violation { what, about: vec![] });
    }
    first
}

/// Leaves out what is not needed for a failure of the same kind.
fn shrink(seed: u64, cut: &Cut, violation: &Violation) -> (Cut, Violation) {
    let kind = |violation: &Violation| violation.what.chars().take(12).collect::<String>();
    let wanted = kind(violation);
    let fails = |cut: &Cut| {
        let (outcome, _) = simulate(cut.plan(seed), false);
        outcome.violation.filter(|violation| kind(violation) == wanted)
    };
    let (mut best, mut found) = (cut.clone(), violation.clone());
    for _ in 0..2 {
        for fault in best.plan(seed).faults() {
            let mut next = best.clone();
            next.off.push(fault);
            if let Some(violation) = fails(&next) {
                (best, found) = (next, violation);
            }
        }
        let mut commands = best.plan(seed).commands;
        for _ in 0..12 {
            for smaller in [commands / 2, commands * 3 / 4, commands.saturating_sub(1)] {
                let next = Cut { commands: Some(smaller), ..best.clone() };
                if smaller > 0
                    && smaller < commands
                    && let Some(violation) = fails(&next)
                {
                    (best, found, commands) = (next, violation, smaller);
                    break;
                }
            }
        }
    }
    (best, found)
}

fn explain(seed: u64, cut: &Cut, violation: &Violation) -> String {
    let (cut, violation) = shrink(seed, cut, violation);
    let plan = cut.plan(seed);
    let (_, log) = simulate(plan.clone(), true);
    let about = &violation.about;
    let is_about = |line: &&String| {
        about.is_empty()
            || about.iter().any(|word| line.contains(word.as_str()))
            || !line.contains("@") && !line.contains(" p")
    };
    let lines: Vec<&String> = log.iter().filter(is_about).collect();
    let shown = lines[lines.len().saturating_sub(number("SIM_LINES").unwrap_or(LINES) as usize)..]
        .iter()
        .map(|line| line.as_str())
        .collect::<Vec<_>>()
        .join("\n");
    let off: Vec<String> = cut.off.iter().map(|fault| fault.name()).collect();
    format!(
        "seed {seed}: {}\n\nplan: {plan:#?}\nfaults: {:?}\n\n{shown}\n\nagain: SIM_SEED={seed} \
         SIM_OFF={} SIM_COMMANDS={} cargo test --test simulator",
        violation.what,
        plan.faults(),
        off.join(","),
        plan.commands,
    )
}

fn past() -> Vec<u64> {
    PAST.lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter_map(|word| word.parse().ok())
        .collect()
}

#[derive(Default)]
struct Total {
    seeds: u64,
    steps: u64,
    counts: Counts,
    failures: Vec<(u64, Violation)>,
}

impl Total {
    fn add(&mut self, seed: u64, outcome: Outcome) {
        self.seeds += 1;
        self.steps += outcome.steps;
        self.counts.add(&outcome.counts);
        if let Some(violation) = &outcome.violation {
            say(&format!("seed {seed}: {}\n", violation.what));
        }
        self.failures.extend(outcome.violation.map(|violation| (seed, violation)));
        if self.seeds.is_multiple_of(TOLD_EVERY) {
            let (steps, failures) = (self.steps, self.failures.len());
            say(&format!("{} seeds, {steps} steps, {failures} violations so far\n", self.seeds));
        }
    }
}

/// Panics of the threads that run seeds are findings, to be told once they have been shrunk.
pub(crate) fn be_quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if std::thread::current().name().is_some() {
                loud(info);
            }
        }));
    });
}

/// Says it past the test harness, which shows what a test prints only when it fails.
pub(crate) fn say(text: &str) {
    std::io::stderr().write_all(text.as_bytes()).unwrap();
}

pub(crate) fn threads() -> usize {
    number("SIM_THREADS").map_or_else(
        || std::thread::available_parallelism().map_or(1, usize::from),
        |threads| threads as usize,
    )
}

pub(crate) fn run() {
    be_quiet();
    let began = Instant::now();
    let cut = Cut::of_environment();
    let total = Mutex::new(Total::default());
    if let Some(seed) = number("SIM_SEED") {
        total.lock().unwrap().add(seed, run_seed(seed, &cut));
    } else {
        run_many(&cut, &total, began);
    }
    let total = total.into_inner().unwrap();
    report(&total, began.elapsed());
    if let Some((seed, violation)) = total.failures.first() {
        let kinds: Vec<String> = total
            .failures
            .iter()
            .map(|(seed, violation)| {
                format!("{seed}: {}", violation.what.chars().take(160).collect::<String>())
            })
            .collect();
        panic!("{}\n\nall failures:\n{}", explain(*seed, &cut, violation), kinds.join("\n"));
    }
    if total.seeds >= SEEDS_FOR_ALL_FAULTS && cut.off.is_empty() {
        let missing = total.counts.missing();
        assert!(missing.is_empty(), "faults that never happened: {missing:?}");
    }
}

fn run_many(cut: &Cut, total: &Mutex<Total>, began: Instant) {
    for seed in past() {
        total.lock().unwrap().add(seed, run_seed(seed, cut));
    }
    let first = number("SIM_FIRST").unwrap_or(0);
    let count = number("SIM_SEEDS");
    let seconds = number("SIM_SECONDS").or(count.is_none().then_some(SECONDS));
    let end = seconds.map(|seconds| began + Duration::from_secs(seconds));
    let failures_max = number("SIM_FAILURES").unwrap_or(1) as usize;
    let (next, stop) = (AtomicU64::new(first), AtomicBool::new(false));
    let threads = threads();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) && end.is_none_or(|end| Instant::now() < end) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if count.is_some_and(|count| seed >= first + count) {
                        break;
                    }
                    let outcome = run_seed(seed, cut);
                    let mut total = total.lock().unwrap();
                    total.add(seed, outcome);
                    if total.failures.len() >= failures_max {
                        stop.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
}

fn report(total: &Total, took: Duration) {
    let Total { seeds, steps, counts, failures } = total;
    let rate = *seeds as f64 / took.as_secs_f64();
    let mut text = format!(
        "{seeds} seeds, each twice, in {:.1} s ({rate:.1} seeds/s), {steps} steps, {} violations\n",
        took.as_secs_f64(),
        failures.len()
    );
    text.push_str(&counts.lines());
    say(&text);
}
