//! Requests to fill in.

use nmfw_schema::prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value,
};

use crate::{
    codec::{self, Style},
    failure::Failure,
};

/// The depth to which messages are filled in: deep ones can contain themselves.
const MAX_DEPTH: usize = 4;

/// The most fields that are filled in, because a message of few types can have very many.
const MAX_FIELDS: usize = 2_000;

/// Returns a message with all fields, as JSON over several lines.
pub(super) fn of(message: &MessageDescriptor) -> Result<String, Failure> {
    let json = json(message, true);
    let json =
        json.map_err(|why| Failure::new(format!("the template cannot be written: {why}")))?;
    Ok(format!("{json}\n"))
}

/// Returns a message with all fields, as JSON.
pub(crate) fn json(message: &MessageDescriptor, pretty: bool) -> Result<String, String> {
    let mut left = MAX_FIELDS;
    let style = Style {
        pretty,
        defaults: true,
    };
    codec::from_dynamic(&filled(message, MAX_DEPTH, &mut left), style)
}

fn filled(message: &MessageDescriptor, depth: usize, left: &mut usize) -> DynamicMessage {
    let mut filled = DynamicMessage::new(message.clone());
    if has_own_json(message) {
        return filled;
    }
    for field in message.fields() {
        // At most one field of a oneof can be set.
        let oneof = field
            .containing_oneof()
            .filter(|oneof| !oneof.is_synthetic());
        let is_first = oneof.is_none_or(|oneof| oneof.fields().next().as_ref() == Some(&field));
        if !is_first || *left == 0 {
            continue;
        }
        *left -= 1;
        if let Some(value) = value(&field, depth, left) {
            filled.set_field(&field, value);
        }
    }
    filled
}

/// Returns whether a type has JSON in which its fields do not occur.
fn has_own_json(message: &MessageDescriptor) -> bool {
    message
        .full_name()
        .strip_prefix("google.protobuf.")
        .is_some_and(|name| {
            matches!(
                name,
                "Timestamp" | "Duration" | "Struct" | "ListValue" | "FieldMask" | "Empty"
            ) || name.ends_with("Value")
        })
}

/// Returns the value of a field; `None` if it would be too deep.
fn value(field: &FieldDescriptor, depth: usize, left: &mut usize) -> Option<Value> {
    if let (true, Kind::Message(entry)) = (field.is_map(), field.kind()) {
        let key = match entry.map_entry_key_field().kind() {
            Kind::String => MapKey::String("key".to_owned()),
            Kind::Bool => MapKey::Bool(false),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => MapKey::I64(0),
            Kind::Uint64 | Kind::Fixed64 => MapKey::U64(0),
            Kind::Uint32 | Kind::Fixed32 => MapKey::U32(0),
            _ => MapKey::I32(0),
        };
        let value = single(&entry.map_entry_value_field(), depth, left)?;
        return Some(Value::Map([(key, value)].into()));
    }
    let value = single(field, depth, left)?;
    Some(match field.is_list() {
        true => Value::List(vec![value]),
        false => value,
    })
}

fn single(field: &FieldDescriptor, depth: usize, left: &mut usize) -> Option<Value> {
    match field.kind() {
        Kind::Message(_) if depth == 0 => None,
        // They have no JSON without a content.
        Kind::Message(any)
            if ["google.protobuf.Any", "google.protobuf.Value"].contains(&any.full_name()) =>
        {
            None
        }
        Kind::Message(message) => Some(Value::Message(filled(&message, depth - 1, left))),
        // The first value is often that for a value that is not set.
        Kind::Enum(values) => {
            let named = values.values().find(|value| value.number() != 0);
            Some(Value::EnumNumber(named.map_or(0, |value| value.number())))
        }
        kind => Some(Value::default_value(&kind)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use nmfw_schema::prost_reflect::DescriptorPool;

    use super::*;

    #[test]
    fn well_known_types_have_their_own_json() {
        let pool = DescriptorPool::global();
        for (name, json) in [
            ("google.protobuf.Timestamp", "\"1970-01-01T00:00:00Z\"\n"),
            ("google.protobuf.Duration", "\"0s\"\n"),
            ("google.protobuf.Struct", "{}\n"),
        ] {
            let message = pool.get_message_by_name(name).unwrap();
            assert_eq!(of(&message).unwrap(), json);
        }
    }

    /// Descriptors have messages that contain themselves, of more than a hundred fields.
    #[test]
    fn messages_that_contain_themselves_end() {
        let pool = DescriptorPool::global();
        let message = pool
            .get_message_by_name("google.protobuf.DescriptorProto")
            .unwrap();
        let mut left = MAX_FIELDS;
        let field = message.get_field_by_name("nested_type").unwrap();
        let Value::List(nested) = value(&field, MAX_DEPTH, &mut left).unwrap() else {
            panic!("a list has a list as its value");
        };
        assert_eq!(nested.len(), 1);
        let mut few = 3;
        assert!(value(&field, MAX_DEPTH, &mut few).is_some() && few == 0);
    }
}
