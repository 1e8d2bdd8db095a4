//! Records as they are handed over: many at once, in one piece of memory.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use rdkafka::message::{BorrowedMessage, Headers, Message};

/// Records of one reading, in the order in which they were read. Their bytes lie side by side,
/// since an allocation for every key, payload and header costs more than reading them.
#[derive(Clone, Default)]
pub struct RecordBatch {
    bytes: Vec<u8>,
    records: Vec<Entry>,
    headers: Vec<HeaderEntry>,
    topics: Vec<Arc<str>>,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    start: usize,
    end: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    topic: usize,
    partition: i32,
    offset: i64,
    timestamp_ms: Option<i64>,
    key: Option<Span>,
    payload: Option<Span>,
    headers_start: usize,
    headers_end: usize,
    headers_unreadable: bool,
}

#[derive(Clone, Copy, Debug)]
struct HeaderEntry {
    name: Span,
    value: Option<Span>,
}

/// One record of a batch.
#[derive(Clone, Copy)]
pub struct RecordView<'a> {
    batch: &'a RecordBatch,
    entry: &'a Entry,
}

/// Shows no contents: they hold full device ids.
impl fmt::Debug for RecordBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordBatch")
            .field("records", &self.records.len())
            .field("bytes", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

impl RecordBatch {
    /// How many records there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Bytes of all keys, payloads and headers.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes that it takes in memory.
    pub fn memory(&self) -> usize {
        self.bytes.capacity()
            + self.records.capacity() * size_of::<Entry>()
            + self.headers.capacity() * size_of::<HeaderEntry>()
    }

    /// One of the records.
    pub fn get(&self, place: usize) -> Option<RecordView<'_>> {
        self.records.get(place).map(|entry| RecordView { batch: self, entry })
    }

    /// The records in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = RecordView<'_>> {
        self.records.iter().map(|entry| RecordView { batch: self, entry })
    }

    pub(super) fn push(&mut self, message: &BorrowedMessage<'_>) {
        let topic = self.topic(message.topic());
        let key = message.key().map(|key| self.append(key));
        let payload = message.payload().map(|payload| self.append(payload));
        let headers_start = self.headers.len();
        // rdkafka panics on a header name that is not UTF-8. A record from outside must not end
        // the process: it would come again after every restart.
        let read = catch_unwind(AssertUnwindSafe(|| self.append_headers(message)));
        self.records.push(Entry {
            topic,
            partition: message.partition(),
            offset: message.offset(),
            timestamp_ms: message.timestamp().to_millis(),
            key,
            payload,
            headers_start,
            headers_end: self.headers.len(),
            headers_unreadable: read.is_err(),
        });
    }

    fn append_headers(&mut self, message: &BorrowedMessage<'_>) {
        for header in message.headers().into_iter().flat_map(Headers::iter) {
            let name = self.append(header.key.as_bytes());
            let value = header.value.map(|value| self.append(value));
            self.headers.push(HeaderEntry { name, value });
        }
    }

    /// There are few topics, and the last one is nearly always the next one.
    fn topic(&mut self, name: &str) -> usize {
        if let Some(known) = self.topics.iter().rposition(|topic| &**topic == name) {
            return known;
        }
        self.topics.push(name.into());
        self.topics.len() - 1
    }

    fn append(&mut self, bytes: &[u8]) -> Span {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        Span { start, end: self.bytes.len() }
    }

    fn slice(&self, span: Span) -> &[u8] {
        &self.bytes[span.start..span.end]
    }
}

impl<'a> RecordView<'a> {
    /// The topic.
    pub fn topic(&self) -> &'a Arc<str> {
        &self.batch.topics[self.entry.topic]
    }

    /// The partition.
    pub fn partition(&self) -> i32 {
        self.entry.partition
    }

    /// The offset.
    pub fn offset(&self) -> i64 {
        self.entry.offset
    }

    /// When it was written, in milliseconds since 1970, if the record says so.
    pub fn timestamp_ms(&self) -> Option<i64> {
        self.entry.timestamp_ms
    }

    /// The key, if it has one.
    pub fn key(&self) -> Option<&'a [u8]> {
        self.entry.key.map(|span| self.batch.slice(span))
    }

    /// The payload; a record without one is a tombstone.
    pub fn payload(&self) -> Option<&'a [u8]> {
        self.entry.payload.map(|span| self.batch.slice(span))
    }

    /// Whether a header's name is not UTF-8; that header and those after it are missing then.
    pub fn headers_unreadable(&self) -> bool {
        self.entry.headers_unreadable
    }

    /// The headers in order; names may repeat.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, Option<&'a [u8]>)> + use<'a> {
        let batch = self.batch;
        batch.headers[self.entry.headers_start..self.entry.headers_end].iter().map(move |header| {
            let name = str::from_utf8(batch.slice(header.name)).unwrap_or_default();
            (name, header.value.map(|span| batch.slice(span)))
        })
    }
}
