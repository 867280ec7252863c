//! Cardinalities of fields.

use super::Rule;
use super::field::Shape;
use super::fields::FieldPair;
use super::report::Findings;

/// Cardinalities of one group have the same encoding.
const fn wire_group(shape: Shape) -> u8 {
    match shape {
        Shape::Optional | Shape::Implicit => 1,
        Shape::Required => 2,
        Shape::Repeated | Shape::Map => 3,
    }
}

/// Cardinalities of one group have the same encoding and the same JSON.
const fn json_group(shape: Shape) -> u8 {
    match shape {
        Shape::Map => 4,
        _ => wire_group(shape),
    }
}

/// Checks the cardinality of a field.
pub(super) fn compare(pair: &FieldPair, findings: &mut Findings<'_>) {
    let (old, new) = (pair.old.shape(), pair.new.shape());
    let mut check = |rule, group: fn(Shape) -> u8| {
        if group(old) != group(new) {
            findings.add(rule, || {
                pair.draft(
                    &[],
                    format!(
                        "its cardinality changed from {} to {}",
                        old.name(),
                        new.name()
                    ),
                    effect(pair, old, new),
                )
            });
        }
    };
    check(Rule::FieldWireCompatibleCardinality, wire_group);
    check(Rule::FieldWireJsonCompatibleCardinality, json_group);
}

fn effect(pair: &FieldPair, old: Shape, new: Shape) -> String {
    let is_one = |shape| matches!(shape, Shape::Optional | Shape::Implicit | Shape::Required);
    let clash = pair.parties.clash(in_words(old), in_words(new));
    match (old, new) {
        (Shape::Required, _) if is_one(new) => pair.parties.old_requires("it"),
        (_, Shape::Required) if is_one(old) => pair.parties.new_requires("it"),
        (Shape::Map, Shape::Repeated) | (Shape::Repeated, Shape::Map) => {
            format!("{clash}: JSON has an object for one and an array for the other")
        }
        _ => format!(
            "{clash}: a reader of one value keeps the last of many, packed numbers fail to decode, and JSON differs"
        ),
    }
}

const fn in_words(shape: Shape) -> &'static str {
    match shape {
        Shape::Optional | Shape::Implicit | Shape::Required => "one value",
        Shape::Repeated => "a list",
        Shape::Map => "a map",
    }
}
