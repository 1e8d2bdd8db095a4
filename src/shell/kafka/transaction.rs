//! One transaction with librdkafka: begin, send, drain, offsets, commit, and what each error means.

use std::ops::ControlFlow;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::deliveries::{Client, Failed, is_purge, is_too_large, ticket};
use super::producer::{AbortReason, CommitError, OutRecord, Transaction};

/// How long aborting waits for records that are on their way.
const DRAIN_BEFORE_ABORT: Duration = Duration::from_millis(100);
/// Before a call that Kafka has answered with "later" is made again.
const AGAIN: Duration = Duration::from_millis(10);

/// What has to happen after a failure, before it is reported.
pub(super) enum Failure {
    /// Abort the transaction; the producer goes on.
    Abort(CommitError),
    /// The producer is of no more use; a new one settles the transaction's fate.
    Broken(CommitError),
}

/// Writes one transaction. On failure it is left as it is.
pub(super) fn attempt(
    client: &Client,
    transaction: &Transaction,
    timeout: Duration,
) -> Result<(), Failure> {
    let deadline = Instant::now() + timeout;
    client.context().begin();
    client.begin_transaction().map_err(|error| before_commit(&error))?;
    send_all(client, transaction, deadline)?;
    // The commit would wait in steps of 100 ms for what is not delivered by then. Once a record
    // has failed, those behind it stay where they are.
    let is_drained = client.drain(deadline, true);
    delivered(client, is_drained)?;
    send_offsets(client, transaction, deadline)?;
    commit(client, deadline)
}

/// Aborts the transaction of a failed attempt. Not possible while records are on their way: to
/// purge them takes them out of the client and not out of the network, so that one could be
/// written behind the abort's marker; and the purge, which ends at some time later, has been seen
/// to take records of the next transaction along. Such a producer has to be given up.
pub(super) fn abort(client: &Client, timeout: Duration) -> Result<(), String> {
    let deadline = Instant::now() + timeout;
    if !client.drain(Instant::now() + DRAIN_BEFORE_ABORT, false) {
        return Err("records are still on their way".into());
    }
    loop {
        match client.abort_transaction(left(deadline)) {
            Ok(()) => return Ok(()),
            Err(KafkaError::Transaction(error))
                if error.is_retriable() && Instant::now() < deadline =>
            {
                thread::sleep(AGAIN);
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// Hands the records to the client as it has room for them, each made when its turn comes.
fn send_all(client: &Client, transaction: &Transaction, deadline: Instant) -> Result<(), Failure> {
    let (mut index, mut sent) = (0, Ok(true));
    let made = transaction.records.each(&mut |record| {
        sent = send(client, index, record, deadline);
        index += 1;
        if matches!(sent, Ok(true)) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    if matches!(sent, Ok(true)) && made.is_break() {
        // Less than all of it must never be committed.
        let reason = AbortReason::Other("its records cannot be made".into());
        return Err(Failure::Broken(CommitError::Aborted { reason, retriable: true }));
    }
    sent.map(drop)
}

/// `false` if it makes no sense to send more, since a record has failed, or there was no room in
/// time.
fn send(
    client: &Client,
    index: usize,
    record: &OutRecord,
    deadline: Instant,
) -> Result<bool, Failure> {
    let (bytes, deliveries) = (record.bytes(), client.context());
    if !deliveries.wait_for_room(bytes, deadline) {
        return Ok(false);
    }
    let mut out: BaseRecord<'_, [u8], [u8], usize> =
        BaseRecord::with_opaque_to(&record.topic, ticket(index, bytes));
    out.partition = record.partition;
    out.key = record.key.as_deref();
    out.payload = record.payload.as_deref();
    out.headers = headers(record);
    loop {
        // Before: its report may be there at once.
        deliveries.sending(bytes);
        let error = match client.send(out) {
            Ok(()) => return Ok(true),
            Err((error, refused)) => {
                out = refused;
                error
            }
        };
        deliveries.not_sent(bytes);
        match error.rdkafka_error_code() {
            // A user's property may leave less room than we take.
            Some(RDKafkaErrorCode::QueueFull) if Instant::now() < deadline => thread::sleep(AGAIN),
            Some(code) if is_too_large(code) => {
                let topic = record.topic.clone();
                return Err(Failure::Abort(CommitError::RecordTooLarge { index, topic, bytes }));
            }
            code => {
                let code = code.unwrap_or(RDKafkaErrorCode::Fail);
                let topic = record.topic.to_string();
                return Err(undelivered(client, Failed { index, bytes, topic, code }));
            }
        }
    }
}

fn headers(record: &OutRecord) -> Option<OwnedHeaders> {
    if record.headers.is_empty() {
        return None;
    }
    let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
    for (name, value) in &record.headers {
        headers = headers.insert(Header { key: name, value: Some(value) });
    }
    Some(headers)
}

fn delivered(client: &Client, is_drained: bool) -> Result<(), Failure> {
    let (first, too_large) = client.context().failed();
    // Batches are small enough for every topic, so a refused one holds one record only; if a
    // topic's limit has been lowered since, the largest record is the likeliest.
    if let Some(Failed { index, bytes, topic, .. }) = too_large {
        let topic = topic.into();
        return Err(Failure::Abort(CommitError::RecordTooLarge { index, topic, bytes }));
    }
    if let Some(failed) = first {
        return Err(undelivered(client, failed));
    }
    if is_drained {
        return Ok(());
    }
    let reason = AbortReason::Other("its records were not delivered in time".into());
    Err(Failure::Broken(CommitError::Aborted { reason, retriable: true }))
}

/// A record that was not taken, or not delivered. Nothing has asked for a commit yet. The record
/// may have been written all the same, or may be yet.
fn undelivered(client: &Client, failed: Failed) -> Failure {
    if let Some((fatal, text)) = client.client().fatal_error() {
        return broken_before_commit(fatal, text);
    }
    let Failed { topic, code, .. } = failed;
    let (code, error) = match cause_of_purge(client).filter(|_| is_purge(code)) {
        Some((code, text)) => (code, text),
        None => (code, code.to_string()),
    };
    let reason = if code == RDKafkaErrorCode::TopicAuthorizationFailed {
        let topic = client.context().not_added().unwrap_or(topic);
        AbortReason::NoRight { topic }
    } else {
        AbortReason::Undelivered { topic, error }
    };
    Failure::Broken(CommitError::Aborted { reason, retriable: true })
}

/// Why the client has purged the records of a transaction: it tells whoever asks for the next one
/// to begin, and begins none.
fn cause_of_purge(client: &Client) -> Option<(RDKafkaErrorCode, String)> {
    match client.begin_transaction() {
        Err(KafkaError::Transaction(cause)) if cause.txn_requires_abort() => {
            Some((cause.code(), cause.string()))
        }
        _ => None,
    }
}

fn send_offsets(
    client: &Client,
    transaction: &Transaction,
    deadline: Instant,
) -> Result<(), Failure> {
    let Some(group) = transaction.group.as_ref().filter(|_| !transaction.offsets.is_empty()) else {
        return Ok(());
    };
    let mut offsets = TopicPartitionList::with_capacity(transaction.offsets.len());
    for (place, (topic, partition, offset)) in transaction.offsets.iter().enumerate() {
        let mut element = offsets.add_partition(topic, *partition);
        element.set_offset(Offset::Offset(*offset)).map_err(|error| before_commit(&error))?;
        if let Some(anchor) = transaction.anchors.get(place).copied().flatten() {
            element.set_metadata(anchor.to_string());
        }
    }
    loop {
        let sent = client.send_offsets_to_transaction(&offsets, group.inner(), left(deadline));
        match sent {
            Ok(()) => return Ok(()),
            Err(KafkaError::Transaction(error))
                if error.is_retriable()
                    && !error.txn_requires_abort()
                    && Instant::now() < deadline =>
            {
                thread::sleep(AGAIN);
            }
            Err(error) => return Err(unread(&error, transaction).unwrap_or(before_commit(&error))),
        }
    }
}

/// Whether positions are refused because a topic may not be read. The client names the topics in
/// its words only.
fn unread(error: &KafkaError, transaction: &Transaction) -> Option<Failure> {
    let KafkaError::Transaction(cause) = error else { return None };
    let code = cause.code();
    if code != RDKafkaErrorCode::TopicAuthorizationFailed || !cause.txn_requires_abort() {
        return None;
    }
    let words = cause.string();
    let mut topics = transaction.offsets.iter().map(|(topic, ..)| &**topic);
    let topic = topics.clone().find(|topic| words.contains(topic)).or_else(|| topics.next())?;
    let reason = AbortReason::NoRead { topic: topic.to_owned() };
    Some(Failure::Abort(CommitError::Aborted { reason, retriable: true }))
}

fn commit(client: &Client, deadline: Instant) -> Result<(), Failure> {
    loop {
        let error = match client.commit_transaction(left(deadline)) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let reason = error.to_string();
        let KafkaError::Transaction(cause) = &error else {
            return Err(Failure::Broken(CommitError::Unknown { reason }));
        };
        if cause.txn_requires_abort() {
            return Err(abortable(cause));
        }
        // After a time-out the request may still be under way; a second one is not safe.
        let again = cause.is_retriable() && cause.code() != RDKafkaErrorCode::OperationTimedOut;
        if !again || Instant::now() >= deadline {
            return Err(Failure::Broken(CommitError::Unknown { reason }));
        }
        thread::sleep(AGAIN);
    }
}

/// An error while no commit has been asked for yet: the transaction cannot have been committed.
fn before_commit(error: &KafkaError) -> Failure {
    match error {
        KafkaError::Transaction(cause) if cause.txn_requires_abort() => abortable(cause),
        KafkaError::Transaction(cause) => broken_before_commit(cause.code(), cause.string()),
        other => {
            let reason = AbortReason::Other(other.to_string());
            Failure::Broken(CommitError::Aborted { reason, retriable: true })
        }
    }
}

fn broken_before_commit(code: RDKafkaErrorCode, reason: String) -> Failure {
    Failure::Broken(match code {
        RDKafkaErrorCode::Fenced
        | RDKafkaErrorCode::ProducerFenced
        | RDKafkaErrorCode::InvalidProducerEpoch => CommitError::Fenced { reason },
        _ => CommitError::Aborted { reason: AbortReason::Other(reason), retriable: true },
    })
}

fn abortable(cause: &RDKafkaError) -> Failure {
    let refused_by_group = matches!(
        cause.code(),
        RDKafkaErrorCode::IllegalGeneration
            | RDKafkaErrorCode::UnknownMemberId
            | RDKafkaErrorCode::FencedInstanceId
            | RDKafkaErrorCode::StaleMemberEpoch
            | RDKafkaErrorCode::FencedMemberEpoch
            | RDKafkaErrorCode::RebalanceInProgress
    );
    let reason = AbortReason::Other(format!("{} ({})", cause.string(), cause.name()));
    Failure::Abort(CommitError::Aborted { reason, retriable: !refused_by_group })
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}
