//! CloudEvents 1.0 over Kafka: names of the headers, and the attributes that a record brings.
//!
//! In binary mode the attributes are headers prefixed `ce_`; in structured mode they are members
//! of a JSON envelope around the event. Header values that are not UTF-8 count as absent.

use std::borrow::Cow;

/// Version of the specification, the only one there is in use.
pub const SPEC_VERSION: &str = "1.0";
/// Content type of a structured event; a charset may follow.
pub const STRUCTURED: &str = "application/cloudevents+json";
/// Content type of several events in one value.
const BATCH: &str = "application/cloudevents-batch+json";

/// What the names of the attributes' headers begin with: on Kafka, and over HTTP.
const CE: &str = "ce_";
const CE_OF_HTTP: &str = "ce-";

/// Header of the specification's version.
pub const CE_SPECVERSION: &str = "ce_specversion";
/// Header of the event's id.
pub const CE_ID: &str = "ce_id";
/// Header of the producer.
pub const CE_SOURCE: &str = "ce_source";
/// Header of the event's type.
pub const CE_TYPE: &str = "ce_type";
/// Header of what the event is about.
pub const CE_SUBJECT: &str = "ce_subject";
/// Header of the event's time.
pub const CE_TIME: &str = "ce_time";
/// Header of the value's media type.
pub const CONTENT_TYPE: &str = "content-type";
/// Header of the W3C trace context.
pub const TRACEPARENT: &str = "traceparent";
/// The same as a CloudEvents extension in binary mode.
pub const CE_TRACEPARENT: &str = "ce_traceparent";

/// The attributes of an event that this worker reads, from headers or from an envelope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes<'a> {
    /// Event id.
    pub id: Option<Cow<'a, str>>,
    /// Event type.
    pub kind: Option<Cow<'a, str>>,
    /// When it happened.
    pub time: Option<Cow<'a, str>>,
    /// W3C trace context, not validated.
    pub traceparent: Option<Cow<'a, str>>,
    /// Whether the content type says that the value is an envelope.
    pub is_structured: bool,
    /// Whether the content type says that the value is a list of envelopes.
    pub is_batch: bool,
    /// Headers of id, type and time that are there more than once and contradict each other.
    pub contradictions: Vec<&'static str>,
}

impl<'a> Attributes<'a> {
    /// Reads the headers of a record; of a repeated one the last counts, unless it contradicts.
    ///
    /// Names are taken in the spelling of HTTP (`ce-type`) and in capitals, too, and values in
    /// quotation marks, as serializers write them that make JSON of every header.
    #[must_use]
    pub fn from_headers(headers: &[(&'a str, &'a [u8])]) -> Self {
        let mut found = Self::default();
        let mut extension = None;
        for (name, value) in headers {
            let (name, value) = (*name, *value);
            if name.eq_ignore_ascii_case(CONTENT_TYPE) {
                let value = text(value).unwrap_or_default();
                let starts = |with: &str| {
                    value.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with))
                };
                (found.is_structured, found.is_batch) = (starts(STRUCTURED), starts(BATCH));
            } else if name.eq_ignore_ascii_case(TRACEPARENT) {
                found.traceparent = text(value);
            } else if is(name, CE_TRACEPARENT) {
                extension = text(value);
            } else if is(name, CE_ID) {
                found.set(CE_ID, |found| &mut found.id, text(value));
            } else if is(name, CE_TYPE) {
                found.set(CE_TYPE, |found| &mut found.kind, text(value));
            } else if is(name, CE_TIME) {
                found.set(CE_TIME, |found| &mut found.time, text(value));
            }
        }
        found.traceparent = found.traceparent.or(extension);
        found
    }

    /// Sets an attribute, and notes whether it had another value before.
    fn set(
        &mut self,
        name: &'static str,
        field: impl Fn(&mut Self) -> &mut Option<Cow<'a, str>>,
        value: Option<Cow<'a, str>>,
    ) {
        let before = field(self).take();
        if before.is_some() && value.is_some() && before != value {
            self.contradictions.push(name);
        }
        *field(self) = value.or(before);
    }
}

/// Whether a header is the one of this name, with `_` or `-` behind `ce`.
fn is(name: &str, of: &str) -> bool {
    let Some((prefix, rest)) = name.split_at_checked(CE.len()) else { return false };
    (prefix.eq_ignore_ascii_case(CE) || prefix.eq_ignore_ascii_case(CE_OF_HTTP))
        && of.strip_prefix(CE).is_some_and(|expected| rest.eq_ignore_ascii_case(expected))
}

/// The value of a header, trimmed and without quotation marks; none if it is blank.
fn text(value: &[u8]) -> Option<Cow<'_, str>> {
    let text = str::from_utf8(value).ok()?.trim();
    let text = if text.len() > 1 && text.starts_with('"') && text.ends_with('"') {
        match serde_json::from_str::<String>(text) {
            Ok(inner) => Cow::Owned(inner.trim().to_owned()),
            Err(_) => Cow::Borrowed(text),
        }
    } else {
        Cow::Borrowed(text)
    };
    Some(text).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_and_others_ignored() {
        let found = Attributes::from_headers(&[
            ("ce_id", b" e-1 "),
            ("ce_type", b"\xff"),
            ("ce_time", b""),
            ("ce_traceparent", b"x"),
            ("Content-Type", b"application/CloudEvents+json; charset=utf-8"),
            ("other", b"y"),
            ("ce", b"y"),
            ("ce_", b"y"),
            ("cé_id", b"y"),
        ]);
        let expected = Attributes {
            id: Some("e-1".into()),
            traceparent: Some("x".into()),
            is_structured: true,
            ..Default::default()
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn names_in_the_spelling_of_http_and_quoted_values_are_read() {
        let found = Attributes::from_headers(&[
            ("ce-id", b"\"e-1\""),
            ("CE_TYPE", b"\"com.example.order.sale.v1\""),
            ("Ce-Time", b"\"2026-05-04T08:00:00Z\""),
            ("traceparent", b"\"00-1\""),
            ("content-type", b"\"application/cloudevents-batch+json\""),
        ]);
        let expected = Attributes {
            id: Some("e-1".into()),
            kind: Some("com.example.order.sale.v1".into()),
            time: Some("2026-05-04T08:00:00Z".into()),
            traceparent: Some("00-1".into()),
            is_batch: true,
            ..Default::default()
        };
        assert_eq!(found, expected);
        for (value, expected) in [("\"", "\""), ("\"a", "\"a"), ("\"a\"b\"", "\"a\"b\"")] {
            assert_eq!(text(value.as_bytes()).as_deref(), Some(expected));
        }
        assert_eq!(text(b"\" \""), None);
    }

    #[test]
    fn a_header_that_is_there_twice_may_not_contradict_itself() {
        let found = Attributes::from_headers(&[
            ("ce_id", b"a"),
            ("ce_id", b"a"),
            ("ce_type", b"x.sale.v1"),
            ("ce-type", b"x.return.v1"),
            ("ce_time", b"\xff"),
            ("ce_time", b"t"),
        ]);
        assert_eq!(found.contradictions, [CE_TYPE]);
        assert_eq!((found.id.as_deref(), found.time.as_deref()), (Some("a"), Some("t")));
    }
}
