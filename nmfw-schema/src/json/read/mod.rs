//! Reads documents.

mod any;
mod field;
mod list;
mod map;
mod message;
mod scalar;
mod source;
mod value;

use std::cell::Cell;

use prost_reflect::{DynamicMessage, Kind, MessageDescriptor, ReflectMessage, Value};
use serde::de::{DeserializeSeed, Deserializer, Error};
use serde_json::value::RawValue;

use super::error::Failure;
use super::well_known::WellKnown;
use super::{JsonError, JsonOptions, MAX_DEPTH, time};

/// Reads a document.
///
/// # Errors
/// Fails if the document is not valid JSON, does not fit the message, or exceeds a limit.
pub(super) fn read(
    message: &MessageDescriptor,
    json: &[u8],
    options: &JsonOptions,
) -> Result<DynamicMessage, JsonError> {
    if json.len() > options.max_bytes {
        return Err(JsonError::new(format!(
            "the document has {} bytes, more than the {} that are accepted",
            json.len(),
            options.max_bytes
        )));
    }
    let text = std::str::from_utf8(json).map_err(|error| {
        JsonError::new(format!(
            "the document is not UTF-8, from byte {} on",
            error.valid_up_to()
        ))
    })?;
    if text.trim_start().is_empty() {
        return Err(JsonError::new("the document is empty: expected an object"));
    }
    let reader = Reader {
        options,
        failure: Failure::default(),
        held: Cell::new(0),
        max_held: text.len().saturating_mul(HELD_TIMES),
    };
    let seed = ElementSeed {
        reader: &reader,
        kind: &Kind::Message(message.clone()),
        depth: 0,
    };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let read = seed
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value));
    match read {
        Ok(Some(Value::Message(message))) => Ok(message),
        Ok(_) => Err(JsonError::new("expected an object")),
        Err(error) => Err(reader.failure.take(|| syntax(&error))),
    }
}

/// Describes an error of the JSON parser.
fn syntax(error: &serde_json::Error) -> JsonError {
    JsonError::new(format!("the document is not valid JSON: {error}"))
}

/// How many times a document's length the values before `@type`, which are read twice, may have.
const HELD_TIMES: usize = 8;

/// The state of reading a document.
#[derive(Debug)]
struct Reader<'a> {
    options: &'a JsonOptions,
    failure: Failure,
    /// The total length of values that stood before the `@type` of an `Any`.
    held: Cell<usize>,
    max_held: usize,
}

impl Reader<'_> {
    /// Fails for a value of another type.
    fn unexpected<E: Error>(&self, expected: &str, found: &str) -> E {
        self.failure
            .set(format!("expected {expected}, but found {found}"))
    }

    /// Counts a value that is held until the type of an `Any` is known.
    fn hold<E: Error>(&self, bytes: usize) -> Result<(), E> {
        self.held.set(self.held.get().saturating_add(bytes));
        if self.held.get() > self.max_held {
            return Err(self
                .failure
                .set("too much stands before the \"@type\" of an `Any`: put \"@type\" first"));
        }
        Ok(())
    }

    /// Returns the depth of a nested message.
    fn deeper<E: Error>(&self, depth: usize, levels: usize) -> Result<usize, E> {
        let depth = depth + levels;
        if depth > MAX_DEPTH {
            return Err(self.failure.set(format!(
                "messages are nested more than {MAX_DEPTH} levels deep"
            )));
        }
        Ok(depth)
    }
}

/// Reads a value of a kind: a field that is neither a list nor a map, or an element of one.
///
/// Yields nothing for an unknown name of an enum value that is ignored.
#[derive(Clone, Copy)]
struct ElementSeed<'a> {
    reader: &'a Reader<'a>,
    kind: &'a Kind,
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for ElementSeed<'_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        let Kind::Message(message) = self.kind else {
            let raw: &RawValue = serde::Deserialize::deserialize(from)?;
            return scalar::read(self.kind, raw.get(), self.reader.options)
                .map_err(|reason| self.reader.failure.set(reason));
        };
        self.message(message, from).map(Value::Message).map(Some)
    }
}

impl ElementSeed<'_> {
    fn message<'de, D: Deserializer<'de>>(
        self,
        desc: &MessageDescriptor,
        from: D,
    ) -> Result<DynamicMessage, D::Error> {
        let Self { reader, depth, .. } = self;
        let mut message = DynamicMessage::new(desc.clone());
        let Some(form) = WellKnown::of(desc) else {
            message::read(reader, &mut message, depth, from)?;
            return Ok(message);
        };
        match form {
            WellKnown::Any => any::read(reader, &mut message, depth, from)?,
            WellKnown::Struct => value::read_struct(reader, &mut message, depth, from)?,
            WellKnown::Value => value::read_value(reader, &mut message, depth, from)?,
            WellKnown::ListValue => value::read_list(reader, &mut message, depth, from)?,
            WellKnown::Timestamp
            | WellKnown::Duration
            | WellKnown::FieldMask
            | WellKnown::Wrapper => {
                let raw: &RawValue = serde::Deserialize::deserialize(from)?;
                read_text(form, &mut message, raw.get(), reader.options)
                    .map_err(|reason| reader.failure.set(reason))?;
            }
        }
        Ok(message)
    }
}

/// Reads a message that is a single value in JSON.
fn read_text(
    form: WellKnown,
    message: &mut DynamicMessage,
    raw: &str,
    options: &JsonOptions,
) -> Result<(), String> {
    match form {
        WellKnown::Timestamp | WellKnown::Duration => {
            let (seconds, nanos) = if form == WellKnown::Timestamp {
                time::parse_timestamp(&scalar::string(
                    raw,
                    "a time such as \"2026-01-31T12:00:00Z\"",
                )?)?
            } else {
                time::parse_duration(&scalar::string(raw, "a duration such as \"1.5s\"")?)?
            };
            message.set_field_by_number(1, Value::I64(seconds));
            message.set_field_by_number(2, Value::I32(nanos));
        }
        WellKnown::FieldMask => {
            let text = scalar::string(raw, "a list of fields such as \"name,address.city\"")?;
            let paths = scalar::field_mask(&text)?;
            message.set_field_by_number(1, Value::List(paths));
        }
        _ => {
            if let Some(field) = message.descriptor().get_field(1)
                && let Some(value) = scalar::read(&field.kind(), raw, options)?
            {
                message.set_field(&field, value);
            }
        }
    }
    Ok(())
}
