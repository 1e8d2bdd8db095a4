//! What the engine wants done, in the imperative. The shell does it and answers with an input.

use std::sync::Arc;

use crate::model::{Action, Epoch, LedgerWrite, Offset, PackedCommand, Partition, Verdict};

use super::{CallNumber, ForeignRecord, Mono};

/// One thing to do.
#[derive(Debug)]
pub enum Effect {
    /// Fence, then read the lane's ledger to its end.
    ReadLedger {
        /// The lane.
        partition: Partition,
        /// To be repeated in the answer.
        epoch: Epoch,
    },
    /// Read the lane's commands from an offset on.
    Start {
        /// The lane.
        partition: Partition,
        /// To be repeated with the commands.
        epoch: Epoch,
        /// The first offset.
        from: Offset,
    },
    /// Write all of this in one transaction. There is never more than one under way.
    Commit(Arc<Transaction>),
    /// Make the call of a batch whose intent has committed.
    Submit(Submit),
    /// Ask for an operation.
    Poll {
        /// To be repeated in the answer.
        call: CallNumber,
        /// Index of the account.
        account: u16,
        /// The operation's name.
        operation: Arc<str>,
    },
    /// Look a device up.
    Lookup {
        /// To be repeated in the answer.
        call: CallNumber,
        /// Index of the account.
        account: u16,
        /// A command of the device.
        command: PackedCommand,
    },
    /// Read no more from these partitions.
    Pause(Vec<Partition>),
    /// Read on.
    Resume(Vec<Partition>),
    /// Give the partition up: everything of it is committed or dropped.
    Release {
        /// The lane.
        partition: Partition,
    },
    /// All that had to be finished before the end is finished.
    Drained,
}

/// The call of a batch. Only the worker's answer to a committed intent makes one (I5).
#[derive(Debug)]
pub struct Submit {
    /// To be repeated in the answer.
    pub call: CallNumber,
    /// Index of the account.
    pub account: u16,
    /// Which method.
    pub action: Action,
    /// The call must not leave later than this (DESIGN: the lease); else answer `NotSent`.
    pub lease_until: Mono,
    /// One item each, in this order.
    pub commands: Vec<PackedCommand>,
}

/// Everything that becomes true at once.
#[derive(Clone, Debug, Default)]
pub struct Transaction {
    /// Its number.
    pub number: u64,
    /// Ledger records and tombstones.
    pub ledger: Vec<LedgerWrite>,
    /// Outcomes.
    pub outcomes: Vec<OutcomeWrite>,
    /// Dead letters.
    pub dead_letters: Vec<DeadLetterWrite>,
    /// The watermark of every lane that is written for, since nothing else is fenced.
    pub offsets: Vec<OffsetWrite>,
}

/// One outcome.
#[derive(Clone, Debug)]
pub struct OutcomeWrite {
    /// The lane.
    pub partition: Partition,
    /// The offset of the command.
    pub offset: Offset,
    /// The command.
    pub command: PackedCommand,
    /// What became of it.
    pub verdict: Verdict,
}

impl OutcomeWrite {
    /// Bytes of what it says, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.command.len()
            + self.verdict.failure.as_ref().map_or(0, |failure| failure.message.len())
    }
}

/// One record of the commands topic that was no command.
#[derive(Clone, Debug)]
pub struct DeadLetterWrite {
    /// The lane.
    pub partition: Partition,
    /// The offset of the record.
    pub offset: Offset,
    /// The record and what is wrong with it.
    pub record: Arc<ForeignRecord>,
}

impl DeadLetterWrite {
    /// Bytes of the record.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let len = |part: &Option<Vec<u8>>| part.as_ref().map_or(0, Vec::len);
        len(&self.record.key) + len(&self.record.payload)
    }
}

/// The watermark of one lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetWrite {
    /// The lane.
    pub partition: Partition,
    /// The assignment in which this was decided; the group's metadata must be of the same.
    pub epoch: Epoch,
    /// The lowest offset without outcome.
    pub offset: Offset,
}
