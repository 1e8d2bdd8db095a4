//! zerotouch-worker: order events from Kafka in, devices claimed, one outcome per device out.
//!
//! `README.md` says what it is for and what it promises; this page is the map of the code.
//!
//! # Bird's-eye view
//!
//! ```text
//!  order topics ──► shell::intake ──► commands ──► shell::dispatch ◄──► reseller API
//!                    │ wire::order                  │ engine::Worker
//!                    │ engine::intake               │   lane, batcher, quota, guard,
//!                    ▼                              │   settlement, commit
//!              outcomes, dead letters               ├──► outcomes, dead letters
//!                                                   └◄─► ledger
//! ```
//!
//! Two halves in one process. *Intake* turns each order event into commands keyed by device, or
//! into a dead letter; it remembers nothing. *Dispatch* works the commands off. Each partition of
//! the commands topic is a *lane*; one batcher for each account and action fills calls across the
//! lanes. What became of a batch is in the ledger, in the partition of the same number, so a lane
//! can move to another worker: intent before the call, the operation's name after it, and at last
//! the outcomes together with the read position, in one transaction.
//!
//! All decisions are in [`engine`], which does nothing: it takes one input and the time, and gives
//! effects. [`shell`] carries them out and answers with the next input. The same engine runs in
//! production, in the demo and in tests in virtual time.
//!
//! # Rooms
//!
//! What each is, and which others it may name:
//!
//! - [`model`]: the words of the domain, validated, masked when printed. Names nothing.
//! - [`wire`]: bytes that cross a boundary, to and from the model. Names model.
//! - [`engine`]: decisions, sans-IO and deterministic. Names model.
//! - [`verify`]: the oracle, which checks promises from outside. Names model.
//! - [`sandbox`]: a double of the reseller API with rules of its own. Names wire, model.
//! - [`config`]: settings, with all mistakes at once. Names model and the engine's options.
//! - [`shell`]: Kafka, HTTP, clock, signals, logs, traces. Names model, wire, engine, config.
//! - [`demo`]: everything in one process, judged by the oracle. Names all.
//! - [`cli`]: subcommands and exit statuses; the only place that prints. Names all.
//!
//! What is absent on purpose: `engine` names neither wire, shell nor config. `verify` and `sandbox`
//! do not name the engine: an oracle that shares code with the suspect proves nothing. Types of
//! rdkafka and reqwest do not leave the shell. `tests/tidy.rs` holds all this.
//!
//! # Invariants, and where each is held
//!
//! - I1: every command gets exactly one committed outcome; every order line gets its commands, a
//!   refusal or a dead letter. `engine::intake`, `engine::worker::{verdicts, commits}`.
//! - I2: once all is quiet, a device is at the API as the fold of its commands says.
//!   `engine::lane::fold`, `engine::settlement`, `engine::worker::lookups`.
//! - I3: never two operations in flight for one device. `engine::lane::devices`,
//!   `engine::worker::admit`.
//! - I4: a watermark never passes a command without committed outcome. `engine::lane::watermark`,
//!   `engine::worker::commits`.
//! - I5: no call without an intent that the present owner committed.
//!   `engine::worker::{calls, commits}`, `shell::kafka::rebalance`.
//! - I6: being killed at any point loses nothing and duplicates no outcome.
//!   `engine::lane::recovery`, `shell::kafka::{producer, ledger_reader}`.
//! - I7: the ledger's replay gives the state that was lost. `engine::lane::recovery`,
//!   `wire::ledger`.
//! - I8: memory is bounded by configuration; partitions pause, nothing is dropped.
//!   `engine::options`, `engine::worker`, `shell::intake`.
//! - I9: a bad record, device, batch or account harms only itself. `wire::order`,
//!   `engine::intake`, `engine::worker::answers`.
//! - I15: one item never holds up others, whatever the API answers to a call with it.
//!   `engine::suspicion`, `engine::worker::{suspects, refused}`.
//! - I10: no secret and no whole hardware id in logs, traces or metrics. `model::device`,
//!   `wire::google::failure`, `config`.
//!
//! [`verify`] checks I1 to I4 from what can be seen from outside.

pub mod cli;
pub mod config;
pub mod demo;
pub mod engine;
pub mod model;
pub mod sandbox;
pub mod shell;
pub mod verify;
pub mod wire;
