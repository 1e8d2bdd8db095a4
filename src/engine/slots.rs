//! Where commands live while they wait: one slot each, named by a small number.
//!
//! Slots stay where they are and are used again, so a queue or a batch can hold four or eight bytes
//! a command; the generation in a [`SlotRef`] makes a name that outlived its command harmless.

use crate::model::{Action, CommandFacts, Offset, PackedCommand, Partition, Status};

use super::account::AccountIx;
use super::batch::{BatchIx, LanePart};

/// The number of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SlotIx(u32);

impl SlotIx {
    /// No slot.
    pub(crate) const NONE: Self = Self(u32::MAX);

    fn place(self) -> (usize, usize) {
        (self.0 as usize / CHUNK, self.0 as usize % CHUNK)
    }
}

/// A slot's number together with its generation: the name of one stay in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SlotRef {
    pub(crate) ix: SlotIx,
    generation: u32,
}

/// Where a command stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Behind another command of its device.
    Queued,
    /// First of its device; being looked up before it may go out.
    Guarding,
    /// First of its device; waits in the batcher.
    Ready,
    /// In a batch whose result is not known.
    InBatch,
    /// Failed in a way that may pass; waits to be ready again.
    Retrying,
    /// Its result is being found out by a lookup.
    Verifying,
    /// Folded into another command of its device, and shares its fate.
    Folded,
}

impl Stage {
    /// For people.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Guarding => "guarding",
            Self::Ready => "ready",
            Self::InBatch => "in_batch",
            Self::Retrying => "retrying",
            Self::Verifying => "verifying",
            Self::Folded => "folded",
        }
    }
}

/// One command in memory.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) facts: CommandFacts,
    pub(crate) packed: PackedCommand,
    pub(crate) offset: Offset,
    pub(crate) lane: Partition,
    /// The command of the same device behind this one; in a list of folded commands, the next.
    pub(crate) next: SlotIx,
    /// The last command of the device; right only in the first.
    pub(crate) tail: SlotIx,
    /// The first of the commands folded into this one.
    pub(crate) folded: SlotIx,
    /// The batch it is in.
    pub(crate) batch: BatchIx,
    generation: u32,
    pub(crate) account: AccountIx,
    /// How often it was sent, the present batch not counted.
    pub(crate) attempts: u16,
    /// How many commands are folded into this one.
    pub(crate) folded_count: u16,
    /// The call that carries it: the command's own action, but for a repair of metadata.
    pub(crate) call: Action,
    pub(crate) stage: Stage,
    /// What a folded command's outcome will say.
    pub(crate) folded_as: Status,
}

impl Slot {
    /// Whether nobody outside has seen the command yet, so that it may still be folded.
    pub(crate) fn is_unsent(&self) -> bool {
        matches!(self.stage, Stage::Queued | Stage::Ready) && self.attempts == 0
    }

    /// Offsets that it stands for, those of folded commands included.
    pub(crate) fn offsets(&self) -> usize {
        1 + usize::from(self.folded_count)
    }
}

/// Commands folded into one at most: all of them are in one ledger record.
pub(crate) const FOLDED_MAX: u16 = 10_000;

const CHUNK: usize = 4_096;

/// All slots. Grows by chunks, so that growth neither copies nor doubles.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    chunks: Vec<Vec<Slot>>,
    free: Vec<SlotIx>,
    len: usize,
    bytes: usize,
}

impl Slots {
    /// Commands held.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of packed commands held.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Puts a command, `Queued`, into a slot.
    pub(crate) fn insert(
        &mut self,
        facts: CommandFacts,
        packed: PackedCommand,
        (lane, offset): (Partition, Offset),
        account: AccountIx,
    ) -> SlotIx {
        self.len += 1;
        self.bytes += packed.len();
        let mut slot = Slot {
            call: facts.action,
            facts,
            packed,
            offset,
            lane,
            next: SlotIx::NONE,
            tail: SlotIx::NONE,
            folded: SlotIx::NONE,
            batch: BatchIx::NONE,
            generation: 0,
            account,
            attempts: 0,
            folded_count: 0,
            stage: Stage::Queued,
            folded_as: Status::Merged,
        };
        if let Some(ix) = self.free.pop() {
            slot.generation = self[ix].generation.wrapping_add(1);
            self[ix] = slot;
            return ix;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let before = (self.chunks.len() - 1) * CHUNK;
        let last = self.chunks.last_mut().map_or(0, |chunk| {
            chunk.push(slot);
            chunk.len() - 1
        });
        SlotIx(u32::try_from(before + last).unwrap_or(u32::MAX))
    }

    /// Empties a slot and gives its command back.
    pub(crate) fn remove(&mut self, ix: SlotIx) -> PackedCommand {
        self.outdate(ix);
        let packed = std::mem::take(&mut self[ix].packed);
        self.len -= 1;
        self.bytes -= packed.len();
        self.free.push(ix);
        packed
    }

    /// Replaces the content of a waiting command.
    pub(crate) fn repack(&mut self, ix: SlotIx, packed: PackedCommand) {
        self.bytes += packed.len();
        self.bytes -= self[ix].packed.len();
        self[ix].packed = packed;
    }

    /// Exchanges two commands; everything that says where a slot
    /// stands stays, and so does what is folded into it.
    pub(crate) fn swap_contents(&mut self, a: SlotIx, b: SlotIx) {
        let slot = &mut self[a];
        let content = (slot.facts, std::mem::take(&mut slot.packed), slot.offset);
        let slot = &mut self[b];
        let other = (
            std::mem::replace(&mut slot.facts, content.0),
            std::mem::replace(&mut slot.packed, content.1),
            std::mem::replace(&mut slot.offset, content.2),
        );
        let slot = &mut self[a];
        (slot.facts, slot.packed, slot.offset) = other;
        slot.call = slot.facts.action;
    }

    /// Makes every name given out for the slot harmless.
    pub(crate) fn outdate(&mut self, ix: SlotIx) {
        self[ix].generation = self[ix].generation.wrapping_add(1);
    }

    /// A name for the slot's present stay.
    pub(crate) fn name(&self, ix: SlotIx) -> SlotRef {
        SlotRef { ix, generation: self[ix].generation }
    }

    /// The slot, unless the name is out of date.
    pub(crate) fn get(&self, name: SlotRef) -> Option<SlotIx> {
        (self[name.ix].generation == name.generation).then_some(name.ix)
    }

    /// A command and those folded into it.
    pub(crate) fn with_folded(&self, ix: SlotIx) -> impl Iterator<Item = SlotIx> + '_ {
        std::iter::once(ix).chain(self.list(self[ix].folded))
    }

    /// Puts a command and those folded into it into a batch's part of their lane.
    pub(crate) fn add_to(&self, part: &mut LanePart, ix: SlotIx) {
        let attempts = self[ix].attempts;
        for ix in self.with_folded(ix) {
            let offset = self[ix].offset;
            part.open.push(offset);
            if attempts > 0 {
                part.retried.push((offset, attempts));
            }
        }
    }

    /// All commands held, in no particular order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (SlotIx, &Slot)> + '_ {
        let slots = self.chunks.iter().flatten().enumerate();
        let numbered = slots.filter_map(|(ix, slot)| Some((SlotIx(u32::try_from(ix).ok()?), slot)));
        // Removing a command takes its content, and none has no content.
        numbered.filter(|(_, slot)| !slot.packed.is_empty())
    }

    /// The slots linked from `first` on.
    pub(crate) fn list(&self, first: SlotIx) -> impl Iterator<Item = SlotIx> + '_ {
        let some = |ix| (ix != SlotIx::NONE).then_some(ix);
        std::iter::successors(some(first), move |ix| some(self[*ix].next))
    }
}

impl std::ops::Index<SlotIx> for Slots {
    type Output = Slot;

    fn index(&self, ix: SlotIx) -> &Slot {
        let (chunk, place) = ix.place();
        &self.chunks[chunk][place]
    }
}

impl std::ops::IndexMut<SlotIx> for Slots {
    fn index_mut(&mut self, ix: SlotIx) -> &mut Slot {
        let (chunk, place) = ix.place();
        &mut self.chunks[chunk][place]
    }
}
