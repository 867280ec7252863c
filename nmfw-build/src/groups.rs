//! Boxes fields by which a message contains itself through a group, which prost-build does not follow.

use std::collections::BTreeSet;

use prost_build::Config;
use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor};

/// Tells prost-build to box all fields of cycles if there is a group anywhere.
pub(crate) fn box_cycles(pool: &DescriptorPool, config: &mut Config) {
    let has_groups = pool
        .all_messages()
        .any(|message| message.fields().any(|field| field.is_group()));
    if !has_groups {
        return;
    }
    for message in pool.all_messages() {
        for (field, inner) in contained(&message) {
            if reaches(&inner, &message) {
                config.boxed(path(&message, &field));
            }
        }
    }
}

/// The fields whose messages are part of this one, and not in a list of their own.
fn contained(message: &MessageDescriptor) -> Vec<(FieldDescriptor, MessageDescriptor)> {
    let fields = message
        .fields()
        .filter(|field| !field.is_list() && !field.is_map());
    fields
        .filter_map(|field| match field.kind() {
            Kind::Message(inner) => Some((field, inner)),
            _ => None,
        })
        .collect()
}

fn reaches(from: &MessageDescriptor, to: &MessageDescriptor) -> bool {
    let mut seen = BTreeSet::new();
    let mut todo = vec![from.clone()];
    while let Some(message) = todo.pop() {
        if message == *to {
            return true;
        }
        if seen.insert(message.full_name().to_owned()) {
            todo.extend(contained(&message).into_iter().map(|(_, inner)| inner));
        }
    }
    false
}

/// The path of a field as prost-build matches it: through its oneof, if it is in one.
fn path(message: &MessageDescriptor, field: &FieldDescriptor) -> String {
    let oneof = field
        .containing_oneof()
        .filter(|oneof| !oneof.is_synthetic());
    match oneof {
        Some(oneof) => format!(".{}.{}", oneof.full_name(), field.name()),
        None => format!(".{}.{}", message.full_name(), field.name()),
    }
}
