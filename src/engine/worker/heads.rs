//! Head of line: which command, in which batch, holds back each lane's watermark.

use std::collections::BTreeMap;

use crate::engine::Now;
use crate::engine::batch::Batch;
use crate::engine::report::{HeadBatch, HeadReport};
use crate::engine::slots::SlotIx;
use crate::model::{Offset, Partition};

use super::Worker;

impl Worker {
    /// What holds back the lanes that have undecided commands. Looks through all commands in
    /// memory, so it is for people and for scrapes, not for every input.
    #[must_use]
    pub fn heads(&self, now: Now) -> Vec<HeadReport> {
        let heads: BTreeMap<Partition, Offset> = self
            .lanes
            .iter()
            .filter_map(|(partition, lane)| Some((*partition, lane.head?.0)))
            .collect();
        let mut slots: BTreeMap<Partition, SlotIx> = BTreeMap::new();
        for (ix, slot) in self.slots.iter() {
            if heads.get(&slot.lane) == Some(&slot.offset) {
                slots.insert(slot.lane, ix);
            }
        }
        let held = |partition| {
            let since = self.lanes.get(partition).and_then(|lane| lane.head);
            since.map_or(0, |(_, since)| now.mono.since(since).as_secs())
        };
        heads
            .iter()
            .map(|(partition, offset)| {
                let slot = slots.get(partition).copied();
                let batch = self.batch_of(*partition, *offset);
                HeadReport {
                    partition: partition.0,
                    offset: offset.0,
                    held_seconds: held(partition),
                    stage: slot.map_or("publishing", |ix| self.slots[ix].stage.as_str()),
                    attempts: slot.map_or(0, |ix| self.sends_of(ix)),
                    batch: batch.map(|batch| self.head_batch(batch)),
                }
            })
            .collect()
    }

    fn batch_of(&self, partition: Partition, offset: Offset) -> Option<&Batch> {
        self.batches.values().find(|batch| {
            batch.lanes.get(&partition).is_some_and(|part| part.open.contains(&offset))
        })
    }

    fn head_batch(&self, batch: &Batch) -> HeadBatch {
        HeadBatch {
            id: batch.id,
            phase: batch.phase.as_str(),
            action: batch.action,
            account: self.accounts[usize::from(batch.account.0)].name.clone(),
            operation: batch.operation.clone(),
        }
    }
}
