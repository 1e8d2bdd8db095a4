//! One transaction with librdkafka: begin, send, drain, offsets, commit, and what each error means.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::client::{log_error, log_line};
use super::complaints::Worst;
use super::producer::{CommitError, OutRecord, Transaction};
use crate::shell::lock::locked;

pub(super) type Client = BaseProducer<DeliveryContext>;

/// How long aborting waits for records that are on their way.
const DRAIN_BEFORE_ABORT: Duration = Duration::from_millis(100);

/// What has to happen after a failure, before it is reported.
pub(super) enum Failure {
    /// Abort the transaction; the producer goes on.
    Abort(CommitError),
    /// The producer is of no more use; a new one settles the transaction's fate.
    Broken(CommitError),
}

/// Collects the records that were not delivered, by their places in the transaction.
#[derive(Default)]
pub(super) struct DeliveryContext {
    failures: Mutex<Vec<(usize, RDKafkaErrorCode)>>,
    worst: Mutex<Worst>,
}

impl DeliveryContext {
    /// An error, with what the client complained of beside.
    pub(super) fn explained(&self, error: &KafkaError) -> String {
        locked(&self.worst).explained(error)
    }

    fn has_failures(&self) -> bool {
        !locked(&self.failures).is_empty()
    }

    fn take(&self) -> Vec<(usize, RDKafkaErrorCode)> {
        std::mem::take(&mut *locked(&self.failures))
    }
}

impl ClientContext for DeliveryContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_error(&error, reason);
        let mut worst = locked(&self.worst);
        worst.note(&error, reason, Instant::now());
    }
}

impl ProducerContext for DeliveryContext {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, index: usize) {
        if let Err((error, _)) = result {
            let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
            let mut failures = locked(&self.failures);
            failures.push((index, code));
        }
    }
}

/// Writes one transaction. On failure it is left as it is.
pub(super) fn attempt(
    client: &Client,
    transaction: &Transaction,
    timeout: Duration,
) -> Result<(), Failure> {
    let deadline = Instant::now() + timeout;
    client.context().take();
    client.begin_transaction().map_err(|error| before_commit(&error))?;
    for (index, record) in transaction.records.iter().enumerate() {
        send(client, index, record, deadline)?;
    }
    // The commit would wait in steps of 100 ms for what is not delivered by then. Once a record
    // has failed, those behind it stay where they are.
    drain(client, deadline, true);
    delivered(client, transaction)?;
    send_offsets(client, transaction, deadline)?;
    commit(client, deadline)
}

/// Aborts the transaction of a failed attempt. Not possible while records are on their way: to
/// purge them takes them out of the client and not out of the network, so that one could be
/// written behind the abort's marker; and the purge, which ends at some time later, has been seen
/// to take records of the next transaction along. Such a producer has to be given up.
pub(super) fn abort(client: &Client, timeout: Duration) -> Result<(), String> {
    let deadline = Instant::now() + timeout;
    drain(client, Instant::now() + DRAIN_BEFORE_ABORT, false);
    if client.in_flight_count() > 0 {
        return Err("records are still on their way".into());
    }
    loop {
        match client.abort_transaction(left(deadline)) {
            Ok(()) => return Ok(()),
            Err(KafkaError::Transaction(error))
                if error.is_retriable() && Instant::now() < deadline =>
            {
                client.poll(Duration::from_millis(10));
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}

fn send(
    client: &Client,
    index: usize,
    record: &OutRecord,
    deadline: Instant,
) -> Result<(), Failure> {
    let mut out: BaseRecord<'_, [u8], [u8], usize> =
        BaseRecord::with_opaque_to(&record.topic, index);
    out.partition = record.partition;
    out.key = record.key.as_deref();
    out.payload = record.payload.as_deref();
    out.headers = headers(record);
    loop {
        let error = match client.send(out) {
            Ok(()) => return Ok(()),
            Err((error, refused)) => {
                out = refused;
                error
            }
        };
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::QueueFull) if Instant::now() < deadline => {
                client.poll(Duration::from_millis(1));
            }
            Some(code) if is_too_large(code) => {
                let bytes = size(record);
                return Err(Failure::Abort(CommitError::RecordTooLarge { index, bytes }));
            }
            code => {
                let cause = code.unwrap_or(RDKafkaErrorCode::Fail);
                return Err(undelivered(client, cause, &record.topic));
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

fn size(record: &OutRecord) -> usize {
    let headers: usize = record.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    let key = record.key.as_ref().map_or(0, Vec::len);
    key + record.payload.as_ref().map_or(0, Vec::len) + headers
}

/// Serves delivery reports until none is outstanding. `poll` runs for its whole time whatever
/// comes in, so it is given none as long as something does.
fn drain(client: &Client, deadline: Instant, until_failure: bool) {
    let mut outstanding = client.in_flight_count();
    while outstanding > 0 && Instant::now() < deadline {
        if until_failure && client.context().has_failures() {
            return;
        }
        client.poll(Duration::ZERO);
        let now = client.in_flight_count();
        if now == outstanding {
            client.poll(Duration::from_millis(1));
        }
        outstanding = client.in_flight_count();
    }
}

fn delivered(client: &Client, transaction: &Transaction) -> Result<(), Failure> {
    let failures = client.context().take();
    // Batches are small enough for every topic, so a refused one holds one record only; if a
    // topic's limit has been lowered since, the largest record is the likeliest.
    let too_large = failures
        .iter()
        .filter(|(_, code)| is_too_large(*code))
        .filter_map(|(index, _)| Some((*index, size(transaction.records.get(*index)?))))
        .max_by_key(|(_, bytes)| *bytes);
    if let Some((index, bytes)) = too_large {
        return Err(Failure::Abort(CommitError::RecordTooLarge { index, bytes }));
    }
    if let Some((index, code)) = failures.first() {
        let topic = transaction.records.get(*index).map_or("", |record| &record.topic);
        return Err(undelivered(client, *code, topic));
    }
    if client.in_flight_count() > 0 {
        let reason = "its records were not delivered in time".into();
        return Err(Failure::Broken(CommitError::Aborted { reason, retriable: true }));
    }
    Ok(())
}

/// A record that was not taken, or not delivered. Nothing has asked for a commit yet. The record
/// may have been written all the same, or may be yet.
fn undelivered(client: &Client, code: RDKafkaErrorCode, topic: &str) -> Failure {
    if let Some((fatal, text)) = client.client().fatal_error() {
        return broken_before_commit(fatal, text);
    }
    let reason = format!("a record for the topic {topic} was not delivered: {code}");
    Failure::Broken(CommitError::Aborted { reason, retriable: true })
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
                client.poll(Duration::from_millis(10));
            }
            Err(error) => return Err(before_commit(&error)),
        }
    }
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
        client.poll(Duration::from_millis(10));
    }
}

/// An error while no commit has been asked for yet: the transaction cannot have been committed.
fn before_commit(error: &KafkaError) -> Failure {
    match error {
        KafkaError::Transaction(cause) if cause.txn_requires_abort() => abortable(cause),
        KafkaError::Transaction(cause) => broken_before_commit(cause.code(), cause.string()),
        other => {
            let reason = other.to_string();
            Failure::Broken(CommitError::Aborted { reason, retriable: true })
        }
    }
}

fn broken_before_commit(code: RDKafkaErrorCode, reason: String) -> Failure {
    Failure::Broken(match code {
        RDKafkaErrorCode::Fenced
        | RDKafkaErrorCode::ProducerFenced
        | RDKafkaErrorCode::InvalidProducerEpoch => CommitError::Fenced { reason },
        _ => CommitError::Aborted { reason, retriable: true },
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
    let reason = format!("{} ({})", cause.string(), cause.name());
    Failure::Abort(CommitError::Aborted { reason, retriable: !refused_by_group })
}

fn is_too_large(code: RDKafkaErrorCode) -> bool {
    matches!(code, RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::MessageBatchTooLarge)
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}
