//! Runs seeds against each deliberate bug until one of them breaks a promise, and tells how many
//! that took. `MUTANT=Name` hunts one alone and shows the history, `MUTANT_SEEDS` is the budget.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use zerotouch_worker::engine::mutant::{self, Mutant};

use super::{ACTIVE, HARM_MUST_SHOW, Slip};
use crate::plan::Plan;
use crate::positions;
use crate::runner::{be_quiet, number, say, simulate, threads};

/// Seeds that a bug may take.
const BUDGET: u64 = 200_000;
const MARKS: [&str; 2] = ["<!-- mutants:begin -->\n", "<!-- mutants:end -->"];

#[derive(Clone, Copy, Debug)]
enum Bug {
    Engine(Mutant),
    Shell(Slip),
}

impl Bug {
    fn all() -> Vec<Self> {
        let engine = Mutant::ALL.iter().copied().map(Self::Engine);
        engine.chain(Slip::ALL.iter().copied().map(Self::Shell)).collect()
    }

    fn name(self) -> String {
        match self {
            Self::Engine(mutant) => format!("{mutant:?}"),
            Self::Shell(slip) => format!("{slip:?}"),
        }
    }

    const fn what(self) -> &'static str {
        match self {
            Self::Engine(mutant) => mutant.what(),
            Self::Shell(slip) => slip.what(),
        }
    }

    /// Runs with the bug, and with nothing else wrong.
    fn during<T>(self, run: impl FnOnce() -> T) -> T {
        match self {
            Self::Engine(mutant) => {
                let is_of_contents = [Mutant::IntentWithoutOffsets, Mutant::OffsetOfOneLane];
                HARM_MUST_SHOW.set(is_of_contents.contains(&mutant));
                mutant::switch(Some(mutant));
            }
            Self::Shell(slip) => ACTIVE.set(Some(slip)),
        }
        let given = run();
        mutant::switch(None);
        ACTIVE.set(None);
        HARM_MUST_SHOW.set(false);
        given
    }
}

struct Catch {
    seeds: u64,
    what: String,
    took: Duration,
}

/// Bugs in where reading begins: the great simulation has no such accidents.
const OF_POSITIONS: [Mutant; 3] =
    [Mutant::PositionGoneUnseen, Mutant::NewTopicUnseen, Mutant::LossUntold];

fn hunt(bug: Bug, budget: u64) -> Option<Catch> {
    let began = Instant::now();
    if let Bug::Engine(mutant) = bug
        && OF_POSITIONS.contains(&mutant)
    {
        return (0..budget).find_map(|seed| {
            let what = bug.during(|| positions::simulate(seed)).err()?;
            let is_sound = positions::simulate(seed).is_ok();
            is_sound.then(|| Catch { seeds: seed + 1, what, took: began.elapsed() })
        });
    }
    (0..budget).find_map(|seed| {
        let (outcome, _) = bug.during(|| simulate(Plan::draw(seed), false));
        let violation = outcome.violation?;
        // A seed that fails by itself shows nothing.
        let (sound, _) = simulate(Plan::draw(seed), false);
        if sound.violation.is_some() {
            return None;
        }
        Some(Catch { seeds: seed + 1, what: violation.what, took: began.elapsed() })
    })
}

/// The history of the first seed that shows the bug.
fn show(bug: Bug) {
    let Some(found) = hunt(bug, number("MUTANT_SEEDS").unwrap_or(BUDGET)) else {
        panic!("{} is not found", bug.name());
    };
    if let Bug::Engine(mutant) = bug
        && OF_POSITIONS.contains(&mutant)
    {
        return say(&format!("seed {}: {}\n", found.seeds - 1, found.what));
    }
    let plan = Plan::draw(found.seeds - 1);
    let (_, log) = bug.during(|| simulate(plan.clone(), true));
    say(&format!("{plan:#?}\n{}\n", log.join("\n")));
}

#[test]
fn every_mutant_is_caught() {
    be_quiet();
    if let Ok(name) = std::env::var("MUTANT") {
        return show(Bug::all().into_iter().find(|bug| bug.name() == name).expect("a mutant"));
    }
    let bugs = Bug::all();
    let budget = number("MUTANT_SEEDS").unwrap_or(BUDGET);
    let (next, caught) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..threads() {
            scope.spawn(|| {
                while let Some(bug) = bugs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let found = hunt(*bug, budget);
                    caught.lock().unwrap().insert(bug.name(), found);
                }
            });
        }
    });
    let caught = caught.into_inner().unwrap();
    let mut text = String::from("mutant, seeds until it was found, by what\n");
    for bug in &bugs {
        let name = bug.name();
        text.push_str(&match &caught[&name] {
            Some(Catch { seeds, what, took }) => {
                let what: String =
                    what.lines().next().unwrap_or_default().chars().take(90).collect();
                format!("  {name:<24} {seeds:>6} {:>7.2} s  {what}\n", took.as_secs_f64())
            }
            None => format!("  {name:<24} not found in {budget}\n"),
        });
    }
    say(&text);
    let missed: Vec<_> = caught.iter().filter(|(_, found)| found.is_none()).collect();
    let missed: Vec<_> = missed.into_iter().map(|(name, _)| name).collect();
    assert!(missed.is_empty(), "not found in {budget} seeds: {missed:?}");
    if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
        let seeds = |name: &str| caught[name].as_ref().unwrap().seeds;
        let (before, _, after) = readme();
        let table = rows(|name| order_of(seeds(name)));
        fs::write(path(), [&before, MARKS[0], &table, MARKS[1], &after].concat()).unwrap();
    }
}

/// The power of ten that is nearest.
fn order_of(seeds: u64) -> String {
    let order = (seeds as f64).log10().round() as u32;
    let digits = 10_u64.pow(order).to_string();
    if order < 3 { digits } else { format!("{},{}", &digits[..digits.len() - 3], "000") }
}

fn path() -> impl AsRef<Path> {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")
}

/// The README before, within and after the marks.
fn readme() -> (String, String, String) {
    let text = fs::read_to_string(path()).unwrap();
    let (before, rest) = text.split_once(MARKS[0]).unwrap();
    let (table, after) = rest.split_once(MARKS[1]).unwrap();
    (before.into(), table.into(), after.into())
}

fn rows(seeds: impl Fn(&str) -> String) -> String {
    let rows = Bug::all().into_iter().map(|bug| {
        let name = bug.name();
        format!("| `{name}` | {} | {} |\n", bug.what(), seeds(&name))
    });
    let head = "| Bug | What is wrong | Seeds, in the order of |\n|---|---|---|\n";
    head.chars().map(String::from).chain(rows).collect()
}

#[test]
fn the_readme_lists_the_mutants() {
    let (_, table, _) = readme();
    let told: BTreeMap<String, String> = table
        .lines()
        .filter_map(|row| {
            let mut cells = row.strip_prefix("| `")?.strip_suffix(" |")?.split(" | ");
            let name = cells.next()?.strip_suffix('`')?;
            Some((name.to_owned(), cells.nth(1)?.to_owned()))
        })
        .collect();
    let seeds = |name: &str| told.get(name).cloned().unwrap_or_default();
    assert_eq!(table, rows(seeds), "run every_mutant_is_caught with UPDATE=1");
    assert!(told.values().all(|seeds| seeds.starts_with('1')), "{told:?}");
}
