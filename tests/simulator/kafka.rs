//! A model of the broker: three topics as partition logs, transactions, and one consumer group.
//!
//! Fences as Apache Kafka was seen to: member and generation of the group, never ownership; a
//! producer's epoch; a transaction's time-out. What is not marked yet is not stable.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use zerotouch_worker::engine::Transaction;
use zerotouch_worker::model::{BatchId, LedgerRecord};

use crate::workload::Item;

/// Who wrote something: worker and session.
pub(crate) type Writer = (usize, u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Open,
    Committed,
    Aborted,
}

#[derive(Debug)]
pub(crate) struct CommandEntry {
    pub(crate) offset: i64,
    pub(crate) item: Item,
    /// Of the intake's transaction.
    pub(crate) fate: Fate,
    pub(crate) intake: u64,
}

#[derive(Debug)]
pub(crate) struct LedgerEntry {
    pub(crate) offset: i64,
    pub(crate) transaction: usize,
    pub(crate) batch: BatchId,
    pub(crate) record: Option<LedgerRecord>,
}

/// The last committed word about a batch in a lane.
#[derive(Debug)]
pub(crate) struct Word {
    pub(crate) offset: i64,
    pub(crate) record: Option<LedgerRecord>,
    pub(crate) writer: Writer,
    /// When the commit of its transaction was asked for by the engine.
    pub(crate) began: u64,
}

/// One partition of each topic.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    pub(crate) commands: Vec<CommandEntry>,
    pub(crate) commands_end: i64,
    pub(crate) ledger: Vec<LedgerEntry>,
    pub(crate) ledger_end: i64,
    pub(crate) committed: i64,
    /// Transactions whose offsets for this partition are not marked yet.
    pub(crate) pending: BTreeSet<usize>,
    /// Offsets without committed outcome.
    pub(crate) undecided: BTreeSet<i64>,
    pub(crate) decided: BTreeSet<i64>,
    pub(crate) words: BTreeMap<BatchId, Word>,
}

impl Lane {
    /// Up to where a committed reader of the commands gets.
    pub(crate) fn commands_stable(&self) -> i64 {
        let open = self.commands.iter().find(|entry| entry.fate == Fate::Open);
        open.map_or(self.commands_end, |entry| entry.offset)
    }

    pub(crate) fn ledger_is_empty(&self) -> bool {
        self.words.values().all(|word| word.record.is_none())
    }
}

/// What a marker is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mark {
    Ledger(i32),
    Offsets(i32),
}

#[derive(Debug)]
pub(crate) struct Txn {
    pub(crate) producer: usize,
    pub(crate) contents: Arc<Transaction>,
    pub(crate) writer: Writer,
    pub(crate) began: u64,
    pub(crate) fate: Fate,
    pub(crate) unmarked: BTreeSet<Mark>,
    /// Its ledger records come first: what else is in it comes with its offsets.
    pub(crate) is_half: bool,
    pub(crate) has_offsets: bool,
    /// The offsets of its ledger records, in their order.
    pub(crate) written: Vec<i64>,
}

#[derive(Debug, Default)]
pub(crate) struct Producer {
    pub(crate) epoch: u32,
    pub(crate) ongoing: Option<usize>,
    /// Its last transaction, open or not.
    pub(crate) last: Option<usize>,
}

/// A member's name and the generation that it knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) member: u32,
    pub(crate) generation: u32,
}

#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) slot: usize,
    pub(crate) session: u32,
    pub(crate) owned: BTreeSet<i32>,
    pub(crate) assigned: BTreeSet<i32>,
    pub(crate) joined: bool,
    /// The last request to join that the coordinator heard of it.
    pub(crate) request: u32,
    pub(crate) silent_since: Option<u64>,
}

#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(crate) generation: u32,
    pub(crate) round: u32,
    pub(crate) joining: bool,
    pub(crate) members: BTreeMap<u32, Member>,
    pub(crate) next_member: u32,
    /// Deal the partitions anew at the next round.
    pub(crate) shuffle: bool,
}

impl Group {
    /// What the coordinator says to offsets in a transaction.
    pub(crate) fn refuses(
        &self,
        meta: Meta,
        partitions: impl Iterator<Item = i32>,
        by_partition: bool,
    ) -> Option<&'static str> {
        let Some(member) = self.members.get(&meta.member) else { return Some("UNKNOWN_MEMBER_ID") };
        if meta.generation == self.generation {
            return None;
        }
        let mut partitions = partitions;
        if by_partition && partitions.all(|partition| member.assigned.contains(&partition)) {
            return None;
        }
        Some("ILLEGAL_GENERATION")
    }

    /// A balanced target that moves as little as possible, unless it is to shuffle.
    pub(crate) fn target(&mut self, partitions: i32, deal: u64) -> BTreeMap<u32, BTreeSet<i32>> {
        let names: Vec<u32> = self.members.keys().copied().collect();
        let mut target: BTreeMap<u32, BTreeSet<i32>> =
            names.iter().map(|name| (*name, BTreeSet::new())).collect();
        if names.is_empty() {
            return target;
        }
        let most = (partitions as usize).div_ceil(names.len());
        let shuffle = std::mem::take(&mut self.shuffle);
        let mut free: BTreeSet<i32> = (0..partitions).collect();
        if !shuffle {
            for (name, member) in &self.members {
                for partition in &member.owned {
                    let given = target.entry(*name).or_default();
                    if given.len() < most && free.remove(partition) {
                        given.insert(*partition);
                    }
                }
            }
        }
        for (index, partition) in free.into_iter().enumerate() {
            let least = target.values().map(BTreeSet::len).min().unwrap_or(0);
            let candidates: Vec<u32> = target
                .iter()
                .filter(|(_, given)| given.len() == least)
                .map(|(name, _)| *name)
                .collect();
            let choice = deal.rotate_left(7 * index as u32) as usize % candidates.len();
            target.entry(candidates[choice]).or_default().insert(partition);
        }
        target
    }
}

#[derive(Debug, Default)]
pub(crate) struct Kafka {
    pub(crate) lanes: Vec<Lane>,
    pub(crate) transactions: Vec<Txn>,
    pub(crate) producers: Vec<Producer>,
    pub(crate) group: Group,
}

impl Kafka {
    pub(crate) fn new(partitions: i32) -> Self {
        Self { lanes: (0..partitions).map(|_| Lane::default()).collect(), ..Self::default() }
    }

    pub(crate) fn lane(&mut self, partition: i32) -> &mut Lane {
        &mut self.lanes[partition as usize]
    }

    /// Up to where a committed reader of the ledger gets.
    pub(crate) fn ledger_stable(&self, partition: i32) -> i64 {
        let lane = &self.lanes[partition as usize];
        let mark = Mark::Ledger(partition);
        let open = lane.ledger.iter().find(|entry| {
            let transaction = &self.transactions[entry.transaction];
            transaction.fate == Fate::Open || transaction.unmarked.contains(&mark)
        });
        open.map_or(lane.ledger_end, |entry| entry.offset)
    }

    /// The last committed record of each key below `end`.
    pub(crate) fn read_ledger(&self, partition: i32, end: i64) -> Vec<(BatchId, LedgerRecord)> {
        let lane = &self.lanes[partition as usize];
        let mut last: BTreeMap<BatchId, &LedgerRecord> = BTreeMap::new();
        for entry in lane.ledger.iter().take_while(|entry| entry.offset < end) {
            if self.transactions[entry.transaction].fate == Fate::Committed {
                match &entry.record {
                    Some(record) => drop(last.insert(entry.batch, record)),
                    None => drop(last.remove(&entry.batch)),
                }
            }
        }
        last.into_iter().map(|(batch, record)| (batch, record.clone())).collect()
    }

    /// Removes what later records of the same key have replaced, as a log cleaner does; with
    /// `tombstones`, those too.
    pub(crate) fn compact(&mut self, partition: i32, tombstones: bool) {
        let stable = self.ledger_stable(partition);
        let fates: Vec<Fate> = self.transactions.iter().map(|t| t.fate).collect();
        let lane = &mut self.lanes[partition as usize];
        let mut last: BTreeMap<BatchId, i64> = BTreeMap::new();
        for entry in lane.ledger.iter().filter(|entry| entry.offset < stable) {
            if fates[entry.transaction] == Fate::Committed {
                last.insert(entry.batch, entry.offset);
            }
        }
        lane.ledger.retain(|entry| {
            let is_last = last.get(&entry.batch) == Some(&entry.offset);
            entry.offset >= stable || (is_last && (entry.record.is_some() || !tombstones))
        });
    }
}
