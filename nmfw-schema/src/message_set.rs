//! Message sets, an encoding of extensions from before protobuf was published.
//!
//! prost-reflect leaves the items of a message set undecoded, as unknown fields.
//! `docs/upstream.md` describes the fault.

use prost::Message;
use prost::bytes::Buf;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use prost_reflect::{DynamicMessage, MessageDescriptor, ReflectMessage, Value};

use crate::json::MAX_DEPTH;

/// The fields of `repeated group Item = 1 { int32 type_id = 2; bytes message = 3; }`.
const ITEM: u32 = 1;
const TYPE_ID: u32 = 2;
const MESSAGE: u32 = 3;

/// Decodes a message, with the items of message sets as extensions.
///
/// # Errors
/// Fails if the message is damaged, or nested more than [`MAX_DEPTH`] levels deep.
pub fn decode(
    desc: &MessageDescriptor,
    encoded: impl Buf,
) -> Result<DynamicMessage, prost::DecodeError> {
    let mut message = DynamicMessage::decode(desc.clone(), encoded)?;
    if has_items(&message) {
        resolve(&mut message, 0)?;
    }
    Ok(message)
}

fn is_message_set(message: &DynamicMessage) -> bool {
    let desc = message.descriptor();
    let options = desc.descriptor_proto().options.as_ref();
    options.is_some_and(prost_types::MessageOptions::message_set_wire_format)
}

/// Whether there is an item to resolve.
fn has_items(message: &DynamicMessage) -> bool {
    let has_unknown = message
        .unknown_fields()
        .any(|field| field.number() == ITEM && field.wire_type() == WireType::StartGroup);
    (has_unknown && is_message_set(message))
        || message.fields().any(|(_, value)| has_items_in(value))
        || message.extensions().any(|(_, value)| has_items_in(value))
}

fn has_items_in(value: &Value) -> bool {
    match value {
        Value::Message(message) => has_items(message),
        // All elements have the same type.
        Value::List(values) if matches!(values.first(), Some(Value::Message(_))) => {
            values.iter().any(has_items_in)
        }
        Value::Map(values) => values.values().any(has_items_in),
        _ => false,
    }
}

/// Resolves the items of a message and of those in it.
///
/// Each item has a content of up to [`MAX_DEPTH`] levels, so that items in items could be nested
/// without end. Those below [`MAX_DEPTH`] items are left as they are.
fn resolve(message: &mut DynamicMessage, depth: usize) -> Result<(), prost::DecodeError> {
    if depth > MAX_DEPTH {
        return Ok(());
    }
    if is_message_set(message) {
        resolve_items(message)?;
    }
    for (_, value) in message.fields_mut() {
        resolve_in(value, depth + 1)?;
    }
    for (_, value) in message.extensions_mut() {
        resolve_in(value, depth + 1)?;
    }
    Ok(())
}

fn resolve_in(value: &mut Value, depth: usize) -> Result<(), prost::DecodeError> {
    match value {
        Value::Message(message) => resolve(message, depth),
        Value::List(values) => values
            .iter_mut()
            .try_for_each(|value| resolve_in(value, depth)),
        Value::Map(values) => values
            .values_mut()
            .try_for_each(|value| resolve_in(value, depth)),
        _ => Ok(()),
    }
}

fn resolve_items(message: &mut DynamicMessage) -> Result<(), prost::DecodeError> {
    let desc = message.descriptor();
    let unknown: Vec<_> = message.take_unknown_fields().collect();
    for field in unknown {
        let mut encoded = Vec::new();
        field.encode(&mut encoded);
        let extension = parse_item(&encoded).and_then(|(number, payload)| {
            let extension = desc.get_extension(number)?;
            Some((extension, payload))
        });
        match extension {
            Some((extension, payload)) => {
                if let Value::Message(value) = message.get_extension_mut(&extension) {
                    value.merge(payload)?;
                }
            }
            // It becomes an unknown field again.
            None => message.merge(encoded.as_slice())?,
        }
    }
    Ok(())
}

/// Returns the number and the content of an item, if both are there.
fn parse_item(mut encoded: &[u8]) -> Option<(u32, &[u8])> {
    let (mut type_id, mut payload) = (None, None);
    if decode_key(&mut encoded).ok()? != (ITEM, WireType::StartGroup) {
        return None;
    }
    loop {
        match decode_key(&mut encoded).ok()? {
            (ITEM, WireType::EndGroup) => return Some((type_id?, payload?)),
            (TYPE_ID, WireType::Varint) => {
                type_id = Some(u32::try_from(decode_varint(&mut encoded).ok()?).ok()?);
            }
            (MESSAGE, WireType::LengthDelimited) => {
                let length = usize::try_from(decode_varint(&mut encoded).ok()?).ok()?;
                let (content, rest) = encoded.split_at_checked(length)?;
                payload = Some(content);
                encoded = rest;
            }
            (number, wire_type) => {
                skip_field(wire_type, number, &mut encoded, DecodeContext::default()).ok()?;
            }
        }
    }
}
