//! Traces and logs, seen by a real OpenTelemetry Collector: the built binary as processes, a real
//! Apache Kafka, the sandbox in place of Google. Nothing here uses the library's code.

// Every function here is part of a test: a failed unwrap is a failed test. The harness is that of
// the black-box tests, of which not all is used here.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs)]

#[path = "../blackbox/client.rs"]
mod client;
#[path = "../blackbox/events.rs"]
mod events;
#[path = "../support/kafka.rs"]
mod kafka;
#[path = "../blackbox/process.rs"]
mod process;
#[path = "../support/python.rs"]
mod python;
#[path = "../blackbox/sandbox.rs"]
mod sandbox;
#[path = "../blackbox/world.rs"]
mod world;

mod certificates;
mod collector;
mod lines;
mod spans;

mod crash;
mod ends;
mod harmless;
mod logs;
mod tls;
mod trace;
mod variables;
