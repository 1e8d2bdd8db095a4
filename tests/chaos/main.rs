//! Chaos: real worker processes on a real Apache Kafka are killed at named points and at random,
//! frozen, cut off, and lose their broker; `tests/clients/checker.py`, which shares no code with
//! the worker, judges what is left.

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

mod judge;
mod scene;
mod workload;

mod broker;
mod crash_points;
mod judged;
mod network;
mod random;
mod zombies;
