//! Options, custom ones included.

use prost_reflect::{DescriptorPool, DynamicMessage, Kind, Value};

use super::literal;
use super::names::Names;
use super::writer::Writer;

/// An option: its name and the lines of its value.
pub(super) struct Setting {
    pub(super) name: String,
    pub(super) value: Vec<String>,
    /// The number of the field, for the comment of the option.
    pub(super) number: u32,
}

/// Decodes options as the type with this name, and returns them in the order of their numbers.
pub(super) fn settings(
    encoded: Option<&[u8]>,
    type_name: &str,
    pool: &DescriptorPool,
    names: &Names,
    scope: &str,
) -> Vec<Setting> {
    let Some(message) = encoded.and_then(|encoded| decode(encoded, type_name, pool)) else {
        return Vec::new();
    };
    let mut settings = Vec::new();
    members("", 0, &message, names, scope, &mut settings);
    settings
}

/// The option with the features of editions, which are written one by one.
pub(super) const FEATURES: &str = "features";

/// Adds the fields and extensions of a message. `number` is that of the option itself, unless the
/// message has all options.
fn members(
    prefix: &str,
    number: u32,
    message: &DynamicMessage,
    names: &Names,
    scope: &str,
    settings: &mut Vec<Setting>,
) {
    let number_of = |own: u32| if prefix.is_empty() { own } else { number };
    for (field, value) in message.fields() {
        let number = number_of(field.number());
        match value {
            // protoc leaves an empty message where it removed a feature.
            Value::Message(features)
                if prefix.is_empty() && field.name() == FEATURES && !is_empty(features) =>
            {
                let prefix = format!("{FEATURES}.");
                members(&prefix, number, features, names, scope, settings);
            }
            value => {
                let name = format!("{prefix}{}", field.name());
                add(&name, number, value, &field.kind(), settings);
            }
        }
    }
    for (extension, value) in message.extensions() {
        let full_name = names.in_full(extension.full_name(), scope);
        let name = format!("{prefix}({full_name})");
        let number = number_of(extension.number());
        add(&name, number, value, &extension.kind(), settings);
    }
}

fn is_empty(message: &DynamicMessage) -> bool {
    message.fields().next().is_none() && message.extensions().next().is_none()
}

/// Returns the full names of the extensions in options.
pub(super) fn extensions(
    encoded: Option<&[u8]>,
    type_name: &str,
    pool: &DescriptorPool,
) -> Vec<String> {
    let message = encoded.and_then(|encoded| decode(encoded, type_name, pool));
    let names = message.iter().flat_map(DynamicMessage::extensions);
    names
        .map(|(extension, _)| extension.full_name().to_owned())
        .collect()
}

/// Decodes options as the type of the set's own `descriptor.proto`, which knows its extensions.
fn decode(encoded: &[u8], type_name: &str, pool: &DescriptorPool) -> Option<DynamicMessage> {
    let full_name = format!("google.protobuf.{type_name}");
    let desc = pool
        .get_message_by_name(&full_name)
        .or_else(|| DescriptorPool::global().get_message_by_name(&full_name))?;
    DynamicMessage::decode(desc, encoded).ok()
}

fn add(name: &str, number: u32, value: &Value, kind: &Kind, settings: &mut Vec<Setting>) {
    let value = match value {
        Value::List(values) => {
            for value in values {
                add(name, number, value, kind, settings);
            }
            return;
        }
        Value::Map(entries) => {
            // Each entry is an element of a list.
            let Kind::Message(entry) = kind else { return };
            let mut entries: Vec<_> = entries.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            for (key, value) in entries {
                let mut message = DynamicMessage::new(entry.clone());
                message.set_field(&entry.map_entry_key_field(), key.clone().into());
                message.set_field(&entry.map_entry_value_field(), value.clone());
                add(name, number, &Value::Message(message), kind, settings);
            }
            return;
        }
        Value::Message(message) => {
            let mut lines = vec!["{".to_owned()];
            literal::message_lines(message, &mut lines, 1);
            lines.push("}".to_owned());
            if lines.len() == 2 {
                lines = vec!["{}".to_owned()];
            }
            lines
        }
        value => vec![literal::scalar(value, kind)],
    };
    settings.push(Setting {
        name: name.to_owned(),
        value,
        number,
    });
}

/// Writes an option as a statement.
pub(super) fn statement(setting: &Setting, out: &mut Writer) {
    let name = &setting.name;
    match setting.value.as_slice() {
        [] => {}
        [value] => out.line(&format!("option {name} = {value};")),
        [first, inner @ .., last] => {
            out.line(&format!("option {name} = {first}"));
            for line in inner {
                out.line(line);
            }
            out.line(&format!("{last};"));
        }
    }
}

/// The longest line with options in brackets.
const WIDTH: usize = 100;

/// Writes a declaration with options in brackets, such as a field. `end` follows the options.
///
/// An end with `{` opens a block.
pub(super) fn bracketed(declaration: &str, settings: &[Setting], end: &str, out: &mut Writer) {
    write_bracketed(declaration, settings, end, out);
    if end.ends_with('{') {
        out.enter();
    }
}

fn write_bracketed(declaration: &str, settings: &[Setting], end: &str, out: &mut Writer) {
    let in_line: Vec<String> = settings
        .iter()
        .map(|setting| format!("{} = {}", setting.name, setting.value.join(" ")))
        .collect();
    let in_line = match in_line.as_slice() {
        [] => format!("{declaration}{end}"),
        all => format!("{declaration} [{}]{end}", all.join(", ")),
    };
    let is_simple = settings.iter().all(|setting| setting.value.len() == 1);
    if settings.is_empty() || (is_simple && out.indent() + in_line.len() <= WIDTH) {
        out.line(&in_line);
        return;
    }
    out.open(&format!("{declaration} ["));
    for (index, setting) in settings.iter().enumerate() {
        let comma = if index + 1 < settings.len() { "," } else { "" };
        match setting.value.as_slice() {
            [first, inner @ .., last] => {
                out.line(&format!("{} = {first}", setting.name));
                for line in inner {
                    out.line(line);
                }
                out.line(&format!("{last}{comma}"));
            }
            value => out.line(&format!("{} = {}{comma}", setting.name, value.join(""))),
        }
    }
    out.close(&format!("]{end}"));
}
