//! The oracle: checks the invariants I1 to I4 from what can be seen from outside.
//!
//! Names only [`crate::model`]: an oracle that shares code with the suspect proves nothing. The
//! caller writes down what it saw ([`History`]) and what it had asked for ([`Orders`]); [`check`]
//! says what held ([`Report`]). It decides nothing while the worker runs and changes nothing.
//!
//! Cost: sorting, and about 100 bytes beside the history for each command and each operation item,
//! so a million commands take seconds. Orders are read one by one and need not be in memory.

mod folding;
mod history;
mod index;
mod operations;
mod orders;
mod outcomes;
mod reference;
mod report;
mod state;
mod watermarks;

#[cfg(test)]
mod tests;

pub use history::{
    ChangeSeen, CommandSeen, DeadLetterSeen, DeviceSeen, Expectation, ExpectedCommand, History,
    KeyText, OperationSeen, OrderSeen, Orders, OutcomeSeen, WatermarkSeen,
};
pub use report::{Check, Invariant, Report};

/// Checks all invariants.
///
/// The history must be of a run that has come to rest, on topics and an API that were empty before.
#[must_use]
pub fn check(history: &History, orders: Orders<'_>) -> Report {
    let index = index::Index::new(history);
    Report {
        checks: vec![
            outcomes::check(&index, orders),
            state::check(&index),
            operations::check(&history.operations),
            watermarks::check(&index),
        ],
    }
}
