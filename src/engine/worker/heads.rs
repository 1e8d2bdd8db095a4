//! Head of line: which command, in which batch, holds back each lane's watermark.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::engine::batch::Batch;
use crate::engine::report::{HeadBatch, HeadCommand, HeadReport};
use crate::engine::slots::SlotIx;
use crate::engine::{Mono, Now};
use crate::model::{Command, Offset, PackedCommand, Partition};

use super::Worker;

/// Where a head's command is.
#[derive(Clone, Copy)]
enum Place<'a> {
    Slot(SlotIx),
    /// Decided; waits for its transaction.
    Outcome(&'a PackedCommand),
}

impl Worker {
    /// What holds back the lanes that have undecided commands. Looks through all commands in
    /// memory, so it is for people and for scrapes, not for every input.
    #[must_use]
    pub fn heads(&self, now: Now) -> Vec<HeadReport> {
        let heads: BTreeMap<Partition, (Offset, Mono)> = self
            .lanes
            .iter()
            .filter_map(|(partition, lane)| Some((*partition, lane.head?)))
            .collect();
        let places = self.places_of(&heads);
        heads
            .iter()
            .map(|(partition, (offset, since))| {
                let place = places.get(partition).copied();
                let slot = match place {
                    Some(Place::Slot(ix)) => Some(ix),
                    Some(Place::Outcome(_)) | None => None,
                };
                let command = place.map(|place| match place {
                    Place::Slot(ix) => self.slots[ix].packed.unpack(),
                    Place::Outcome(packed) => packed.unpack(),
                });
                HeadReport {
                    partition: partition.0,
                    offset: offset.0,
                    held_seconds: age(command.as_ref(), *since, now).as_secs(),
                    stage: slot.map_or("publishing", |ix| self.slots[ix].stage.as_str()),
                    attempts: slot.map_or(0, |ix| self.sends_of(ix)),
                    command: command.map(head_command),
                    batch: self.batch_of(*partition, *offset).map(|batch| self.head_batch(batch)),
                }
            })
            .collect()
    }

    fn places_of(
        &self,
        heads: &BTreeMap<Partition, (Offset, Mono)>,
    ) -> BTreeMap<Partition, Place<'_>> {
        let is_head = |lane: Partition, offset: Offset| {
            heads.get(&lane).is_some_and(|(head, _)| *head == offset)
        };
        let mut places = BTreeMap::new();
        for (ix, slot) in self.slots.iter() {
            if is_head(slot.lane, slot.offset) {
                places.insert(slot.lane, Place::Slot(ix));
            }
        }
        for write in self.commit.outcomes.iter().map(|decided| &decided.write) {
            if is_head(write.partition, write.offset) {
                places.entry(write.partition).or_insert(Place::Outcome(&write.command));
            }
        }
        places
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

/// Since when the order event is waited for, whichever worker took it in: a restart does not make
/// the command younger. Never less than this process has seen it hold the lane, should a clock
/// have been set back.
fn age(command: Option<&Command>, since: Mono, now: Now) -> Duration {
    let received = command.map(|command| now.wall.duration_since(command.received_at));
    let age = received.and_then(|age| Duration::try_from(age).ok()).unwrap_or_default();
    age.max(now.mono.since(since))
}

fn head_command(command: Command) -> HeadCommand {
    HeadCommand {
        device: command.device_key().map(|key| key.to_string()).unwrap_or_default(),
        action: command.action,
        account: command.account,
        order_id: command.order_id,
        event_id: command.event_id,
        received_at: command.received_at,
    }
}
