//! Reads `google.protobuf.Value`, `Struct` and `ListValue`: any JSON.

use std::collections::HashMap;

use prost_reflect::{DynamicMessage, Kind, MapKey, ReflectMessage, Value};
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::source::{KeySeed, no_list, only};
use super::{ElementSeed, Reader};
use crate::json::error::Step;
use crate::json::well_known::value;

/// Reads any value.
///
/// # Errors
/// Fails if a number is out of range, or if the value is nested too deeply.
pub(super) fn read_value<'de, D: Deserializer<'de>>(
    reader: &Reader<'_>,
    message: &mut DynamicMessage,
    depth: usize,
    from: D,
) -> Result<(), D::Error> {
    from.deserialize_any(ValueVisitor {
        reader,
        message,
        depth,
    })
}

/// Reads an object.
///
/// # Errors
/// Like [`read_value`], and if the value is not an object.
pub(super) fn read_struct<'de, D: Deserializer<'de>>(
    reader: &Reader<'_>,
    message: &mut DynamicMessage,
    depth: usize,
    from: D,
) -> Result<(), D::Error> {
    from.deserialize_any(StructVisitor {
        reader,
        message,
        depth,
    })
}

/// Reads a list.
///
/// # Errors
/// Like [`read_value`], and if the value is not a list.
pub(super) fn read_list<'de, D: Deserializer<'de>>(
    reader: &Reader<'_>,
    message: &mut DynamicMessage,
    depth: usize,
    from: D,
) -> Result<(), D::Error> {
    from.deserialize_any(ListValueVisitor {
        reader,
        message,
        depth,
    })
}

struct ValueVisitor<'a> {
    reader: &'a Reader<'a>,
    message: &'a mut DynamicMessage,
    depth: usize,
}

impl ValueVisitor<'_> {
    /// Returns a new message for a field.
    fn nested(&self, number: u32) -> Option<DynamicMessage> {
        let field = self.message.descriptor().get_field(number)?;
        let kind = field.kind();
        kind.as_message().cloned().map(DynamicMessage::new)
    }

    fn set<E>(self, number: u32, value: Value) -> Result<(), E> {
        self.message.set_field_by_number(number, value);
        Ok(())
    }
}

impl<'de> Visitor<'de> for ValueVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.set(value::NULL, Value::EnumNumber(0))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.set(value::BOOL, Value::Bool(value))
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "JSON's numbers are doubles here"
    )]
    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.visit_f64(value as f64)
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "JSON's numbers are doubles here"
    )]
    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.visit_f64(value as f64)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.set(value::NUMBER, Value::F64(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        self.set(value::STRING, Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<(), A::Error> {
        let Some(mut nested) = self.nested(value::LIST) else {
            return Ok(());
        };
        let visitor = ListValueVisitor {
            reader: self.reader,
            message: &mut nested,
            depth: self.reader.deeper(self.depth, 1)?,
        };
        visitor.visit_seq(list)?;
        self.set(value::LIST, Value::Message(nested))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let Some(mut nested) = self.nested(value::STRUCT) else {
            return Ok(());
        };
        let visitor = StructVisitor {
            reader: self.reader,
            message: &mut nested,
            depth: self.reader.deeper(self.depth, 1)?,
        };
        visitor.visit_map(map)?;
        self.set(value::STRUCT, Value::Message(nested))
    }
}

struct ListValueVisitor<'a> {
    reader: &'a Reader<'a>,
    message: &'a mut DynamicMessage,
    depth: usize,
}

impl<'de> Visitor<'de> for ListValueVisitor<'_> {
    type Value = ();

    only!("a list");

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        Err(self.reader.unexpected("a list", "an object"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Some(field) = self.message.descriptor().get_field(1) else {
            return Ok(());
        };
        let kind = field.kind();
        let element = ElementSeed {
            reader: self.reader,
            kind: &kind,
            depth: self.reader.deeper(self.depth, 1)?,
        };
        let mut values = Vec::new();
        while let Some(value) = list
            .next_element_seed(element)
            .map_err(|error| self.reader.failure.at(Step::Index(values.len()), error))?
        {
            values.extend(value);
        }
        self.message.set_field(&field, Value::List(values));
        Ok(())
    }
}

struct StructVisitor<'a> {
    reader: &'a Reader<'a>,
    message: &'a mut DynamicMessage,
    depth: usize,
}

impl<'de> Visitor<'de> for StructVisitor<'_> {
    type Value = ();

    only!("an object");
    no_list!("an object");

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some(field) = self.message.descriptor().get_field(1) else {
            return Ok(());
        };
        let Kind::Message(entry) = field.kind() else {
            return Ok(());
        };
        let failure = &self.reader.failure;
        let element = ElementSeed {
            reader: self.reader,
            kind: &entry.map_entry_value_field().kind(),
            // An entry is a message, too.
            depth: self.reader.deeper(self.depth, 2)?,
        };
        let mut entries = HashMap::new();
        while let Some(key) = map.next_key_seed(KeySeed)? {
            let value = map
                .next_value_seed(element)
                .map_err(|error| failure.at(Step::Key(&key), error))?;
            let Some(value) = value else {
                continue;
            };
            let map_key = MapKey::String(key.clone().into_owned());
            if entries.insert(map_key, value).is_some() {
                let error = failure.set("the key is given twice");
                return Err(failure.at(Step::Key(&key), error));
            }
        }
        self.message.set_field(&field, Value::Map(entries));
        Ok(())
    }
}
