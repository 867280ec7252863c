//! Reads maps.

use std::collections::HashMap;

use prost_reflect::{FieldDescriptor, Kind, Value};
use serde::de::{Deserializer, MapAccess, Visitor};

use super::source::{KeySeed, no_list, only};
use super::{ElementSeed, Reader, scalar};
use crate::json::error::Step;

/// Reads the entries of a map, whose kind is the message of an entry.
///
/// # Errors
/// Fails if the value is not an object, or if a key or value does not fit.
pub(super) fn read<'de, D: Deserializer<'de>>(
    reader: &Reader<'_>,
    entry: &Kind,
    depth: usize,
    from: D,
) -> Result<Value, D::Error> {
    let Kind::Message(entry) = entry else {
        return Err(reader.failure.set("the map has no entries"));
    };
    let value = entry.map_entry_value_field();
    // An entry is a message, too.
    let depth = match value.kind() {
        Kind::Message(_) => reader.deeper(depth, 2)?,
        _ => reader.deeper(depth, 1)?,
    };
    from.deserialize_any(MapVisitor {
        reader,
        key: &entry.map_entry_key_field(),
        value: &value,
        depth,
    })
}

struct MapVisitor<'a> {
    reader: &'a Reader<'a>,
    key: &'a FieldDescriptor,
    value: &'a FieldDescriptor,
    depth: usize,
}

impl<'de> Visitor<'de> for MapVisitor<'_> {
    type Value = Value;

    only!("an object");
    no_list!("an object");

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let failure = &self.reader.failure;
        let key_kind = self.key.kind();
        let value = ElementSeed {
            reader: self.reader,
            kind: &self.value.kind(),
            depth: self.depth,
        };
        let mut entries = HashMap::new();
        while let Some(text) = map.next_key_seed(KeySeed)? {
            let at = |error| failure.at(Step::Key(&text), error);
            let key = scalar::key(&key_kind, &text).map_err(|reason| at(failure.set(reason)))?;
            let value = map
                .next_value_seed(value)
                .map_err(|error| failure.at(Step::Key(&text), error))?;
            if entries.contains_key(&key) {
                return Err(at(failure.set("the key is given twice")));
            }
            entries.extend(value.map(|value| (key, value)));
        }
        Ok(Value::Map(entries))
    }
}
