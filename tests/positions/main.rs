//! Positions that are missing, lie in the past, or are of another topic: the built binary as a
//! process, a real Apache Kafka, the sandbox in place of Google. Nothing is skipped or done again
//! in silence.

// Every function here is part of a test: a failed unwrap is a failed test. What the black-box tests
// offer is not all used here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs, dead_code)]

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

mod broker;

mod deleted;
mod first_start;
mod made_anew;
