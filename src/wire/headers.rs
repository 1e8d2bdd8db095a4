//! Kafka headers that this worker writes: CloudEvents of outcomes, the reason of dead letters, and
//! the W3C trace context that ties them to the order event.
//!
//! Everything here is derived from the record at hand, so that a replay writes the same bytes.

use std::borrow::Cow;
use std::fmt;

use super::cloud_events::{
    CE_ID, CE_SOURCE, CE_SPECVERSION, CE_SUBJECT, CE_TIME, CE_TYPE, CONTENT_TYPE, SPEC_VERSION,
    TRACEPARENT,
};
use opentelemetry::trace::{SpanId, TraceFlags, TraceId};

use crate::model::{Action, Command, DeadLetter, OutcomeId, Source, Verdict};

/// A header: its name and its text.
pub type Header<'a> = (&'static str, Cow<'a, str>);

/// `ce_source` of every outcome.
pub const OUTCOME_SOURCE: &str = "/zerotouch-worker";

/// `ce_type` of the outcomes of an action; the last segment is the version of the contract.
#[must_use]
pub const fn outcome_type(action: Action) -> &'static str {
    match action {
        Action::Claim => "io.zerotouch-worker.outcome.claim.v1",
        Action::Unclaim => "io.zerotouch-worker.outcome.unclaim.v1",
        Action::UpdateMetadata => "io.zerotouch-worker.outcome.update_metadata.v1",
    }
}

/// Headers of an outcome. `key` is the record's key, see [`super::outcome::key`].
///
/// Its span is that of [`outcome_trace`].
#[must_use]
pub fn outcome<'a>(command: &Command, verdict: &Verdict, key: &'a str) -> [Header<'a>; 8] {
    let id = OutcomeId::from(command.id());
    [
        (CE_SPECVERSION, Cow::Borrowed(SPEC_VERSION)),
        (CE_ID, Cow::Owned(id.to_string())),
        (CE_SOURCE, Cow::Borrowed(OUTCOME_SOURCE)),
        (CE_TYPE, Cow::Borrowed(outcome_type(command.action))),
        (CE_SUBJECT, Cow::Borrowed(key)),
        (CE_TIME, Cow::Owned(verdict.completed_at.to_string())),
        (CONTENT_TYPE, Cow::Borrowed("application/json")),
        (TRACEPARENT, Cow::Owned(outcome_trace(command).to_string())),
    ]
}

/// The span that an outcome names: below the command's, derived from the outcome id.
#[must_use]
pub fn outcome_trace(command: &Command) -> TraceParent {
    let parent = command.traceparent.as_deref().and_then(TraceParent::parse);
    let trace = parent.unwrap_or_else(|| TraceParent::root(&command.source));
    trace.child(OutcomeId::from(command.id()).0.as_bytes())
}

/// Prefix of every header of a dead letter. The record's own headers go before them, without any
/// that already has this prefix (a dead letter that was sent again and refused again).
pub const DEAD_LETTER_PREFIX: &str = "dead-letter-";
/// Class of the error: a [`crate::model::DeadLetterReason`].
pub const DEAD_LETTER_CLASS: &str = "dead-letter-class";
/// What is wrong, for a person.
pub const DEAD_LETTER_REASON: &str = "dead-letter-reason";
/// Topic the record was read from.
pub const DEAD_LETTER_TOPIC: &str = "dead-letter-source-topic";
/// Partition the record was read from.
pub const DEAD_LETTER_PARTITION: &str = "dead-letter-source-partition";
/// Offset the record was read at.
pub const DEAD_LETTER_OFFSET: &str = "dead-letter-source-offset";
/// The record's own timestamp, RFC 3339; absent if it had none.
pub const DEAD_LETTER_TIMESTAMP: &str = "dead-letter-source-timestamp";
/// When the worker refused the record, RFC 3339.
pub const DEAD_LETTER_TIME: &str = "dead-letter-time";

/// That the value was dropped since the record did not fit, and how long it was; absent if not.
pub const DEAD_LETTER_VALUE: &str = "dead-letter-value";
/// The same for headers of the record: how many, and their bytes.
pub const DEAD_LETTER_HEADERS: &str = "dead-letter-headers";
/// The same for the key.
pub const DEAD_LETTER_KEY: &str = "dead-letter-key";

/// That texts in an outcome were shortened since the record did not fit; absent if not.
pub const OUTCOME_SHORTENED: &str = "outcome-shortened";

/// Headers that a dead letter has beside the record's own.
pub fn dead_letter(letter: &DeadLetter) -> impl Iterator<Item = Header<'_>> {
    let DeadLetter { rejection, source, recorded_at, rejected_at } = letter;
    [
        Some((DEAD_LETTER_CLASS, Cow::Borrowed(rejection.reason.as_str()))),
        Some((DEAD_LETTER_REASON, Cow::Borrowed(rejection.message.as_str()))),
        Some((DEAD_LETTER_TOPIC, Cow::Borrowed(source.topic.as_str()))),
        Some((DEAD_LETTER_PARTITION, Cow::Owned(source.partition.to_string()))),
        Some((DEAD_LETTER_OFFSET, Cow::Owned(source.offset.to_string()))),
        recorded_at.map(|time| (DEAD_LETTER_TIMESTAMP, Cow::Owned(time.to_string()))),
        Some((DEAD_LETTER_TIME, Cow::Owned(rejected_at.to_string()))),
    ]
    .into_iter()
    .flatten()
}

/// A W3C trace context, `traceparent` level 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// Never the invalid one.
    pub trace_id: TraceId,
    /// Never the invalid one.
    pub span_id: SpanId,
    /// Bit 0: sampled.
    pub flags: TraceFlags,
}

impl TraceParent {
    /// Parses the header's text. `None` if it is not well-formed; then the trace starts anew, as
    /// the specification wants it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (head, rest) = text.split_at_checked(55)?;
        let mut fields = head.split('-');
        let mut field = |len: usize| {
            let digits = fields.next()?;
            let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            (digits.len() == len && digits.bytes().all(is_hex)).then_some(digits)
        };
        let version = field(2)?;
        // A later version may append fields, but begins like version 0.
        let is_known = version == "00" && rest.is_empty();
        let is_later =
            !matches!(version, "00" | "ff") && (rest.is_empty() || rest.starts_with('-'));
        let trace_id = TraceId::from_hex(field(32)?).ok()?;
        let span_id = SpanId::from_hex(field(16)?).ok()?;
        let flags = TraceFlags::new(u8::from_str_radix(field(2)?, 16).ok()?);
        let is_valid = trace_id != TraceId::INVALID && span_id != SpanId::INVALID;
        (is_valid && (is_known || is_later)).then_some(Self { trace_id, span_id, flags })
    }

    /// The trace of a record that brought none; sampled, and the same in every run.
    #[must_use]
    pub fn root(source: &Source) -> Self {
        let Source { topic, partition, offset } = source;
        Self::of(&format!("{topic}/{partition}/{offset}"))
    }

    /// The trace and span of something with a name; sampled, and the same in every run.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let digest = blake3::hash(name.as_bytes());
        let mut trace = [0; 16];
        trace.copy_from_slice(&digest.as_bytes()[..16]);
        // A digest of nothing but zeros would be the invalid id.
        trace[15] |= u8::from(trace == [0; 16]);
        let span_id = span(&digest.as_bytes()[16..]);
        Self { trace_id: TraceId::from_bytes(trace), span_id, flags: TraceFlags::SAMPLED }
    }

    /// A span below this one; the same seed gives the same span.
    #[must_use]
    pub fn child(&self, seed: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        let _ = hasher.update(&self.span_id.to_bytes()).update(seed);
        Self { span_id: span(hasher.finalize().as_bytes()), ..*self }
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.trace_id, self.span_id, self.flags.to_u8())
    }
}

fn span(digest: &[u8]) -> SpanId {
    let mut span = [0; 8];
    span.copy_from_slice(&digest[..8]);
    span[7] |= u8::from(span == [0; 8]);
    SpanId::from_bytes(span)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{DeadLetterReason, Rejection};

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn source() -> Source {
        Source { topic: "orders".into(), partition: 3, offset: 42 }
    }

    #[test]
    fn a_trace_context_is_read_and_written_unchanged() {
        assert_eq!(TraceParent::parse(GIVEN).unwrap().to_string(), GIVEN);
    }

    #[test]
    fn malformed_trace_contexts_are_refused_and_later_versions_understood() {
        for bad in [
            "",
            &GIVEN[..54],
            &format!("{GIVEN}-x"),
            &GIVEN.replace("4bf9", "4BF9"),
            &GIVEN.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &GIVEN.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &GIVEN.replacen("00", "ff", 1),
            &GIVEN.replace('-', "_"),
            &"ä".repeat(40),
        ] {
            assert_eq!(TraceParent::parse(bad), None, "{bad}");
        }
        assert!(TraceParent::parse(&format!("{}-x", GIVEN.replacen("00", "01", 1))).is_some());
        assert!(TraceParent::parse(&format!("{}x", GIVEN.replacen("00", "01", 1))).is_none());
    }

    #[test]
    fn a_child_keeps_the_trace_and_differs_by_its_seed() {
        let parent = TraceParent::parse(GIVEN).unwrap();
        let (a, b) = (parent.child(b"a"), parent.child(b"b"));
        assert_eq!((a.trace_id, a.flags), (parent.trace_id, parent.flags));
        assert!(a.span_id != b.span_id && a.span_id != parent.span_id);
        assert_eq!(a, parent.child(b"a"));
    }

    #[test]
    fn a_root_is_the_same_in_every_run() {
        // A literal, since a replay by another version must agree too.
        let expected = "00-0b41c32e0165ef5134cd7adcd4a85eb7-081afe5497a998f5-01";
        assert_eq!(TraceParent::root(&source()).to_string(), expected);
    }

    #[test]
    fn a_dead_letter_says_what_where_and_when() {
        let letter = DeadLetter {
            rejection: Rejection::new(DeadLetterReason::NotJson, "the value is not JSON: …"),
            source: source(),
            recorded_at: None,
            rejected_at: "2026-05-04T08:00:00Z".parse().unwrap(),
        };
        let headers: Vec<_> = dead_letter(&letter).map(|(n, v)| format!("{n}: {v}")).collect();
        let expected = [
            "dead-letter-class: not_json",
            "dead-letter-reason: the value is not JSON: …",
            "dead-letter-source-topic: orders",
            "dead-letter-source-partition: 3",
            "dead-letter-source-offset: 42",
            "dead-letter-time: 2026-05-04T08:00:00Z",
        ];
        assert_eq!(headers, expected);
        assert!(headers.iter().all(|header| header.starts_with(DEAD_LETTER_PREFIX)));
    }

    proptest! {
        #[test]
        fn any_text_is_a_trace_context_or_not(text in "\\PC{0,80}") {
            if let Some(trace) = TraceParent::parse(&text) {
                prop_assert_eq!(TraceParent::parse(&trace.to_string()), Some(trace));
            }
        }
    }
}
