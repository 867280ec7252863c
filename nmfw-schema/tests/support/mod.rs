//! Random messages.

use nmfw_schema::prost_reflect::{DynamicMessage, Kind, MapKey, MessageDescriptor, Value};

/// Bytes that decide what is generated; zeros once they are used up, so that fewer bytes give
/// smaller messages.
pub(crate) struct Entropy<'a>(pub(crate) &'a [u8]);

impl Entropy<'_> {
    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    fn below(&mut self, limit: u8) -> u8 {
        self.byte() % limit
    }

    fn bits(&mut self) -> u64 {
        // Small numbers and those near the limits are more interesting than others.
        match self.below(4) {
            0 => u64::from(self.byte()),
            1 => u64::MAX - u64::from(self.byte()),
            2 => (1 << 63) - 1 + u64::from(self.below(3)),
            _ => u64::from_le_bytes(std::array::from_fn(|_| self.byte())),
        }
    }

    fn text(&mut self) -> String {
        const PARTS: [&str; 8] = ["a", "B_", " ", "\"", "\\", "\n", "é", "\u{10ffff}"];
        let number = self.below(4);
        let part = |entropy: &mut Self| PARTS[usize::from(entropy.below(8))];
        (0..number).map(|_| part(self)).collect()
    }
}

/// Generates a message that has a form in JSON.
pub(crate) fn message(
    desc: &MessageDescriptor,
    entropy: &mut Entropy<'_>,
    depth: usize,
) -> DynamicMessage {
    let mut message = DynamicMessage::new(desc.clone());
    match desc.full_name() {
        "google.protobuf.Timestamp" | "google.protobuf.Duration" => {
            let seconds = i64::from(entropy.byte()) * 86_400 * 300;
            message.set_field_by_number(1, Value::I64(seconds));
            let nanos = [0, 1, 1_000, 500_000_000, 999_999_999];
            let nanos = nanos[usize::from(entropy.below(5))];
            message.set_field_by_number(2, Value::I32(nanos));
            return message;
        }
        "google.protobuf.FieldMask" => {
            let paths = ["a", "foo_bar.baz_qux", "x1"];
            let paths = paths[..usize::from(entropy.below(4))].iter();
            let paths = paths.map(|path| Value::String((*path).to_owned()));
            message.set_field_by_number(1, Value::List(paths.collect()));
            return message;
        }
        "google.protobuf.Any" => {
            let kinds = desc.parent_pool().get_message_by_name("kinds.Kinds.Item");
            if let Some(item) = kinds.filter(|_| entropy.below(2) == 1) {
                use nmfw_schema::prost_reflect::prost::Message;
                let content = self::message(&item, entropy, depth + 1).encode_to_vec();
                let url = "type.googleapis.com/kinds.Kinds.Item".to_owned();
                message.set_field_by_number(1, Value::String(url));
                message.set_field_by_number(2, Value::Bytes(content.into()));
            }
            return message;
        }
        "google.protobuf.Value" => {
            let deepest = if depth > 6 { 4 } else { 6 };
            let number = u32::from(entropy.below(deepest)) + 1;
            let field = desc.get_field(number).unwrap();
            let value = match value(&field.kind(), entropy, depth) {
                Value::F64(value) if !value.is_finite() => Value::F64(0.5),
                Value::EnumNumber(_) => Value::EnumNumber(0),
                value => value,
            };
            message.set_field(&field, value);
            return message;
        }
        _ => {}
    }
    for field in desc.fields() {
        let is_deep = depth > 6 && matches!(field.kind(), Kind::Message(_));
        if is_deep || entropy.below(3) != 1 {
            continue;
        }
        let kind = field.kind();
        let value = if field.is_map() {
            let entry = kind.as_message().unwrap();
            let (key, of) = (entry.map_entry_key_field(), entry.map_entry_value_field());
            let entries = (0..entropy.below(3)).map(|_| {
                (
                    map_key(&key.kind(), entropy),
                    value(&of.kind(), entropy, depth + 1),
                )
            });
            Value::Map(entries.collect())
        } else if field.is_list() {
            let number = entropy.below(3);
            Value::List(
                (0..number)
                    .map(|_| value(&kind, entropy, depth + 1))
                    .collect(),
            )
        } else {
            value(&kind, entropy, depth + 1)
        };
        message.set_field(&field, value);
    }
    message
}

fn map_key(kind: &Kind, entropy: &mut Entropy<'_>) -> MapKey {
    value(kind, entropy, 0).into_map_key().unwrap()
}

#[expect(clippy::cast_possible_truncation, reason = "any bits will do")]
fn value(kind: &Kind, entropy: &mut Entropy<'_>, depth: usize) -> Value {
    match kind {
        Kind::Double => Value::F64(f64::from_bits(entropy.bits())),
        Kind::Float => Value::F32(f32::from_bits(entropy.bits() as u32)),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(entropy.bits() as u32 as i32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(entropy.bits() as i64),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(entropy.bits() as u32),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(entropy.bits()),
        Kind::Bool => Value::Bool(entropy.below(2) == 1),
        Kind::String => Value::String(entropy.text()),
        Kind::Bytes => Value::Bytes(entropy.text().into_bytes().into()),
        Kind::Enum(desc) if desc.full_name() == "google.protobuf.NullValue" => Value::EnumNumber(0),
        Kind::Enum(_) => Value::EnumNumber(i32::from(entropy.below(5)) - 1),
        Kind::Message(desc) => Value::Message(message(desc, entropy, depth + 1)),
    }
}
