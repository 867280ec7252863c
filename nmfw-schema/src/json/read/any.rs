//! Reads `google.protobuf.Any`: a message with its type, in the member `@type`.

use std::borrow::Cow;

use prost::Message;
use prost_reflect::{DynamicMessage, Kind, MessageDescriptor, ReflectMessage, Value};
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::message::Members;
use super::source::{FromMap, FromRaw, KeySeed, Source, no_list, only};
use super::{ElementSeed, Reader};
use crate::json::error::Step;
use crate::json::type_of_any;
use crate::json::well_known::is_value_in_any;

const TYPE: &str = "@type";

/// Reads an object into an `Any`.
///
/// # Errors
/// Fails if the type is missing or unknown, or if the object does not fit the type.
pub(super) fn read<'de, D: Deserializer<'de>>(
    reader: &Reader<'_>,
    any: &mut DynamicMessage,
    depth: usize,
    from: D,
) -> Result<(), D::Error> {
    from.deserialize_any(AnyVisitor { reader, any, depth })
}

struct AnyVisitor<'a> {
    reader: &'a Reader<'a>,
    any: &'a mut DynamicMessage,
    depth: usize,
}

impl<'de> Visitor<'de> for AnyVisitor<'_> {
    type Value = ();

    only!("an object");
    no_list!("an object");

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { reader, any, depth } = self;
        // The message in an `Any` counts as nested in it.
        let depth = reader.deeper(depth, 1)?;
        let mut held: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::new();
        let type_url: String = loop {
            let Some(key) = map.next_key_seed(KeySeed)? else {
                if held.is_empty() {
                    return Ok(());
                }
                return Err(reader
                    .failure
                    .set("the member \"@type\", which names the type of the `Any`, is missing"));
            };
            if key == TYPE {
                let raw: &RawValue = map.next_value()?;
                break super::scalar::string(raw.get(), "a string")
                    .map_err(|reason| at_type(reader, reason))?;
            }
            let raw: &RawValue = map.next_value()?;
            reader.hold(raw.get().len())?;
            held.push((key, raw));
        };
        let desc = type_of_any(&type_url, any.descriptor().parent_pool())
            .map_err(|reason| at_type(reader, reason))?;
        let message = if is_value_in_any(&desc) {
            read_value(reader, &desc, depth, held, map)?
        } else {
            let mut message = DynamicMessage::new(desc);
            let mut members = Members::new(reader, &mut message, depth);
            for (key, raw) in held {
                members.read(&key, FromRaw::<A::Error>::new(raw))?;
            }
            while let Some(key) = map.next_key_seed(KeySeed)? {
                if key == TYPE {
                    return Err(twice(reader));
                }
                members.read(&key, FromMap(&mut map))?;
            }
            message
        };
        any.set_field_by_number(1, Value::String(type_url));
        any.set_field_by_number(2, Value::Bytes(message.encode_to_vec().into()));
        Ok(())
    }
}

fn at_type<E: Error>(reader: &Reader<'_>, reason: String) -> E {
    let error = reader.failure.set(reason);
    reader.failure.at(Step::Field(TYPE), error)
}

fn twice<E: Error>(reader: &Reader<'_>) -> E {
    at_type(reader, "the member is given twice".to_owned())
}

/// Reads a message with a JSON form of its own, from the member `value`.
fn read_value<'de, A: MapAccess<'de>>(
    reader: &Reader<'_>,
    desc: &MessageDescriptor,
    depth: usize,
    held: Vec<(Cow<'de, str>, &'de RawValue)>,
    mut map: A,
) -> Result<DynamicMessage, A::Error> {
    let kind = Kind::Message(desc.clone());
    let mut message = None;
    for (key, raw) in held {
        let from = FromRaw::<A::Error>::new(raw);
        read_member(reader, &kind, depth, &key, from, &mut message)?;
    }
    while let Some(key) = map.next_key_seed(KeySeed)? {
        read_member(reader, &kind, depth, &key, FromMap(&mut map), &mut message)?;
    }
    message.ok_or_else(|| {
        reader.failure.set(format!(
            "the member \"value\" with the `{}` is missing",
            desc.full_name()
        ))
    })
}

fn read_member<'de, S: Source<'de>>(
    reader: &Reader<'_>,
    kind: &Kind,
    depth: usize,
    key: &str,
    from: S,
    message: &mut Option<DynamicMessage>,
) -> Result<(), S::Error> {
    let failure = &reader.failure;
    match key {
        TYPE => Err(twice(reader)),
        "value" if message.is_some() => {
            Err(failure.at(Step::Field(key), failure.set("the member is given twice")))
        }
        "value" => {
            let element = ElementSeed {
                reader,
                kind,
                depth,
            };
            let value = from
                .read(element)
                .map_err(|error| failure.at(Step::Field(key), error))?;
            if let Some(Value::Message(value)) = value {
                *message = Some(value);
            }
            Ok(())
        }
        _ if reader.options.ignore_unknown_fields => {
            from.read(std::marker::PhantomData::<IgnoredAny>).map(drop)
        }
        _ => {
            let reason = "an `Any` with this type has only \"@type\" and \"value\"";
            Err(failure.at(Step::Field(key), failure.set(reason)))
        }
    }
}
