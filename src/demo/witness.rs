//! Reads the worker's topics from outside, as any subscriber would, and remembers what it saw.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::broker::PARTITIONS;
use super::summary::LatencyRecorder;
use crate::model::{BatchState, Source};
use crate::shell::Topics;
use crate::verify::{CommandSeen, DeadLetterSeen, History, KeyText, OutcomeSeen, WatermarkSeen};
use crate::wire;
use crate::wire::headers::{
    DEAD_LETTER_CLASS, DEAD_LETTER_OFFSET, DEAD_LETTER_PARTITION, DEAD_LETTER_TOPIC,
};

/// The watermark of each lane, as last committed.
pub(crate) type Watermarks = Arc<Mutex<BTreeMap<i32, i64>>>;

/// What was read.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) history: History,
    pub(super) latency: LatencyRecorder,
    /// When each command of the history was read.
    pub(super) command_times: Vec<Instant>,
    /// When each outcome of the history was read.
    pub(super) outcome_times: Vec<Instant>,
    /// Operations that the ledger or an outcome names.
    pub(super) named: BTreeSet<String>,
}

/// The reading thread.
pub(super) struct Witness {
    thread: std::thread::JoinHandle<Result<Seen>>,
    stop: Arc<AtomicBool>,
    commands: Arc<AtomicU64>,
    outcomes: Arc<AtomicU64>,
}

const POLL: Duration = Duration::from_millis(20);
const ASK: Duration = Duration::from_secs(10);

impl Witness {
    /// Begins to read everything from the beginning.
    pub(super) fn start(servers: &str, topics: &Topics, watermarks: Watermarks) -> Result<Self> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", servers)
            .set("group.id", "zerotouch-demo-witness")
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed")
            .set("auto.offset.reset", "earliest")
            .create()
            .context("making the witness's consumer")?;
        let mut assignment = TopicPartitionList::new();
        for topic in [&topics.commands, &topics.ledger, &topics.outcomes, &topics.dead_letters] {
            for partition in 0..PARTITIONS {
                assignment.add_partition_offset(topic, partition, Offset::Beginning)?;
            }
        }
        consumer.assign(&assignment)?;
        let stop = Arc::new(AtomicBool::new(false));
        let (commands, outcomes) = (Arc::default(), Arc::default());
        let mut reader = Reader {
            consumer,
            topics: topics.clone(),
            watermarks,
            seen: Seen::default(),
            ends: BTreeMap::new(),
            positions: BTreeMap::new(),
            commands: Arc::clone(&commands),
            outcomes: Arc::clone(&outcomes),
            shown: BTreeMap::new(),
        };
        let stopping = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("witness".into())
            .spawn(move || reader.run(&stopping).map(|()| reader.seen))?;
        Ok(Self { thread, stop, commands, outcomes })
    }

    /// Commands read so far.
    pub(super) fn commands(&self) -> u64 {
        self.commands.load(Ordering::SeqCst)
    }

    /// Outcomes read so far.
    pub(super) fn outcomes(&self) -> u64 {
        self.outcomes.load(Ordering::SeqCst)
    }

    /// Reads to the ends and gives everything back.
    pub(super) fn finish(self) -> Result<Seen> {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().map_err(|_| anyhow::anyhow!("the witness panicked"))?
    }

    /// Whether it has stopped although nobody asked.
    pub(super) fn has_failed(&self) -> bool {
        self.thread.is_finished()
    }
}

struct Reader {
    consumer: BaseConsumer,
    topics: Topics,
    watermarks: Watermarks,
    seen: Seen,
    /// Ends to be reached before the watermarks taken before them are noted.
    ends: BTreeMap<i32, i64>,
    positions: BTreeMap<i32, i64>,
    commands: Arc<AtomicU64>,
    outcomes: Arc<AtomicU64>,
    shown: BTreeMap<i32, i64>,
}

impl Reader {
    fn run(&mut self, stop: &AtomicBool) -> Result<()> {
        loop {
            let last = stop.load(Ordering::SeqCst);
            // The committed offsets first, then the ends of the outcomes: whatever the offsets
            // promise must be found below those ends.
            let taken = self.watermarks.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let topic = Arc::clone(&self.topics.outcomes);
            for partition in 0..PARTITIONS {
                let (_, end) = self.consumer.fetch_watermarks(&topic, partition, ASK)?;
                self.ends.insert(partition, end);
            }
            self.read_to_ends()?;
            self.note(taken);
            if last {
                return self.drain();
            }
        }
    }

    /// Reads until the outcomes are read up to the ends; other topics come along.
    fn read_to_ends(&mut self) -> Result<()> {
        let mut idle = 0;
        loop {
            let reached = self.ends.iter().all(|(partition, end)| {
                self.positions.get(partition).copied().unwrap_or(0) >= *end
            });
            let is_idle = !self.read_some()?;
            idle = if is_idle { idle + 1 } else { 0 };
            // The last offsets of a partition may be transaction markers, which no reader sees:
            // then nothing comes for a while and that was all.
            if (reached && is_idle) || idle >= 50 {
                return Ok(());
            }
        }
    }

    fn drain(&mut self) -> Result<()> {
        let mut idle = 0;
        while idle < 25 {
            idle = if self.read_some()? { 0 } else { idle + 1 };
        }
        Ok(())
    }

    fn read_some(&mut self) -> Result<bool> {
        let mut wait = POLL;
        let mut any = false;
        for _ in 0..5_000 {
            let Some(message) = self.consumer.poll(wait) else { break };
            wait = Duration::ZERO;
            any = true;
            let message = message.context("reading the worker's topics")?;
            note_message(&self.topics, &mut self.seen, &message)?;
            if message.topic() == &*self.topics.outcomes {
                self.positions.insert(message.partition(), message.offset() + 1);
            }
        }
        let history = &self.seen.history;
        self.commands.store(history.commands.len() as u64, Ordering::SeqCst);
        self.outcomes.store(history.outcomes.len() as u64, Ordering::SeqCst);
        Ok(any)
    }

    fn note(&mut self, watermarks: BTreeMap<i32, i64>) {
        let outcomes_visible = self.seen.history.outcomes.len();
        for (partition, committed) in watermarks {
            if self.shown.insert(partition, committed) != Some(committed) {
                let seen = WatermarkSeen { partition, committed, outcomes_visible };
                self.seen.history.watermarks.push(seen);
            }
        }
    }
}

fn note_message(topics: &Topics, seen: &mut Seen, message: &BorrowedMessage<'_>) -> Result<()> {
    let payload = message.payload().unwrap_or_default();
    let topic = message.topic();
    let history = &mut seen.history;
    if topic == &*topics.commands {
        let command = wire::command::decode(payload).context("reading a command")?;
        seen.command_times.push(Instant::now());
        history.commands.push(CommandSeen {
            partition: message.partition(),
            offset: message.offset(),
            command_id: command.id(),
            device: key(message),
            action: command.action,
            cause: command.cause,
            customer: command.customer,
            metadata: command.metadata,
            order_id: command.order_id,
        });
    } else if topic == &*topics.outcomes {
        let outcome = wire::outcome::decode(payload).context("reading an outcome")?;
        seen.outcome_times.push(Instant::now());
        seen.named.extend(outcome.operation.as_deref().map(str::to_owned));
        let waited = outcome.times.completed_at.duration_since(outcome.times.received_at);
        seen.latency.record(Duration::try_from(waited).unwrap_or_default());
        let code = outcome.failure.as_ref().map(|failure| failure.code);
        let is_input = code.is_some_and(|code| code.as_str().starts_with("input."));
        history.outcomes.push(OutcomeSeen {
            outcome_id: outcome.outcome_id,
            command_id: outcome.command_id,
            device: (!is_input).then(|| key(message)),
            action: outcome.action,
            status: outcome.status,
            code,
            decided_by: outcome.decided_by,
        });
    } else if topic == &*topics.ledger {
        let record = message.payload().map(wire::ledger::decode_value).transpose();
        let record = record.context("reading the ledger")?;
        if let Some(BatchState::Accepted { operation }) = record.map(|record| record.state) {
            seen.named.insert(operation.to_string());
        }
    } else {
        history.dead_letters.push(DeadLetterSeen {
            source: Source {
                topic: header(message, DEAD_LETTER_TOPIC),
                partition: header(message, DEAD_LETTER_PARTITION).parse()?,
                offset: header(message, DEAD_LETTER_OFFSET).parse()?,
            },
            reason: header(message, DEAD_LETTER_CLASS),
        });
    }
    Ok(())
}

fn key(message: &BorrowedMessage<'_>) -> KeyText {
    String::from_utf8_lossy(message.key().unwrap_or_default()).into_owned().into()
}

fn header(message: &BorrowedMessage<'_>, name: &str) -> String {
    let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
    let value = headers.filter(|header| header.key == name).last().and_then(|header| header.value);
    String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
}
