//! Reading one item of a long list so that what is wrong in it harms that item alone, and takes no
//! more memory than an item may.
//!
//! The derived readers of serde give up the whole reply for one number in the place of a text. Here
//! every value is read to its end, whatever it is; only broken JSON is an error.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

/// A longer id is none.
const ID_BYTES_MAX: usize = 256;
/// Of a message this much is kept; it is redacted and cut again before anybody reads it.
const WORDS_CHARS_MAX: usize = 1_000;

/// A value that is read to its end, and whether it was what it has to be. Absent and null are.
pub(super) struct Read<T> {
    pub(super) value: Option<T>,
    pub(super) is_sound: bool,
}

impl<T> Read<T> {
    const fn odd() -> Self {
        Self { value: None, is_sound: false }
    }

    /// Puts the value in its place, and says whether it was sound.
    pub(super) fn into_place(self, place: &mut Option<T>) -> bool {
        *place = self.value;
        self.is_sound
    }
}

/// An object of which some fields are wanted.
pub(super) trait Fields: Default {
    /// Their names; at most 16.
    const NAMES: &'static [&'static str];

    /// Reads the value of a field, by its place among the names, and says whether it is sound.
    fn read<'de, A: MapAccess<'de>>(&mut self, at: usize, map: &mut A) -> Result<bool, A::Error>;
}

impl<'de, T: Fields> Deserialize<'de> for Read<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Fields> Visitor<'de> for ObjectVisitor<T> {
    type Value = Read<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut object, mut is_sound, mut seen) = (T::default(), true, 0_u16);
        while let Some(place) = map.next_key_seed(Place(T::NAMES))? {
            match place {
                // Said twice, it is not clear which counts.
                Some(at) if seen & (1 << at) != 0 => {
                    map.next_value::<IgnoredAny>()?;
                    is_sound = false;
                }
                Some(at) => {
                    seen |= 1 << at;
                    is_sound &= object.read(at, &mut map)?;
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Read { value: Some(object), is_sound })
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Read { value: None, is_sound: true })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        passed_over(seq).map(|()| Read::odd())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Read::odd())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Read::odd())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Read::odd())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Read::odd())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Read::odd())
    }
}

/// An id: a text, or an int64, which JSON of Google's gives as a text and may as a number.
pub(super) struct Id(pub(super) String);

/// A text for people, of which the beginning is enough.
pub(super) struct Words(pub(super) String);

trait Text: Sized {
    fn of_text(text: &str) -> Option<Self>;
    fn of_number(number: impl fmt::Display) -> Option<Self>;
}

impl Text for Id {
    fn of_text(text: &str) -> Option<Self> {
        (text.len() <= ID_BYTES_MAX).then(|| Self(text.to_owned()))
    }

    fn of_number(number: impl fmt::Display) -> Option<Self> {
        Some(Self(number.to_string()))
    }
}

impl Text for Words {
    fn of_text(text: &str) -> Option<Self> {
        Some(Self(text.chars().take(WORDS_CHARS_MAX).collect()))
    }

    fn of_number(_: impl fmt::Display) -> Option<Self> {
        None
    }
}

impl<'de> Deserialize<'de> for Read<Id> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor(PhantomData))
    }
}

impl<'de> Deserialize<'de> for Read<Words> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor(PhantomData))
    }
}

struct TextVisitor<T>(PhantomData<T>);

fn sound_if_some<T>(value: Option<T>) -> Read<T> {
    let is_sound = value.is_some();
    Read { value, is_sound }
}

impl<'de, T: Text> Visitor<'de> for TextVisitor<T> {
    type Value = Read<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(sound_if_some(T::of_text(text)))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        Ok(sound_if_some(T::of_number(number)))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(sound_if_some(T::of_number(number)))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Read { value: None, is_sound: true })
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Read::odd())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Read::odd())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        passed_over(seq).map(|()| Read::odd())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Read::odd())
    }
}

fn passed_over<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<(), A::Error> {
    while seq.next_element::<IgnoredAny>()?.is_some() {}
    Ok(())
}

/// Reads the name of a field, and gives its place among these; `None` if it is none of them.
pub(super) struct Place(pub(super) &'static [&'static str]);

impl<'de> DeserializeSeed<'de> for Place {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Place {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|known| *known == name))
    }
}

/// Reads a list of at most `MOST` items; a longer one is an error as soon as that is seen.
pub(super) fn short_list<'de, D, T, const MOST: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct ListVisitor<T, const MOST: usize>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for ListVisitor<T, MOST> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {MOST}")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut list = Vec::new();
            while let Some(item) = seq.next_element()? {
                if list.len() == MOST {
                    return Err(A::Error::custom(format_args!("a list is longer than {MOST}")));
                }
                list.push(item);
            }
            Ok(list)
        }
    }

    deserializer.deserialize_seq(ListVisitor::<T, MOST>(PhantomData))
}

/// Reads texts by their keys, at most `MOST`; more are an error as soon as that is seen.
pub(super) fn short_map<'de, D, const MOST: usize>(
    deserializer: D,
) -> Result<std::collections::BTreeMap<String, String>, D::Error>
where
    D: Deserializer<'de>,
{
    struct MapVisitor<const MOST: usize>;

    impl<'de, const MOST: usize> Visitor<'de> for MapVisitor<MOST> {
        type Value = std::collections::BTreeMap<String, String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "at most {MOST} texts by their keys")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut texts = Self::Value::new();
            while let Some((key, text)) = map.next_entry()? {
                if texts.len() == MOST {
                    return Err(A::Error::custom(format_args!("more than {MOST} entries")));
                }
                texts.insert(key, text);
            }
            Ok(texts)
        }
    }

    deserializer.deserialize_map(MapVisitor::<MOST>)
}
