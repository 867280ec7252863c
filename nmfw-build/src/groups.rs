//! Boxes groups that make a message contain itself. prost-build detects such cycles for messages,
//! but not for groups.

use std::collections::BTreeSet;

use prost_build::Config;
use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor};

/// Configures prost-build to box each group that is part of a cycle.
pub(crate) fn box_cycles(pool: &DescriptorPool, config: &mut Config) {
    for message in pool.all_messages() {
        for (field, inner) in contained(&message) {
            if field.is_group() && reaches(inner, &message) {
                config.boxed(path(&message, &field));
            }
        }
    }
}

/// Returns the fields whose messages are stored inline, not in a list or map.
fn contained(
    message: &MessageDescriptor,
) -> impl Iterator<Item = (FieldDescriptor, MessageDescriptor)> + '_ {
    let fields = message
        .fields()
        .filter(|field| !field.is_list() && !field.is_map());
    fields.filter_map(|field| match field.kind() {
        Kind::Message(inner) => Some((field, inner)),
        _ => None,
    })
}

fn reaches(from: MessageDescriptor, to: &MessageDescriptor) -> bool {
    let mut seen = BTreeSet::new();
    let mut todo = vec![from];
    while let Some(message) = todo.pop() {
        if message == *to {
            return true;
        }
        if seen.insert(message.full_name().to_owned()) {
            todo.extend(contained(&message).map(|(_, inner)| inner));
        }
    }
    false
}

/// Returns the path of a field as prost-build matches it: through its oneof, if it is in one.
fn path(message: &MessageDescriptor, field: &FieldDescriptor) -> String {
    let oneof = field
        .containing_oneof()
        .filter(|oneof| !oneof.is_synthetic());
    match oneof {
        Some(oneof) => format!(".{}.{}", oneof.full_name(), field.name()),
        None => format!(".{}.{}", message.full_name(), field.name()),
    }
}
