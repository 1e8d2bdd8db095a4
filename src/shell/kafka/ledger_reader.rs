//! Replay of one ledger partition: from its beginning up to where it ended when this was called.
//!
//! Where it ends cannot be told from records: the last offsets are usually markers of transactions,
//! which no reader sees. So the end is the high watermark as it was at the call; first it is waited
//! until no open transaction lies below it, and then the end of the partition, as a reader of
//! committed records sees it, is at or behind it.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::TopicPartition;
use super::client::{ClientError, KafkaOptions, LogContext, Role, config, refused};
use super::record::RecordBatch;
use super::rights::Right;

const POLL_WAIT: Duration = Duration::from_millis(100);
/// Between two questions for the last stable offset.
const STABLE_WAIT: Duration = Duration::from_millis(20);
const BATCH_RECORDS_MAX: usize = 1_000;
const BATCH_BYTES_MAX: usize = 1 << 20;

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerRead {
    /// The high watermark at the call: everything committed below it has been handed over.
    pub end: i64,
    /// How many records there were.
    pub records: u64,
}

/// A ledger partition could not be read as a whole. What was handed over so far is of no use.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// No client could be made.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Kafka did not answer as it should.
    #[error("the ledger {partition} could not be read at offset {position}: {reason}")]
    Kafka {
        /// Which partition.
        partition: TopicPartition,
        /// How far it was read.
        position: i64,
        /// What went wrong.
        reason: String,
    },
    /// Some producer leaves a transaction open.
    #[error(
        "the ledger {partition} could not be read: a transaction has kept it open at offset \
         {stable}, below its end {end}, for {waited:?}; look for a worker that hangs, or for the \
         transaction itself with `kafka-transactions.sh find-hanging --topic {topic} --partition \
         {number}`, and end it with `abort`", topic = .partition.topic, number = .partition.partition
    )]
    OpenTransaction {
        /// Which partition.
        partition: TopicPartition,
        /// The last stable offset.
        stable: i64,
        /// The high watermark to be reached.
        end: i64,
        /// How long it was waited for.
        waited: Duration,
    },
    /// Nothing came for too long.
    #[error(
        "the ledger {partition} gave nothing for {waited:?} at offset {position}, below its end \
         {end}; is the broker reachable?"
    )]
    Stalled {
        /// Which partition.
        partition: TopicPartition,
        /// How far it was read.
        position: i64,
        /// The high watermark to be reached.
        end: i64,
        /// How long it was waited for.
        waited: Duration,
    },
}

/// Reads a ledger partition, and hands its committed records over in order, batch by batch.
/// Blocks: call it on a thread of its own. `patience` bounds each wait, not the whole: a long
/// ledger takes what it takes, a silent broker does not.
pub fn read_partition(
    options: &KafkaOptions,
    partition: &TopicPartition,
    patience: Duration,
    hand_over: impl FnMut(&RecordBatch),
) -> Result<LedgerRead, LedgerError> {
    read_partition_with(&Readers::new(options)?, partition, patience, hand_over)
}

/// The same with clients that are there already.
pub(in crate::shell) fn read_partition_with(
    readers: &Readers,
    partition: &TopicPartition,
    patience: Duration,
    mut hand_over: impl FnMut(&RecordBatch),
) -> Result<LedgerRead, LedgerError> {
    let mut reader = Reader::new(readers, partition, patience)?;
    if reader.end == reader.start {
        return Ok(LedgerRead { end: reader.end, records: 0 });
    }
    reader.wait_until_stable()?;
    let records = reader.read(&mut hand_over)?;
    Ok(LedgerRead { end: reader.end, records })
}

/// Two clients that read what they are told to read: each costs threads and connections, so what
/// is to be known of a lane is asked of the same two.
pub(in crate::shell) struct Readers {
    /// Reads committed records.
    pub(super) committed: BaseConsumer<LogContext>,
    /// Is told the end as it is, open transactions included.
    pub(super) uncommitted: BaseConsumer<LogContext>,
}

impl Readers {
    pub(in crate::shell) fn new(options: &KafkaOptions) -> Result<Self, ClientError> {
        Ok(Self {
            committed: consumer(options, Role::Reader)?,
            uncommitted: consumer(options, Role::Watermarks)?,
        })
    }
}

struct Reader<'a> {
    client: &'a BaseConsumer<LogContext>,
    partition: &'a TopicPartition,
    patience: Duration,
    start: i64,
    end: i64,
    position: i64,
}

impl<'a> Reader<'a> {
    fn new(
        readers: &'a Readers,
        partition: &'a TopicPartition,
        patience: Duration,
    ) -> Result<Self, LedgerError> {
        let client = &readers.committed;
        let mut reader = Self { client, partition, patience, start: 0, end: 0, position: 0 };
        // A reader of committed records is told the last stable offset in place of the end.
        (reader.start, reader.end) = reader.watermarks(&readers.uncommitted)?;
        reader.position = reader.start;
        Ok(reader)
    }

    fn watermarks(&self, client: &BaseConsumer<LogContext>) -> Result<(i64, i64), LedgerError> {
        client
            .fetch_watermarks(&self.partition.topic, self.partition.partition, self.patience)
            .map_err(|error| self.failed(&error))
    }

    fn wait_until_stable(&self) -> Result<(), LedgerError> {
        let deadline = Instant::now() + self.patience;
        loop {
            let (_, stable) = self.watermarks(self.client)?;
            if stable >= self.end {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(LedgerError::OpenTransaction {
                    partition: self.partition.clone(),
                    stable,
                    end: self.end,
                    waited: self.patience,
                });
            }
            std::thread::sleep(STABLE_WAIT);
        }
    }

    fn read(&mut self, hand_over: &mut impl FnMut(&RecordBatch)) -> Result<u64, LedgerError> {
        let mut assignment = TopicPartitionList::with_capacity(1);
        let TopicPartition { topic, partition } = self.partition;
        assignment
            .add_partition_offset(topic, *partition, Offset::Beginning)
            .and_then(|()| self.client.assign(&assignment))
            .map_err(|error| self.failed(&error))?;
        let mut records = 0;
        let mut batch = RecordBatch::default();
        let mut deadline = Instant::now() + self.patience;
        while self.position < self.end {
            match self.client.poll(POLL_WAIT) {
                Some(Ok(message)) if message.offset() < self.end => {
                    batch.push(&message);
                    self.position = message.offset() + 1;
                    deadline = Instant::now() + self.patience;
                }
                // The partition was stable up to the end before reading began, so whatever is
                // at or behind the end says that all before it has been seen.
                Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) => self.position = self.end,
                Some(Err(error)) if !is_passing(&error) => return Err(self.failed(&error)),
                Some(Err(_)) | None if Instant::now() >= deadline => return Err(self.stalled()),
                Some(Err(_)) | None => {}
            }
            if batch.len() >= BATCH_RECORDS_MAX
                || batch.bytes() >= BATCH_BYTES_MAX
                || self.position >= self.end
            {
                records += batch.len() as u64;
                hand_over(&batch);
                batch = RecordBatch::default();
            }
        }
        Ok(records)
    }

    fn failed(&self, error: &KafkaError) -> LedgerError {
        let partition = self.partition.clone();
        let reason = match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                Right::read(&partition.topic).to_string()
            }
            _ => error.to_string(),
        };
        LedgerError::Kafka { partition, position: self.position, reason }
    }

    fn stalled(&self) -> LedgerError {
        LedgerError::Stalled {
            partition: self.partition.clone(),
            position: self.position,
            end: self.end,
            waited: self.patience,
        }
    }
}

/// librdkafka goes on by itself after errors of the connection; others are told once only.
pub(super) fn is_passing(error: &KafkaError) -> bool {
    use rdkafka::error::RDKafkaErrorCode as Code;
    matches!(
        error,
        KafkaError::MessageConsumption(
            Code::BrokerTransportFailure
                | Code::AllBrokersDown
                | Code::Resolve
                | Code::OperationTimedOut
                | Code::RequestTimedOut
                | Code::NotLeaderForPartition
                | Code::LeaderNotAvailable
        )
    )
}

fn consumer(
    options: &KafkaOptions,
    role: Role<'_>,
) -> Result<BaseConsumer<LogContext>, ClientError> {
    config(options, role)?
        .create_with_context(LogContext)
        .map_err(|error| refused("ledger reader", &error))
}
