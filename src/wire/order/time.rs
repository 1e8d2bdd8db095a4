//! Times of order events: RFC 3339, as the schema's `date-time` has them.
//!
//! A general parser takes more than that: years of six digits, hours without minutes, no
//! separators, the name of a zone behind the offset. The next reader of the same event does not, so
//! they are refused. Two spellings that can mean one thing only are taken beside the schema's: a
//! space in place of the `T`, which RFC 3339 allows, and an offset without colon (`+0000`), as some
//! customer systems write it.

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::Offset;

/// What is needed where a time is refused.
pub(super) const NEEDED: &str =
    "needs a time with zone by RFC 3339, such as \"2026-05-04T08:00:00Z\"";

const MINUTES_OF_DAY: i32 = 24 * 60;

/// The time that a text says. Of the last hours of the year 9999, which no [`Timestamp`] holds, the
/// last moment that it does; of fractions, nine digits.
pub(super) fn parse(text: &str) -> Option<Timestamp> {
    let mut rest = Rest(text.as_bytes());
    let year = rest.number(4)?;
    rest.one_of(b"-")?;
    let month = rest.number(2)?;
    rest.one_of(b"-")?;
    let day = rest.number(2)?;
    rest.one_of(b"Tt ")?;
    let hour = rest.number(2)?;
    rest.one_of(b":")?;
    let minute = rest.number(2)?;
    rest.one_of(b":")?;
    let second = rest.number(2)?;
    let nanosecond = rest.fraction()?;
    let offset = rest.offset()?;
    if !rest.0.is_empty() {
        return None;
    }
    let second = match second {
        // A leap second is only there where one can be: at the end of a day in UTC.
        60 if (hour * 60 + minute - offset).rem_euclid(MINUTES_OF_DAY) == MINUTES_OF_DAY - 1 => 59,
        second => second,
    };
    let part = |number: i32| i8::try_from(number).ok();
    let date = Date::new(i16::try_from(year).ok()?, part(month)?, part(day)?).ok()?;
    let time = Time::new(part(hour)?, part(minute)?, part(second)?, nanosecond).ok()?;
    let offset = Offset::from_seconds(offset * 60).ok()?;
    Some(offset.to_timestamp(date.to_datetime(time)).unwrap_or(Timestamp::MAX))
}

/// What is not read yet.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    /// A number of exactly so many digits.
    fn number(&mut self, digits: usize) -> Option<i32> {
        let (head, rest) = self.0.split_at_checked(digits)?;
        self.0 = rest;
        head.iter().try_fold(0, |number, byte| {
            byte.is_ascii_digit().then(|| number * 10 + i32::from(byte - b'0'))
        })
    }

    fn one_of(&mut self, bytes: &[u8]) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first).filter(|byte| bytes.contains(byte))
    }

    /// Nanoseconds: none, or a point and at least one digit.
    fn fraction(&mut self) -> Option<i32> {
        let Some(rest) = self.0.strip_prefix(b".") else { return Some(0) };
        let len = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = rest.split_at(len);
        self.0 = rest;
        let padded = digits.iter().copied().chain(std::iter::repeat(b'0'));
        let nanoseconds = padded.take(9).fold(0, |n, byte| n * 10 + i32::from(byte - b'0'));
        (len > 0).then_some(nanoseconds)
    }

    /// Minutes east of UTC.
    fn offset(&mut self) -> Option<i32> {
        let sign = match self.one_of(b"Zz+-")? {
            b'+' => 1,
            b'-' => -1,
            _ => return Some(0),
        };
        let hours = self.number(2)?;
        self.0 = self.0.strip_prefix(b":").unwrap_or(self.0);
        let minutes = self.number(2)?;
        (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_by_rfc_3339_are_read() {
        for (text, expected) in [
            ("2026-05-04T08:00:00Z", "2026-05-04T08:00:00Z"),
            ("2026-05-04t08:00:00z", "2026-05-04T08:00:00Z"),
            ("2026-05-04 10:00:00+02:00", "2026-05-04T08:00:00Z"),
            ("2026-05-04T08:00:00.000+0000", "2026-05-04T08:00:00Z"),
            ("2026-05-04T08:00:00-00:00", "2026-05-04T08:00:00Z"),
            ("2026-05-04T08:00:00.1234567891Z", "2026-05-04T08:00:00.123456789Z"),
            ("2026-05-04T08:00:00.5Z", "2026-05-04T08:00:00.5Z"),
            ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59Z"),
            ("2017-01-01T08:59:60+09:00", "2016-12-31T23:59:59Z"),
            ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
            ("9999-12-31T23:59:59Z", "9999-12-30T22:00:00.999999999Z"),
            ("9999-12-31T23:59:59-12:00", "9999-12-30T22:00:00.999999999Z"),
        ] {
            assert_eq!(
                parse(text).map(|time| time.to_string()).as_deref(),
                Some(expected),
                "{text}"
            );
        }
    }

    #[test]
    fn what_only_a_generous_reader_takes_for_a_time_is_refused() {
        for text in [
            "",
            "2026-05-04",
            "2026-05-04T08:00:00",
            "2026-05-04T08:00Z",
            "2026-05-04T08Z",
            "20260504T080000Z",
            "2026-05-04T08:00:00.Z",
            "2026-05-04T08:00:00,5Z",
            "2026-05-04T08:00:00+02",
            "2026-05-04T08:00:00+24:00",
            "2026-05-04T08:00:00+02:60",
            "2026-05-04T08:00:00+02:00[Europe/Berlin]",
            "2026-05-04T08:00:00Z ",
            "2026-05-04T08:00:60Z",
            "2026-05-04T24:00:00Z",
            "2026-05-04T08:60:00Z",
            "2026-02-30T00:00:00Z",
            "2025-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "-000001-01-01T00:00:00Z",
            "+010000-01-01T00:00:00Z",
            "1700000000",
            "２０２６-05-04T08:00:00Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
