//! One session of intake: a consumer, a producer, one transaction at a time.

mod placing;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::model::{DeadLetterReason, Rejection};
use crate::shell::admin::IntakeView;
use crate::shell::dispatch::result_word;
use crate::shell::kafka::{
    Anchors, CommitError, Consumer, ConsumerEvent, ConsumerOptions, GroupMetadata, Mode, OutRecord,
    RecordBatch, TopicPartition, Transaction, TransactionalProducer,
};
use crate::shell::positions;
use crate::shell::telemetry::metrics::Half;

use super::start::Placed;
use super::translate::{Taken, reject, take};
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

/// What one order record became, until it is committed.
#[derive(Debug)]
struct Part {
    partition: TopicPartition,
    offset: i64,
    taken: Taken,
    /// The record itself, by its place in the batch it came with: for the dead letter, should what
    /// follows from it be too large.
    origin: (Arc<RecordBatch>, usize),
}

/// Records in one transaction, beyond which no further order event joins it, so that its time
/// stays far below the broker's limit.
const WRITTEN_MAX: usize = 20_000;
/// Messages that wait for the session, at most; see dispatch.
const INBOX: usize = 16;
/// Between two looks at whether the producer hangs, and at how the session stands.
const WATCH_EVERY: Duration = Duration::from_secs(1);
/// How long an aborted transaction waits before it is written again.
const RETRY_WAIT: Duration = Duration::from_millis(250);

pub(super) struct Session {
    intake: Arc<Intake>,
    consumer: Consumer,
    producer: Arc<TransactionalProducer>,
    group: Option<Arc<GroupMetadata>>,
    owned: BTreeSet<TopicPartition>,
    /// Read and not yet in a transaction.
    backlog: VecDeque<(Arc<RecordBatch>, usize)>,
    backlog_bytes: usize,
    /// When the backlog goes out even if it is small; none while there is none.
    due: Option<Instant>,
    paused: bool,
    /// In the running transaction.
    running: Vec<Part>,
    is_running: bool,
    /// When the running transaction was begun.
    sent: SystemTime,
    /// Partitions lost while the transaction runs: should it be aborted, their part of it is for
    /// the next owner, even if that is this worker again.
    lost: BTreeSet<TopicPartition>,
    /// Revoked partitions, released once they are in no transaction.
    closing: BTreeSet<TopicPartition>,
    /// When the running transaction was handed over.
    began: Instant,
    /// Behind the last order event of each partition that this session took in.
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
            backlog: VecDeque::new(),
            backlog_bytes: 0,
            due: None,
            paused: false,
            running: Vec::new(),
            is_running: false,
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
            if drain.is_cancelled() && !self.is_running {
                return Ended::Drained;
            }
            let due = self.due.filter(|_| !self.is_running);
            let lingered = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            let message = tokio::select! {
                biased;
                () = drain.cancelled(), if !self.is_running => return Ended::Drained,
                _ = watch.tick() => {
                    self.producer.end_process_if_hung();
                    self.show();
                    let Intake { stats, topics, .. } = &*self.intake;
                    stats.unusable.tell_held(topics, std::time::Instant::now());
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
                Some(message) => self.on_message(message).await,
            };
            if let Some(ended) = ended {
                return ended;
            }
            self.release_closed();
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

    async fn on_message(&mut self, message: Option<Message>) -> Option<Ended> {
        match message {
            Some(Message::Consumer(event)) => self.on_consumer(event),
            Some(Message::Committed(result)) => self.on_committed(result).await,
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
                self.anchors.read(&records);
                let records = Arc::new(records);
                self.backlog_bytes += records.bytes();
                let places = 0..records.len();
                self.due.get_or_insert_with(|| Instant::now() + self.intake.linger);
                self.backlog.extend(places.map(|place| (Arc::clone(&records), place)));
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
        let mut written = 0;
        while self.running.len() < self.intake.records_max && written < WRITTEN_MAX {
            let Some((records, place)) = self.backlog.pop_front() else { break };
            let Some(record) = records.iter().nth(place) else { continue };
            let partition = TopicPartition::new(Arc::clone(record.topic()), record.partition());
            let (offset, taken) = (record.offset(), take(&self.intake, &record));
            written += taken.records.len();
            self.running.push(Part { partition, offset, taken, origin: (records, place) });
        }
        self.placed = std::mem::take(&mut self.placing);
        self.sent = SystemTime::now();
        // What is left has waited long enough.
        self.due = self.due.filter(|_| !self.backlog.is_empty());
        if self.backlog.is_empty() {
            self.backlog_bytes = 0;
        }
        self.write();
    }

    /// Writes what is in hand as one transaction.
    fn write(&mut self) {
        if self.running.is_empty() && self.placed.is_empty() {
            self.is_running = false;
            return;
        }
        if !self.is_running {
            self.lost.clear();
        }
        self.is_running = true;
        let records: Vec<OutRecord> =
            self.running.iter().flat_map(|part| part.taken.records.iter().cloned()).collect();
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
        let transaction = Transaction { records, offsets, anchors, group: self.group.clone() };
        self.producer.commit(transaction, move |result| {
            let _ = messages.blocking_send(Message::Committed(result));
        });
    }

    async fn on_committed(&mut self, result: Result<(), CommitError>) -> Option<Ended> {
        let stats = &self.intake.stats;
        stats.metrics.transaction(Half::Intake, result_word(&result), self.began.elapsed());
        match result {
            Ok(()) => {
                stats.transactions.add(1);
                stats.orders.add(self.running.len() as u64);
                for part in self.running.drain(..) {
                    if let Some(trace) = &part.taken.trace {
                        let commands = part.taken.commands.iter().sum();
                        trace.emit(&self.intake, &part.partition, part.offset, commands, self.sent);
                    }
                    tell::taken_in(&self.intake, (&part.partition, part.offset), &part.taken);
                    self.done.insert(part.partition, part.offset + 1);
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
                tracing::info!(reason, "a transaction of intake was aborted; it is written again");
                tokio::time::sleep(RETRY_WAIT).await;
                let lost = std::mem::take(&mut self.lost);
                self.running.retain(|part| !lost.contains(&part.partition));
                self.placed.retain(|partition, _| !lost.contains(partition));
                self.write();
                None
            }
            Err(CommitError::RecordTooLarge { index, bytes }) => {
                self.replace_oversized(index, bytes);
                self.write();
                None
            }
            Err(
                error @ (CommitError::Unknown { .. }
                | CommitError::Fenced { .. }
                | CommitError::Fatal { .. }),
            ) => Some(Ended::Broken(error.to_string())),
        }
    }

    /// What follows from an order event does not fit into a record: the event is a dead letter. A
    /// dead letter that does not fit itself keeps its headers and loses its bytes, which are still
    /// in the order topic.
    fn replace_oversized(&mut self, index: usize, bytes: usize) {
        let mut before = 0;
        for part in &mut self.running {
            let count = part.taken.records.len();
            if index < before + count {
                if part.taken.dead_letters > 0 {
                    for record in &mut part.taken.records {
                        record.payload = None;
                    }
                } else if let Some(record) = part.origin.0.iter().nth(part.origin.1) {
                    let text = format!(
                        "a record that follows from this event has {bytes} bytes, more than the \
                         topic takes; shorten its ids and metadata"
                    );
                    let rejection = Rejection::new(DeadLetterReason::TooLarge, text);
                    let mut trace = part.taken.trace.take();
                    if let Some(trace) = &mut trace {
                        trace.reject(&rejection);
                    }
                    part.taken = reject(&self.intake, &record, rejection);
                    part.taken.trace = trace;
                }
                return;
            }
            before += count;
        }
    }

    /// Puts up how the session stands.
    fn show(&self) {
        let (standing, ends) = self.consumer.told();
        self.intake.stats.board.show_intake(IntakeView {
            taken: std::time::Instant::now(),
            partitions: self.owned.len(),
            backlog: self.backlog.len(),
            in_transaction: self.running.len(),
            paused: self.paused,
            standing,
            lag: tell::lag(&self.owned, &self.done, &ends),
            undecided: self.undecided(),
        });
    }

    fn release_closed(&mut self) {
        let running = self.running.iter().map(|part| &part.partition);
        let held: BTreeSet<&TopicPartition> = running.chain(self.placed.keys()).collect();
        let free: Vec<TopicPartition> =
            self.closing.iter().filter(|partition| !held.contains(partition)).cloned().collect();
        if free.is_empty() {
            return;
        }
        for partition in &free {
            self.closing.remove(partition);
            self.owned.remove(partition);
            self.done.remove(partition);
        }
        self.consumer.release(free);
    }

    fn pause_or_resume(&mut self) {
        let max = self.intake.backlog_bytes_max;
        if !self.paused && self.backlog_bytes > max {
            self.paused = true;
            self.consumer.pause(self.owned.iter().cloned().collect());
        } else if self.paused && self.backlog.is_empty() {
            self.paused = false;
            self.consumer.resume(self.owned.iter().cloned().collect());
        }
    }
}
