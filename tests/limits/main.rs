//! What the worker gets by with: memory, cores, and probes that answer while both are short. The
//! built binary as a process of its own, a real Apache Kafka, the sandbox in place of Google.
//!
//! Figures are printed; only that the worker lives and loses nothing is asserted, since a machine
//! may be slow. For the figures of the README:
//!
//! ```text
//! cargo build --release
//! ZEROTOUCH_WORKER_BIN=target/release/zerotouch-worker \
//!     cargo test --test limits -- --nocapture --test-threads 1
//! ```

// Every function here is part of a test: a failed unwrap is a failed test. What the black-box tests
// offer is not all used here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs, dead_code)]

#[path = "../support/kafka.rs"]
mod kafka;
#[path = "../support/proxy.rs"]
mod proxy;
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

mod cgroup;
mod load;

mod cores;
mod memory;
mod probes;
mod spinning;
