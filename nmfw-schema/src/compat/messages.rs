//! Rules about messages.

use prost_reflect::{FieldDescriptor, MessageDescriptor};

use super::Rule;
use super::field::{Field, with_name};
use super::fields::{self, FieldPair};
use super::json_format::{self, Element};
use super::parties::Parties;
use super::report::{Draft, Findings};
use super::reserved::{self, Owner, Reserved};
use super::text::shown;
use super::types::Subsets;

/// A message with the same full name in both schemas.
pub(super) struct MessagePair {
    pub(super) old: MessageDescriptor,
    pub(super) new: MessageDescriptor,
    pub(super) parties: Parties,
}

/// Checks a message and its fields.
pub(super) fn compare(pair: &MessagePair, subsets: &mut Subsets, findings: &mut Findings<'_>) {
    json_format::compare(
        &Element {
            rule: Rule::MessageSameJsonFormat,
            name: pair.old.full_name(),
            old_file: pair.old.parent_file(),
            new_file: pair.new.parent_file(),
            places: &|| ((&pair.old).into(), (&pair.new).into()),
        },
        findings,
    );
    required_fields(pair, findings);
    let new_reserved = Reserved::of_message(&pair.new);
    reserved::compare(
        &Owner {
            rule: Rule::ReservedMessageNoDelete,
            element: pair.old.full_name(),
            parties: pair.parties,
            member: "field",
            old: &|| (&pair.old).into(),
            new: &|| (&pair.new).into(),
        },
        &Reserved::of_message(&pair.old),
        &new_reserved,
        findings,
    );
    for old in pair.old.fields() {
        match pair.new.get_field(old.number()) {
            Some(new) => fields::compare(
                &FieldPair::new(Field::Member(old), Field::Member(new), pair.parties),
                subsets,
                findings,
            ),
            None => deleted_field(pair, &old, &new_reserved, findings),
        }
    }
}

fn required_fields(pair: &MessagePair, findings: &mut Findings<'_>) {
    let is_required = |message: &MessageDescriptor, number| {
        message
            .get_field(number)
            .is_some_and(|field| field.is_required())
    };
    for old in pair.old.fields().filter(FieldDescriptor::is_required) {
        if is_required(&pair.new, old.number()) {
            continue;
        }
        findings.add(Rule::MessageSameRequiredFields, || Draft {
            element: shown(old.full_name()),
            change: format!("field {} is no longer required", old.number()),
            effect: pair.parties.old_requires(&named(&old)),
            old: Some((&Field::Member(old.clone())).into()),
            new: Some((&pair.new).into()),
        });
    }
    for new in pair.new.fields().filter(FieldDescriptor::is_required) {
        if is_required(&pair.old, new.number()) {
            continue;
        }
        findings.add(Rule::MessageSameRequiredFields, || Draft {
            element: shown(new.full_name()),
            change: format!("field {} is required now", new.number()),
            effect: pair.parties.new_requires(&named(&new)),
            old: pair
                .old
                .get_field(new.number())
                .map(|old| (&Field::Member(old)).into()),
            new: Some((&Field::Member(new.clone())).into()),
        });
    }
}

fn deleted_field(
    pair: &MessagePair,
    old: &FieldDescriptor,
    reserved: &Reserved,
    findings: &mut Findings<'_>,
) {
    let draft = |change, effect| Draft {
        element: shown(old.full_name()),
        change,
        effect,
        old: Some((&Field::Member(old.clone())).into()),
        new: Some((&pair.new).into()),
    };
    let number = old.number();
    if !reserved.has_number(i64::from(number)) {
        findings.add(Rule::FieldNoDeleteUnlessNumberReserved, || {
            draft(
                format!("it was deleted, and its number {number} is not reserved"),
                format!(
                    "{} still use {number} for it, and a later field with that number is misread; \
                     write `reserved {number};`",
                    pair.parties.old()
                ),
            )
        });
    }
    if !reserved.has_name(old.name()) {
        findings.add(Rule::FieldNoDeleteUnlessNameReserved, || {
            let name = shown(old.name());
            let effect = match with_name(&pair.new, old.json_name()) {
                Some(other) => {
                    format!("JSON with `{name}` is read as field {} now", other.number())
                }
                None => format!(
                    "{}; write `reserved \"{name}\";`",
                    pair.parties
                        .unknown_in_json(&format!("`{}`", shown(old.json_name())))
                ),
            };
            let change = format!("it was deleted, and its name `{name}` is not reserved");
            draft(change, effect)
        });
    }
}

fn named(field: &FieldDescriptor) -> String {
    format!("`{}`", shown(field.name()))
}
