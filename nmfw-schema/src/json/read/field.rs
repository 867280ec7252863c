//! Reads the value of a field.

use std::fmt;

use prost_reflect::{
    DynamicMessage, ExtensionDescriptor, FieldDescriptor, Kind, MessageDescriptor, OneofDescriptor,
    Value,
};
use serde::de::{DeserializeSeed, Deserializer, Error, Visitor};

use super::{ElementSeed, Reader, list, map};
use crate::json::well_known::{WellKnown, is_null_value};

/// A field or an extension.
pub(super) enum AnyField {
    Field(FieldDescriptor),
    Extension(ExtensionDescriptor),
}

impl AnyField {
    /// Finds a field by its name in JSON, its name in the `.proto`, or as `[package.extension]`.
    pub(super) fn find(message: &MessageDescriptor, key: &str) -> Option<Self> {
        message
            .get_field_by_json_name(key)
            .or_else(|| message.get_field_by_name(key))
            .map(Self::Field)
            .or_else(|| {
                let name = key.strip_prefix('[')?.strip_suffix(']')?;
                let extension = message.parent_pool().get_extension_by_name(name)?;
                (extension.containing_message() == *message).then_some(Self::Extension(extension))
            })
    }

    pub(super) fn number(&self) -> u32 {
        match self {
            Self::Field(field) => field.number(),
            Self::Extension(field) => field.number(),
        }
    }

    pub(super) fn oneof(&self) -> Option<OneofDescriptor> {
        match self {
            Self::Field(field) => field.containing_oneof(),
            Self::Extension(_) => None,
        }
    }

    pub(super) fn set(&self, message: &mut DynamicMessage, value: Value) {
        match self {
            Self::Field(field) => message.set_field(field, value),
            Self::Extension(field) => message.set_extension(field, value),
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Field(field) => field.kind(),
            Self::Extension(field) => field.kind(),
        }
    }

    fn is_list(&self) -> bool {
        match self {
            Self::Field(field) => field.is_list(),
            Self::Extension(field) => field.is_list(),
        }
    }

    fn is_map(&self) -> bool {
        match self {
            Self::Field(field) => field.is_map(),
            Self::Extension(_) => false,
        }
    }
}

/// Reads the value of a field. Yields nothing for `null`, which is like no value.
pub(super) struct FieldSeed<'a> {
    pub(super) reader: &'a Reader<'a>,
    pub(super) field: &'a AnyField,
    pub(super) depth: usize,
}

impl<'de> DeserializeSeed<'de> for FieldSeed<'_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for FieldSeed<'_> {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
        if self.field.is_list() || self.field.is_map() {
            return Ok(None);
        }
        Ok(match self.field.kind() {
            Kind::Message(message) if WellKnown::of(&message) == Some(WellKnown::Value) => {
                let mut null = DynamicMessage::new(message);
                null.set_field_by_number(1, Value::EnumNumber(0));
                Some(Value::Message(null))
            }
            Kind::Enum(desc) if is_null_value(&desc) => Some(Value::EnumNumber(0)),
            _ => None,
        })
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        self.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        let Self {
            reader,
            field,
            depth,
        } = self;
        let kind = field.kind();
        if field.is_map() {
            return map::read(reader, &kind, depth, from).map(Some);
        }
        let depth = match kind {
            Kind::Message(_) => reader.deeper(depth, 1)?,
            _ => depth,
        };
        let element = ElementSeed {
            reader,
            kind: &kind,
            depth,
        };
        if field.is_list() {
            list::read(element, from).map(Some)
        } else {
            element.deserialize(from)
        }
    }
}
