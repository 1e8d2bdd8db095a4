//! Decisions: sans-IO and deterministic. Time comes in as an argument, effects go out as values.
//!
//! Names no runtime, no client library, and neither `wire` nor `shell`.

mod options;

pub mod intake;

pub use options::{AccountOptions, GuardMode, Options};
