//! Answers made from the schema, for methods without answers of their own.

use nmfw_schema::prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value,
};
use time::OffsetDateTime;

/// The depth to which messages are filled in: deep ones can contain themselves.
const MAX_DEPTH: usize = 4;

/// The most fields that are filled in, because a message of few types can have very many.
const MAX_FIELDS: usize = 2_000;

/// Returns a plausible answer: fields that the request has too have its values, and others have
/// values by their types and names.
pub(super) fn answer(
    message: &MessageDescriptor,
    request: Option<&DynamicMessage>,
) -> DynamicMessage {
    let mut left = MAX_FIELDS;
    let mut answer = filled(message, MAX_DEPTH, &mut left);
    let Some(request) = request else {
        return answer;
    };
    for (field, value) in request.fields() {
        let same = message.get_field_by_name(field.name()).filter(|other| {
            other.kind() == field.kind()
                && other.cardinality() == field.cardinality()
                && other.is_map() == field.is_map()
        });
        if let Some(same) = same {
            answer.set_field(&same, value.clone());
        }
    }
    answer
}

fn filled(message: &MessageDescriptor, depth: usize, left: &mut usize) -> DynamicMessage {
    let mut filled = DynamicMessage::new(message.clone());
    match message.full_name() {
        "google.protobuf.Timestamp" => {
            let seconds = OffsetDateTime::now_utc().unix_timestamp();
            filled.set_field_by_name("seconds", Value::I64(seconds));
            return filled;
        }
        "google.protobuf.Duration" => {
            filled.set_field_by_name("seconds", Value::I64(1));
            return filled;
        }
        "google.protobuf.Value" => {
            filled.set_field_by_name("string_value", Value::String("value".to_owned()));
            return filled;
        }
        // They may be empty.
        "google.protobuf.Struct"
        | "google.protobuf.ListValue"
        | "google.protobuf.FieldMask"
        | "google.protobuf.Any" => return filled,
        _ => {}
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

/// Returns the value of a field; `None` if it would be too deep.
fn value(field: &FieldDescriptor, depth: usize, left: &mut usize) -> Option<Value> {
    if let (true, Kind::Message(entry)) = (field.is_map(), field.kind()) {
        let key = match entry.map_entry_key_field().kind() {
            Kind::String => MapKey::String("key".to_owned()),
            Kind::Bool => MapKey::Bool(true),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => MapKey::I64(1),
            Kind::Uint64 | Kind::Fixed64 => MapKey::U64(1),
            Kind::Uint32 | Kind::Fixed32 => MapKey::U32(1),
            _ => MapKey::I32(1),
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
    Some(match field.kind() {
        Kind::Message(_) if depth == 0 => return None,
        Kind::Message(message) => Value::Message(filled(&message, depth - 1, left)),
        // The first value is often that for a value that is not set.
        Kind::Enum(values) => {
            let named = values.values().find(|value| value.number() != 0);
            Value::EnumNumber(named.map_or(0, |value| value.number()))
        }
        Kind::String => Value::String(text(field.name())),
        Kind::Bytes => Value::Bytes(text(field.name()).into()),
        Kind::Bool => Value::Bool(true),
        Kind::Double => Value::F64(1.5),
        Kind::Float => Value::F32(1.5),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(1),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(1),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(1),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(1),
    })
}

/// Returns a text for a field with this name.
fn text(name: &str) -> String {
    let lower = name.to_lowercase();
    let has = |word: &str| lower.contains(word);
    let text = if has("email") {
        "someone@example.com"
    } else if has("url") || has("uri") {
        "https://example.com/"
    } else if lower == "id" || lower.ends_with("_id") || has("uuid") {
        "00000000-0000-4000-8000-000000000001"
    } else if has("phone") {
        "+1 555 0100"
    } else if has("currency") {
        "EUR"
    } else if has("language") || has("locale") {
        "en"
    } else if has("country") {
        "NL"
    } else if lower.ends_with("_at") || has("timestamp") {
        "2026-01-01T00:00:00Z"
    } else if lower == "date" || lower.ends_with("_date") {
        "2026-01-01"
    } else if has("version") {
        "1.0.0"
    } else {
        return name.replace('_', " ");
    };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use nmfw_schema::prost_reflect::DescriptorPool;

    use super::*;

    #[test]
    fn texts_go_by_names() {
        for (name, expected) in [
            ("user_id", "00000000-0000-4000-8000-000000000001"),
            ("id", "00000000-0000-4000-8000-000000000001"),
            ("paid", "paid"),
            ("contact_email", "someone@example.com"),
            ("created_at", "2026-01-01T00:00:00Z"),
            ("display_name", "display name"),
        ] {
            assert_eq!(text(name), expected);
        }
    }

    /// Descriptors have messages that contain themselves, of more than a hundred fields.
    #[test]
    fn messages_that_contain_themselves_end() {
        let pool = DescriptorPool::global();
        let message = pool
            .get_message_by_name("google.protobuf.FileDescriptorProto")
            .unwrap();
        let request = DynamicMessage::new(message.clone());
        let answer = answer(&message, Some(&request));
        assert!(answer.has_field_by_name("message_type"));
    }

    #[test]
    fn fields_of_the_request_are_repeated() {
        let pool = DescriptorPool::global();
        let message = pool
            .get_message_by_name("google.protobuf.EnumValueDescriptorProto")
            .unwrap();
        let mut request = DynamicMessage::new(message.clone());
        request.set_field_by_name("name", Value::String("mine".to_owned()));
        let answer = answer(&message, Some(&request));
        let field = |name: &str| answer.get_field_by_name(name).unwrap().into_owned();
        assert_eq!(field("name"), Value::String("mine".to_owned()));
        assert_eq!(field("number"), Value::I32(1));
    }
}
