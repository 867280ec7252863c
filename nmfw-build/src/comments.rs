//! Rewrites the comments of a file for prost-build, which copies them verbatim.

use std::collections::BTreeMap;

use prost_types::source_code_info::Location;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto, SourceCodeInfo};

use crate::docs;

// Field numbers in descriptor.proto, which make up the paths of source locations.
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

/// Replaces the source information of a file by one with an entry for every item that prost-build
/// looks up.
///
/// prost-build panics if the source information exists but lacks an item, as in descriptor sets of
/// other tools.
pub(crate) fn complete(file: &mut FileDescriptorProto) {
    let mut found: BTreeMap<Vec<i32>, String> = BTreeMap::new();
    for location in file.source_code_info.iter().flat_map(|info| &info.location) {
        let comment = text(location);
        if !comment.is_empty() {
            found.entry(location.path.clone()).or_insert(comment);
        }
    }
    let mut writer = CommentCollector {
        found,
        out: Vec::new(),
    };
    for (message, index) in file.message_type.iter().zip(0..) {
        writer.message(message, &[FILE_MESSAGE, index]);
    }
    for (item, index) in file.enum_type.iter().zip(0..) {
        writer.enumeration(item, &[FILE_ENUM, index]);
    }
    for (service, index) in file.service.iter().zip(0..) {
        writer.add(vec![FILE_SERVICE, index]);
        for (_, method) in service.method.iter().zip(0..) {
            writer.add(vec![FILE_SERVICE, index, SERVICE_METHOD, method]);
        }
    }
    file.source_code_info = Some(SourceCodeInfo {
        location: writer.out,
    });
}

/// Returns the comments before and after an item.
pub(crate) fn text(location: &Location) -> String {
    let parts = [location.leading_comments(), location.trailing_comments()];
    let parts: Vec<&str> = parts
        .into_iter()
        .filter(|part| !part.trim().is_empty())
        .collect();
    parts.join("\n\n")
}

struct CommentCollector {
    found: BTreeMap<Vec<i32>, String>,
    out: Vec<Location>,
}

impl CommentCollector {
    fn message(&mut self, message: &DescriptorProto, path: &[i32]) {
        self.add(path.to_vec());
        self.children(path, MESSAGE_FIELD, message.field.len());
        self.children(path, MESSAGE_ONEOF, message.oneof_decl.len());
        for (nested, index) in message.nested_type.iter().zip(0..) {
            self.message(nested, &child(path, MESSAGE_NESTED, index));
        }
        for (nested, index) in message.enum_type.iter().zip(0..) {
            self.enumeration(nested, &child(path, MESSAGE_ENUM, index));
        }
    }

    fn enumeration(&mut self, item: &EnumDescriptorProto, path: &[i32]) {
        self.add(path.to_vec());
        self.children(path, ENUM_VALUE, item.value.len());
    }

    fn children(&mut self, path: &[i32], field: i32, count: usize) {
        for (index, _) in (0..).zip(0..count) {
            self.add(child(path, field, index));
        }
    }

    fn add(&mut self, path: Vec<i32>) {
        let comment = self.found.get(&path);
        let comment = comment.map(|raw| docs::markdown(raw).join("\n"));
        self.out.push(Location {
            path,
            leading_comments: comment.filter(|text| !text.is_empty()),
            ..Location::default()
        });
    }
}

fn child(path: &[i32], field: i32, index: i32) -> Vec<i32> {
    let mut path = path.to_vec();
    path.extend([field, index]);
    path
}
