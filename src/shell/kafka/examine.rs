//! A look at what a consumer cannot read, made beside it with a client of its own.
//!
//! librdkafka tells of an error once, and its binding keeps neither topic nor partition of it. So
//! an error is only the reason to look: each topic is asked for, each partition is fetched from
//! where it is read. It is looked again until all can be read.

use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::TopicPartition;
use super::client::{ClientError, KafkaOptions, Role, config, log_line, refused};
use super::rights::Right;
use super::troubles::{Found, Trouble, Troubles, of_fetch};
use crate::shell::lock::locked;

/// After an error: others may come with it.
const SOON: Duration = Duration::from_millis(200);
/// Between two looks while something cannot be read.
const AGAIN: Duration = Duration::from_secs(5);
const POLL_WAIT: Duration = Duration::from_millis(50);

/// A partition, and from where it is read if that is known.
pub(super) type Place = (TopicPartition, Option<i64>);

/// Keeps the last complaint: it has the words that the error has not.
#[derive(Debug, Default)]
struct Heard(Mutex<String>);

impl ClientContext for Heard {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_line(level, facility, message);
    }

    fn error(&self, _: KafkaError, reason: &str) {
        reason.clone_into(&mut locked(&self.0));
    }
}

impl ConsumerContext for Heard {}

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) troubles: Vec<Trouble>,
    /// Whether everything gave an answer.
    pub(super) is_whole: bool,
}

/// A client that reads nothing but to see whether it can. Its calls block.
pub(super) struct Eye {
    client: BaseConsumer<Heard>,
    /// How long one answer is waited for.
    limit: Duration,
}

impl Eye {
    pub(super) fn new(options: &KafkaOptions) -> Result<Self, ClientError> {
        let client = config(options, Role::Reader)?
            .create_with_context(Heard::default())
            .map_err(|error| refused("reading check", &error))?;
        Ok(Self { client, limit: options.request_timeout })
    }

    /// Whether a topic is there, and may be seen.
    pub(super) fn topic(&self, topic: &str) -> Found {
        let Ok(metadata) = self.client.fetch_metadata(Some(topic), self.limit) else {
            return Found::Unknown;
        };
        let asked = metadata.topics().iter().find(|found| found.name() == topic);
        match asked.map(|found| found.error().map(Code::from)) {
            Some(None) => Found::Readable,
            Some(Some(Code::TopicAuthorizationFailed)) => {
                Found::Trouble(Trouble::NoRight(Right::describe(topic)))
            }
            None | Some(Some(Code::UnknownTopicOrPartition | Code::UnknownTopic)) => {
                Found::Trouble(Trouble::Gone { topic: topic.to_owned() })
            }
            Some(Some(_)) => Found::Unknown,
        }
    }

    /// Where a partition ends.
    fn end(&self, partition: &TopicPartition) -> Option<i64> {
        let TopicPartition { topic, partition } = partition;
        self.client.fetch_watermarks(topic, *partition, self.limit).ok().map(|(_, end)| end)
    }

    /// Whether a partition can be read from `position` on; without one, at its end.
    pub(super) fn partition(&self, partition: &TopicPartition, position: Option<i64>) -> Found {
        let offset = position.map_or(Offset::End, Offset::Offset);
        let mut list = TopicPartitionList::with_capacity(1);
        let assigned = list
            .add_partition_offset(&partition.topic, partition.partition, offset)
            .and_then(|()| self.client.assign(&list));
        if assigned.is_err() {
            return Found::Unknown;
        }
        let deadline = Instant::now() + self.limit;
        while Instant::now() < deadline {
            match self.client.poll(POLL_WAIT) {
                None => {}
                // What was fetched before the assignment is of another partition.
                Some(Ok(message))
                    if (message.topic(), message.partition())
                        != (&*partition.topic, partition.partition) => {}
                Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) => return Found::Readable,
                Some(Err(error)) => match error.rdkafka_error_code() {
                    // It may be read; from where is another question.
                    Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => {
                        return Found::Readable;
                    }
                    Some(code) => {
                        let reason = locked(&self.client.context().0).clone();
                        let at = position.unwrap_or_default();
                        match of_fetch(code, partition, at, &reason) {
                            Found::Unknown => {}
                            found => return found,
                        }
                    }
                    None => {}
                },
            }
        }
        Found::Unknown
    }
}

/// The first offset behind `from` at which `fails` is not true, if it is true at `from`, stays so
/// for a while, and is not at `end`; none if somewhere there is no answer.
fn first_behind(from: i64, end: i64, fails: impl Fn(i64) -> Option<bool>) -> Option<i64> {
    let (mut low, mut high) = (from, end);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if fails(middle)? { low = middle } else { high = middle }
    }
    (high > from).then_some(high)
}

/// Whether these words of librdkafka name a batch by its own first offset: then all offsets of it
/// fail in the same words, and no other batch does. Other words name the offset that was asked for,
/// or none: with them, readable records between two damaged places would not be seen.
fn name_their_batch(reason: &str) -> bool {
    ["Decompression (codec ", "MessageSet at offset "].iter().any(|words| reason.contains(words))
}

/// The trouble, with where the partition can be read again if that can be found for certain.
/// Brokers give a batch as a whole, from whichever offset in it is asked for.
fn with_next(eye: &Eye, trouble: Trouble, known: &[Trouble]) -> Trouble {
    let Trouble::Unreadable { partition, position, reason, .. } = &trouble else { return trouble };
    // It was looked for already.
    let is_same = |one: &&Trouble| {
        matches!(one, Trouble::Unreadable { partition: p, position: o, reason: r, .. }
            if (p, o, r) == (partition, position, reason))
    };
    if let Some(known) = known.iter().find(is_same) {
        return known.clone();
    }
    let end = name_their_batch(reason).then(|| eye.end(partition)).flatten();
    let next = end.and_then(|end| {
        first_behind(*position, end, |offset| match eye.partition(partition, Some(offset)) {
            Found::Unknown => None,
            Found::Readable => Some(false),
            Found::Trouble(Trouble::Unreadable { reason: found, .. }) => Some(found == *reason),
            Found::Trouble(_) => None,
        })
    });
    let (partition, position, reason) = (partition.clone(), *position, reason.clone());
    Trouble::Unreadable { partition, position, next, reason }
}

/// Looks at topics, and at those partitions of them that are read. Blocks.
fn look(options: &KafkaOptions, topics: &[Arc<str>], places: &[Place], known: &[Trouble]) -> Look {
    let Ok(eye) = Eye::new(options) else { return Look::default() };
    let mut look = Look { troubles: Vec::new(), is_whole: true };
    for topic in topics {
        match eye.topic(topic) {
            Found::Trouble(trouble) => {
                look.troubles.push(trouble);
                continue;
            }
            Found::Unknown => {
                look.is_whole = false;
                continue;
            }
            Found::Readable => {}
        }
        for (partition, position) in places.iter().filter(|(place, _)| place.topic == *topic) {
            match eye.partition(partition, *position) {
                Found::Readable => {}
                Found::Unknown => look.is_whole = false,
                Found::Trouble(trouble) => {
                    // What is true of the topic is so of all of its partitions.
                    let is_of_topic = !matches!(trouble, Trouble::Unreadable { .. });
                    look.troubles.push(with_next(&eye, trouble, known));
                    if is_of_topic {
                        break;
                    }
                }
            }
        }
    }
    look
}

/// When it is looked, and what was seen.
pub(super) struct Examiner {
    options: KafkaOptions,
    topics: Vec<Arc<str>>,
    due: Option<Instant>,
    running: Option<Receiver<Look>>,
}

impl Examiner {
    pub(super) fn new(options: &KafkaOptions, topics: &[&str]) -> Self {
        let topics = topics.iter().map(|topic| Arc::from(*topic)).collect();
        Self { options: options.clone(), topics, due: None, running: None }
    }

    /// Something could not be read.
    pub(super) fn want(&mut self, now: Instant) {
        let soon = now + SOON;
        self.due = Some(self.due.map_or(soon, |due| due.min(soon)));
    }

    /// To be called often: begins a look when it is due, and takes in what was seen. True if the
    /// troubles may have changed.
    pub(super) fn turn(
        &mut self,
        now: Instant,
        troubles: &mut Troubles,
        places: impl FnOnce() -> Vec<Place>,
    ) -> bool {
        if let Some(running) = &self.running {
            let look = match running.try_recv() {
                Ok(look) => look,
                Err(TryRecvError::Empty) => return false,
                Err(TryRecvError::Disconnected) => Look::default(),
            };
            self.running = None;
            let is_of_topics = |trouble: &Trouble| !trouble.is_of_group();
            if look.is_whole {
                troubles.replace(look.troubles, is_of_topics, now);
            } else {
                look.troubles.into_iter().for_each(|trouble| troubles.add(trouble, now));
                self.due = Some(now + AGAIN);
            }
            if troubles.get().iter().any(is_of_topics) {
                self.due = Some(now + AGAIN);
            }
            troubles.tell(now);
            return true;
        }
        if self.due.is_some_and(|due| due <= now) {
            self.due = None;
            self.begin(places(), troubles.get());
        }
        false
    }

    fn begin(&mut self, places: Vec<Place>, known: Vec<Trouble>) {
        let (seen, running) = mpsc::channel();
        let (options, topics) = (self.options.clone(), self.topics.clone());
        let began = thread::Builder::new().name("kafka-look".into()).spawn(move || {
            let _ = seen.send(look(&options, &topics, &places, &known));
        });
        match began {
            Ok(_) => self.running = Some(running),
            Err(error) => tracing::warn!(%error, "no thread to look at what cannot be read"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_what_cannot_be_read_is_found_by_asking_few_offsets() {
        for (end_of_batch, end) in [(95, 95), (95, 96), (96, 1_000_000), (1, 5)] {
            let asked = std::cell::Cell::new(0);
            let fails = |offset| {
                asked.set(asked.get() + 1);
                Some(offset < end_of_batch)
            };
            assert_eq!(first_behind(0, end, fails), Some(end_of_batch));
            assert!(asked.get() <= 20, "{}", asked.get());
        }
        assert_eq!(first_behind(0, 95, |_| None), None, "no answer is no news");
        assert_eq!(first_behind(7, 7, |_| Some(true)), None, "there is nothing behind it");
    }

    #[test]
    fn only_words_that_name_a_batch_tell_it_from_others() {
        for reason in [
            "Decompression (codec 0x4) of message at 17 of 8410 bytes failed: Local: Invalid \
             compressed data",
            "MessageSet at offset 17 (120 bytes) failed CRC32C check (original 0x1 != 0x2)",
        ] {
            assert!(name_their_batch(reason), "{reason}");
        }
        for reason in [
            "Fetch from broker 1 failed: Broker: Invalid message",
            "Fetch from broker 1 failed at offset 18 (leader epoch 0): Broker: Invalid message",
            "Message at offset 18 might be too large to fetch, try increasing \
             receive.message.max.bytes",
            "",
        ] {
            assert!(!name_their_batch(reason), "{reason}");
        }
    }

    #[test]
    fn it_is_looked_soon_after_an_error_and_again_until_all_can_be_read() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut examiner = Examiner::new(&KafkaOptions::default(), &["orders"]);
        let mut troubles = Troubles::new("z.intake".into());
        let gone = Trouble::Gone { topic: "orders".into() };
        let mut seen = |examiner: &mut Examiner, look: Look, millis| {
            let (told, running) = mpsc::channel();
            told.send(look).unwrap();
            examiner.running = Some(running);
            assert!(examiner.turn(at(millis), &mut troubles, Vec::new));
            troubles.get()
        };
        examiner.want(at(0));
        examiner.want(at(100));
        assert_eq!(examiner.due, Some(at(200)), "the first error decides");
        examiner.due = None;
        let found = Look { troubles: vec![gone.clone()], is_whole: true };
        assert_eq!(seen(&mut examiner, found, 1_000), std::slice::from_ref(&gone));
        assert_eq!(examiner.due, Some(at(6_000)));
        examiner.due = None;
        let unknown = seen(&mut examiner, Look::default(), 7_000);
        assert_eq!(unknown, [gone], "no answer is no news");
        assert_eq!(examiner.due, Some(at(12_000)));
        examiner.due = None;
        let fine = Look { troubles: Vec::new(), is_whole: true };
        assert_eq!(seen(&mut examiner, fine, 13_000), []);
        assert_eq!(examiner.due, None);
    }
}
