//! What a lane remembers of its devices' claims, for the guard. Bounded: the oldest are forgotten.

use std::collections::VecDeque;

use crate::engine::device_map::DeviceMap;
use crate::engine::guard::Holder;
use crate::model::DeviceHash;

/// Who holds a device, by this lane's own last claim or unclaim of it.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    holders: DeviceMap<Option<Holder>>,
    oldest: VecDeque<DeviceHash>,
}

impl Memory {
    /// Notes who holds a device now; `None` after an unclaim.
    pub(crate) fn remember(&mut self, device: DeviceHash, holder: Option<Holder>, max: usize) {
        if self.holders.insert(device, holder).is_none() {
            self.oldest.push_back(device);
        }
        while self.oldest.len() > max {
            if let Some(device) = self.oldest.pop_front() {
                self.holders.remove(&device);
            }
        }
    }

    /// What is known: nothing, or who holds it (nobody, after an unclaim).
    pub(crate) fn recall(&self, device: DeviceHash) -> Option<Option<Holder>> {
        self.holders.get(&device).copied()
    }

    /// The device may have changed in a way we did not see.
    pub(crate) fn forget(&mut self, device: DeviceHash) {
        // Its place in the queue stays; at worst a later claim of it is forgotten early.
        self.holders.remove(&device);
    }
}
