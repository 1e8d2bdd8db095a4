//! A record by which a partition is known again: a topic that was deleted and made anew under its
//! name holds another record there, or none.

use std::fmt;
use std::str::FromStr;

/// The first word of an anchor in the metadata of a committed offset; the digit is the version.
const FORM: &str = "zt1";

/// One record of a partition, by its place, its time and its contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// Where it is.
    pub offset: i64,
    /// When it was written, in milliseconds since 1970; -1 if it does not say.
    pub timestamp_ms: i64,
    /// A hash of key and value.
    pub hash: u64,
}

impl Anchor {
    /// The anchor of a record.
    #[must_use]
    pub fn of(
        offset: i64,
        timestamp_ms: Option<i64>,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in [key, value] {
            // A length before each part: what belongs to key and what to value stays told apart.
            let length = part.map_or(u64::MAX, |bytes| bytes.len() as u64);
            hasher.update(&length.to_le_bytes());
            hasher.update(part.unwrap_or_default());
        }
        let mut first = [0; 8];
        first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        Self { offset, timestamp_ms: timestamp_ms.unwrap_or(-1), hash: u64::from_le_bytes(first) }
    }
}

impl fmt::Display for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{FORM} {} {} {:016x}", self.offset, self.timestamp_ms, self.hash)
    }
}

/// The text is no anchor of this form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no anchor")]
pub struct NoAnchor;

impl FromStr for Anchor {
    type Err = NoAnchor;

    fn from_str(text: &str) -> Result<Self, NoAnchor> {
        let mut words = text.split(' ');
        let mut next = || words.next().ok_or(NoAnchor);
        if next()? != FORM {
            return Err(NoAnchor);
        }
        let number = |word: &str| word.parse::<i64>().map_err(|_| NoAnchor);
        let (offset, timestamp_ms) = (number(next()?)?, number(next()?)?);
        let hash = u64::from_str_radix(next()?, 16).map_err(|_| NoAnchor)?;
        Ok(Self { offset, timestamp_ms, hash })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_anchor_is_read_as_it_was_written_and_foreign_metadata_is_none() {
        let anchor = Anchor::of(41, Some(1_700_000_000_000), Some(b"key"), Some(b"value"));
        assert_eq!(anchor.to_string().parse(), Ok(anchor));
        let bare = Anchor::of(0, None, None, None);
        assert_eq!(bare.to_string().parse(), Ok(bare));
        for foreign in ["", "zt1", "zt1 1 2", "zt2 1 2 03", "zt1 x 2 03", "set by hand"] {
            assert_eq!(foreign.parse::<Anchor>(), Err(NoAnchor), "{foreign:?}");
        }
    }

    #[test]
    fn records_that_differ_in_anything_have_anchors_that_differ() {
        let all = [
            Anchor::of(1, Some(5), Some(b"ab"), Some(b"c")),
            Anchor::of(2, Some(5), Some(b"ab"), Some(b"c")),
            Anchor::of(1, Some(6), Some(b"ab"), Some(b"c")),
            Anchor::of(1, Some(5), Some(b"a"), Some(b"bc")),
            Anchor::of(1, Some(5), None, Some(b"abc")),
            Anchor::of(1, Some(5), Some(b"abc"), None),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(all[index + 1..].iter().all(|other| other != one), "{one}");
        }
    }
}
