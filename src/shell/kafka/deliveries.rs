//! A producer whose delivery reports are waited for without asking for them again and again.
//!
//! The client's own `poll` runs for its whole time whatever comes in, and spins for the last
//! millisecond of it. So a thread of its own serves it, in long steps, and whoever waits for a
//! report sleeps until the report wakes it.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, Producer, ProducerContext};

use super::client::{log_error, log_line};
use super::complaints::Worst;
use crate::shell::lock::locked;

/// How long one step of serving takes. A little more than whole milliseconds: the client waits for
/// whole ones and spins for the rest.
const SERVE: Duration = Duration::from_micros(200_050);
/// Bytes of records that are on their way at once, at most; one record may pass it. The client
/// holds them until they are delivered.
pub(super) const UNDER_WAY_BYTES: usize = 4 << 20;
/// What the client takes for a record beside its bytes.
const RECORD_OVERHEAD: usize = 256;
/// Between two looks at whether the client has cleared a report away that was heard.
const CLEARING: Duration = Duration::from_micros(100);
/// librdkafka's mark of the line that names a partition which cannot be added to a transaction.
const ADD_PARTITIONS: &str = "ADDPARTS";

/// A record that was not delivered.
#[derive(Clone, Debug)]
pub(super) struct Failed {
    pub(super) index: usize,
    pub(super) bytes: usize,
    pub(super) topic: String,
    pub(super) code: RDKafkaErrorCode,
}

/// How far the records of the present transaction are.
#[derive(Debug, Default)]
struct State {
    records: usize,
    bytes: usize,
    /// Who waits is to be woken once no more bytes than these are on their way.
    awaited: Option<usize>,
    /// The first failure that says why. What the client purges after it says nothing.
    first: Option<Failed>,
    /// The largest record that was refused for its size.
    too_large: Option<Failed>,
}

impl State {
    fn has_failed(&self) -> bool {
        self.first.is_some()
    }

    fn note(&mut self, failed: Failed) {
        if is_too_large(failed.code)
            && self.too_large.as_ref().is_none_or(|known| known.bytes < failed.bytes)
        {
            self.too_large = Some(failed.clone());
        }
        if self.first.as_ref().is_none_or(|known| is_purge(known.code) && !is_purge(failed.code)) {
            self.first = Some(failed);
        }
    }
}

/// Hears of delivered records, and of those that were not.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    state: Mutex<State>,
    changed: Condvar,
    worst: Mutex<Worst>,
    /// The topic that could last not be added to a transaction.
    not_added: Mutex<Option<String>>,
}

impl Deliveries {
    /// An error, with what the client complained of beside.
    pub(super) fn explained(&self, error: &KafkaError) -> String {
        locked(&self.worst).explained(error)
    }

    /// A transaction begins; nothing of an earlier one is on its way.
    pub(super) fn begin(&self) {
        *locked(&self.state) = State::default();
        *locked(&self.not_added) = None;
    }

    /// Waits until a record of this size may be sent. `false` if one has failed, or there was no
    /// room in time.
    pub(super) fn wait_for_room(&self, bytes: usize, deadline: Instant) -> bool {
        let mut state = locked(&self.state);
        let fits = |state: &State| state.bytes == 0 || state.bytes + bytes <= UNDER_WAY_BYTES;
        if !fits(&state) {
            // Not for each record that leaves.
            let enough = (UNDER_WAY_BYTES / 2).saturating_sub(bytes);
            state = self.wait(state, deadline, enough, true);
        }
        !state.has_failed() && fits(&state)
    }

    /// A record is being handed to the client.
    pub(super) fn sending(&self, bytes: usize) {
        let mut state = locked(&self.state);
        state.records += 1;
        state.bytes += bytes + RECORD_OVERHEAD;
    }

    /// The client has not taken it.
    pub(super) fn not_sent(&self, bytes: usize) {
        self.done(bytes, None);
    }

    fn done(&self, bytes: usize, failed: Option<Failed>) {
        let mut state = locked(&self.state);
        state.records = state.records.saturating_sub(1);
        state.bytes = state.bytes.saturating_sub(bytes + RECORD_OVERHEAD);
        let is_told = failed.is_some() || state.awaited.is_some_and(|most| state.bytes <= most);
        if let Some(failed) = failed {
            state.note(failed);
        }
        drop(state);
        if is_told {
            self.changed.notify_all();
        }
    }

    /// Waits until nothing is on its way, or something has failed, if that is asked for.
    pub(super) fn wait_for_all(&self, deadline: Instant, until_failure: bool) {
        drop(self.wait(locked(&self.state), deadline, 0, until_failure));
    }

    fn wait<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        deadline: Instant,
        most: usize,
        until_failure: bool,
    ) -> MutexGuard<'a, State> {
        while state.bytes > most && !(until_failure && state.has_failed()) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state.awaited = Some(most);
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.awaited = None;
        state
    }

    /// What has failed so far: the first record that says why, and the largest that is too large.
    pub(super) fn failed(&self) -> (Option<Failed>, Option<Failed>) {
        let state = locked(&self.state);
        (state.first.clone(), state.too_large.clone())
    }

    /// The topic that could not be added to the transaction, if the client named one.
    pub(super) fn not_added(&self) -> Option<String> {
        locked(&self.not_added).clone()
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if facility == ADD_PARTITIONS
            && let Some(topic) = named_topic(message)
        {
            *locked(&self.not_added) = Some(topic.to_owned());
        }
        log_line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_error(&error, reason);
        let mut worst = locked(&self.worst);
        worst.note(&error, reason, Instant::now());
    }
}

impl ProducerContext for Deliveries {
    /// See [`ticket`].
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: usize) {
        let (index, bytes) = opened(ticket);
        let failed = result.as_ref().err().map(|(error, message)| Failed {
            index,
            bytes,
            topic: message.topic().to_owned(),
            code: error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail),
        });
        self.done(bytes, failed);
    }
}

const HALF: u32 = usize::BITS / 2;

/// A record's place in its transaction and its bytes, in the one word that goes with it and comes
/// back with its report.
pub(super) fn ticket(index: usize, bytes: usize) -> usize {
    let most = (1 << HALF) - 1;
    index.min(most) << HALF | bytes.min(most)
}

fn opened(ticket: usize) -> (usize, usize) {
    (ticket >> HALF, ticket & ((1 << HALF) - 1))
}

/// The topic in `… partition "topic" [0] …`.
fn named_topic(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("partition \"")?;
    rest.split_once('"').map(|(topic, _)| topic)
}

pub(super) fn is_too_large(code: RDKafkaErrorCode) -> bool {
    matches!(code, RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::MessageBatchTooLarge)
}

pub(super) fn is_purge(code: RDKafkaErrorCode) -> bool {
    matches!(code, RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight)
}

/// A producer that is served by a thread of its own, until it is dropped.
pub(super) struct Client {
    producer: Arc<BaseProducer<Deliveries>>,
    over: Arc<AtomicBool>,
    serving: Option<JoinHandle<()>>,
}

impl Client {
    pub(super) fn new(config: &ClientConfig) -> Result<Self, String> {
        let producer = config.create_with_context(Deliveries::default());
        let producer: Arc<BaseProducer<Deliveries>> =
            Arc::new(producer.map_err(|error| error.to_string())?);
        let over = Arc::new(AtomicBool::new(false));
        let (served, until) = (Arc::clone(&producer), Arc::clone(&over));
        let serving = thread::Builder::new().name("kafka-reports".into()).spawn(move || {
            while !until.load(Ordering::Relaxed) {
                served.poll(SERVE);
            }
        });
        let serving = Some(serving.map_err(|error| error.to_string())?);
        Ok(Self { producer, over, serving })
    }

    /// Waits until nothing is on its way, or something has failed, if that is asked for. `false`
    /// if something still is on its way.
    pub(super) fn drain(&self, deadline: Instant, until_failure: bool) -> bool {
        let deliveries = self.context();
        deliveries.wait_for_all(deadline, until_failure);
        // A report is heard a moment before the client has cleared it away, and the commit waits
        // in steps of 100 ms for what is not.
        while self.in_flight_count() > 0 && Instant::now() < deadline {
            if locked(&deliveries.state).records > 0 {
                return false;
            }
            thread::sleep(CLEARING);
        }
        self.in_flight_count() == 0
    }

    /// What the client listens to.
    pub(super) fn context(&self) -> &Deliveries {
        self.producer.context()
    }
}

impl Deref for Client {
    type Target = BaseProducer<Deliveries>;

    fn deref(&self) -> &Self::Target {
        &self.producer
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if self.serving.take().is_some_and(|serving| serving.join().is_err()) {
            tracing::error!("the thread that serves a Kafka producer has panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(index: usize, bytes: usize, code: RDKafkaErrorCode) -> Failed {
        Failed { index, bytes, topic: format!("topic {index}"), code }
    }

    #[test]
    fn a_ticket_says_place_and_bytes() {
        assert_eq!(opened(ticket(19_999, 1_000_512)), (19_999, 1_000_512));
        assert_eq!(opened(ticket(0, 0)), (0, 0));
    }

    #[test]
    fn the_first_failure_that_says_why_is_kept_and_a_purge_says_nothing() {
        use RDKafkaErrorCode::{MessageSizeTooLarge, PurgeQueue, TopicAuthorizationFailed};
        let mut state = State::default();
        state.note(failed(0, 10, PurgeQueue));
        assert_eq!(state.first.as_ref().unwrap().index, 0);
        state.note(failed(1, 10, TopicAuthorizationFailed));
        state.note(failed(2, 10, PurgeQueue));
        state.note(failed(3, 10, MessageSizeTooLarge));
        state.note(failed(4, 30, MessageSizeTooLarge));
        state.note(failed(5, 20, MessageSizeTooLarge));
        assert_eq!((state.first.unwrap().index, state.too_large.unwrap().index), (1, 4));
    }

    #[test]
    fn a_record_waits_for_room_and_one_alone_always_has_it() {
        let deliveries = Deliveries::default();
        let soon = || Instant::now() + Duration::from_millis(20);
        assert!(deliveries.wait_for_room(usize::MAX / 2, soon()), "nothing else is on its way");
        deliveries.sending(UNDER_WAY_BYTES);
        assert!(!deliveries.wait_for_room(1, soon()));
        thread::scope(|scope| {
            let waiting = scope
                .spawn(|| deliveries.wait_for_room(1, Instant::now() + Duration::from_secs(30)));
            deliveries.done(UNDER_WAY_BYTES, None);
            assert!(waiting.join().unwrap());
        });
        deliveries.sending(1);
        deliveries.done(1, Some(failed(0, 1, RDKafkaErrorCode::Fail)));
        assert!(!deliveries.wait_for_room(1, soon()), "one has failed");
        deliveries.begin();
        assert!(deliveries.wait_for_room(1, soon()));
    }

    #[test]
    fn the_line_that_names_a_topic_is_understood_and_others_are_not() {
        let line =
            r#"[thrd:main]: localhost:9092/1: Failed to add partition "a.b" [3] to transaction"#;
        assert_eq!(named_topic(line), Some("a.b"));
        assert_eq!(named_topic("nothing of the kind"), None);
        assert_eq!(named_topic("partition \"never ends"), None);
    }
}
