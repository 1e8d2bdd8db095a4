//! Transactions: what one holds, how it can end, and the handle of the thread that writes them.
//!
//! One producer writes one transaction after the other. When the fate of a commit is unknown, the
//! producer is destroyed and a new one with the same transactional id is made *before* that is
//! reported: the broker has settled the old transaction by then, one way or the other, so that
//! what the driver reads afterwards is final. A commit is never just repeated: librdkafka has no
//! KIP-890, and a late request could end the next transaction.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::client::{ClientError, KafkaOptions};
use super::producer_thread::{Busy, Writer};
use super::rebalance::GroupMetadata;
use super::rights::Right;
use crate::model::Anchor;
use crate::wire::fit::record_bytes;

/// A record to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutRecord {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition; the key decides if there is none.
    pub partition: Option<i32>,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The payload; none makes a tombstone.
    pub payload: Option<Vec<u8>>,
    /// The headers, in order.
    pub headers: Vec<(Arc<str>, Vec<u8>)>,
}

impl OutRecord {
    /// Bytes that it takes on the wire, or a few more: key, payload and headers, with what frames
    /// them. A client that refuses a record for its size counts no more than this.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let headers = self.headers.iter().map(|(name, value)| (&**name, value.as_slice()));
        record_bytes(self.key.as_deref(), self.payload.as_deref(), headers)
    }
}

/// The records of a transaction. They are made when the producer asks for them, so that a large
/// transaction is never in memory as a whole.
pub trait Records: fmt::Debug + Send + Sync {
    /// Hands every record over, in order, until `take` breaks off. Asked again, for a second
    /// attempt, it gives the same records.
    fn each(&self, take: &mut dyn FnMut(&OutRecord) -> ControlFlow<()>) -> ControlFlow<()>;
}

impl Records for Vec<OutRecord> {
    fn each(&self, take: &mut dyn FnMut(&OutRecord) -> ControlFlow<()>) -> ControlFlow<()> {
        self.iter().try_for_each(take)
    }
}

/// What is written together or not at all.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// The records, in order.
    pub records: Arc<dyn Records>,
    /// Offsets to commit: topic, partition, and the offset of the next record to process.
    pub offsets: Vec<(Arc<str>, i32, i64)>,
    /// What is kept with the offsets at the same places: a record by which the topic is known
    /// again.
    pub anchors: Vec<Option<Anchor>>,
    /// The membership under which all this was decided. Offsets need one, and only a transaction
    /// with offsets is refused when the membership is no longer good.
    pub group: Option<Arc<GroupMetadata>>,
}

impl Default for Transaction {
    fn default() -> Self {
        Self {
            records: Arc::new(Vec::new()),
            offsets: Vec::new(),
            anchors: Vec::new(),
            group: None,
        }
    }
}

/// Why a transaction was aborted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AbortReason {
    /// This worker may not write to a topic.
    #[error(
        "no WRITE on the topic {topic} for this worker's principal (Kafka says: Topic \
         authorization failed): grant it"
    )]
    NoRight {
        /// The topic.
        topic: String,
    },
    /// The position in a topic may not be committed, since that takes the right to read it.
    #[error("{}", Right::read(topic))]
    NoRead {
        /// The topic.
        topic: String,
    },
    /// A record was not delivered; the first one, and why.
    #[error("a record for the topic {topic} was not delivered: {error}")]
    Undelivered {
        /// Its topic.
        topic: String,
        /// What the client or the broker said.
        error: String,
    },
    /// Anything else, in Kafka's words.
    #[error("{0}")]
    Other(String),
}

/// Why a transaction was not committed, or may not have been; named by what to do next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Nothing of it was written.
    #[error("the transaction was aborted: {reason}")]
    Aborted {
        /// Why.
        reason: AbortReason,
        /// True if the cause may pass: the same contents may be tried again in the same epoch.
        /// False if the group has refused them: look at what is owned, and decide anew.
        retriable: bool,
    },
    /// Nothing of it was written, since this record is too large for its topic: replace it.
    #[error("record {index} of the transaction is too large for the topic {topic} ({bytes} bytes)")]
    RecordTooLarge {
        /// Its place in `records`.
        index: usize,
        /// Its topic.
        topic: Arc<str>,
        /// Bytes of its key, payload and headers.
        bytes: usize,
    },
    /// Nothing of it was written, since another producer has the same transactional id. Two
    /// workers of one name would go on fencing one another: see to it that names differ.
    #[error("another producer with the same transactional id took over: {reason}")]
    Fenced {
        /// What Kafka said.
        reason: String,
    },
    /// It was written as a whole, or not at all, and which is settled by now: read it back.
    #[error("it is not known whether the transaction was committed: {reason}")]
    Unknown {
        /// What went wrong.
        reason: String,
    },
    /// No producer can be had. Whether the transaction was committed is not known, nor settled.
    /// The next command tries to make a producer again.
    #[error("transactions are not possible: {reason}")]
    Fatal {
        /// What went wrong.
        reason: String,
    },
}

/// Exit status of a process whose Kafka client hangs (`EX_SOFTWARE`).
const EXIT_HUNG: i32 = 70;

/// How a commit is answered, on the producer's thread.
pub type Reply = Box<dyn FnOnce(Result<(), CommitError>) + Send>;

pub(super) enum Command {
    Init(Reply),
    Commit(Transaction, Reply),
    Stop,
}

/// A transactional producer that runs. Dropping it ends it once what it does has ended.
pub struct TransactionalProducer {
    commands: Sender<Command>,
    thread: Option<JoinHandle<()>>,
    busy: Busy,
    /// Beyond every time limit of a transaction, and of making a new producer after it.
    hung_after: Duration,
}

impl TransactionalProducer {
    /// Starts the thread. It does nothing before the first command.
    pub fn spawn(options: &KafkaOptions, transactional_id: &str) -> Result<Self, ClientError> {
        let (commands, inbox) = mpsc::channel();
        let busy = Busy::default();
        let writer = Writer::new(options, transactional_id, busy.clone())?;
        let hung_after = writer.longest() * 2;
        let thread = thread::Builder::new()
            .name("kafka-producer".into())
            .spawn(move || writer.run(&inbox))
            .map_err(|error| ClientError::Create {
                client: "producer",
                reason: error.to_string(),
            })?;
        Ok(Self { commands, thread: Some(thread), busy, hung_after })
    }

    /// Starts the thread and waits until it has fenced whoever had its transactional id; see
    /// [`TransactionalProducer::init`].
    ///
    /// # Errors
    /// No producer can be had; the text says why.
    pub async fn fenced(options: &KafkaOptions, transactional_id: &str) -> Result<Self, String> {
        let producer = Self::spawn(options, transactional_id).map_err(|error| error.to_string())?;
        let (reply, answer) = tokio::sync::oneshot::channel();
        producer.init(move |result| drop(reply.send(result)));
        answer
            .await
            .map_err(|_| "the producer's thread ended".to_owned())?
            .map_err(|error| error.to_string())?;
        Ok(producer)
    }

    /// Makes the producer and fences whoever had its transactional id: once this has been
    /// answered with Ok, no earlier transaction of that id is open any more.
    pub fn init(&self, reply: impl FnOnce(Result<(), CommitError>) + Send + 'static) {
        self.tell(Command::Init(Box::new(reply)));
    }

    /// Writes a transaction, after those that were handed over before.
    pub fn commit(
        &self,
        transaction: Transaction,
        reply: impl FnOnce(Result<(), CommitError>) + Send + 'static,
    ) {
        self.tell(Command::Commit(transaction, Box::new(reply)));
    }

    /// For how long the present command has been under way. Every step has a time limit, but
    /// librdkafka has been seen to hang: far beyond them all, the process should be restarted.
    pub fn busy_for(&self) -> Option<Duration> {
        self.busy.elapsed()
    }

    /// Ends the process if librdkafka has not come back for far longer than every time limit
    /// allows. It cannot be stopped from within, and the next start recovers.
    pub fn end_process_if_hung(&self) {
        if let Some(busy) = self.busy_for().filter(|busy| *busy > self.hung_after) {
            tracing::error!(
                ?busy,
                "the Kafka producer hangs; the process ends so that it is started anew"
            );
            std::process::exit(EXIT_HUNG);
        }
    }

    /// Ends the producer once all that was handed over has been answered.
    pub fn stop(mut self) {
        self.end();
    }

    fn tell(&self, command: Command) {
        if let Err(mpsc::SendError(command)) = self.commands.send(command) {
            let reason = "the Kafka producer's thread has ended".to_string();
            match command {
                Command::Init(reply) | Command::Commit(_, reply) => {
                    reply(Err(CommitError::Fatal { reason }));
                }
                Command::Stop => {}
            }
        }
    }

    fn end(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.tell(Command::Stop);
            if thread.join().is_err() {
                tracing::error!("the Kafka producer's thread has panicked");
            }
        }
    }
}

impl Drop for TransactionalProducer {
    fn drop(&mut self) {
        self.end();
    }
}
