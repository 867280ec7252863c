//! Values of options, as literals.

use std::fmt::Write as _;

use prost_reflect::{DynamicMessage, Kind, MapKey, Value};

/// Quotes and escapes bytes.
pub(super) fn string(bytes: &[u8]) -> String {
    let mut text = String::from("\"");
    let escape = |text: &mut String, byte: u8| {
        // Writing to a string does not fail.
        _ = write!(text, "\\{byte:03o}");
    };
    for chunk in bytes.utf8_chunks() {
        for each in chunk.valid().chars() {
            match each {
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                '"' => text.push_str("\\\""),
                '\\' => text.push_str("\\\\"),
                each if each.is_control() || is_invisible(each) => {
                    let mut buffer = [0; 4];
                    for byte in each.encode_utf8(&mut buffer).bytes() {
                        escape(&mut text, byte);
                    }
                }
                each => text.push(each),
            }
        }
        for byte in chunk.invalid() {
            escape(&mut text, *byte);
        }
    }
    text.push('"');
    text
}

/// Whether a character would change how the text around it is shown.
fn is_invisible(each: char) -> bool {
    matches!(each, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Formats a scalar.
pub(super) fn scalar(value: &Value, kind: &Kind) -> String {
    match value {
        Value::Bool(value) => value.to_string(),
        Value::I32(value) => value.to_string(),
        Value::I64(value) => value.to_string(),
        Value::U32(value) => value.to_string(),
        Value::U64(value) => value.to_string(),
        Value::F32(value) => float(f64::from(*value), &format!("{value:?}")),
        Value::F64(value) => float(*value, &format!("{value:?}")),
        Value::String(value) => string(value.as_bytes()),
        Value::Bytes(value) => string(value),
        Value::EnumNumber(number) => match kind {
            Kind::Enum(desc) => desc
                .get_value(*number)
                .map_or_else(|| number.to_string(), |value| value.name().to_owned()),
            _ => number.to_string(),
        },
        // Not scalars.
        Value::Message(_) | Value::List(_) | Value::Map(_) => String::new(),
    }
}

fn float(value: f64, text: &str) -> String {
    if value.is_nan() {
        "nan".to_owned()
    } else if value == f64::INFINITY {
        "inf".to_owned()
    } else if value == f64::NEG_INFINITY {
        "-inf".to_owned()
    } else {
        text.strip_suffix(".0").unwrap_or(text).to_owned()
    }
}

/// The lines of a message in the text format, without braces.
pub(super) fn message_lines(message: &DynamicMessage, lines: &mut Vec<String>, depth: usize) {
    for (field, value) in message.fields() {
        let name = if field.is_group() {
            let kind = field.kind();
            kind.as_message()
                .map_or_else(String::new, |group| group.name().to_owned())
        } else {
            field.name().to_owned()
        };
        member(&name, value, &field.kind(), lines, depth);
    }
    for (extension, value) in message.extensions() {
        let name = format!("[{}]", extension.full_name());
        member(&name, value, &extension.kind(), lines, depth);
    }
}

fn member(name: &str, value: &Value, kind: &Kind, lines: &mut Vec<String>, depth: usize) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Message(message) => {
            lines.push(format!("{indent}{name} {{"));
            message_lines(message, lines, depth + 1);
            lines.push(format!("{indent}}}"));
        }
        Value::List(values) => {
            for value in values {
                member(name, value, kind, lines, depth);
            }
        }
        Value::Map(entries) => {
            let Kind::Message(entry) = kind else { return };
            let mut entries: Vec<(&MapKey, &Value)> = entries.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            for (key, value) in entries {
                lines.push(format!("{indent}{name} {{"));
                let key = Value::from(key.clone());
                member(
                    "key",
                    &key,
                    &entry.map_entry_key_field().kind(),
                    lines,
                    depth + 1,
                );
                let value_kind = entry.map_entry_value_field().kind();
                member("value", value, &value_kind, lines, depth + 1);
                lines.push(format!("{indent}}}"));
            }
        }
        scalar_value => {
            lines.push(format!("{indent}{name}: {}", scalar(scalar_value, kind)));
        }
    }
}
