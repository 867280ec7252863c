//! Gives every item of a file a comment before prost-build sees it.
//!
//! A crate may forbid undocumented items, and prost-build copies comments as they are. So items without a comment get a
//! sentence, and the comments there are go through [`docs`](crate::docs).

use std::collections::BTreeMap;

use prost_types::source_code_info::Location;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto, SourceCodeInfo};

use crate::docs;

// Field numbers in descriptor.proto, of which the paths of source locations are made.
pub(crate) const FILE_MESSAGE: i32 = 4;
pub(crate) const FILE_ENUM: i32 = 5;
pub(crate) const FILE_SERVICE: i32 = 6;
pub(crate) const SERVICE_METHOD: i32 = 2;
pub(crate) const SERVICE_OPTIONS: i32 = 3;
pub(crate) const METHOD_OPTIONS: i32 = 4;
const MESSAGE_FIELD: i32 = 2;
const MESSAGE_NESTED: i32 = 3;
const MESSAGE_ENUM: i32 = 4;
const MESSAGE_ONEOF: i32 = 8;
const ENUM_VALUE: i32 = 2;

/// Replaces the source information of a file by one that has a comment for everything prost-build looks up.
///
/// prost-build panics where an item is missing from source information that is there, as in descriptor sets of other
/// tools, so nothing is left out.
pub(crate) fn complete(file: &mut FileDescriptorProto) {
    let mut found: BTreeMap<Vec<i32>, String> = BTreeMap::new();
    for location in file.source_code_info.iter().flat_map(|info| &info.location) {
        let comment = text(location);
        if !comment.is_empty() {
            found.entry(location.path.clone()).or_insert(comment);
        }
    }
    let mut writer = Writer {
        found,
        out: Vec::new(),
    };
    let package = file.package().to_owned();
    for (message, index) in file.message_type.iter().zip(0..) {
        writer.message(message, &package, &[FILE_MESSAGE, index]);
    }
    for (item, index) in file.enum_type.iter().zip(0..) {
        writer.enumeration(item, &package, &[FILE_ENUM, index]);
    }
    for (service, index) in file.service.iter().zip(0..) {
        writer.add(vec![FILE_SERVICE, index], String::new);
        for (_, method) in service.method.iter().zip(0..) {
            writer.add(
                vec![FILE_SERVICE, index, SERVICE_METHOD, method],
                String::new,
            );
        }
    }
    file.source_code_info = Some(SourceCodeInfo {
        location: writer.out,
    });
}

/// What is written before and behind an item.
pub(crate) fn text(location: &Location) -> String {
    let parts = [location.leading_comments(), location.trailing_comments()];
    let parts: Vec<&str> = parts
        .into_iter()
        .filter(|part| !part.trim().is_empty())
        .collect();
    parts.join("\n\n")
}

struct Writer {
    found: BTreeMap<Vec<i32>, String>,
    out: Vec<Location>,
}

impl Writer {
    fn message(&mut self, message: &DescriptorProto, scope: &str, path: &[i32]) {
        let name = join(scope, message.name());
        self.add(path.to_vec(), || format!("The message `{name}`."));
        for (field, index) in message.field.iter().zip(0..) {
            self.add(child(path, MESSAGE_FIELD, index), || {
                format!("The field `{}`.", field.name())
            });
        }
        for (oneof, index) in message.oneof_decl.iter().zip(0..) {
            self.add(child(path, MESSAGE_ONEOF, index), || {
                format!("The oneof `{}`.", oneof.name())
            });
        }
        for (nested, index) in message.nested_type.iter().zip(0..) {
            self.message(nested, &name, &child(path, MESSAGE_NESTED, index));
        }
        for (nested, index) in message.enum_type.iter().zip(0..) {
            self.enumeration(nested, &name, &child(path, MESSAGE_ENUM, index));
        }
    }

    fn enumeration(&mut self, item: &EnumDescriptorProto, scope: &str, path: &[i32]) {
        self.add(path.to_vec(), || {
            format!("The enum `{}`.", join(scope, item.name()))
        });
        for (value, index) in item.value.iter().zip(0..) {
            self.add(child(path, ENUM_VALUE, index), || {
                format!("The value `{}`.", value.name())
            });
        }
    }

    fn add(&mut self, path: Vec<i32>, fallback: impl FnOnce() -> String) {
        let comment = self
            .found
            .get(&path)
            .map(|raw| docs::markdown(raw).join("\n"));
        let comment = comment
            .filter(|text| !text.is_empty())
            .unwrap_or_else(fallback);
        self.out.push(Location {
            path,
            leading_comments: Some(comment).filter(|text| !text.is_empty()),
            ..Location::default()
        });
    }
}

fn child(path: &[i32], field: i32, index: i32) -> Vec<i32> {
    let mut path = path.to_vec();
    path.extend([field, index]);
    path
}

fn join(scope: &str, name: &str) -> String {
    if scope.is_empty() {
        name.to_owned()
    } else {
        format!("{scope}.{name}")
    }
}
