//! Where the value of a member comes from: the document, or a part of it that is read later.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The value of a member.
pub(super) trait Source<'de> {
    type Error: Error;

    fn read<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Self::Error>;
}

/// The value after the key that was just read.
pub(super) struct FromMap<'m, A>(pub(super) &'m mut A);

impl<'de, A: MapAccess<'de>> Source<'de> for FromMap<'_, A> {
    type Error = A::Error;

    fn read<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        self.0.next_value_seed(seed)
    }
}

/// A value that is read later.
pub(super) struct FromRaw<'de, E>(&'de RawValue, PhantomData<E>);

impl<'de, E> FromRaw<'de, E> {
    pub(super) fn new(raw: &'de RawValue) -> Self {
        Self(raw, PhantomData)
    }
}

impl<'de, E: Error> Source<'de> for FromRaw<'de, E> {
    type Error = E;

    fn read<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, E> {
        let mut deserializer = serde_json::Deserializer::from_str(self.0.get());
        seed.deserialize(&mut deserializer).map_err(E::custom)
    }
}

/// Reads a key without a copy, if it has no escapes.
pub(super) struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for KeySeed {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E: Error>(self, key: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(key))
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(key.to_owned()))
    }
}

/// The methods of a visitor for values of other types, which are errors.
macro_rules! only {
    ($expected:literal) => {
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str($expected)
        }

        fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Self::Value, E> {
            let found = if value { "true" } else { "false" };
            Err(self.reader.unexpected($expected, found))
        }

        fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<Self::Value, E> {
            Err(self.reader.unexpected($expected, "a number"))
        }

        fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<Self::Value, E> {
            Err(self.reader.unexpected($expected, "a number"))
        }

        fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<Self::Value, E> {
            Err(self.reader.unexpected($expected, "a number"))
        }

        fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<Self::Value, E> {
            Err(self.reader.unexpected($expected, "a string"))
        }

        fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
            Err(self.reader.unexpected($expected, "null"))
        }
    };
}

macro_rules! no_list {
    ($expected:literal) => {
        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
            Err(self.reader.unexpected($expected, "a list"))
        }
    };
}

pub(super) use {no_list, only};
