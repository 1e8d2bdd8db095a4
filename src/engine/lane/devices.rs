//! The devices of a lane that have commands: the first command of each, found by its device.

use hashbrown::HashTable;

use crate::engine::slots::{SlotIx, Slots};
use crate::model::DeviceHash;

/// Device to first command. Five bytes a device: the device itself is in the slot.
#[derive(Debug, Default)]
pub(crate) struct Devices {
    heads: HashTable<SlotIx>,
}

fn hash(device: DeviceHash) -> u64 {
    // The device is the output of a hash function already: any 64 bits of it will do.
    device.0 as u64
}

impl Devices {
    pub(crate) fn find(&self, slots: &Slots, device: DeviceHash) -> Option<SlotIx> {
        self.heads.find(hash(device), |ix| slots[*ix].facts.device == device).copied()
    }

    /// Adds a device that is not there.
    pub(crate) fn insert(&mut self, slots: &Slots, ix: SlotIx) {
        let rehash = |ix: &SlotIx| hash(slots[*ix].facts.device);
        self.heads.insert_unique(hash(slots[ix].facts.device), ix, rehash);
    }

    /// Puts another command first.
    pub(crate) fn replace(&mut self, device: DeviceHash, from: SlotIx, to: SlotIx) {
        if let Some(head) = self.heads.find_mut(hash(device), |ix| *ix == from) {
            *head = to;
        }
    }

    pub(crate) fn remove(&mut self, device: DeviceHash, head: SlotIx) {
        if let Ok(entry) = self.heads.find_entry(hash(device), |ix| *ix == head) {
            entry.remove();
        }
    }

    /// Empties the lane. The order is that of the table, which is the same in every run, since
    /// nothing about its hash is random.
    pub(crate) fn drain(&mut self) -> Vec<SlotIx> {
        self.heads.drain().collect()
    }

    /// Devices that have commands.
    pub(crate) fn len(&self) -> usize {
        self.heads.len()
    }
}
