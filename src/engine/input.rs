//! What the world tells the engine, in the past tense. Failures of the world are inputs too.

use crate::model::{
    BatchId, CallFailure, CommandFacts, DeviceState, Epoch, LedgerRecord, Offset, OperationReply,
    PackedCommand, Partition, Purpose,
};
use std::sync::Arc;

use super::positions::CommandsLog;

/// One thing that happened.
#[derive(Debug)]
pub enum Input {
    /// A partition of the commands topic is ours. Answered by [`super::Effect::ReadLedger`].
    Assigned {
        /// The lane.
        partition: Partition,
        /// Counts the assignments of this process.
        epoch: Epoch,
    },
    /// The ledger of a lane was read to its end. Answered by [`super::Effect::Start`].
    LedgerRead {
        /// The lane.
        partition: Partition,
        /// The epoch of the request.
        epoch: Epoch,
        /// Where reading is to begin: the stable committed offset, read after fencing, unless
        /// [`super::positions`] says otherwise.
        committed: Offset,
        /// What the ledger's offsets mean in the commands topic as it is, or why nobody knows.
        log: Result<CommandsLog, String>,
        /// The last record of each key, or what is wrong with it.
        records: Result<Vec<(BatchId, LedgerRecord)>, String>,
    },
    /// Commands were read, in offset order.
    CommandsRead {
        /// The lane.
        partition: Partition,
        /// The epoch of the assignment.
        epoch: Epoch,
        /// The records.
        commands: Vec<CommandRead>,
    },
    /// All that is in the lane's partition was read: nothing more waits there.
    CaughtUp {
        /// The lane.
        partition: Partition,
    },
    /// A partition is to be given up. Answered by [`super::Effect::Release`].
    Revoked {
        /// The lane.
        partition: Partition,
    },
    /// A partition was taken away without asking; nothing can be published for it any more.
    Lost {
        /// The lane.
        partition: Partition,
    },
    /// A transaction has committed.
    Committed {
        /// Its number.
        transaction: u64,
    },
    /// A transaction was aborted; none of it is visible. (One whose fate is unknown is not told
    /// to the engine: the shell drops the engine and recovers from the ledger.)
    Aborted {
        /// Its number.
        transaction: u64,
    },
    /// A submit was answered: with the operation's name, or a failure.
    Submitted {
        /// The call.
        call: CallNumber,
        /// The answer.
        result: Result<Arc<str>, CallFailure>,
    },
    /// A poll was answered.
    Polled {
        /// The call.
        call: CallNumber,
        /// The answer.
        result: Result<OperationReply, CallFailure>,
    },
    /// A lookup was answered; `None` when the API does not know the device.
    LookedUp {
        /// The call.
        call: CallNumber,
        /// The answer.
        result: Result<Option<DeviceState>, CallFailure>,
    },
    /// The time that [`super::Worker::wake_at`] asked for has come.
    TimePassed,
    /// A person holds an account's submits back, or lets them go on. Operations under way are
    /// still polled, and devices looked up.
    AccountPaused {
        /// Index of the account.
        account: u16,
        /// Whether it is held back from now on.
        paused: bool,
    },
    /// Finish what cannot be handed over, then say [`super::Effect::Drained`].
    DrainRequested,
}

/// The number of a call; an answer that bears a number which is no longer waited for is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallNumber(pub u64);

/// One record of the commands topic.
#[derive(Debug)]
pub struct CommandRead {
    /// Its offset.
    pub offset: Offset,
    /// What it holds.
    pub content: CommandContent,
}

/// What a record of the commands topic holds.
#[derive(Debug)]
pub enum CommandContent {
    /// A command.
    Command {
        /// What the engine needs of it at every turn.
        facts: CommandFacts,
        /// Index of its account in [`super::Options::accounts`]; `None` if it is not there.
        account: Option<u16>,
        /// The whole of it.
        packed: PackedCommand,
        /// Whom it is for; none if an older worker wrote it.
        purpose: Option<Arc<Purpose>>,
    },
    /// A command of a version that this worker does not understand. Its lane stops there.
    Newer {
        /// The record's version.
        version: u64,
        /// The newest version that this worker understands.
        known: u32,
    },
    /// Something that is no command. It becomes a dead letter and is done.
    Foreign(Arc<ForeignRecord>),
}

/// A record of the commands topic that is no command.
#[derive(Debug, PartialEq, Eq)]
pub struct ForeignRecord {
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its bytes.
    pub payload: Option<Vec<u8>>,
    /// What is wrong with it.
    pub reason: String,
}
