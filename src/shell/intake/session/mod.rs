//! One session of intake: a consumer, a producer, one transaction at a time.

mod placing;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::shell::admin::IntakeView;
use crate::shell::dispatch::{aborted, result_word};
use crate::shell::kafka::{
    Anchors, CommitError, Consumer, ConsumerEvent, ConsumerOptions, GroupMetadata, Mode,
    TopicPartition, Transaction, TransactionalProducer,
};
use crate::shell::positions;
use crate::shell::rooms::Rooms;
use crate::shell::telemetry::metrics::Half;

use super::parts::{Backlog, Part, Parts};
use super::start::Placed;
use super::translate::{reject_too_large, take};
use super::{Intake, tell};

/// How a session ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// As asked.
    Drained,
    /// It could not go on.
    Broken(String),
}

#[derive(Debug)]
enum Message {
    Consumer(ConsumerEvent),
    /// From where partitions are read, that were assigned at that time.
    Placed(u64, Vec<Placed>),
    /// Whether the topics are still those that are being read; if not, what is wrong.
    Looked(Result<(), String>),
    Broken(String),
    Committed(Result<(), CommitError>),
}

/// Records in one transaction, beyond which no further order event joins it, so that its time
/// stays far below the broker's limit.
const WRITTEN_MAX: usize = 20_000;
/// The same for bytes of those records. One order event may have more: it is then written from its
/// own bytes, record by record.
const WRITTEN_BYTES_MAX: usize = 4 << 20;
/// Messages that wait for the session, at most; see dispatch.
const INBOX: usize = 16;
/// Between two looks at whether the producer hangs, and at how the session stands.
const WATCH_EVERY: Duration = Duration::from_secs(1);
/// How long an aborted transaction waits before it is written again, at first and at most.
const RETRY_WAIT: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

pub(super) struct Session {
    intake: Arc<Intake>,
    consumer: Consumer,
    producer: Arc<TransactionalProducer>,
    group: Option<Arc<GroupMetadata>>,
    owned: BTreeSet<TopicPartition>,
    /// Read and not yet in a transaction.
    backlog: Backlog,
    /// When the backlog goes out even if it is small; none while there is none.
    due: Option<Instant>,
    paused: bool,
    /// In the running transaction, or in the one that is to be written again.
    running: Vec<Arc<Part>>,
    is_running: bool,
    /// What the producer makes its records of.
    written: Option<Arc<Parts>>,
    /// How large its records may be.
    rooms: Rooms,
    /// When an aborted transaction is written again. Nothing is under way until then.
    retry_at: Option<Instant>,
    retry_wait: Duration,
    /// When the running transaction was begun.
    sent: SystemTime,
    /// Partitions lost while the transaction runs: should it be aborted, their part of it is for
    /// the next owner, even if that is this worker again.
    lost: BTreeSet<TopicPartition>,
    /// Revoked partitions, released once they are in no transaction.
    closing: BTreeSet<TopicPartition>,
    /// When the running transaction was handed over.
    began: Instant,
    /// Behind the last order event of each partition that this session took in; where it began to
    /// read before that.
    done: BTreeMap<TopicPartition, i64>,
    anchors: Anchors,
    /// A look at whether the topics are still the same is under way.
    looking: bool,
    /// Assigned partitions of which it is not known yet from where they are read, each with the
    /// number of its assignment.
    unplaced: BTreeMap<TopicPartition, u64>,
    assignments: u64,
    /// From where partitions are to be read, once that is committed.
    placing: BTreeMap<TopicPartition, i64>,
    /// Those that are in the running transaction.
    placed: BTreeMap<TopicPartition, i64>,
    /// Partitions that are not read before somebody has said from where, with their records.
    undecided: BTreeMap<TopicPartition, i64>,
    messages: Sender<Message>,
}

impl Session {
    pub(super) async fn run(
        intake: Arc<Intake>,
        anchors: Anchors,
        drain: CancellationToken,
    ) -> Ended {
        let (messages, mut inbox) = channel(INBOX);
        let stats = Arc::clone(&intake.stats);
        stats.metrics.session(Half::Intake);
        stats.board.begins(Half::Intake);
        intake.topics.orders.iter().for_each(|topic| stats.metrics.reads(topic));
        let began = tokio::select! {
            () = drain.cancelled() => return Ended::Drained,
            began = Self::begin(intake, anchors, messages) => began,
        };
        let mut session = match began {
            Ok(session) => session,
            Err(reason) => return Ended::Broken(reason),
        };
        let ended = session.work(&mut inbox, &drain).await;
        stats.board.closes(Half::Intake);
        // Threads that wait for room in the inbox must not keep the clients from closing.
        drop(inbox);
        let closing = tokio::task::spawn_blocking(move || drop(session));
        if closing.await.is_err() {
            tracing::error!("closing the Kafka clients of intake panicked");
        }
        ended
    }

    async fn begin(
        intake: Arc<Intake>,
        anchors: Anchors,
        messages: Sender<Message>,
    ) -> Result<Self, String> {
        let producer =
            TransactionalProducer::fenced(&intake.kafka, &intake.transactional_id).await?;
        let topics: Vec<&str> = intake.topics.orders.iter().map(|topic| &**topic).collect();
        let options = ConsumerOptions { mode: Mode::Gated, ..ConsumerOptions::default() };
        let sink = messages.clone();
        let consumer = Consumer::spawn(&intake.kafka, &topics, options, move |event| {
            let _ = sink.blocking_send(Message::Consumer(event));
        })
        .map_err(|error| error.to_string())?;
        Ok(Self {
            consumer,
            producer: Arc::new(producer),
            group: None,
            owned: BTreeSet::new(),
            backlog: Backlog::default(),
            due: None,
            paused: false,
            running: Vec::new(),
            is_running: false,
            written: None,
            rooms: Rooms::new(intake.kafka.record_bytes_max as usize),
            retry_at: None,
            retry_wait: RETRY_WAIT.0,
            sent: SystemTime::UNIX_EPOCH,
            lost: BTreeSet::new(),
            closing: BTreeSet::new(),
            began: Instant::now(),
            done: BTreeMap::new(),
            anchors,
            looking: false,
            unplaced: BTreeMap::new(),
            assignments: 0,
            placing: BTreeMap::new(),
            placed: BTreeMap::new(),
            undecided: BTreeMap::new(),
            messages,
            intake,
        })
    }

    async fn work(&mut self, inbox: &mut Receiver<Message>, drain: &CancellationToken) -> Ended {
        let mut watch = tokio::time::interval(WATCH_EVERY);
        let mut looks = positions::looks();
        loop {
            let is_idle = !self.is_running || self.retry_at.is_some();
            if drain.is_cancelled() && is_idle {
                return Ended::Drained;
            }
            let due = self.retry_at.or(self.due.filter(|_| !self.is_running));
            let lingered = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            let message = tokio::select! {
                biased;
                () = drain.cancelled(), if is_idle => return Ended::Drained,
                _ = watch.tick() => {
                    self.producer.end_process_if_hung();
                    let busy = self.producer.busy_for();
                    self.intake.stats.board.transaction_under_way(Half::Intake, busy);
                    self.show();
                    let Intake { stats, topics, .. } = &*self.intake;
                    stats.unusable.tell_held(topics, std::time::Instant::now());
                    stats.passed_overs.tell_held(std::time::Instant::now());
                    None
                }
                _ = looks.tick() => {
                    self.look();
                    None
                }
                message = inbox.recv() => Some(message),
                () = lingered => None,
            };
            let ended = match message {
                None => None,
                Some(message) => self.on_message(message),
            };
            if let Some(ended) = ended {
                return ended;
            }
            self.release_closed();
            if self.retry_at.is_some_and(|at| at <= Instant::now()) {
                self.retry_at = None;
                self.write();
            }
            let is_full = self.backlog.len() >= self.intake.records_max;
            let is_due = is_full
                || !self.placing.is_empty()
                || self.due.is_some_and(|due| due <= Instant::now());
            if is_due && !self.is_running && !drain.is_cancelled() {
                self.begin_transaction();
            }
            self.pause_or_resume();
        }
    }

    fn on_message(&mut self, message: Option<Message>) -> Option<Ended> {
        match message {
            Some(Message::Consumer(event)) => self.on_consumer(event),
            Some(Message::Committed(result)) => self.on_committed(result),
            Some(Message::Placed(assignment, placed)) => {
                self.on_placed(assignment, placed);
                None
            }
            Some(Message::Looked(looked)) => {
                self.looking = false;
                looked.err().map(Ended::Broken)
            }
            Some(Message::Broken(reason)) => Some(Ended::Broken(reason)),
            None => Some(Ended::Broken("the session's threads are gone".into())),
        }
    }

    fn on_consumer(&mut self, event: ConsumerEvent) -> Option<Ended> {
        match event {
            ConsumerEvent::Assigned { partitions, group } => {
                self.group = Some(group);
                self.place(&partitions);
                self.owned.extend(partitions);
            }
            ConsumerEvent::Revoked { partitions, group } => {
                self.group = Some(group);
                self.forget(&partitions);
                self.closing.extend(partitions);
            }
            ConsumerEvent::Lost(lost) => {
                self.forget(lost.partitions());
                for partition in lost.partitions() {
                    self.owned.remove(partition);
                    self.done.remove(partition);
                    self.closing.remove(partition);
                    self.lost.insert(partition.clone());
                }
            }
            ConsumerEvent::Records(records) => {
                tell::begun(&mut self.done, &records);
                self.anchors.read(&records);
                self.due.get_or_insert_with(|| Instant::now() + self.intake.linger);
                self.backlog.push(records);
            }
            ConsumerEvent::CaughtUp(_) => {}
            ConsumerEvent::Error { fatal: true, text } => return Some(Ended::Broken(text)),
            ConsumerEvent::Error { fatal: false, text } => {
                tracing::warn!(text, "the consumer of the order topics reports an error");
            }
        }
        None
    }

    fn begin_transaction(&mut self) {
        self.rooms = Rooms::new(self.intake.kafka.record_bytes_max as usize);
        let (mut written, mut bytes) = (0, 0);
        while self.running.len() < self.intake.records_max
            && written < WRITTEN_MAX
            && bytes < WRITTEN_BYTES_MAX
        {
            let Some(origin) = self.backlog.pop() else { break };
            let Some(record) = origin.record() else { continue };
            let partition = TopicPartition::new(Arc::clone(record.topic()), record.partition());
            let (offset, taken) = (record.offset(), take(&self.intake, &record, self.rooms));
            written += taken.count;
            bytes += taken.bytes;
            self.running.push(Arc::new(Part { partition, offset, taken, origin }));
        }
        self.placed = std::mem::take(&mut self.placing);
        self.sent = SystemTime::now();
        // What is left has waited long enough.
        self.due = self.due.filter(|_| !self.backlog.is_empty());
        self.write();
    }

    /// Writes what is in hand as one transaction.
    fn write(&mut self) {
        if self.running.is_empty() && self.placed.is_empty() {
            self.is_running = false;
            self.written = None;
            return;
        }
        if !self.is_running {
            self.lost.clear();
        }
        self.is_running = true;
        let mut offsets: BTreeMap<&TopicPartition, i64> =
            self.placed.iter().map(|(partition, from)| (partition, *from)).collect();
        for part in &self.running {
            offsets.insert(&part.partition, part.offset + 1);
        }
        let anchors = offsets.iter().map(|(at, next)| self.anchors.mark(at, *next)).collect();
        let offsets = offsets
            .into_iter()
            .map(|(at, next)| (Arc::clone(&at.topic), at.partition, next))
            .collect();
        let messages = self.messages.clone();
        self.began = Instant::now();
        let is_again = self.rooms != Rooms::new(self.intake.kafka.record_bytes_max as usize);
        let parts = Arc::new(Parts::new(&self.intake, &self.running, self.rooms, is_again));
        self.written = Some(Arc::clone(&parts));
        let group = self.group.clone();
        let transaction = Transaction { records: parts, offsets, anchors, group };
        self.producer.commit(transaction, move |result| {
            let _ = messages.blocking_send(Message::Committed(result));
        });
    }

    fn on_committed(&mut self, result: Result<(), CommitError>) -> Option<Ended> {
        let stats = &self.intake.stats;
        stats.metrics.transaction(Half::Intake, result_word(&result), self.began.elapsed());
        match result {
            Ok(()) => {
                stats.transactions.add(1);
                stats.board.transaction_ok(Half::Intake);
                self.retry_wait = RETRY_WAIT.0;
                if let Some(written) = self.written.take() {
                    written.shortened().tell(stats, &self.intake.topics, Half::Intake);
                }
                stats.orders.add(self.running.len() as u64);
                for part in self.running.drain(..) {
                    if let Some(trace) = &part.taken.trace {
                        let commands = part.taken.commands.iter().sum();
                        trace.emit(&self.intake, &part.partition, part.offset, commands, self.sent);
                    }
                    tell::taken_in(&self.intake, (&part.partition, part.offset), &part.taken);
                    self.done.insert(part.partition.clone(), part.offset + 1);
                }
                for (partition, from) in std::mem::take(&mut self.placed) {
                    // It may have been revoked meanwhile.
                    if self.owned.contains(&partition) && !self.closing.contains(&partition) {
                        self.start(partition, from);
                    }
                }
                self.is_running = false;
                None
            }
            Err(CommitError::Aborted { reason, .. }) => {
                stats.aborted.add(1);
                stats.metrics.retry("transaction");
                aborted(stats, Half::Intake, &reason.to_string());
                let lost = std::mem::take(&mut self.lost);
                self.running.retain(|part| !lost.contains(&part.partition));
                self.placed.retain(|partition, _| !lost.contains(partition));
                self.retry_at = Some(Instant::now() + self.retry_wait);
                self.retry_wait = (self.retry_wait * 2).min(RETRY_WAIT.1);
                None
            }
            Err(CommitError::RecordTooLarge { index, topic, bytes }) => {
                let ended = self.on_too_large(index, &topic, bytes);
                if ended.is_none() {
                    self.write();
                }
                ended
            }
            Err(
                error @ (CommitError::Unknown { .. }
                | CommitError::Fenced { .. }
                | CommitError::Fatal { .. }),
            ) => Some(Ended::Broken(error.to_string())),
        }
    }

    /// An outcome or a dead letter that its topic refuses is made smaller, and with it the others
    /// for that topic. An order event with a command that is too large becomes a dead letter.
    fn on_too_large(&mut self, index: usize, topic: &str, bytes: usize) -> Option<Ended> {
        if self.rooms.refused(&self.intake.topics, topic, bytes) {
            tracing::warn!(topic, bytes, "a topic refuses a record of this size; it is shortened");
            return None;
        }
        let mut before = 0;
        for part in &mut self.running {
            let count = part.taken.count;
            if index >= before + count {
                before += count;
                continue;
            }
            let Some(record) = part.origin.record().filter(|_| part.taken.dead_letters == 0) else {
                break;
            };
            let trace = part.taken.trace.clone();
            let taken = reject_too_large(&self.intake, &record, (bytes, self.rooms), trace);
            let (partition, offset) = (part.partition.clone(), part.offset);
            *part = Arc::new(Part { partition, offset, taken, origin: part.origin.clone() });
            return None;
        }
        Some(Ended::Broken(format!(
            "the topic {topic} refuses a record of {bytes} bytes, which cannot be shortened; its \
             max.message.bytes must be at least {}: raise it",
            crate::shell::kafka::message_bytes_min(&self.intake.kafka),
        )))
    }

    /// Puts up how the session stands.
    fn show(&self) {
        let (standing, ends) = self.consumer.told();
        self.intake.stats.board.show_intake(IntakeView {
            taken: std::time::Instant::now(),
            partitions: self.owned.len(),
            backlog: self.backlog.len(),
            taken_in: self.intake.stats.orders.get(),
            in_transaction: self.running.len(),
            paused: self.paused,
            standing,
            lag: tell::lag(&self.owned, &self.done, &ends),
            undecided: self.undecided(),
        });
    }
}
