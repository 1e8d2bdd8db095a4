//! I7: replaying a ledger gives the state that was lost.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::random::{Step, faults, steps, take, world};
use super::world::World;
use crate::engine::slots::SlotIx;
use crate::engine::worker::Worker;
use crate::engine::{CommandContent, CommandRead};
use crate::model::{BatchId, Command, Epoch, Offset, PackedCommand, Partition, Status};

/// What the ledger answers for, of one lane.
#[derive(Debug, Default, PartialEq)]
struct Image {
    watermark: i64,
    /// Published above the watermark.
    decided: BTreeSet<i64>,
    /// Undecided, in no batch.
    new: BTreeSet<i64>,
    batches: BTreeMap<BatchId, BatchImage>,
}

#[derive(Debug, PartialEq)]
struct BatchImage {
    action: &'static str,
    operation: Option<String>,
    is_deferral: bool,
    /// Of accepted batches. Of others the ledger says one more once a call may have been made.
    sends: u16,
    deadline: jiff::Timestamp,
    /// By the offset that goes out.
    members: BTreeMap<i64, Member>,
}

#[derive(Debug, PartialEq)]
struct Member {
    content: Command,
    attempts: u16,
    folded: BTreeSet<i64>,
}

fn image(worker: &Worker, partition: Partition) -> Image {
    let lane = &worker.lanes[&partition];
    let mark = &lane.watermark;
    let mut image = Image { watermark: mark.position().0, ..Image::default() };
    let mut undecided: BTreeSet<i64> = BTreeSet::new();
    for (ix, slot) in worker.slots.iter().filter(|(_, slot)| slot.lane == partition) {
        undecided.insert(slot.offset.0);
        let Some(batch) = worker.batches.get(&slot.batch) else { continue };
        let of_batch = image.batches.entry(batch.id).or_insert_with(|| BatchImage {
            action: batch.action.as_str(),
            operation: batch.operation.as_deref().map(str::to_owned),
            is_deferral: batch.is_deferral,
            sends: if batch.operation.is_some() { batch.sends } else { 0 },
            deadline: batch.deadline_at,
            members: BTreeMap::new(),
        });
        of_batch.members.insert(slot.offset.0, member(worker, ix));
    }
    // Which devices the lane claimed is not in the ledger. Without that, a cancellation may take
    // along a sale in the queue that had to give way to it before.
    let cancelled = worker.commit.outcomes.iter().map(|decided| &decided.write);
    let cancelled = cancelled.filter(|write| write.verdict.status == Status::Cancelled);
    undecided.extend(cancelled.filter(|w| w.partition == partition).map(|w| w.offset.0));
    image.decided = mark.pending().filter(|(_, decided)| *decided).map(|(o, _)| o.0).collect();
    let in_batches: BTreeSet<i64> = image
        .batches
        .values()
        .flat_map(|batch| &batch.members)
        .flat_map(|(offset, member)| std::iter::once(*offset).chain(member.folded.clone()))
        .collect();
    image.new = undecided.difference(&in_batches).copied().collect();
    image
}

fn member(worker: &Worker, ix: SlotIx) -> Member {
    let slots = &worker.slots;
    Member {
        content: slots[ix].packed.unpack(),
        attempts: slots[ix].attempts,
        folded: slots.with_folded(ix).skip(1).map(|ix| slots[ix].offset.0).collect(),
    }
}

/// Whether the ledger is up to date: nothing waits for a transaction.
fn is_written(worker: &Worker) -> bool {
    worker.commit.running.is_none() && !worker.commit.is_due()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_replay_gives_the_state_that_was_lost(
        steps in steps(),
        faults in faults(),
        seed in any::<u64>(),
        items_max in 1_usize..20,
    ) {
        let mut world = world(items_max, faults, seed);
        world.run_commits();
        // What a crash loses is what is compared; the world itself goes on.
        for step in steps.into_iter().filter(|step| !matches!(step, Step::Crash)) {
            take(&mut world, step);
            if is_written(&world.worker) {
                compare(&world)?;
            }
        }
        // Once at the least, whatever the steps were.
        world.run();
        prop_assert!(is_written(&world.worker));
        compare(&world)?;
    }
}

fn compare(world: &World) -> Result<(), TestCaseError> {
    let again = replayed(world);
    for partition in (0..3).map(Partition) {
        prop_assert_eq!(image(&again, partition), image(&world.worker, partition));
        for batch in again.batches.values() {
            let lost = world.worker.batches.values().find(|lost| lost.id == batch.id);
            prop_assert!(lost.is_some_and(|lost| lost.sends <= batch.sends), "a send is forgotten");
        }
    }
    Ok(())
}

/// Another worker that was told the ledger, and the commands as far as the first one has read
/// them. It does nothing yet.
fn replayed(world: &World) -> Worker {
    let mut worker = Worker::new(world.options.clone());
    for partition in (0..3).map(Partition) {
        let (now, epoch) = (world.at(), Epoch(1_000));
        let committed = world.offsets.get(&partition).copied().unwrap_or(Offset(0));
        let position = world.worker.lanes[&partition].watermark.read_position();
        let records = world.ledger.iter().filter(|((lane, _), _)| *lane == partition);
        let records = records.map(|((_, id), record)| (*id, record.clone())).collect();
        let commands = (committed.0..position.0).map(|offset| {
            let command = &world.log[&partition][usize::try_from(offset).unwrap()];
            let content = CommandContent::Command {
                facts: command.facts().unwrap(),
                account: Some(0),
                packed: PackedCommand::pack(command),
                purpose: None,
            };
            CommandRead { offset: Offset(offset), content }
        });
        worker.on_assigned(now, partition, epoch);
        worker.on_ledger_read(
            now,
            (partition, epoch),
            (committed, Ok(Default::default())),
            Ok(records),
        );
        worker.on_commands_read(now, (partition, epoch), commands.collect());
    }
    worker
}
