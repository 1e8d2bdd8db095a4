//! Reading the ledger partition of a lane, and reading it again when that fails.
//!
//! A partition that cannot be read keeps its lane waiting and harms no other one (I9): it is read
//! again after a while, for as long as the lane is owned.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::engine::positions::{self, CommandsLog, Position, Seen, Undecided};
use crate::model::{Anchor, BatchId, Epoch, LedgerRecord, Partition};
use crate::shell::kafka::{
    Ask, CommittedAt, KafkaOptions, Readers, TopicPartition, look, read_partition_with,
};
use crate::wire;

/// How long one wait of a ledger's replay may take, beyond the longest transaction: brokers look
/// for those that are open for too long every 10 s.
const PATIENCE: Duration = Duration::from_secs(15);
/// Between two attempts to read one partition, at first and at most.
const RETRY_WAIT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// The last record of every batch in a ledger partition; an error is a record that cannot be
/// understood, which stops the lane.
pub type Replay = Result<Vec<(BatchId, LedgerRecord)>, String>;

/// The lanes whose ledger could not be read, and how often.
#[derive(Debug, Default)]
pub(super) struct Unread {
    lanes: BTreeMap<Partition, (Epoch, u32)>,
    /// Why the last one could not.
    reason: Option<String>,
}

impl Unread {
    /// Notes a failure; tells how often the partition has failed in this epoch, and how long to
    /// wait before it is read again.
    pub(super) fn failed(
        &mut self,
        partition: Partition,
        epoch: Epoch,
        reason: &str,
    ) -> (u32, Duration) {
        self.reason = Some(reason.to_owned());
        let entry = self.lanes.entry(partition).or_insert((epoch, 0));
        if entry.0 != epoch {
            *entry = (epoch, 0);
        }
        entry.1 += 1;
        let doubled = RETRY_WAIT.0.saturating_mul(1 << (entry.1 - 1).min(16));
        (entry.1, doubled.min(RETRY_WAIT.1))
    }

    /// The partition was read, or is not owned any more; tells how often it had failed.
    pub(super) fn settled(&mut self, partition: Partition) -> Option<u32> {
        self.lanes.remove(&partition).map(|(_, failures)| failures)
    }

    /// Why the last of them could not be read; none if there is none.
    pub(super) fn reason(&self) -> Option<&str> {
        self.reason.as_deref().filter(|_| !self.lanes.is_empty())
    }

    pub(super) fn partitions(&self) -> impl Iterator<Item = Partition> + '_ {
        self.lanes.keys().copied()
    }

    pub(super) fn len(&self) -> usize {
        self.lanes.len()
    }
}

/// Reads a ledger partition as a whole. Blocks.
///
/// # Errors
/// It cannot be read now; the text says what is in the way.
pub fn replay(kafka: &KafkaOptions, ledger: &TopicPartition) -> Result<Replay, String> {
    let readers = Readers::new(kafka).map_err(|error| error.to_string())?;
    read(&readers, kafka, ledger).map(|(replay, _)| replay)
}

/// Reads a ledger partition as a whole; tells also when the last record of it was written, in
/// milliseconds since 1970, tombstones included. None if nobody has ever written there.
fn read(
    readers: &Readers,
    kafka: &KafkaOptions,
    ledger: &TopicPartition,
) -> Result<(Replay, Option<i64>), String> {
    let mut last: BTreeMap<Vec<u8>, (i64, Vec<u8>)> = BTreeMap::new();
    let mut last_word: Option<i64> = None;
    read_partition_with(readers, ledger, patience(kafka), |records| {
        for record in records.iter() {
            last_word = last_word.max(Some(record.timestamp_ms().unwrap_or(-1)));
            let key = record.key().unwrap_or_default();
            match record.payload() {
                Some(payload) => {
                    last.insert(key.to_vec(), (record.offset(), payload.to_vec()));
                }
                None => drop(last.remove(key)),
            }
        }
    })
    .map_err(|error| error.to_string())?;
    let mut records = Vec::with_capacity(last.len());
    for (key, (offset, payload)) in last {
        match wire::ledger::decode(Partition(ledger.partition), &key, Some(&payload)) {
            Ok(write) => records.extend(write.record.map(|record| (write.batch, record))),
            Err(error) => {
                let reason = format!("record at {ledger}, offset {offset}: {error}");
                return Ok((Err(reason), last_word));
            }
        }
    }
    Ok((Ok(records), last_word))
}

fn patience(kafka: &KafkaOptions) -> Duration {
    kafka.transaction_timeout + PATIENCE
}

/// Clocks of workers differ: commands that are later than the last word of the ledger by this were
/// not worked on.
const CLOCKS_DIFFER_MAX: Duration = Duration::from_secs(120);

/// What recovery of a lane begins with.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) replay: Replay,
    pub(super) seen: Seen,
    /// The record by which the commands partition is known from now on.
    pub(super) anchor: Option<Anchor>,
    pub(super) position: Result<Position, Undecided>,
}

/// Reads the ledger of a lane, looks at its commands, and decides from where they are read. Blocks.
/// `known` is what this process knows of the partition from before.
///
/// # Errors
/// Kafka cannot be asked now; the text says what is in the way.
pub(super) fn recover(
    kafka: &KafkaOptions,
    (commands, ledger): (&TopicPartition, &TopicPartition),
    committed: Option<CommittedAt>,
    known: Option<Option<Anchor>>,
) -> Result<Recovered, String> {
    let readers = Readers::new(kafka).map_err(|error| error.to_string())?;
    let (replay, last_word) = read(&readers, kafka, ledger)?;
    let anchor = committed.map_or(known.flatten(), |at| at.anchor);
    let ask = Ask {
        partition: commands.clone(),
        committed: committed.map(|at| at.offset),
        anchor,
        time_ms: None,
    };
    let looks = look(&readers, &[ask], patience(kafka))?;
    let look = looks.first().ok_or("the commands partition was not looked at")?;
    let seen = Seen {
        committed: committed.map(|at| at.offset),
        anchor,
        sight: look.sight,
        log_start: look.log_start,
        log_end: look.log_end,
        first_ms: look.first_ms,
        was_read_here: known.is_some(),
    };
    let margin = i64::try_from(CLOCKS_DIFFER_MAX.as_millis()).unwrap_or(i64::MAX);
    let position = positions::commands(&seen, last_word, margin);
    let is_kept =
        committed.is_some() && position.is_ok_and(|position| position.log != CommandsLog::New);
    let anchor = look.found.or(anchor.filter(|_| is_kept));
    Ok(Recovered { replay, seen, anchor, position })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_waits_longer_after_every_failure_and_anew_in_a_new_epoch() {
        let (lane, other) = (Partition(1), Partition(2));
        let mut unread = Unread::default();
        let waits: Vec<u64> =
            (0..8).map(|_| unread.failed(lane, Epoch(1), "gone").1.as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(unread.failed(other, Epoch(2), "gone"), (1, RETRY_WAIT.0));
        assert_eq!(unread.len(), 2);
        assert_eq!(unread.failed(lane, Epoch(3), "refused"), (1, RETRY_WAIT.0));
        assert_eq!(unread.reason(), Some("refused"));
        assert_eq!((unread.settled(lane), unread.settled(lane)), (Some(1), None));
        unread.settled(other);
        assert_eq!(unread.reason(), None);
    }
}
