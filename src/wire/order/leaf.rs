//! One JSON value where the contract has a single value, a customer or metadata: never an error.
//!
//! A wrong type must harm one device or be told as one reason, so it is kept as a finding instead
//! of stopping the parser. Nested garbage is skipped without recursion, however deep it is.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::repair::HALF;
use crate::model::{METADATA_BYTES_MAX, Metadata};

/// Bytes of a single text at most. Texts of the event are repeated in each of its commands.
pub(super) const TEXT_BYTES_MAX: usize = 1_024;

/// Up to here every integer has a floating point number of its own.
const WHOLE_MAX: f64 = 9_007_199_254_740_991.0;

/// A text of which a part is lost.
const BROKEN: &str = "broken text (an escape such as \\ud83d without its other half)";

/// A value where text or an integer may stand.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Leaf {
    /// Not there, or null.
    #[default]
    Absent,
    /// Text, trimmed and not blank.
    Text(String),
    /// An integer, as decimal text.
    Integer(String),
    /// Anything else; the words complete "is …, needs …".
    Wrong(&'static str),
}

impl Leaf {
    fn text(text: &str) -> Self {
        let text = text.trim();
        if text.is_empty() {
            Self::Absent
        } else if text.contains(HALF) {
            Self::Wrong(BROKEN)
        } else if text.len() > TEXT_BYTES_MAX {
            Self::Wrong("longer than 1024 bytes")
        } else {
            Self::Text(text.to_owned())
        }
    }

    /// The text, or what is there instead.
    pub(super) fn into_text(self) -> Result<Option<String>, &'static str> {
        match self {
            Self::Absent => Ok(None),
            Self::Text(text) => Ok(Some(text)),
            Self::Integer(_) => Err("a number"),
            Self::Wrong(what) => Err(what),
        }
    }

    /// The text, an integer being text too, or what is there instead.
    pub(super) fn into_text_or_integer(self) -> Result<Option<String>, &'static str> {
        match self {
            Self::Integer(text) => Ok(Some(text)),
            other => other.into_text(),
        }
    }
}

impl<'de> Deserialize<'de> for Leaf {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LeafVisitor)
    }
}

struct LeafVisitor;

impl<'de> Visitor<'de> for LeafVisitor {
    type Value = Leaf;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Leaf, E> {
        Ok(Leaf::Absent)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Leaf, E> {
        Ok(Leaf::Wrong("true or false"))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Leaf, E> {
        Ok(Leaf::Integer(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Leaf, E> {
        Ok(Leaf::Integer(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Leaf, E> {
        // As JSON Schema has it, 1e3 and 1000.0 are integers. Beyond the bound digits are lost.
        Ok(if value.fract() == 0.0 && value.abs() <= WHOLE_MAX {
            Leaf::Integer((value as i64).to_string())
        } else {
            Leaf::Wrong("a fractional or too large number")
        })
    }

    fn visit_str<E>(self, value: &str) -> Result<Leaf, E> {
        Ok(Leaf::text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Leaf, A::Error> {
        skip_list(seq)?;
        Ok(Leaf::Wrong("a list"))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Leaf, A::Error> {
        skip_object(map)?;
        Ok(Leaf::Wrong("an object"))
    }
}

/// Reads a list to its end.
pub(super) fn skip_list<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<(), A::Error> {
    while seq.next_element::<IgnoredAny>()?.is_some() {}
    Ok(())
}

/// Reads an object to its end.
pub(super) fn skip_object<'de, A: MapAccess<'de>>(mut map: A) -> Result<(), A::Error> {
    while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
    Ok(())
}

/// Implements what a visitor does with values that are neither an object nor a list: null
/// is `$null`, of text it makes what `$text` says, the rest is wrong.
macro_rules! scalars_are_wrong {
    ($value:ty, $null:expr) => {
        scalars_are_wrong!($value, $null, |_| <$value>::wrong("text"));
    };
    ($value:ty, $null:expr, $text:expr) => {
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("any value")
        }

        fn visit_unit<E>(self) -> Result<$value, E> {
            Ok($null)
        }

        fn visit_bool<E>(self, _: bool) -> Result<$value, E> {
            Ok(<$value>::wrong("true or false"))
        }

        fn visit_i64<E>(self, _: i64) -> Result<$value, E> {
            Ok(<$value>::wrong("a number"))
        }

        fn visit_u64<E>(self, _: u64) -> Result<$value, E> {
            Ok(<$value>::wrong("a number"))
        }

        fn visit_f64<E>(self, _: f64) -> Result<$value, E> {
            Ok(<$value>::wrong("a number"))
        }

        fn visit_str<E>(self, text: &str) -> Result<$value, E> {
            let of_text: fn(&str) -> $value = $text;
            Ok(of_text(text))
        }
    };
}
pub(super) use scalars_are_wrong;

/// A value where metadata may stand.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum MetadataField {
    /// Not there, or null.
    #[default]
    Absent,
    /// Text under text keys.
    Given(Metadata),
    /// Anything else; a whole sentence.
    Wrong(String),
}

impl MetadataField {
    fn wrong(what: &'static str) -> Self {
        Self::Wrong(format!("metadata is {what}, needs to be an object of texts"))
    }

    /// The metadata, or what is wrong with it.
    pub(super) fn into_metadata(self) -> Result<Metadata, String> {
        match self {
            Self::Absent => Ok(Metadata::new()),
            Self::Given(metadata) => Ok(metadata),
            Self::Wrong(what) => Err(what),
        }
    }
}

impl<'de> Deserialize<'de> for MetadataField {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MetadataVisitor)
    }
}

struct MetadataVisitor;

impl<'de> Visitor<'de> for MetadataVisitor {
    type Value = MetadataField;

    scalars_are_wrong!(MetadataField, MetadataField::Absent);

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<MetadataField, A::Error> {
        skip_list(seq)?;
        Ok(MetadataField::wrong("a list"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<MetadataField, A::Error> {
        let mut metadata = Metadata::new();
        let mut bytes = 0;
        while let Some(key) = map.next_key::<String>()? {
            let value: MetadataValue = map.next_value()?;
            let fault = match value {
                MetadataValue::Absent => continue,
                _ if key.is_empty() => "metadata has an empty key".to_owned(),
                _ if key.contains(HALF) => format!("a metadata key is {BROKEN}"),
                MetadataValue::Wrong(what) => {
                    let key = crate::wire::json::shorten(&key, 64);
                    format!("metadata value of {key:?} is {what}, needs to be text")
                }
                MetadataValue::Text(value) => {
                    bytes += key.len() + value.len();
                    if bytes <= METADATA_BYTES_MAX {
                        let _ = metadata.insert(key, value);
                        continue;
                    }
                    format!("metadata is larger than {METADATA_BYTES_MAX} bytes")
                }
            };
            skip_object(map)?;
            return Ok(MetadataField::Wrong(fault));
        }
        Ok(MetadataField::Given(metadata))
    }
}

/// A value of the metadata.
enum MetadataValue {
    /// Null: as if the key were not there.
    Absent,
    /// Text exactly as given; an empty one deletes its key.
    Text(String),
    /// Anything else.
    Wrong(&'static str),
}

impl MetadataValue {
    fn wrong(what: &'static str) -> Self {
        Self::Wrong(what)
    }

    fn text(text: &str) -> Self {
        if text.contains(HALF) { Self::Wrong(BROKEN) } else { Self::Text(text.to_owned()) }
    }
}

impl<'de> Deserialize<'de> for MetadataValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = MetadataValue;

    scalars_are_wrong!(MetadataValue, MetadataValue::Absent, MetadataValue::text);

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<MetadataValue, A::Error> {
        skip_list(seq)?;
        Ok(MetadataValue::Wrong("a list"))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<MetadataValue, A::Error> {
        skip_object(map)?;
        Ok(MetadataValue::Wrong("an object"))
    }
}
