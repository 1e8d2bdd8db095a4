//! Cases from the field: payloads that shops really send, faults that Kafka, the API and an
//! operator really make, each with what should happen. A case is a file in `data/`; all are played
//! by one run, against a real Kafka and the sandbox, and counted.
//!
//! - `later` names a stage of the project in which the case will be right. It is played all the
//!   same: once it is as expected, the test fails until the mark is taken off.
//! - `pending` is the same for a fault that is known and being mended, with the reason.
//! - `not_run` says what a case needs that this run has not.
//!
//! `CASES=a13,b` plays those whose names begin so.

// Every function here is part of a test: a failed unwrap is a failed test. What the black-box tests
// offer is not all used here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]
#![allow(missing_docs, dead_code)]

#[path = "../support/kafka.rs"]
mod kafka;
#[path = "../support/python.rs"]
mod python;

#[path = "../blackbox/asking.rs"]
mod asking;
#[path = "../blackbox/client.rs"]
mod client;
#[path = "../blackbox/events.rs"]
mod events;
#[path = "../blackbox/process.rs"]
mod process;
#[path = "../blackbox/sandbox.rs"]
mod sandbox;
#[path = "../blackbox/world.rs"]
mod world;

mod admin;
mod fake;
mod judge;
mod manifest;
mod play;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use manifest::{Case, Mark};

/// Cases that are played at a time, each with a worker of its own.
const AT_ONCE: usize = 4;

/// What is shown of a case that is pending, in characters.
const SHOWN_MAX: usize = 300;

/// What is not as expected of each case that was played.
type Faults = BTreeMap<String, Vec<String>>;

#[test]
fn what_happens_in_each_case_is_what_should_happen() {
    let cases = manifest::load();
    let (not_run, played): (Vec<_>, Vec<_>) =
        cases.iter().partition(|case| !case.not_run.is_empty());
    let (together, alone): (Vec<_>, Vec<_>) = played.iter().partition(|case| case.is_shared());
    let faults = Mutex::new(Faults::new());
    let queue = Mutex::new(alone);
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some(case) = queue.lock().unwrap().pop() else { return };
                    let found = caught(|| play::alone(case));
                    let _ = faults.lock().unwrap().insert(case.name.clone(), found);
                }
            });
        }
        let found = play::together(&together);
        faults.lock().unwrap().extend(found);
    });
    tell(&faults.into_inner().unwrap(), &played, &not_run);
}

/// What a case found, or the panic it ended with.
fn caught(play: impl FnOnce() -> Vec<String>) -> Vec<String> {
    catch_unwind(AssertUnwindSafe(play)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        vec![text.unwrap_or_else(|| "it panicked".to_owned())]
    })
}

/// Counts, and fails the test for whatever is not as its mark says.
fn tell(faults: &Faults, played: &[&Case], not_run: &[&Case]) {
    let (mut as_expected, mut pending) = (0, 0);
    let (mut later, mut left_out) = (BTreeMap::new(), BTreeMap::new());
    let mut wrong = Vec::new();
    for case in played {
        let found = &faults[&case.name];
        match case.mark() {
            Mark::None if found.is_empty() => as_expected += 1,
            Mark::None => {
                wrong.push(format!("{}: {}\n  {}", case.name, case.title, found.join("\n  ")));
            }
            Mark::Later(mark) | Mark::Pending(mark) if found.is_empty() => {
                wrong.push(format!("{} is as expected now: take its mark off ({mark})", case.name));
            }
            Mark::Later(stage) => *later.entry(stage).or_insert(0) += 1,
            Mark::Pending(why) => {
                pending += 1;
                let found: String = found.join("; ").chars().take(SHOWN_MAX).collect();
                eprintln!("pending, {}: {why}. {found}", case.name);
            }
        }
    }
    for case in not_run {
        *left_out.entry(case.not_run.as_str()).or_insert(0) += 1;
    }
    let total = played.len() + not_run.len();
    eprintln!(
        "{total} cases: {as_expected} as expected, {} not; for later stages: {}; pending: \
         {pending}; not run, for want of: {}",
        wrong.len(),
        counted(&later),
        counted(&left_out)
    );
    let count = wrong.len();
    assert!(wrong.is_empty(), "{count} cases are not as they should be:\n{}", wrong.join("\n"));
}

/// How many there are in all, and of which kind.
fn counted(kinds: &BTreeMap<&str, usize>) -> String {
    let parts: Vec<_> = kinds.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    format!("{} ({})", kinds.values().sum::<usize>(), parts.join(", "))
}
