//! The loop of a consumer's thread: commands, polling, rebalance notices, in that order, for ever.
//!
//! While a revocation is held back, librdkafka keeps it to itself if the group throws this member
//! out: it joins again later as a new one, and partitions that somebody else had in between look
//! as if they had been kept. So a notice that has not been answered within the time in which a
//! member can be thrown out ends the consumer: everything is lost, and a new one has to be made.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::TopicPartition;
use super::client::KafkaOptions;
use super::consumer::{Command, ConsumerEvent, ConsumerOptions, Mode};
use super::examine::Place;
use super::offsets::{Client, Query, Start, begin, committed, is_position_gone};
use super::reading::Reading;
use super::rebalance::{
    GroupMetadata, Held, LostPartitions, Notice, assign, list, names, unassign,
};
use super::record::RecordBatch;

/// How long one poll waits: a command waits for as long at most.
const POLL_WAIT: Duration = Duration::from_millis(10);
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Owned, and not to be read before it is told from where.
    Gated,
    /// Being read, or paused by command. A record below this offset has been handed over
    /// already: after a pause librdkafka may give the last one again.
    Reading { next: i64 },
    /// Revoked or lost, and not yet given up.
    Held,
}

/// After which times a member cannot go on.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// How long the group keeps a member that it does not hear of, less a margin.
    pub(super) silence_max: Duration,
    /// How long the group may take to take a member in.
    pub(super) outside_max: Duration,
}

/// A member of the group, on its thread.
pub(super) struct Member {
    client: Client,
    options: ConsumerOptions,
    /// The topic, if there is only one.
    single: Option<Arc<str>>,
    commands: Sender<Command>,
    sink: Box<dyn Fn(ConsumerEvent) + Send>,
    phases: BTreeMap<Arc<str>, BTreeMap<i32, Phase>>,
    held: Vec<Held>,
    queries: Vec<Query>,
    starts: Vec<Start>,
    epoch: u64,
    limits: Limits,
    /// What is in the way of reading.
    reading: Reading,
    /// When librdkafka was last asked for events.
    polled: Instant,
    /// When there was last no notice to be answered, as far as librdkafka had been asked.
    settled: Instant,
}

impl Member {
    pub(super) fn new(
        client: Client,
        options: ConsumerOptions,
        limits: Limits,
        (kafka, topics): (&KafkaOptions, &[&str]),
        commands: Sender<Command>,
        sink: Box<dyn Fn(ConsumerEvent) + Send>,
    ) -> Self {
        // librdkafka names no topic when it tells of an end.
        let single = match topics {
            [topic] => Some(Arc::from(*topic)),
            _ => None,
        };
        Self {
            reading: Reading::new(kafka, topics),
            client,
            options,
            single,
            commands,
            sink,
            phases: BTreeMap::new(),
            held: Vec::new(),
            queries: Vec::new(),
            starts: Vec::new(),
            epoch: 0,
            limits,
            polled: Instant::now(),
            settled: Instant::now(),
        }
    }

    pub(super) fn subscribe(&self, topics: &[&str]) -> KafkaResult<()> {
        self.client.subscribe(topics)
    }

    pub(super) fn run(mut self, inbox: &Receiver<Command>) {
        let reason = loop {
            loop {
                match inbox.try_recv() {
                    Ok(Command::Stop) | Err(TryRecvError::Disconnected) => return,
                    Ok(command) => self.on_command(command),
                    Err(TryRecvError::Empty) => break,
                }
            }
            self.answer_queries();
            self.begin_starts();
            self.read();
            let places = || places(&self.client, &self.phases);
            self.reading.turn(self.client.context(), places);
            if !self.serve_notices() {
                let waited = self.settled.elapsed();
                break format!(
                    "a rebalance was not answered for {waited:?}, so the group may have given \
                     everything to others: make a new consumer"
                );
            }
            if let Some(topic) = self.client.context().made_anew() {
                break format!(
                    "the topic {topic} was deleted and made anew: where to go on is decided anew"
                );
            }
            let outside = self.client.context().outside_for(self.limits.outside_max);
            if let Some(reason) = outside {
                break self.reading.refusal().unwrap_or(reason);
            }
        };
        self.lose_everything(reason);
        // What is dropped or released from here on is given up with the client.
        while !matches!(inbox.recv(), Ok(Command::Stop) | Err(_)) {}
    }

    /// False once it is not certain any more that what was owned still is.
    fn serve_notices(&mut self) -> bool {
        while let Some(notice) = self.client.context().next_notice() {
            let lost = matches!(notice, Notice::Revoke { lost: true, .. });
            if !lost && self.settled.elapsed() > self.limits.silence_max {
                return false;
            }
            self.on_notice(notice);
        }
        if self.held.iter().all(|held| held.lost) {
            self.settled = self.polled;
            return true;
        }
        self.settled.elapsed() <= self.limits.silence_max
    }

    fn lose_everything(&mut self, text: String) {
        let mut owned = Vec::new();
        for (topic, phases) in std::mem::take(&mut self.phases) {
            owned.extend(
                phases
                    .into_keys()
                    .map(|partition| TopicPartition { topic: Arc::clone(&topic), partition }),
            );
        }
        (self.sink)(ConsumerEvent::Lost(LostPartitions::new(owned, self.commands.clone())));
        (self.sink)(ConsumerEvent::Error { fatal: true, text });
    }

    fn on_command(&mut self, command: Command) {
        let deadline = Instant::now() + self.options.answer_timeout;
        match command {
            Command::Release(partitions) => self.release(&partitions),
            Command::Start(partition, at) => {
                self.starts.retain(|start| start.partition != partition);
                self.starts.push(Start { partition, at, deadline, is_paused: false });
            }
            Command::Pause(partitions) => {
                self.pause_starts(&partitions, true);
                let result = self.client.pause(&list(&partitions));
                self.report(result, "partitions could not be paused");
            }
            Command::Resume(mut partitions) => {
                self.pause_starts(&partitions, false);
                partitions.retain(|partition| self.is_read(partition));
                let result = self.client.resume(&list(&partitions));
                self.report(result, "partitions could not be resumed");
            }
            Command::Committed(partitions, reply) => {
                self.queries.push(Query { partitions, reply, deadline });
            }
            Command::Stop => {}
        }
    }

    fn on_notice(&mut self, notice: Notice) {
        self.epoch += 1;
        match notice {
            Notice::Assign(partitions) => {
                self.client.context().taken_in();
                self.on_assign(partitions);
            }
            Notice::Revoke { partitions, lost } => self.on_revoke(partitions, lost),
        }
    }

    fn on_assign(&mut self, mut partitions: TopicPartitionList) {
        let names = names(&partitions);
        let result = self.take_over(&mut partitions);
        if self.report_fatal(result, "assigned partitions could not be taken over") {
            return;
        }
        let phase = match self.options.mode {
            Mode::Gated => Phase::Gated,
            Mode::Immediate => Phase::Reading { next: 0 },
        };
        for name in &names {
            self.set_phase(name, Some(phase));
        }
        if let Some(group) = self.membership() {
            (self.sink)(ConsumerEvent::Assigned { partitions: names, group });
        }
    }

    fn take_over(&self, partitions: &mut TopicPartitionList) -> KafkaResult<()> {
        match self.options.mode {
            // With an offset given, librdkafka does not ask for the committed one, which could
            // wait for an open transaction. What is fetched before the pause is thrown away.
            Mode::Gated => {
                partitions.set_all_offsets(Offset::Beginning)?;
                assign(&self.client, partitions)?;
                self.client.pause(partitions)
            }
            // A pause may have outlived an earlier assignment of the same partition.
            Mode::Immediate => {
                assign(&self.client, partitions)?;
                self.client.resume(partitions)
            }
        }
    }

    fn on_revoke(&mut self, partitions: TopicPartitionList, lost: bool) {
        let names = names(&partitions);
        // What has been fetched ahead must not reach a lane that is being closed.
        let result = self.client.pause(&partitions);
        self.report(result, "revoked partitions could not be paused");
        for name in &names {
            self.set_phase(name, Some(Phase::Held));
        }
        self.starts.retain(|start| !names.contains(&start.partition));
        self.held.push(Held::new(partitions, lost));
        if lost {
            let lost = LostPartitions::new(names, self.commands.clone());
            (self.sink)(ConsumerEvent::Lost(lost));
        } else if names.is_empty() {
            self.release(&[]);
        } else if let Some(group) = self.membership() {
            (self.sink)(ConsumerEvent::Revoked { partitions: names, group });
        }
    }

    fn release(&mut self, released: &[TopicPartition]) {
        let mut index = 0;
        while index < self.held.len() {
            if self.held[index].release(released) {
                let held = self.held.remove(index);
                self.give_up(&held);
            } else {
                index += 1;
            }
        }
    }

    fn give_up(&mut self, held: &Held) {
        for name in names(&held.partitions) {
            self.set_phase(&name, None);
        }
        let result = unassign(&self.client, &held.partitions);
        self.report_fatal(result, "revoked partitions could not be given up");
    }

    /// The membership as it is now: read at a notice, it belongs to the epoch of that notice,
    /// since the group does not go on before the notice has been answered.
    fn membership(&self) -> Option<Arc<GroupMetadata>> {
        let inner = self.client.group_metadata();
        if inner.is_none() {
            let text = "the group has no membership to write transactions under".into();
            (self.sink)(ConsumerEvent::Error { fatal: true, text });
        }
        inner.map(|inner| Arc::new(GroupMetadata::new(self.epoch, inner)))
    }

    /// Reads what is at hand, and hands it over as one batch.
    fn read(&mut self) {
        let mut batch = RecordBatch::default();
        let mut wait = POLL_WAIT;
        let ended = loop {
            let polled = self.client.poll(wait);
            // What follows that news is of the new topic, and not to be taken for the old one's.
            if self.client.context().made_anew().is_some() {
                break None;
            }
            match polled {
                None => break None,
                Some(Err(error)) => break Some(error),
                Some(Ok(message)) => {
                    // Only a partition that is read has records for anybody.
                    let phases = self.phases.get_mut(message.topic());
                    let phase = phases.and_then(|phases| phases.get_mut(&message.partition()));
                    if let Some(Phase::Reading { next }) = phase
                        && message.offset() >= *next
                    {
                        *next = message.offset() + 1;
                        batch.push(&message);
                    }
                }
            }
            if batch.len() >= self.options.batch_records_max
                || batch.bytes() >= self.options.batch_bytes_max
            {
                break None;
            }
            wait = Duration::ZERO;
        };
        self.polled = Instant::now();
        if !batch.is_empty() {
            (self.sink)(ConsumerEvent::Records(batch));
        }
        match ended {
            Some(error) if is_position_gone(&error) => self.on_position_gone(&error),
            Some(error) => self.on_poll_error(&error),
            None => {}
        }
    }

    /// Kafka has no record where a partition is to be read on: some were deleted, or the topic was
    /// made anew. Which partition it is librdkafka does not say. All are looked at again by the
    /// session that follows, which decides.
    fn on_position_gone(&self, error: &KafkaError) {
        let text = format!(
            "Kafka has no record at the position of a partition ({error}): records were deleted \
             before they were read, or the topic was made anew; where to go on is decided anew"
        );
        (self.sink)(ConsumerEvent::Error { fatal: true, text });
    }

    fn on_poll_error(&mut self, error: &KafkaError) {
        if let KafkaError::PartitionEOF(partition) = *error {
            let Some(topic) = &self.single else { return };
            let partition = TopicPartition { topic: Arc::clone(topic), partition };
            if self.is_read(&partition) {
                (self.sink)(ConsumerEvent::CaughtUp(partition));
            }
            return;
        }
        // The context has been told of it already, with a reason.
        match error {
            KafkaError::MessageConsumptionFatal(_) => {
                (self.sink)(ConsumerEvent::Error { fatal: true, text: error.to_string() });
            }
            KafkaError::MessageConsumption(code) => {
                self.reading.on_error(self.client.context(), *code);
            }
            _ => {}
        }
    }

    fn answer_queries(&mut self) {
        for query in std::mem::take(&mut self.queries) {
            match committed(&self.client, &query.partitions) {
                Ok(offsets) => (query.reply)(Ok(offsets)),
                Err(_) if Instant::now() < query.deadline => self.queries.push(query),
                Err(error) => (query.reply)(Err(error.to_string())),
            }
        }
    }

    fn pause_starts(&mut self, partitions: &[TopicPartition], is_paused: bool) {
        for start in self.starts.iter_mut().filter(|start| partitions.contains(&start.partition)) {
            start.is_paused = is_paused;
        }
    }

    fn begin_starts(&mut self) {
        for start in std::mem::take(&mut self.starts) {
            match self.phase(&start.partition) {
                Some(Phase::Gated | Phase::Reading { .. }) => {}
                Some(Phase::Held) | None => continue,
            }
            match begin(&self.client, &start) {
                Ok(next) => self.set_phase(&start.partition, Some(Phase::Reading { next })),
                Err(_) if Instant::now() < start.deadline => self.starts.push(start),
                Err(error) => {
                    let text = format!("reading of {} cannot start: {error}", start.partition);
                    (self.sink)(ConsumerEvent::Error { fatal: true, text });
                }
            }
        }
    }

    fn phase(&self, partition: &TopicPartition) -> Option<Phase> {
        self.phases.get(&partition.topic)?.get(&partition.partition).copied()
    }

    fn is_read(&self, partition: &TopicPartition) -> bool {
        matches!(self.phase(partition), Some(Phase::Reading { .. }))
    }

    fn set_phase(&mut self, name: &TopicPartition, phase: Option<Phase>) {
        let phases = self.phases.entry(Arc::clone(&name.topic)).or_default();
        match phase {
            Some(phase) => phases.insert(name.partition, phase),
            None => phases.remove(&name.partition),
        };
    }

    fn report(&self, result: KafkaResult<()>, what: &str) {
        if let Err(error) = result {
            let text = format!("{what}: {error}");
            (self.sink)(ConsumerEvent::Error { fatal: false, text });
        }
    }

    fn report_fatal(&self, result: KafkaResult<()>, what: &str) -> bool {
        let failed = result.is_err();
        if let Err(error) = result {
            let text = format!("{what}: {error}");
            (self.sink)(ConsumerEvent::Error { fatal: true, text });
        }
        failed
    }
}

/// The partitions that are read, and from where, as far as that is known.
fn places(client: &Client, phases: &BTreeMap<Arc<str>, BTreeMap<i32, Phase>>) -> Vec<Place> {
    let mut places = Vec::new();
    for (topic, partitions) in phases {
        for (partition, phase) in partitions {
            let Phase::Reading { next } = *phase else { continue };
            let partition = TopicPartition { topic: Arc::clone(topic), partition: *partition };
            let position = client.context().position(&partition);
            places.push((partition, position.or_else(|| (next > 0).then_some(next))));
        }
    }
    places
}

impl Drop for Member {
    /// librdkafka closes only once every notice has been answered.
    fn drop(&mut self) {
        let context = Arc::clone(self.client.context());
        context.close();
        for held in std::mem::take(&mut self.held) {
            self.give_up(&held);
        }
        // Closing alone leaves a member in the group that owns nothing, since it has just joined
        // or is about to: the others would wait for it until its session ends.
        self.client.unsubscribe();
        while let Some(notice) = context.next_notice() {
            let answer = match notice {
                Notice::Assign(partitions) => assign(&self.client, &partitions),
                Notice::Revoke { partitions, .. } => unassign(&self.client, &partitions),
            };
            self.report(answer, "a rebalance could not be answered while closing");
        }
    }
}
