//! What intake has read and not written yet, and what is in its running transaction.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, Weak};

use crate::shell::kafka::{OutRecord, RecordBatch, RecordView, Records, TopicPartition};
use crate::shell::lock::locked;
use crate::shell::rooms::{Rooms, Shortened};

use super::Intake;
use super::translate::{Taken, write};

/// A record by its place in the batch that it came with.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    batch: Arc<RecordBatch>,
    place: usize,
}

impl Origin {
    pub(super) fn record(&self) -> Option<RecordView<'_>> {
        self.batch.get(self.place)
    }

    /// Whether it is of one of these partitions.
    fn is_of(&self, partitions: &[TopicPartition]) -> bool {
        self.record().is_some_and(|record| {
            partitions
                .iter()
                .any(|at| at.partition == record.partition() && at.topic == *record.topic())
        })
    }
}

/// What was read and is in no transaction yet.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    records: VecDeque<Origin>,
    /// A batch is in memory as a whole as long as one of its records is needed, be it here or in a
    /// transaction.
    batches: Vec<Weak<RecordBatch>>,
}

impl Backlog {
    pub(super) fn push(&mut self, batch: RecordBatch) {
        let batch = Arc::new(batch);
        self.batches.retain(|batch| batch.strong_count() > 0);
        self.batches.push(Arc::downgrade(&batch));
        let origin = |place| Origin { batch: Arc::clone(&batch), place };
        self.records.extend((0..batch.len()).map(origin));
    }

    pub(super) fn pop(&mut self) -> Option<Origin> {
        self.records.pop_front()
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Bytes of all batches that are in memory.
    pub(super) fn bytes(&self) -> usize {
        self.batches.iter().filter_map(Weak::upgrade).map(|batch| batch.memory()).sum()
    }

    /// Drops the records of partitions that go to another owner.
    pub(super) fn forget(&mut self, partitions: &[TopicPartition]) {
        self.records.retain(|origin| !origin.is_of(partitions));
    }
}

/// What one order record became, until it is committed.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) partition: TopicPartition,
    pub(super) offset: i64,
    pub(super) taken: Taken,
    pub(super) origin: Origin,
}

/// The parts of a transaction, as the records that follow from them.
#[derive(Debug)]
pub(super) struct Parts {
    intake: Arc<Intake>,
    parts: Vec<Arc<Part>>,
    rooms: Rooms,
    /// Whether a topic has refused what was made first, so that it is made anew in less room.
    is_again: bool,
    shortened: Mutex<Shortened>,
}

impl Parts {
    pub(super) fn new(
        intake: &Arc<Intake>,
        parts: &[Arc<Part>],
        rooms: Rooms,
        is_again: bool,
    ) -> Self {
        let (intake, parts) = (Arc::clone(intake), parts.to_vec());
        Self { intake, parts, rooms, is_again, shortened: Mutex::default() }
    }

    /// What did not fit, once all has been written.
    pub(super) fn shortened(&self) -> Shortened {
        *locked(&self.shortened)
    }
}

impl Records for Parts {
    fn each(&self, out: &mut dyn FnMut(&OutRecord) -> ControlFlow<()>) -> ControlFlow<()> {
        let mut all = Shortened::default();
        for part in &self.parts {
            let Some(record) = part.origin.record() else { return ControlFlow::Break(()) };
            // A command has one form only.
            let again = self.is_again && (part.taken.outcomes > 0 || part.taken.dead_letters > 0);
            match write(&self.intake, &record, &part.taken, (self.rooms, again), out) {
                ControlFlow::Continue(shortened) => all.add(shortened),
                ControlFlow::Break(()) => return ControlFlow::Break(()),
            }
        }
        *locked(&self.shortened) = all;
        ControlFlow::Continue(())
    }
}
