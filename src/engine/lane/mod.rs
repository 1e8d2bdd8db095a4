//! One partition of the commands topic: who is in it, how far it is, and what it knows.

mod devices;
mod fitting;
mod fold;
mod memory;
mod recovery;
mod watermark;

use std::collections::BTreeSet;

use crate::engine::Mono;
use crate::model::{BatchId, Epoch, Offset};

pub(crate) use devices::Devices;
pub(crate) use fitting::{Fitted, fit, tell_gone};
pub(crate) use fold::{Fold, fold};
pub(crate) use memory::Memory;
pub(crate) use recovery::{Fate, Restore};
pub(crate) use watermark::Watermark;

/// Where a lane stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LanePhase {
    /// Its ledger is being read.
    Recovering,
    /// It takes commands.
    Live,
    /// Its ledger or a command in it cannot be understood or is meant for somebody else, or where
    /// to read from is for somebody to decide: what came before is finished, and it takes nothing
    /// more until somebody has looked.
    Stopped(String),
    /// Revoked: what is decided is published, then the partition is given up.
    Closing,
}

/// The state of one partition.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) epoch: Epoch,
    pub(crate) phase: LanePhase,
    pub(crate) devices: Devices,
    pub(crate) watermark: Watermark,
    /// Batches whose last record says `resolved`, by their last decided offset: each gets its
    /// tombstone once the watermark has passed that.
    pub(crate) resolved: BTreeSet<(Offset, BatchId)>,
    /// What the ledger said of offsets that are yet to be read.
    pub(crate) restore: Restore,
    /// Who holds which device, as far as this lane made it so.
    pub(crate) memory: Memory,
    /// Where reading is to begin once the bounds allow it.
    pub(crate) start_from: Option<Offset>,
    /// Revoked: when it is given up even if answers to calls are still missing.
    pub(crate) closing_until: Mono,
    /// The command that holds the watermark, and since when it has.
    pub(crate) head: Option<(Offset, Mono)>,
    /// Whether more commands are known to wait in the partition.
    pub(crate) is_behind: bool,
}

impl Lane {
    pub(crate) fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            phase: LanePhase::Recovering,
            devices: Devices::default(),
            watermark: Watermark::at(Offset(0)),
            resolved: BTreeSet::new(),
            restore: Restore::default(),
            memory: Memory::default(),
            start_from: None,
            closing_until: Mono::MAX,
            head: None,
            is_behind: true,
        }
    }

    /// Takes nothing from here on.
    pub(crate) fn stop(&mut self, reason: String) {
        self.phase = LanePhase::Stopped(reason);
        // Nothing that waits behind is coming: batches need not be kept open for it.
        self.is_behind = false;
    }

    pub(crate) fn is_stopped(&self) -> bool {
        matches!(self.phase, LanePhase::Stopped(_))
    }

    /// Notes since when the present head has held the watermark.
    pub(crate) fn note_head(&mut self, now: Mono) {
        let head = self.watermark.head();
        if self.head.map(|(offset, _)| offset) != head {
            self.head = head.map(|offset| (offset, now));
        }
    }
}
