//! Rules about enums.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use prost_reflect::{EnumDescriptor, EnumValueDescriptor};

use super::Rule;
use super::json_format::{self, Element};
use super::locations::{Place, tag};
use super::parties::Parties;
use super::report::{Draft, Findings};
use super::reserved::{self, Owner, Reserved};
use super::text::{list, shown};

/// An enum with the same full name in both schemas.
pub(super) struct EnumPair {
    pub(super) old: EnumDescriptor,
    pub(super) new: EnumDescriptor,
    pub(super) parties: Parties,
}

/// The values of each number; more than one with `allow_alias`.
type ByNumber = BTreeMap<i32, Vec<EnumValueDescriptor>>;

/// Checks an enum and its values.
pub(super) fn compare(pair: &EnumPair, findings: &mut Findings<'_>) {
    json_format::compare(
        &Element {
            rule: Rule::EnumSameJsonFormat,
            name: pair.old.full_name(),
            old_file: pair.old.parent_file(),
            new_file: pair.new.parent_file(),
            places: &|| ((&pair.old).into(), (&pair.new).into()),
        },
        findings,
    );
    let new_reserved = Reserved::of_enum(&pair.new);
    reserved::compare(
        &Owner {
            rule: Rule::ReservedEnumNoDelete,
            element: pair.old.full_name(),
            parties: pair.parties,
            member: "value",
            old: &|| (&pair.old).into(),
            new: &|| (&pair.new).into(),
        },
        &Reserved::of_enum(&pair.old),
        &new_reserved,
        findings,
    );
    let new_values = by_number(&pair.new);
    for (number, old) in by_number(&pair.old) {
        match new_values.get(&number) {
            Some(new) => names(pair, number, &old, new, findings),
            None => deleted_value(pair, number, &old, &new_reserved, findings),
        }
    }
}

fn by_number(found: &EnumDescriptor) -> ByNumber {
    let mut values = ByNumber::new();
    for value in found.values() {
        values.entry(value.number()).or_default().push(value);
    }
    values
}

/// Checks that a number still has all its names.
fn names(
    pair: &EnumPair,
    number: i32,
    old: &[EnumValueDescriptor],
    new: &[EnumValueDescriptor],
    findings: &mut Findings<'_>,
) {
    let new_names = names_of(new);
    let old_names = names_of(old);
    if old_names.is_subset(&new_names) {
        return;
    }
    let lost: Vec<_> = old_names.difference(&new_names).collect();
    let change = format!(
        "the name of {number} changed from {} to {}",
        in_words(&old_names),
        in_words(&new_names)
    );
    let effect = json_effect(pair, &lost);
    let old_by_name: HashMap<&str, &EnumValueDescriptor> =
        old.iter().map(|value| (value.name(), value)).collect();
    for value in new {
        findings.add(Rule::EnumValueSameName, || Draft {
            element: shown(pair.old.full_name()),
            change: change.clone(),
            effect: effect.clone(),
            old: old_by_name
                .get(value.name())
                .copied()
                .or_else(|| old.first())
                .map(number_place),
            new: Some(number_place(value)),
        });
    }
}

/// Returns what becomes of JSON with names that the number no longer has.
fn json_effect<S: AsRef<str>>(pair: &EnumPair, lost: &[S]) -> String {
    let other = lost
        .iter()
        .find_map(|name| pair.new.get_value_by_name(name.as_ref()));
    match other {
        Some(other) => format!(
            "JSON with `{}` is read as {} now",
            shown(other.name()),
            other.number()
        ),
        None => pair.parties.unknown_in_json(&list(lost)),
    }
}

fn number_place(value: &EnumValueDescriptor) -> Place {
    Place::from(value).part(&[tag::ENUM_VALUE_NUMBER])
}

fn deleted_value(
    pair: &EnumPair,
    number: i32,
    old: &[EnumValueDescriptor],
    reserved: &Reserved,
    findings: &mut Findings<'_>,
) {
    let names = names_of(old);
    let draft = |change, effect| Draft {
        element: shown(pair.old.full_name()),
        change,
        effect,
        old: old.first().map(Place::from),
        new: Some((&pair.new).into()),
    };
    if !reserved.has_number(i64::from(number)) {
        findings.add(Rule::EnumValueNoDeleteUnlessNumberReserved, || {
            draft(
                format!(
                    "the value {} was deleted, and its number {number} is not reserved",
                    in_words(&names)
                ),
                format!(
                    "{} still use {number} for it, and a later value with that number is misread; \
                     write `reserved {number};`",
                    pair.parties.old()
                ),
            )
        });
    }
    let lost: Vec<_> = names
        .iter()
        .filter(|name| !reserved.has_name(name))
        .collect();
    if !lost.is_empty() {
        findings.add(Rule::EnumValueNoDeleteUnlessNameReserved, || {
            draft(
                format!(
                    "the value {number} was deleted, and its name {} is not reserved",
                    list(&lost)
                ),
                json_effect(pair, &lost),
            )
        });
    }
}

fn names_of(values: &[EnumValueDescriptor]) -> BTreeSet<&str> {
    values.iter().map(EnumValueDescriptor::name).collect()
}

fn in_words(names: &BTreeSet<&str>) -> String {
    list(&names.iter().take(20).collect::<Vec<_>>())
}
