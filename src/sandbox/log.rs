//! The record of everything that happened, for tests: changes, operations, calls, statistics.
//!
//! Complete up to a bound: each list drops its oldest entries beyond it and counts them in
//! `dropped`. Statistics are never dropped. Entries hold whole hardware ids: they are for the
//! control route, never for logs or traces.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use super::api::{Delivery, Method};
use super::devices::Holder;

/// A list that forgets its oldest entries.
#[derive(Clone, Debug, Serialize)]
pub struct Bounded<T> {
    /// The entries, oldest first.
    pub entries: VecDeque<T>,
    /// How many older ones were dropped; 0: the list is complete.
    pub dropped: u64,
}

impl<T> Default for Bounded<T> {
    fn default() -> Self {
        Self { entries: VecDeque::new(), dropped: 0 }
    }
}

impl<T> Bounded<T> {
    fn push(&mut self, entry: T, max: usize) {
        self.entries.push_back(entry);
        while self.entries.len() > max {
            self.entries.pop_front();
            self.dropped += 1;
        }
    }
}

/// A change that took effect.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangeEntry {
    /// Position among all changes.
    pub sequence: u64,
    /// When it took effect.
    pub time: Timestamp,
    /// The device's key.
    pub device: Arc<str>,
    /// The API's id of it.
    pub device_id: String,
    /// Who made it.
    pub partner: String,
    /// By which method; `none` for a seeded device.
    pub method: Method,
    /// In which operation.
    pub operation: Option<String>,
    /// At which place of the batch.
    pub index: Option<usize>,
    /// Holder before.
    pub from: Option<Holder>,
    /// Holder after.
    pub to: Option<Holder>,
    /// Metadata after.
    pub metadata: BTreeMap<String, String>,
}

/// An accepted operation.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OperationEntry {
    /// `operations/…`.
    pub name: String,
    /// Who began it.
    pub partner: String,
    /// By which method.
    pub method: Method,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// When it ends, or would have without its faults.
    pub ends_at: Timestamp,
    /// Whether that time has come.
    pub ended: bool,
    /// Kinds of its faults and of its call's.
    pub faults: Vec<&'static str>,
    /// Whether the caller got the name.
    pub delivery: Delivery,
    /// Its items in order.
    pub items: Vec<ItemEntry>,
}

/// An item of an accepted operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ItemEntry {
    /// The device's key.
    pub device: Arc<str>,
    /// Its result, once there is one.
    pub status: Option<String>,
}

/// A call.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CallEntry {
    /// Position among all calls.
    pub sequence: u64,
    /// When it came.
    pub time: Timestamp,
    /// The method.
    pub method: Method,
    /// The partner of the path.
    pub partner: String,
    /// HTTP status of the reply.
    pub status: u16,
    /// Whether the reply was sent.
    pub delivery: Delivery,
    /// Items in it.
    pub items: usize,
    /// The operation it began or read.
    pub operation: Option<String>,
    /// Kinds of the faults that hit it.
    pub faults: Vec<&'static str>,
}

/// Figures over everything, dropped entries included.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    /// Calls by method and HTTP status.
    pub calls: BTreeMap<Method, BTreeMap<u16, u64>>,
    /// Items of accepted batches by method.
    pub items: BTreeMap<Method, Batches>,
    /// Accepted operations.
    pub operations: u64,
    /// Operations in flight now.
    pub operations_in_flight: u64,
    /// The most operations that were ever in flight at once.
    pub operations_in_flight_max: u64,
    /// The most operations that were ever in flight at once for one device; invariant I3 wants 1.
    /// An operation is in flight from its acceptance to `endsAt`, whatever its faults.
    pub device_in_flight_max: u64,
    /// The devices that ever had more than one, at most 100 of them.
    pub devices_overlapping: BTreeSet<Arc<str>>,
    /// Changes that took effect.
    pub changes: u64,
    /// Replies that were withheld.
    pub replies_lost: u64,
}

/// Sizes of the accepted batches of one method.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Batches {
    /// How many batches.
    pub batches: u64,
    /// Their items together.
    pub items: u64,
    /// Items of the largest.
    pub max: u64,
}

/// The log.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// Changes.
    pub changes: Bounded<ChangeEntry>,
    /// Operations.
    pub operations: Bounded<OperationEntry>,
    /// Calls.
    pub calls: Bounded<CallEntry>,
    /// Figures.
    pub stats: Stats,
    in_flight: BTreeMap<Arc<str>, u64>,
    calls_seen: u64,
    max: usize,
}

impl Log {
    /// An empty log that keeps `max` entries of each kind.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { max, ..Self::default() }
    }

    /// A change took effect; its sequence number is set here.
    pub fn change(&mut self, mut entry: ChangeEntry) {
        entry.sequence = self.stats.changes;
        self.stats.changes += 1;
        self.changes.push(entry, self.max);
    }

    /// A call was answered; its sequence number is set here.
    pub fn call(&mut self, mut entry: CallEntry) {
        entry.sequence = self.calls_seen;
        self.calls_seen += 1;
        let by_status = self.stats.calls.entry(entry.method).or_default();
        *by_status.entry(entry.status).or_default() += 1;
        if entry.delivery != Delivery::Sent {
            self.stats.replies_lost += 1;
        }
        self.calls.push(entry, self.max);
    }

    /// An operation was accepted.
    pub fn accepted(&mut self, entry: OperationEntry) {
        let stats = &mut self.stats;
        let items = entry.items.len() as u64;
        let batches = stats.items.entry(entry.method).or_default();
        batches.batches += 1;
        batches.items += items;
        batches.max = batches.max.max(items);
        stats.operations += 1;
        stats.operations_in_flight += 1;
        stats.operations_in_flight_max =
            stats.operations_in_flight_max.max(stats.operations_in_flight);
        for device in devices(&entry) {
            let count = self.in_flight.entry(Arc::clone(&device)).or_default();
            *count += 1;
            stats.device_in_flight_max = stats.device_in_flight_max.max(*count);
            if *count > 1 && stats.devices_overlapping.len() < 100 {
                stats.devices_overlapping.insert(device);
            }
        }
        self.operations.push(entry, self.max);
    }

    /// An operation has ended, with these devices and results (in the order of its items).
    pub fn ended(&mut self, name: &str, items: Vec<ItemEntry>) {
        self.stats.operations_in_flight = self.stats.operations_in_flight.saturating_sub(1);
        let distinct: BTreeSet<_> = items.iter().map(|item| &item.device).collect();
        for device in distinct {
            match self.in_flight.get_mut(device) {
                Some(count) if *count > 1 => *count -= 1,
                _ => {
                    self.in_flight.remove(device);
                }
            }
        }
        // Newest first: an operation that ends is seldom an old one.
        if let Some(entry) = self.operations.entries.iter_mut().rev().find(|e| e.name == name) {
            entry.ended = true;
            entry.items = items;
        }
    }
}

fn devices(entry: &OperationEntry) -> BTreeSet<Arc<str>> {
    entry.items.iter().map(|item| Arc::clone(&item.device)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_list_drops_its_oldest_entries_and_says_so() {
        let mut list = Bounded::default();
        for entry in 0..5 {
            list.push(entry, 3);
        }
        assert_eq!((list.entries, list.dropped), (VecDeque::from([2, 3, 4]), 2));
    }
}
