//! Maps by device without hashing twice: a device's name is the output of a hash function already.

use std::hash::{BuildHasherDefault, Hasher};

use crate::model::DeviceHash;

/// A map by device. For lookups only: its order means nothing.
pub(crate) type DeviceMap<V> = hashbrown::HashMap<DeviceHash, V, BuildHasherDefault<FirstWord>>;

/// Takes the device's own bits.
#[derive(Default)]
pub(crate) struct FirstWord(u64);

impl Hasher for FirstWord {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let mut word = [0; 8];
        let len = bytes.len().min(8);
        word[..len].copy_from_slice(&bytes[..len]);
        self.0 = u64::from_le_bytes(word);
    }

    fn write_u128(&mut self, device: u128) {
        self.0 = device as u64;
    }
}
