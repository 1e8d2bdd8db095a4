//! Black-box tests: the built binary as processes, a real Apache Kafka, an independent client, and
//! the sandbox in place of Google. Nothing here uses the library's code.

// Every function here is part of a test: a failed unwrap is a failed test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs)]

#[path = "../support/kafka.rs"]
mod kafka;
#[path = "../support/metrics.rs"]
mod metrics;
#[path = "../support/python.rs"]
mod python;

mod asking;
// The chaos tests use more of it.
#[allow(dead_code)]
mod client;
mod events;
mod invariants;
mod process;
mod sandbox;
#[allow(dead_code)]
mod world;

mod admin;
mod bad_input;
mod batches;
mod commands;
mod demo;
mod faults;
mod installations;
mod lifecycle;
mod orders;
mod oversized;
mod page;
mod pod;
mod rights;
