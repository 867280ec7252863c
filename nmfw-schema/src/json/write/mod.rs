//! Writes documents.

mod value;

use std::io;

use prost_reflect::{
    DynamicMessage, ExtensionDescriptor, FieldDescriptor, Kind, ReflectMessage, Value,
};
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::error::{Failure, Step};
use super::well_known::{self, WellKnown, is_value_in_any};
use super::{JsonError, JsonOptions, MAX_DEPTH, time, type_of_any};
use value::ValueNode;

/// Writes a message.
///
/// # Errors
/// Fails if the message has a value that JSON cannot represent, or exceeds a limit.
pub(super) fn write(message: &DynamicMessage, options: &JsonOptions) -> Result<Vec<u8>, JsonError> {
    let writer = Writer {
        options,
        failure: Failure::default(),
    };
    let mut out = Bounded {
        bytes: Vec::new(),
        left: options.max_bytes,
    };
    let node = MessageNode {
        writer: &writer,
        message,
        depth: 0,
    };
    let written = if options.pretty {
        node.serialize(&mut serde_json::Serializer::pretty(&mut out))
    } else {
        node.serialize(&mut serde_json::Serializer::new(&mut out))
    };
    match written {
        Ok(()) => Ok(out.bytes),
        Err(error) => Err(writer.failure.take(|| {
            JsonError::new(if error.is_io() {
                format!(
                    "the document has more than the {} bytes that are accepted",
                    options.max_bytes
                )
            } else {
                error.to_string()
            })
        })),
    }
}

/// A document that is limited in length.
struct Bounded {
    bytes: Vec<u8>,
    left: usize,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(left) = self.left.checked_sub(bytes.len()) else {
            return Err(io::Error::other("the document is too large"));
        };
        self.left = left;
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Writer<'a> {
    options: &'a JsonOptions,
    failure: Failure,
}

/// A message with the form that its type has in JSON.
#[derive(Clone, Copy)]
struct MessageNode<'a> {
    writer: &'a Writer<'a>,
    message: &'a DynamicMessage,
    depth: usize,
}

impl Serialize for MessageNode<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        if self.depth > MAX_DEPTH {
            return Err(self.fail(format!(
                "messages are nested more than {MAX_DEPTH} levels deep"
            )));
        }
        let Some(form) = WellKnown::of(&self.message.descriptor()) else {
            let mut map = out.serialize_map(None)?;
            self.members(&mut map)?;
            return map.end();
        };
        let number = |number| match self.message.get_field_by_number(number).as_deref() {
            Some(Value::I64(value)) => *value,
            Some(Value::I32(value)) => i64::from(*value),
            _ => 0,
        };
        let nanos = || i32::try_from(number(2)).unwrap_or_default();
        match form {
            WellKnown::Any => self.any(out),
            WellKnown::Timestamp => {
                let text = time::format_timestamp(number(1), nanos());
                out.serialize_str(&text.map_err(|reason| self.fail(reason))?)
            }
            WellKnown::Duration => {
                let text = time::format_duration(number(1), nanos());
                out.serialize_str(&text.map_err(|reason| self.fail(reason))?)
            }
            WellKnown::FieldMask => {
                let text = self.field_mask().map_err(|reason| self.fail(reason))?;
                out.serialize_str(&text)
            }
            WellKnown::Value => self.value(out),
            WellKnown::Struct | WellKnown::ListValue | WellKnown::Wrapper => {
                match self.message.descriptor().get_field(1) {
                    Some(field) => {
                        let value = self.message.get_field(&field);
                        self.node(&value, &field.kind(), 0).serialize(out)
                    }
                    None => out.serialize_none(),
                }
            }
        }
    }
}

impl<'a> MessageNode<'a> {
    fn fail<E: serde::ser::Error>(&self, reason: impl Into<String>) -> E {
        self.writer.failure.set_ser(reason)
    }

    /// Returns a value of this message. `levels` are those between the two.
    fn node<'v>(self, value: &'v Value, kind: &'v Kind, levels: usize) -> ValueNode<'v>
    where
        'a: 'v,
    {
        ValueNode {
            writer: self.writer,
            value,
            kind,
            depth: self.depth + levels,
        }
    }

    /// Writes the fields and the extensions, in the order of their numbers.
    fn members<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        let options = self.writer.options;
        if options.default_values {
            for field in self.message.descriptor().fields() {
                if self.message.has_field(&field) || !field.supports_presence() {
                    let value = self.message.get_field(&field);
                    self.member(map, name(&field, options), &value, &field.kind())?;
                }
            }
        } else {
            for (field, value) in self.message.fields() {
                self.member(map, name(&field, options), value, &field.kind())?;
            }
        }
        let mut extensions: Vec<(ExtensionDescriptor, &Value)> =
            self.message.extensions().collect();
        extensions.sort_by_key(|(extension, _)| extension.number());
        for (extension, value) in extensions {
            let name = format!("[{}]", extension.full_name());
            self.member(map, &name, value, &extension.kind())?;
        }
        Ok(())
    }

    fn member<M: SerializeMap>(
        &self,
        map: &mut M,
        name: &str,
        value: &Value,
        kind: &Kind,
    ) -> Result<(), M::Error> {
        map.serialize_entry(name, &self.node(value, kind, 1))
            .map_err(|error| self.writer.failure.at(Step::Field(name), error))
    }

    fn any<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let field = |number| self.message.get_field_by_number(number);
        let type_url = field(1);
        let type_url = type_url.as_deref().and_then(Value::as_str);
        let type_url = type_url.unwrap_or_default();
        let encoded = field(2);
        let encoded = encoded.as_deref().and_then(Value::as_bytes).cloned();
        let encoded = encoded.unwrap_or_default();
        if type_url.is_empty() && encoded.is_empty() {
            return out.serialize_map(Some(0))?.end();
        }
        let desc = type_of_any(type_url, self.message.descriptor().parent_pool())
            .map_err(|reason| self.fail(reason))?;
        let message = crate::decode(&desc, encoded).map_err(|error| {
            self.fail(format!(
                "the message in the `Any` is not a valid `{}`: {error}",
                desc.full_name()
            ))
        })?;
        let nested = MessageNode {
            writer: self.writer,
            message: &message,
            depth: self.depth + 1,
        };
        let mut map = out.serialize_map(None)?;
        map.serialize_entry("@type", type_url)?;
        if is_value_in_any(&desc) {
            map.serialize_entry("value", &nested)
                .map_err(|error| self.writer.failure.at(Step::Field("value"), error))?;
        } else {
            if nested.depth > MAX_DEPTH {
                return Err(self.fail(format!(
                    "messages are nested more than {MAX_DEPTH} levels deep"
                )));
            }
            nested.members(&mut map)?;
        }
        map.end()
    }

    fn field_mask(&self) -> Result<String, String> {
        let paths = self.message.get_field_by_number(1);
        let paths = paths.as_deref().and_then(Value::as_list);
        let mut text = String::new();
        for path in paths.unwrap_or_default().iter().filter_map(Value::as_str) {
            if !text.is_empty() {
                text.push(',');
            }
            let mut upper = false;
            for each in path.chars() {
                let is_reversible = if upper {
                    each.is_ascii_lowercase()
                } else {
                    !each.is_ascii_uppercase()
                };
                if !is_reversible {
                    return Err(format!(
                        "the path \"{}\" cannot be written in camel case",
                        super::error::escape(path)
                    ));
                }
                if each == '_' {
                    upper = true;
                } else {
                    text.push(if upper {
                        each.to_ascii_uppercase()
                    } else {
                        each
                    });
                    upper = false;
                }
            }
            if upper {
                return Err(format!(
                    "the path \"{}\" cannot be written in camel case",
                    super::error::escape(path)
                ));
            }
        }
        Ok(text)
    }

    /// Writes a `google.protobuf.Value`.
    fn value<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let set = self
            .message
            .descriptor()
            .fields()
            .find(|field| self.message.has_field(field));
        let Some(field) = set else {
            return Err(self.fail("the `google.protobuf.Value` has no value"));
        };
        let value = self.message.get_field(&field);
        match (field.number(), value.as_ref()) {
            (well_known::value::NULL, _) => out.serialize_unit(),
            (well_known::value::NUMBER, Value::F64(number)) if !number.is_finite() => {
                Err(self
                    .fail("a `google.protobuf.Value` cannot be infinite or not a number in JSON"))
            }
            _ => self.node(&value, &field.kind(), 1).serialize(out),
        }
    }
}

fn name<'a>(field: &'a FieldDescriptor, options: &JsonOptions) -> &'a str {
    if options.proto_field_names {
        field.name()
    } else {
        field.json_name()
    }
}
