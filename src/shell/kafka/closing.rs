//! After a transaction that was given up: its partitions are closed once more.
//!
//! Giving up a transaction ends it at the coordinator, which then writes an abort marker into each
//! of its partitions. Brokers 4.3.0 and 4.3.1 leave it out if the partition has no leader just
//! then, since they take it for a deleted one (KAFKA-20734). What was written there stays open: no
//! reader of committed records gets past it, and the next transaction of the same producer would
//! end it as if it were its own, so that what was aborted appears after all.
//!
//! The successor has the same producer id. So what it writes into a partition and aborts ends
//! whatever is open there under that id: as aborted, which is what was decided.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, Producer};

use super::producer::Transaction;
use super::transaction::{Client, drain};

/// The key of what is written in order to be aborted. No reader of committed records sees it.
const KEY: &[u8] = b"aborted";

/// Writes into these partitions, and aborts that. The client has just been made, under the
/// transactional id of the one that was given up.
pub(super) fn close(
    client: &Client,
    partitions: &BTreeSet<(Arc<str>, i32)>,
    timeout: Duration,
) -> Result<(), KafkaError> {
    if partitions.is_empty() {
        return Ok(());
    }
    let deadline = Instant::now() + timeout;
    client.context().clear();
    client.begin_transaction()?;
    for (topic, partition) in partitions {
        let record: BaseRecord<'_, [u8], [u8], usize> =
            BaseRecord::with_opaque_to(topic, 0).partition(*partition).key(KEY);
        client.send(record).map_err(|(error, _)| error)?;
    }
    drain(client, deadline, true);
    if client.in_flight_count() > 0 || client.context().has_failures() {
        return Err(KafkaError::MessageProduction(RDKafkaErrorCode::OperationTimedOut));
    }
    client.abort_transaction(deadline.saturating_duration_since(Instant::now()))
}

/// The partitions of a transaction that was given up, as far as they are known: where a key
/// decides, that is told by the report of a delivery only.
pub(super) fn partitions(client: &Client, given_up: &Transaction) -> BTreeSet<(Arc<str>, i32)> {
    let named = given_up
        .records
        .iter()
        .filter_map(|record| Some((Arc::clone(&record.topic), record.partition?)));
    let delivered = client.context().delivered().into_iter().filter_map(|(index, partition)| {
        Some((Arc::clone(&given_up.records.get(index)?.topic), partition))
    });
    named.chain(delivered).collect()
}
