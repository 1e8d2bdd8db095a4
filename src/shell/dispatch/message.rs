//! What comes in to a session, and how it ends.

use std::sync::Arc;

use crate::engine::{Input, Transaction};
use crate::model::{Epoch, Partition};
use crate::shell::kafka::{CommitError, ConsumerEvent};
use crate::shell::rooms::Rooms;

use super::ledger::Recovered;

/// How a session ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// As asked.
    Drained,
    /// It could not go on.
    Broken(String),
}

/// What comes in from the threads and tasks of the session.
#[derive(Debug)]
pub(super) enum Message {
    Consumer(ConsumerEvent),
    Input(Input),
    Committed(Attempt, Result<(), CommitError>),
    /// The ledger of a lane was read, and its commands were looked at.
    Recovered(Partition, Epoch, Recovered),
    /// Whether the commands topic is still the one that is being read; if not, what is wrong.
    Looked(Result<(), String>),
    /// A ledger partition could not be read, for this reason.
    Unread(Partition, Epoch, String),
    /// It is time to read it again.
    ReadAgain(Partition, Epoch),
}

/// One try to write a transaction.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) contents: Arc<Transaction>,
    /// How large its records may be.
    pub(super) rooms: Rooms,
}
