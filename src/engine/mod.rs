//! Decisions: sans-IO and deterministic. Time comes in as an argument, effects go out as values.
//!
//! Feed one [`Input`] to [`Worker::handle`], carry out every [`Worker::next_effect`], sleep until
//! [`Worker::wake_at`], repeat. Names no runtime, no client library, and neither `wire` nor
//! `shell`.

mod account;
mod backoff;
mod batch;
mod batcher;
#[cfg(test)]
pub(crate) mod captured;
mod commit;
mod device_map;
mod effect;
mod guard;
mod input;
mod lane;
#[cfg(not(feature = "mutants"))]
mod mutant;
mod options;
mod purpose;
mod quota;
mod report;
mod settlement;
mod slots;
mod suspicion;
mod time;
mod worker;

pub mod intake;
#[cfg(feature = "mutants")]
pub mod mutant;
pub mod positions;

pub use effect::{DeadLetterWrite, Effect, OffsetWrite, OutcomeWrite, Submit, Transaction};
pub use input::{CallNumber, CommandContent, CommandRead, ForeignRecord, Input};
pub use options::{AccountOptions, GuardMode, Installation, Options, StartFrom};
pub use report::{AccountReport, HeadBatch, HeadCommand, HeadReport, LaneReport, Report};
pub use time::{Mono, Now};
pub use worker::Worker;
