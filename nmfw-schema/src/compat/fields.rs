//! Rules about fields and extensions.

use prost_reflect::Value;

use super::Rule;
use super::cardinality;
use super::defaults;
use super::field::{Field, Kind};
use super::locations::{Place, tag};
use super::parties::Parties;
use super::report::{Draft, Findings};
use super::text::shown;
use super::types::{self, Subsets};

/// The numbers of the fields of a map's entries.
const KEY: u32 = 1;
const VALUE: u32 = 2;

/// A field with the same number in both schemas, or the keys or values of a map.
pub(super) struct FieldPair {
    pub(super) old: Field,
    pub(super) new: Field,
    pub(super) parties: Parties,
    /// The maps whose keys or values the fields are.
    pub(super) maps: Option<(Field, Field)>,
}

impl FieldPair {
    pub(super) const fn new(old: Field, new: Field, parties: Parties) -> Self {
        Self {
            old,
            new,
            parties,
            maps: None,
        }
    }

    /// Returns the pairs of keys and of values, if both fields are maps.
    fn entries(&self) -> Vec<Self> {
        let (Some(old), Some(new)) = (self.old.map_entry(), self.new.map_entry()) else {
            return Vec::new();
        };
        // A hostile schema can have an entry without a key, for which `map_entry_key_field` panics.
        [KEY, VALUE]
            .into_iter()
            .filter_map(|number| {
                Some(Self {
                    old: Field::Member(old.get_field(number)?),
                    new: Field::Member(new.get_field(number)?),
                    parties: self.parties,
                    maps: Some((self.old.clone(), self.new.clone())),
                })
            })
            .collect()
    }

    /// Returns "its type", or "the type of its values".
    pub(super) fn its(&self, property: &str) -> String {
        match (&self.maps, self.old.number()) {
            (None, _) => format!("its {property}"),
            (Some(_), KEY) => format!("the {property} of its keys"),
            (Some(_), _) => format!("the {property} of its values"),
        }
    }

    /// Builds a finding that points at a part of the field.
    pub(super) fn draft(&self, part: &[i32], change: String, effect: String) -> Draft {
        let (element, old, new) = match &self.maps {
            // Keys and values have no place of their own in the source.
            Some((old, new)) => (
                old.full_name(),
                Place::from(old).part(&[tag::FIELD_TYPE_NAME]),
                Place::from(new).part(&[tag::FIELD_TYPE_NAME]),
            ),
            None => (
                self.old.full_name(),
                Place::from(&self.old).part(part),
                Place::from(&self.new).part(part),
            ),
        };
        Draft {
            element: shown(element),
            change,
            effect,
            old: Some(old),
            new: Some(new),
        }
    }
}

/// Checks a field.
pub(super) fn compare(pair: &FieldPair, subsets: &mut Subsets, findings: &mut Findings<'_>) {
    name(pair, findings);
    json_name(pair, findings);
    oneof(pair, findings);
    cardinality::compare(pair, findings);
    value(pair, subsets, findings);
    // A map's entry type has a name that the map's own name gives, so it is not compared as a type.
    for entry in pair.entries() {
        value(&entry, subsets, findings);
    }
}

fn value(pair: &FieldPair, subsets: &mut Subsets, findings: &mut Findings<'_>) {
    default(pair, findings);
    types::compare(pair, subsets, findings);
}

fn name(pair: &FieldPair, findings: &mut Findings<'_>) {
    // The name of an extension in JSON is its full name.
    let (old, new) = if pair.old.is_extension() {
        (pair.old.full_name(), pair.new.full_name())
    } else {
        (pair.old.name(), pair.new.name())
    };
    if old == new {
        return;
    }
    findings.add(Rule::FieldSameName, || {
        let masks = format!(
            "field masks and text formats with `{}` do not match",
            shown(old)
        );
        pair.draft(
            &[tag::FIELD_NAME],
            format!(
                "the name of field {} changed from `{}` to `{}`",
                pair.old.number(),
                shown(old),
                shown(new)
            ),
            if pair.new.json_name() == old {
                format!("{masks}, but JSON does")
            } else {
                format!("{}, and {masks}", json_effect(pair, old))
            },
        )
    });
}

/// Returns what becomes of JSON with a name that the field no longer has.
fn json_effect(pair: &FieldPair, name: &str) -> String {
    match pair.new.other_with_name(name) {
        Some(other) => format!(
            "JSON with `{}` is read as field {} now",
            shown(name),
            other.number()
        ),
        None => pair.parties.unknown_in_json(&format!("`{}`", shown(name))),
    }
}

fn json_name(pair: &FieldPair, findings: &mut Findings<'_>) {
    // An extension cannot have a JSON name of its own.
    if pair.old.is_extension() || pair.old.json_name() == pair.new.json_name() {
        return;
    }
    findings.add(Rule::FieldSameJsonName, || {
        let (old, new) = (shown(pair.old.json_name()), shown(pair.new.json_name()));
        pair.draft(
            &[tag::FIELD_JSON_NAME],
            format!("its name in JSON changed from `{old}` to `{new}`"),
            json_effect(pair, pair.old.json_name()),
        )
    });
}

fn oneof(pair: &FieldPair, findings: &mut Findings<'_>) {
    let (old, new) = (pair.old.oneof(), pair.new.oneof());
    let change = match (&old, &new) {
        (None, None) => return,
        (Some(old), Some(new)) if old.name() == new.name() => return,
        (Some(old), Some(new)) => format!(
            "it moved from the oneof `{}` to the oneof `{}`",
            shown(old.name()),
            shown(new.name())
        ),
        (None, Some(new)) => format!("it moved into the oneof `{}`", shown(new.name())),
        (Some(old), None) => format!("it moved out of the oneof `{}`", shown(old.name())),
    };
    findings.add(Rule::FieldSameOneof, || {
        pair.draft(&[], change, pair.parties.keep_the_last(new.is_some()))
    });
}

fn default(pair: &FieldPair, findings: &mut Findings<'_>) {
    let (Some(old), Some(new)) = (pair.old.default(), pair.new.default()) else {
        return;
    };
    if defaults::are_equal(&old, &new) {
        return;
    }
    findings.add(Rule::FieldSameDefault, || {
        let (old, new) = (in_words(&pair.old, &old), in_words(&pair.new, &new));
        pair.draft(
            &[tag::FIELD_DEFAULT],
            format!("{} changed from {old} to {new}", pair.its("default value")),
            format!(
                "where it is absent, readers with the old schema take {old} and readers with the new one {new}"
            ),
        )
    });
}

/// Returns a default value as in a `.proto` file.
fn in_words(field: &Field, value: &Value) -> String {
    match (field.kind(), value) {
        (Kind::Enum(found), Value::EnumNumber(number)) => match found.get_value(*number) {
            Some(value) => shown(value.name()),
            None => number.to_string(),
        },
        _ => defaults::in_words(value),
    }
}
