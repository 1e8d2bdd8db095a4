//! Writes the stream of orders, no faster than the worker reads it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp as WallTime;
use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message as _, OwnedHeaders, Timestamp};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};

use super::scenario::Item;

/// Partition, offset and time (in ms since 1970) of a record.
pub(super) type Place = (i32, i64, i64);
/// Where each order record stands, in the order in which they were written.
pub(super) type Places = Vec<Place>;

/// Records written and not yet read at most: the embedded broker keeps only 5 MiB a partition.
const AHEAD_MAX: u64 = 2_000;
const WAIT: Duration = Duration::from_millis(10);
const FLUSH: Duration = Duration::from_secs(30);
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Writes all items; blocks until the broker has them. Counts them in `written`, and writes no
/// more than `lines_per_second` order lines if told so. `read` tells how many records were read.
pub(super) fn write(
    (servers, topic): (&str, &str),
    items: impl Iterator<Item = Item>,
    lines_per_second: Option<f64>,
    read: &dyn Fn() -> u64,
    written: &Written,
) -> Result<Places> {
    let began = Instant::now();
    let producer: BaseProducer<Deliveries> = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("enable.idempotence", "true")
        .set("linger.ms", "5")
        .create_with_context(Deliveries::default())
        .context("making the producer of the orders")?;
    let mut count = 0;
    for item in items {
        let due = lines_per_second.map_or(0.0, |rate| written.lines.get() as f64 / rate);
        while count >= read().saturating_add(AHEAD_MAX) || began.elapsed().as_secs_f64() < due {
            producer.poll(WAIT);
            producer.context().check()?;
            written.check()?;
        }
        send(&producer, topic, &item, count)?;
        count += 1;
        written.orders.set(count);
        written.lines.add(item.lines as u64);
        written.devices.add(item.sold as u64);
    }
    producer.flush(FLUSH).context("writing the last orders")?;
    producer.context().check()?;
    let mut places = std::mem::take(&mut producer.context().lock().places);
    places.sort_unstable();
    Ok(places.into_iter().map(|(_, place)| place).collect())
}

/// How far the stream is.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) orders: crate::shell::Count,
    pub(super) lines: crate::shell::Count,
    /// Sold for the first time.
    pub(super) devices: crate::shell::Count,
    stopped: AtomicBool,
}

impl Written {
    /// Nobody waits for the rest.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }

    fn check(&self) -> Result<()> {
        if self.stopped.load(Ordering::SeqCst) {
            bail!("told to stop writing orders")
        } else {
            Ok(())
        }
    }
}

fn send(producer: &BaseProducer<Deliveries>, topic: &str, item: &Item, index: u64) -> Result<()> {
    let mut headers = OwnedHeaders::new_with_capacity(item.headers.len());
    for (key, value) in &item.headers {
        headers = headers.insert(Header { key, value: Some(value) });
    }
    let sent_at = WallTime::now().as_millisecond();
    let mut record = BaseRecord::with_opaque_to(topic, Box::new((index, sent_at)))
        .timestamp(sent_at)
        .key(&item.key)
        .payload(&item.payload)
        .headers(headers);
    loop {
        record = match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                producer.poll(WAIT);
                back
            }
            Err((error, _)) => return Err(error).context("writing an order"),
        };
    }
}

/// Notes where each record went.
#[derive(Default)]
struct Deliveries {
    state: Arc<Mutex<Delivered>>,
}

#[derive(Default)]
struct Delivered {
    places: Vec<(u64, Place)>,
    failed: Option<String>,
}

impl Deliveries {
    fn lock(&self) -> std::sync::MutexGuard<'_, Delivered> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self) -> Result<()> {
        match &self.lock().failed {
            Some(reason) => bail!("an order was not written: {reason}"),
            None => Ok(()),
        }
    }
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    /// A record's number, and its time in ms.
    type DeliveryOpaque = Box<(u64, i64)>;

    fn delivery(&self, result: &DeliveryResult<'_>, record: Box<(u64, i64)>) {
        let (index, sent_at) = *record;
        let mut state = self.lock();
        match result {
            Ok(message) => {
                // A broker may put its own time into a record. The embedded one only says so, and
                // says a time of 1970.
                let recorded_at = match message.timestamp() {
                    Timestamp::LogAppendTime(appended_at) if appended_at > DAY_MS => appended_at,
                    _ => sent_at,
                };
                let place = (message.partition(), message.offset(), recorded_at);
                state.places.push((index, place));
            }
            Err((error, _)) => state.failed = Some(error.to_string()),
        }
    }
}
