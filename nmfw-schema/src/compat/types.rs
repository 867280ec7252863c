//! Types of fields.

use std::collections::HashMap;

use prost_reflect::EnumDescriptor;

use super::Rule;
use super::field::{Kind, Scalar, Shape};
use super::fields::FieldPair;
use super::locations::tag;
use super::report::Findings;
use super::text::shown;

/// The types of one group have the same encoding.
///
/// An enum is apart from integers: whether a number has an enum value cannot be known. A message is
/// apart from bytes for the like reason.
const fn wire_group(kind: &Kind) -> u8 {
    match kind {
        Kind::Scalar(scalar) => match scalar {
            Scalar::Int32 | Scalar::Int64 | Scalar::Uint32 | Scalar::Uint64 | Scalar::Bool => 1,
            Scalar::Sint32 | Scalar::Sint64 => 2,
            Scalar::String => 3,
            Scalar::Bytes => 4,
            Scalar::Fixed32 | Scalar::Sfixed32 => 5,
            Scalar::Fixed64 | Scalar::Sfixed64 => 6,
            Scalar::Double => 7,
            Scalar::Float => 8,
        },
        Kind::Group(_) => 9,
        Kind::Message(_) => 10,
        Kind::Enum(_) => 11,
    }
}

/// The types of one group have the same encoding and the same JSON.
const fn json_group(kind: &Kind) -> u8 {
    match kind {
        Kind::Scalar(scalar) => match scalar {
            Scalar::Int32 | Scalar::Uint32 => 1,
            Scalar::Int64 | Scalar::Uint64 => 2,
            Scalar::Fixed32 | Scalar::Sfixed32 => 3,
            Scalar::Fixed64 | Scalar::Sfixed64 => 4,
            Scalar::Bool => 5,
            Scalar::Sint32 => 6,
            Scalar::Sint64 => 7,
            Scalar::String => 8,
            Scalar::Bytes => 9,
            Scalar::Double => 10,
            Scalar::Float => 11,
        },
        Kind::Group(_) => 12,
        Kind::Message(_) => 13,
        Kind::Enum(_) => 14,
    }
}

/// Whether readers of the new type understand the old one's encoding.
fn is_wire_compatible(old: &Kind, new: &Kind) -> bool {
    wire_group(old) == wire_group(new)
        // Every string is bytes, but not the reverse.
        || matches!(
            (old, new),
            (Kind::Scalar(Scalar::String), Kind::Scalar(Scalar::Bytes))
        )
}

/// Checks the type of a field.
pub(super) fn compare(pair: &FieldPair, subsets: &mut Subsets, findings: &mut Findings<'_>) {
    let (old, new) = (pair.old.kind(), pair.new.kind());
    let is_wire_compatible = is_wire_compatible(&old, &new);
    if !is_wire_compatible {
        changed(Rule::FieldWireCompatibleType, pair, &old, &new, findings);
    }
    if json_group(&old) != json_group(&new) {
        changed(
            Rule::FieldWireJsonCompatibleType,
            pair,
            &old,
            &new,
            findings,
        );
    }
    // Equal groups are the same kind of type, so both rules agree about the name of the type.
    if is_another_type(pair, &old, &new, subsets) {
        changed(Rule::FieldWireCompatibleType, pair, &old, &new, findings);
        changed(
            Rule::FieldWireJsonCompatibleType,
            pair,
            &old,
            &new,
            findings,
        );
    }
}

/// Whether both are enums, messages or groups, but not the same.
fn is_another_type(pair: &FieldPair, old: &Kind, new: &Kind, subsets: &mut Subsets) -> bool {
    match (old, new) {
        (Kind::Enum(old), Kind::Enum(new)) => {
            old.full_name() != new.full_name()
                && (old.name() != new.name() || !subsets.contains(old, new))
        }
        // The entries of maps are compared by their keys and values.
        (Kind::Message(_), Kind::Message(_))
            if pair.old.shape() == Shape::Map && pair.new.shape() == Shape::Map =>
        {
            false
        }
        (Kind::Message(old), Kind::Message(new)) | (Kind::Group(old), Kind::Group(new)) => {
            old.full_name() != new.full_name()
        }
        _ => false,
    }
}

/// Remembers which enums have all values of others: many fields can have the same types.
#[derive(Debug, Default)]
pub(super) struct Subsets(HashMap<(String, String), bool>);

impl Subsets {
    /// Whether the new enum has all values of the old one, with the same numbers.
    fn contains(&mut self, old: &EnumDescriptor, new: &EnumDescriptor) -> bool {
        let key = (old.full_name().to_owned(), new.full_name().to_owned());
        *self.0.entry(key).or_insert_with(|| {
            old.values().len() <= new.values().len()
                && old.values().all(|value| {
                    new.get_value_by_name(value.name())
                        .is_some_and(|found| found.number() == value.number())
                })
        })
    }
}

fn changed(rule: Rule, pair: &FieldPair, old: &Kind, new: &Kind, findings: &mut Findings<'_>) {
    findings.add(rule, || {
        let part = match new {
            Kind::Scalar(_) => tag::FIELD_TYPE,
            _ => tag::FIELD_TYPE_NAME,
        };
        pair.draft(
            &[part],
            format!(
                "{} changed from {} to {}",
                pair.its("type"),
                in_words(old),
                in_words(new)
            ),
            format!(
                "{}: {}",
                pair.parties.clash(&with_article(old), &with_article(new)),
                consequence(old, new, pair.parties.fail())
            ),
        )
    });
}

fn in_words(kind: &Kind) -> String {
    match kind {
        Kind::Scalar(scalar) => scalar.name().to_owned(),
        Kind::Enum(found) => format!("the enum `{}`", shown(found.full_name())),
        Kind::Message(message) => format!("the message `{}`", shown(message.full_name())),
        Kind::Group(message) => format!("the group `{}`", shown(message.full_name())),
    }
}

fn with_article(kind: &Kind) -> String {
    match kind {
        Kind::Scalar(Scalar::Bytes) => "bytes".to_owned(),
        Kind::Scalar(scalar @ (Scalar::Int32 | Scalar::Int64)) => format!("an {}", scalar.name()),
        Kind::Scalar(scalar) => format!("a {}", scalar.name()),
        _ => in_words(kind),
    }
}

/// The number in a field's tag that says how its value ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Varint,
    Fixed64,
    Fixed32,
    Length,
    Group,
}

const fn encoding(kind: &Kind) -> Encoding {
    match kind {
        Kind::Scalar(scalar) => match scalar {
            Scalar::Int32
            | Scalar::Int64
            | Scalar::Uint32
            | Scalar::Uint64
            | Scalar::Sint32
            | Scalar::Sint64
            | Scalar::Bool => Encoding::Varint,
            Scalar::Fixed32 | Scalar::Sfixed32 | Scalar::Float => Encoding::Fixed32,
            Scalar::Fixed64 | Scalar::Sfixed64 | Scalar::Double => Encoding::Fixed64,
            Scalar::String | Scalar::Bytes => Encoding::Length,
        },
        Kind::Enum(_) => Encoding::Varint,
        Kind::Message(_) => Encoding::Length,
        Kind::Group(_) => Encoding::Group,
    }
}

/// Returns what becomes of a value of one type for a reader of the other.
fn consequence(old: &Kind, new: &Kind, fail: &str) -> String {
    if encoding(old) != encoding(new) {
        return format!("{fail}, or the value is lost");
    }
    if is_wire_compatible(old, new) {
        return json_consequence(old, new).to_owned();
    }
    match (encoding(old), old, new) {
        (Encoding::Varint, Kind::Enum(_), _) | (Encoding::Varint, _, Kind::Enum(_)) => {
            "a number that no enum value has is dropped or refused".to_owned()
        }
        (Encoding::Varint, ..) => "numbers are read as other numbers".to_owned(),
        (Encoding::Fixed32 | Encoding::Fixed64, ..) => {
            "the bits are read as another number".to_owned()
        }
        (_, Kind::Scalar(Scalar::Bytes), Kind::Scalar(Scalar::String)) => {
            format!("{fail} if the bytes are not UTF-8")
        }
        _ => format!("{fail}, or data is misread"),
    }
}

/// Returns the consequence for types with the same encoding.
fn json_consequence(old: &Kind, new: &Kind) -> &'static str {
    match (old, new) {
        (Kind::Enum(_), _) => "a number or name need not mean the same value in both",
        (Kind::Message(_) | Kind::Group(_), _) => "the fields of the two need not agree",
        (Kind::Scalar(Scalar::String), _) => "JSON has bytes as base64, but a string as it is",
        (Kind::Scalar(Scalar::Bool), _) | (_, Kind::Scalar(Scalar::Bool)) => {
            "JSON has `true` for one and a number for the other"
        }
        _ => "JSON has 64-bit integers as strings, and larger numbers do not fit into 32 bits",
    }
}
