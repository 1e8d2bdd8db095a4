//! The names of the topics.

use std::sync::Arc;

/// Which topic is which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    /// Order events are read from these.
    pub orders: Vec<Arc<str>>,
    /// Commands, by device.
    pub commands: Arc<str>,
    /// The ledger, co-partitioned with the commands.
    pub ledger: Arc<str>,
    /// Outcomes, by device.
    pub outcomes: Arc<str>,
    /// Records that could not be understood.
    pub dead_letters: Arc<str>,
}

impl Default for Topics {
    fn default() -> Self {
        Self {
            orders: vec!["orders".into()],
            commands: "zerotouch.commands".into(),
            ledger: "zerotouch.ledger".into(),
            outcomes: "zerotouch.outcomes".into(),
            dead_letters: "zerotouch.dead-letters".into(),
        }
    }
}
