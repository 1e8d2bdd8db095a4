//! Makes what leaves fit into a record, however large it is: a dead letter drops parts of the
//! record that it is about, an outcome shortens its texts. Both say so. At last each has a form
//! that fits into every topic, so that no record of anybody stops what comes behind it (I9).

use std::sync::Arc;

use super::headers::{self, DEAD_LETTER_REASON, Header};
use super::json::shorten;
use super::outcome::{self, OutcomeJson};
use crate::model::{Command, Verdict};

/// What frames a record and each of its headers on the wire, at most.
const FRAME_BYTES: usize = 128;
const HEADER_FRAME_BYTES: usize = 10;
/// What the headers take that say what was dropped.
const NOTES_BYTES: usize = 256;
/// Of the reason of a dead letter that has dropped all else.
const REASON_BYTES: usize = 256;
/// Headers of the record that a dead letter keeps at most. More than about 100,000 of them are read
/// as none by clients of librdkafka, so that nothing would say why the letter is there.
const HEADERS_MAX: usize = 10_000;
/// How long the texts of an outcome may be, ever shorter. With the last, the record has a
/// few kilobytes.
const TEXT_BYTES: [usize; 4] = [4_096, 1_024, 256, 64];
/// Refusals after which the smallest form is written.
const REFUSALS_MAX: u8 = 3;

/// A record that is to leave does not fit as a whole: how often that was seen, and how large it may
/// be now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    bytes_max: usize,
    refusals: u8,
}

impl Room {
    /// What the worker's own setting allows.
    #[must_use]
    pub const fn new(bytes_max: usize) -> Self {
        Self { bytes_max, refusals: 0 }
    }

    /// Bytes of a record at most; 0 for the smallest form that there is.
    #[must_use]
    pub const fn bytes_max(self) -> usize {
        self.bytes_max
    }

    /// A topic has refused a record of this size: much less next time, and after a few refusals as
    /// little as possible. `None` if that was refused too.
    #[must_use]
    pub fn less_than(self, bytes: usize) -> Option<Self> {
        let refusals = self.refusals + 1;
        let bytes_max = if refusals < REFUSALS_MAX { bytes.min(self.bytes_max) / 4 } else { 0 };
        (self.bytes_max > 0).then_some(Self { bytes_max, refusals })
    }
}

/// Bytes that a record takes on the wire, or a few more: its parts, with what frames them. A client
/// that refuses a record for its size counts no more than this.
pub fn record_bytes<'a>(
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: impl Iterator<Item = (&'a str, &'a [u8])>,
) -> usize {
    let headers: usize = headers.map(|(name, value)| header_bytes(name, value)).sum();
    key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len) + headers + FRAME_BYTES
}

const fn header_bytes(name: &str, value: &[u8]) -> usize {
    name.len() + value.len() + HEADER_FRAME_BYTES
}

/// A dead letter: the record that it is about, and the headers that say why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Letter {
    /// The record's key.
    pub key: Option<Vec<u8>>,
    /// The record's value.
    pub value: Option<Vec<u8>>,
    /// The record's own headers.
    pub headers: Vec<(Arc<str>, Vec<u8>)>,
    /// Ours.
    pub ours: Vec<(Arc<str>, Vec<u8>)>,
}

impl Letter {
    /// Bytes on the wire.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let headers = self.headers.iter().chain(&self.ours);
        let headers = headers.map(|(name, value)| (&**name, value.as_slice()));
        record_bytes(self.key.as_deref(), self.value.as_deref(), headers)
    }

    /// Drops what does not fit: first headers beyond the number that clients can read, then the
    /// value, the largest headers and the key; the value stays if it fits once the others are gone.
    /// `false` if all of it stays.
    pub fn fit(&mut self, room: Room) -> bool {
        let max = room.bytes_max();
        let whole = self.bytes();
        if whole <= max && self.headers.len() <= HEADERS_MAX {
            return false;
        }
        let max = max.saturating_sub(NOTES_BYTES);
        let beyond = self.drop_headers_beyond(HEADERS_MAX);
        let value = self.value.take();
        let large = if self.bytes() > max { self.drop_headers(max) } else { (0, 0) };
        let dropped = (beyond.0 + large.0, beyond.1 + large.1);
        let key = if self.bytes() > max { self.key.take() } else { None };
        let value = value.and_then(|value| {
            if self.bytes() + value.len() > max {
                return Some(value.len());
            }
            self.value = Some(value);
            None
        });
        let mut note = |name: &str, text: String| self.ours.push((name.into(), text.into_bytes()));
        if let Some(bytes) = value {
            note(headers::DEAD_LETTER_VALUE, format!("dropped, {bytes} bytes"));
        }
        if dropped.0 > 0 {
            let (count, bytes) = dropped;
            note(headers::DEAD_LETTER_HEADERS, format!("{count} dropped, {bytes} bytes"));
        }
        if let Some(key) = key {
            note(headers::DEAD_LETTER_KEY, format!("dropped, {} bytes", key.len()));
        }
        if self.bytes() > room.bytes_max() {
            self.shorten_reason();
        }
        self.bytes() != whole
    }

    /// The first ones stay. Gives how many went, and their bytes.
    fn drop_headers_beyond(&mut self, count: usize) -> (usize, usize) {
        let beyond = self.headers.split_off(count.min(self.headers.len()));
        let bytes = beyond.iter().map(|(name, value)| name.len() + value.len()).sum();
        (beyond.len(), bytes)
    }

    /// The largest go first. Gives how many went, and their bytes.
    fn drop_headers(&mut self, max: usize) -> (usize, usize) {
        let mut order: Vec<usize> = (0..self.headers.len()).collect();
        let len = |index: &usize| self.headers[*index].0.len() + self.headers[*index].1.len();
        order.sort_by_key(|index| std::cmp::Reverse(len(index)));
        let (mut total, mut dropped) = (self.bytes(), (0, 0));
        let mut goes = vec![false; self.headers.len()];
        for index in order {
            if total <= max {
                break;
            }
            goes[index] = true;
            dropped = (dropped.0 + 1, dropped.1 + len(&index));
            total -= len(&index) + HEADER_FRAME_BYTES;
        }
        let mut goes = goes.into_iter();
        self.headers.retain(|_| !goes.next().unwrap_or(false));
        dropped
    }

    fn shorten_reason(&mut self) {
        for (name, value) in &mut self.ours {
            if &**name == DEAD_LETTER_REASON {
                let text = String::from_utf8_lossy(value);
                *value = shorten(&text, REASON_BYTES).into_owned().into_bytes();
            }
        }
    }
}

/// An outcome, ready to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FittedOutcome {
    /// The record's key.
    pub key: String,
    /// The record's value.
    pub value: Vec<u8>,
    /// The record's headers.
    pub headers: Vec<(&'static str, String)>,
    /// Whether texts in it were shortened.
    pub is_shortened: bool,
}

impl FittedOutcome {
    fn bytes(&self) -> usize {
        let headers = self.headers.iter().map(|(name, value)| (*name, value.as_bytes()));
        record_bytes(Some(self.key.as_bytes()), Some(&self.value), headers)
    }
}

/// Encodes an outcome. If it does not fit, first what the API said is shortened, then every text
/// that somebody else gave; ids, status and times stay as they are.
#[must_use]
pub fn outcome(command: &Command, verdict: &Verdict, room: Room) -> FittedOutcome {
    let key = outcome::key(command);
    let whole = outcome_record(command, verdict, key, outcome::encode(command, verdict));
    let bytes = whole.bytes();
    if bytes <= room.bytes_max() {
        return whole;
    }
    let said = TEXT_BYTES[2];
    let shortest = TEXT_BYTES[3];
    let message = verdict.failure.as_ref().is_some_and(|failure| failure.message.len() > said);
    let mut forms =
        message.then_some((said, false)).into_iter().chain(TEXT_BYTES.map(|max| (max, true)));
    loop {
        let (max, all) = forms.next().unwrap_or((shortest, true));
        let json = OutcomeJson::new(command, verdict).shortened(max, all);
        let key = if all { short_key(&whole.key, max) } else { whole.key.clone() };
        let mut record = outcome_record(command, verdict, key, outcome::encode_json(&json));
        let note = format!("texts longer than {max} bytes; {bytes} bytes in all");
        record.headers.push((headers::OUTCOME_SHORTENED, note));
        record.is_shortened = true;
        if record.bytes() <= room.bytes_max() || (max == shortest && all) {
            return record;
        }
    }
}

fn outcome_record(
    command: &Command,
    verdict: &Verdict,
    key: String,
    value: Vec<u8>,
) -> FittedOutcome {
    let own = |(name, value): Header<'_>| (name, value.into_owned());
    let headers = headers::outcome(command, verdict, &key).into_iter().map(own).collect();
    FittedOutcome { headers, key, value, is_shortened: false }
}

/// Two long keys that differ stay two keys.
fn short_key(key: &str, max: usize) -> String {
    if key.len() <= max {
        return key.to_owned();
    }
    let digest = blake3::hash(key.as_bytes()).to_hex();
    format!("{}{}", shorten(key, max), &digest[..16])
}

#[cfg(test)]
mod tests;
