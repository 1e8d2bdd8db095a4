//! CloudEvents 1.0 over Kafka: names of the headers, and the attributes that a record brings.
//!
//! In binary mode the attributes are headers prefixed `ce_`; in structured mode they are members
//! of a JSON envelope around the event. Header values that are not UTF-8 count as absent.

use std::borrow::Cow;

/// Version of the specification, the only one there is in use.
pub const SPEC_VERSION: &str = "1.0";
/// Content type of a structured event; a charset may follow.
pub const STRUCTURED: &str = "application/cloudevents+json";

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
}

impl<'a> Attributes<'a> {
    /// Reads the headers of a record; of a repeated one the last counts.
    #[must_use]
    pub fn from_headers(headers: &[(&'a str, &'a [u8])]) -> Self {
        let mut found = Self::default();
        let mut extension = None;
        for (name, value) in headers {
            let text = || {
                let text = str::from_utf8(value).ok().map(str::trim)?;
                Some(text).filter(|text| !text.is_empty()).map(Cow::Borrowed)
            };
            match *name {
                CE_ID => found.id = text(),
                CE_TYPE => found.kind = text(),
                CE_TIME => found.time = text(),
                TRACEPARENT => found.traceparent = text(),
                CE_TRACEPARENT => extension = text(),
                name if name.eq_ignore_ascii_case(CONTENT_TYPE) => {
                    found.is_structured = text().is_some_and(|value| {
                        let start = value.as_bytes().get(..STRUCTURED.len());
                        start.is_some_and(|s| s.eq_ignore_ascii_case(STRUCTURED.as_bytes()))
                    });
                }
                _ => {}
            }
        }
        found.traceparent = found.traceparent.or(extension);
        found
    }
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
        ]);
        let expected = Attributes {
            id: Some("e-1".into()),
            traceparent: Some("x".into()),
            is_structured: true,
            ..Default::default()
        };
        assert_eq!(found, expected);
    }
}
