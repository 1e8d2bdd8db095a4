//! Deterministic simulation: the real engine in several workers, in virtual time, against a model
//! of Kafka and the sandbox's state, under faults drawn from a seed.

// Every function here is part of a test: a failed unwrap is a failed test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs)]

mod checks;
mod counts;
mod group;
mod http;
mod kafka;
mod mutants;
mod plan;
mod positions;
mod process;
mod queue;
mod runner;
mod transactions;
mod workload;
mod world;

#[test]
fn every_promise_holds_whatever_fails() {
    runner::run();
}
