//! Values that people write with a unit or must not see again: durations, byte sizes, secrets.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::SignedDuration;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use secrecy::SecretString;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::engine::StartFrom;

/// Why a duration or a byte size cannot be read; the caller knows the value and the bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("neither number and unit, nor in range")]
pub struct UnitError;

/// A span of time as people write it: `50ms`, `2s`, `1h 30m`. Never negative, never without unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let signed = text.parse::<SignedDuration>().map_err(|_| UnitError)?;
        Duration::try_from(signed).map(Self).map_err(|_| UnitError)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signed = SignedDuration::try_from(self.0).unwrap_or(SignedDuration::MAX);
        write!(f, "{signed:#}")
    }
}

/// Units of byte sizes, largest first: that is how a size is printed.
const UNITS: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];

/// A number of bytes as people write it: `64MiB`, `512KiB`, `10MB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// As a length in memory.
    #[must_use]
    pub fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let unit = unit.trim_start();
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(UnitError)?;
        let number = number.parse::<u64>().map_err(|_| UnitError)?;
        number.checked_mul(*factor).map(Self).ok_or(UnitError)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let even = |(_, factor): &&(&str, u64)| self.0 >= *factor && self.0.is_multiple_of(*factor);
        let (unit, factor) = UNITS.iter().find(even).copied().unwrap_or(("B", 1));
        write!(f, "{}{unit}", self.0 / factor)
    }
}

/// Where to begin in a topic, as people write it: `earliest`, `latest` or a time of RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start(pub StartFrom);

impl FromStr for Start {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        Ok(Self(match text {
            "earliest" => StartFrom::Earliest,
            "latest" => StartFrom::Latest,
            time => StartFrom::Time(time.parse().map_err(|_| UnitError)?),
        }))
    }
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// serde and JSON Schema of a value that is a string with a unit.
macro_rules! written_with_unit {
    ($type:ident, $format:literal) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Cow::<str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "format": $format })
            }
        }
    };
}

written_with_unit!(Span, "duration-with-unit");
written_with_unit!(ByteSize, "byte-size");
written_with_unit!(Start, "start");

/// The value of a librdkafka property: it may be a password, so it never prints.
#[derive(Clone, Debug)]
pub struct Property(pub SecretString);

impl<'de> Deserialize<'de> for Property {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Text(String),
            Integer(i64),
            Boolean(bool),
        }
        Ok(Self(SecretString::from(match Written::deserialize(deserializer)? {
            Written::Text(text) => text,
            Written::Integer(number) => number.to_string(),
            Written::Boolean(truth) => truth.to_string(),
        })))
    }
}

impl JsonSchema for Property {
    fn schema_name() -> Cow<'static, str> {
        "Property".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "integer", "boolean"],
            "x-expected": "text, a whole number, or true or false",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit_and_a_sign_is_refused() {
        assert_eq!("50ms".parse(), Ok(Span(Duration::from_millis(50))));
        assert_eq!("1h 30m".parse(), Ok(Span(Duration::from_secs(5400))));
        for bad in ["", "5", "-1s", "1 month", "soon", "1h ago", "99999999999999999999h"] {
            assert_eq!(bad.parse::<Span>(), Err(UnitError), "{bad}");
        }
    }

    #[test]
    fn byte_sizes_need_a_unit_and_print_as_written() {
        for text in ["64MiB", "512KiB", "1GiB", "10MB", "17B", "0B"] {
            assert_eq!(text.parse::<ByteSize>().map(|s| s.to_string()), Ok(text.to_owned()));
        }
        assert_eq!("1 MiB".parse(), Ok(ByteSize(1 << 20)));
        for bad in ["", "64", "MiB", "-1MiB", "1.5MiB", "99999999999GiB", "1 TiB"] {
            assert_eq!(bad.parse::<ByteSize>(), Err(UnitError), "{bad}");
        }
    }

    #[test]
    fn a_start_is_a_word_or_a_time_with_its_zone() {
        for text in ["earliest", "latest", "2026-05-01T00:00:00Z"] {
            assert_eq!(text.parse::<Start>().map(|s| s.to_string()), Ok(text.to_owned()));
        }
        assert!("2026-05-01T02:00:00+02:00".parse::<Start>().is_ok());
        for bad in ["", "beginning", "2026-05-01", "2026-05-01T00:00:00", "-1h"] {
            assert_eq!(bad.parse::<Start>(), Err(UnitError), "{bad}");
        }
    }

    #[test]
    fn a_duration_prints_so_that_it_can_be_read_again() {
        for text in ["50ms", "2s", "1m 40s", "1h"] {
            assert_eq!(text.parse::<Span>().map(|s| s.to_string()), Ok(text.to_owned()));
        }
    }
}
