//! A consumer of the group, on a thread of its own: what it tells, and what it can be told.
//!
//! It never blocks on the driver, it polls on whatever happens, and it never decides to give a
//! partition up. The loop itself is in `consumer_thread`.

use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::TopicPartition;
use super::client::{ClientError, KafkaOptions, Role, config, refused};
use super::consumer_thread::{Limits, Member};
use super::ends::End;
use super::membership;
use super::rebalance::{GroupMetadata, LostPartitions, RebalanceContext, Standing, Told};
use super::record::RecordBatch;
use crate::model::Anchor;

/// When an assigned partition begins to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Not before `start` says from where: the owner has to read the ledger first.
    Gated,
    /// At once, from the committed offset.
    Immediate,
}

/// Where to start reading a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// At this offset.
    Offset(i64),
    /// At the group's stable committed offset, or at the beginning if there is none.
    Committed,
}

/// Bounds of one consumer.
#[derive(Clone, Copy, Debug)]
pub struct ConsumerOptions {
    /// When reading begins.
    pub mode: Mode,
    /// Records handed over at once, at most.
    pub batch_records_max: usize,
    /// Bytes handed over at once; one record may pass it.
    pub batch_bytes_max: usize,
    /// How long the stable committed offset, or the start of a partition, is waited for. Has to
    /// be longer than a transaction may stay open.
    pub answer_timeout: Duration,
}

impl Default for ConsumerOptions {
    fn default() -> Self {
        Self {
            mode: Mode::Gated,
            batch_records_max: 1_000,
            batch_bytes_max: 1 << 20,
            answer_timeout: Duration::from_secs(60),
        }
    }
}

/// What a consumer tells. Events of one consumer come from one thread, in order.
#[derive(Debug)]
pub enum ConsumerEvent {
    /// These partitions are owned from now on, in addition to those owned before. The list is
    /// empty when only the membership has changed, and that counts: use it from now on.
    Assigned {
        /// The new partitions.
        partitions: Vec<TopicPartition>,
        /// The membership of the epoch that begins.
        group: Arc<GroupMetadata>,
    },
    /// The group wants these partitions back. They are still owned, and held until each of them
    /// has been released; nothing more is read from them. Release them well before the session
    /// time-out: a consumer that holds longer cannot know what it still owns, and ends itself.
    Revoked {
        /// The partitions to close and release.
        partitions: Vec<TopicPartition>,
        /// The membership of the epoch that begins: what is still to be written for the held
        /// and the kept partitions must be decided anew and carry this one.
        group: Arc<GroupMetadata>,
    },
    /// These partitions are gone; see [`LostPartitions`] for what to do, in which order.
    Lost(LostPartitions),
    /// Records of owned partitions.
    Records(RecordBatch),
    /// All that is in this partition has been read (for consumers of one topic only).
    CaughtUp(TopicPartition),
    /// Something went wrong. After a fatal error the consumer is of no more use: drop the lanes,
    /// stop it, and make a new one.
    Error {
        /// Whether the consumer is of no more use.
        fatal: bool,
        /// What went wrong.
        text: String,
    },
}

/// Where the group goes on in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommittedAt {
    /// The offset of the next record.
    pub offset: i64,
    /// A record of the topic as it was then, if one was kept with it.
    pub anchor: Option<Anchor>,
}

/// Committed offsets, as they are answered: `None` where nothing has been committed.
pub type Committed = Result<Vec<(TopicPartition, Option<CommittedAt>)>, String>;

pub(super) enum Command {
    Release(Vec<TopicPartition>),
    Start(TopicPartition, StartAt),
    Pause(Vec<TopicPartition>),
    Resume(Vec<TopicPartition>),
    Committed(Vec<TopicPartition>, Box<dyn FnOnce(Committed) + Send>),
    Stop,
}

/// A consumer that runs. Dropping it leaves the group and waits for the thread.
pub struct Consumer {
    commands: Sender<Command>,
    thread: Option<JoinHandle<()>>,
    told: Told,
}

impl Consumer {
    /// Joins the group and begins to tell `sink` what happens. The sink is called on the
    /// consumer's thread and must hand over without waiting.
    pub fn spawn(
        kafka: &KafkaOptions,
        topics: &[&str],
        options: ConsumerOptions,
        sink: impl Fn(ConsumerEvent) + Send + 'static,
    ) -> Result<Self, ClientError> {
        const CLIENT: &str = "consumer";
        let told = Told::default();
        let client = config(kafka, Role::Member { report_ends: topics.len() == 1 })?
            .create_with_context(RebalanceContext::new(kafka, told.clone()))
            .map_err(|error| refused(CLIENT, &error))?;
        let (commands, inbox) = mpsc::channel();
        // A heartbeat may have been the last thing that the group heard.
        let silence_max = kafka.session_timeout.min(kafka.max_poll_interval) * 4 / 5;
        let limits = Limits { silence_max, outside_max: membership::limit(kafka) };
        let (sink, own) = (Box::new(sink), commands.clone());
        let member = Member::new(client, options, limits, (kafka, topics), own, sink);
        member.subscribe(topics).map_err(|error| refused(CLIENT, &error))?;
        let thread = thread::Builder::new()
            .name("kafka-consumer".into())
            .spawn(move || member.run(&inbox))
            .map_err(|error| ClientError::Create { client: CLIENT, reason: error.to_string() })?;
        Ok(Self { commands, thread: Some(thread), told })
    }

    /// Gives up revoked partitions. The group gets them once all of one revocation are released.
    pub fn release(&self, partitions: Vec<TopicPartition>) {
        self.tell(Command::Release(partitions));
    }

    /// Begins to read an assigned partition, or goes back in one that is being read.
    pub fn start(&self, partition: TopicPartition, at: StartAt) {
        self.tell(Command::Start(partition, at));
    }

    /// Stops reading partitions for a while. What has been fetched ahead is fetched again later.
    pub fn pause(&self, partitions: Vec<TopicPartition>) {
        self.tell(Command::Pause(partitions));
    }

    /// Goes on reading paused partitions; those that were never started stay as they are.
    pub fn resume(&self, partitions: Vec<TopicPartition>) {
        self.tell(Command::Resume(partitions));
    }

    /// Asks for the group's stable committed offsets: while a transaction that may change them is
    /// open, the answer waits. `reply` is called on the consumer's thread; if the consumer is
    /// stopped first, it is dropped uncalled.
    pub fn committed(
        &self,
        partitions: Vec<TopicPartition>,
        reply: impl FnOnce(Committed) + Send + 'static,
    ) {
        self.tell(Command::Committed(partitions, Box::new(reply)));
    }

    /// Leaves the group, gives everything up, and waits until that is done.
    pub fn stop(mut self) {
        self.end();
    }

    /// How it stands, and where its partitions end.
    pub(in crate::shell) fn told(&self) -> (Standing, Vec<End>) {
        self.told.get()
    }

    /// Whether the thread has ended, which it does only when stopped or through a bug.
    pub fn is_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn tell(&self, command: Command) {
        if self.commands.send(command).is_err() {
            tracing::error!("the Kafka consumer's thread has ended; a command to it is lost");
        }
    }

    fn end(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = self.commands.send(Command::Stop);
            if thread.join().is_err() {
                tracing::error!("the Kafka consumer's thread has panicked");
            }
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.end();
    }
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Release(_) => "Release",
            Self::Start(..) => "Start",
            Self::Pause(_) => "Pause",
            Self::Resume(_) => "Resume",
            Self::Committed(..) => "Committed",
            Self::Stop => "Stop",
        })
    }
}
