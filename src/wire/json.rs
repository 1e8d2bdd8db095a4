//! What the JSON of all topics has in common: how times look, and how a parser's complaint is told.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

/// Stands in schemas for a time: RFC 3339.
pub(crate) struct DateTime;

impl JsonSchema for DateTime {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "DateTime".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time" })
    }
}

/// The `version` of a record, whatever else it holds.
pub(crate) fn version_of(bytes: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u64,
    }
    serde_json::from_slice::<Versioned>(bytes).ok().map(|record| record.version)
}

/// A parser's message without the values it quotes, since those may be hardware ids (I10).
pub(crate) fn complaint(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let mut parts = text.split('"');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    // The place in the text follows the last quote.
    if let Some(end) = parts.next_back() {
        plain.push('…');
        plain.push_str(end);
    }
    shorten(&plain, 200).into_owned()
}

/// At most `max` bytes of a text, with an ellipsis if that is not all.
pub(crate) fn shorten(text: &str, max: usize) -> Cow<'_, str> {
    if text.len() <= max {
        return Cow::Borrowed(text);
    }
    let end = (0..=max).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    Cow::Owned(format!("{}…", &text[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_quote_no_values() {
        let error = serde_json::from_str::<u32>(r#""490154203237518""#).unwrap_err();
        assert!(error.to_string().contains("490154203237518"));
        assert!(!complaint(&error).contains("490154203237518"));
        assert!(complaint(&error).contains("line 1"), "{}", complaint(&error));
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(shorten("äöü", 3), "ä…");
        assert_eq!(shorten("äöü", 6), "äöü");
    }
}
