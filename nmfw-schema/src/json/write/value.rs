//! Writes values: scalars, enums, lists and maps.

use std::borrow::Cow;

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use prost_reflect::{EnumDescriptor, Kind, MapKey, Value};
use serde::ser::{Error as _, Serialize, SerializeMap, Serializer};

use super::{MessageNode, Writer};
use crate::json::JsonOptions;
use crate::json::error::Step;
use crate::json::well_known::is_null_value;

/// A value of a field, a list or a map.
#[derive(Clone, Copy)]
pub(super) struct ValueNode<'a> {
    pub(super) writer: &'a Writer<'a>,
    pub(super) value: &'a Value,
    pub(super) kind: &'a Kind,
    pub(super) depth: usize,
}

impl Serialize for ValueNode<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let options = self.writer.options;
        match self.value {
            Value::Bool(value) => out.serialize_bool(*value),
            Value::I32(value) => out.serialize_i32(*value),
            Value::U32(value) => out.serialize_u32(*value),
            Value::I64(value) if options.int64_as_number => out.serialize_i64(*value),
            Value::I64(value) => out.collect_str(value),
            Value::U64(value) if options.int64_as_number => out.serialize_u64(*value),
            Value::U64(value) => out.collect_str(value),
            Value::F32(value) if value.is_finite() => out.serialize_f32(*value),
            Value::F32(value) => out.serialize_str(special(f64::from(*value))),
            Value::F64(value) if value.is_finite() => out.serialize_f64(*value),
            Value::F64(value) => out.serialize_str(special(*value)),
            Value::String(value) => out.serialize_str(value),
            Value::Bytes(value) => out.collect_str(&Base64Display::new(value, &STANDARD)),
            Value::EnumNumber(value) => match self.kind {
                Kind::Enum(desc) => enumeration(desc, *value, options, out),
                _ => out.serialize_i32(*value),
            },
            Value::Message(message) => MessageNode {
                writer: self.writer,
                message,
                depth: self.depth,
            }
            .serialize(out),
            Value::List(values) => {
                out.collect_seq(values.iter().enumerate().map(|(index, value)| ElementNode {
                    index,
                    node: Self { value, ..*self },
                }))
            }
            Value::Map(entries) => self.map(entries, out),
        }
    }
}

impl ValueNode<'_> {
    fn map<S: Serializer>(
        &self,
        entries: &std::collections::HashMap<MapKey, Value>,
        out: S,
    ) -> Result<S::Ok, S::Error> {
        let Kind::Message(entry) = self.kind else {
            return Err(S::Error::custom("the map has no entries"));
        };
        let kind = entry.map_entry_value_field().kind();
        let mut entries: Vec<(&MapKey, &Value)> = entries.iter().collect();
        entries.sort_by_key(|(key, _)| *key);
        let mut map = out.serialize_map(Some(entries.len()))?;
        for (key, value) in entries {
            let key = key_text(key);
            let node = ValueNode {
                value,
                kind: &kind,
                ..*self
            };
            map.serialize_entry(&key, &node)
                .map_err(|error| self.writer.failure.at(Step::Key(&key), error))?;
        }
        map.end()
    }
}

/// An element of a list.
struct ElementNode<'a> {
    index: usize,
    node: ValueNode<'a>,
}

impl Serialize for ElementNode<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let failure = &self.node.writer.failure;
        self.node
            .serialize(out)
            .map_err(|error| failure.at(Step::Index(self.index), error))
    }
}

fn special(value: f64) -> &'static str {
    if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
}

fn enumeration<S: Serializer>(
    desc: &EnumDescriptor,
    number: i32,
    options: &JsonOptions,
    out: S,
) -> Result<S::Ok, S::Error> {
    if is_null_value(desc) {
        return out.serialize_unit();
    }
    match desc.get_value(number) {
        Some(value) if !options.enum_numbers => out.serialize_str(value.name()),
        _ => out.serialize_i32(number),
    }
}

fn key_text(key: &MapKey) -> Cow<'_, str> {
    match key {
        MapKey::Bool(key) => Cow::Borrowed(if *key { "true" } else { "false" }),
        MapKey::I32(key) => Cow::Owned(key.to_string()),
        MapKey::I64(key) => Cow::Owned(key.to_string()),
        MapKey::U32(key) => Cow::Owned(key.to_string()),
        MapKey::U64(key) => Cow::Owned(key.to_string()),
        MapKey::String(key) => Cow::Borrowed(key),
    }
}
