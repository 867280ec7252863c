//! Changes files for the descriptor pool, which refuses some files that protoc accepts, and reverts
//! the changes for descriptor sets.
//!
//! The pool refuses files of editions, items of message sets, types that are visible through more
//! than one public import, and fields whose JSON names conflict. None of this matters for the
//! names, comments and options that the pool is used for. `docs/upstream.md` describes each issue.
//! The changes are:
//!
//! - A file of an edition becomes a proto2 file in the pool. [`editions`](crate::editions) resolves
//!   its features for prost-build.
//! - Files behind public imports become imports in the pool.
//! - Extensions with field numbers that only message sets allow are left out. No code is generated
//!   for extensions.
//! - If two fields have the same JSON name, the second gets another one in the pool. No code is
//!   generated for JSON.
//! - A proto3 file with fields whose names differ only in case or underscores becomes a proto2 file
//!   in the pool.

use std::collections::BTreeSet;

use prost::{DecodeError, Message};
use prost_reflect::{DynamicMessage, ReflectMessage, Value};
use prost_types::{DescriptorProto, FileDescriptorProto};

/// The largest field number outside of message sets.
const MAX_FIELD: i32 = 536_870_911;

// Field numbers in descriptor.proto, for paths and for a field that prost-reflect does not know.
const FILE_MESSAGE: i32 = 4;
const MESSAGE_FIELD: i32 = 2;
const MESSAGE_NESTED: i32 = 3;

/// The changes that make a file acceptable to the pool.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Adapted {
    /// The original syntax, if the pool has proto2 instead.
    pub(crate) syntax: Option<String>,
    /// The number of the edition.
    pub(crate) edition: Option<i32>,
    imports: Vec<String>,
    has_items: bool,
    json_names: Vec<JsonName>,
}

#[derive(Debug, Clone, PartialEq)]
struct JsonName {
    path: Vec<i32>,
    original: Option<String>,
    changed: String,
}

/// The part of a file that `prost-types` does not represent.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct WithEdition {
    #[prost(int32, optional, tag = "14")]
    pub(crate) edition: Option<i32>,
}

impl Adapted {
    /// Finds the necessary changes. `public` are the files seen through public imports.
    pub(crate) fn find(
        file: &FileDescriptorProto,
        edition: Option<i32>,
        public: Vec<String>,
    ) -> Self {
        let names = edition.is_none()
            && file.syntax() == "proto3"
            && file.message_type.iter().any(has_similar_names);
        let mut adapted = Self {
            syntax: (edition.is_some() || names).then(|| file.syntax().to_owned()),
            edition,
            imports: public,
            has_items: file
                .extension
                .iter()
                .any(|field| field.number() > MAX_FIELD)
                || file.message_type.iter().any(has_items),
            json_names: Vec::new(),
        };
        if edition.is_none() && file.syntax() != "proto3" {
            for (message, index) in file.message_type.iter().zip(0..) {
                adapted.json_names(message, &[FILE_MESSAGE, index]);
            }
        }
        adapted
    }

    fn json_names(&mut self, message: &DescriptorProto, path: &[i32]) {
        let mut taken = BTreeSet::new();
        for (field, index) in message.field.iter().zip(0..) {
            let default = json_name(field.name());
            let name = field.json_name.clone().unwrap_or_else(|| default.clone());
            let is_default = name == default;
            if taken.insert(name) || !is_default {
                continue;
            }
            let changed = format!("{}#{}", field.name(), field.number());
            self.json_names.push(JsonName {
                path: [path, &[MESSAGE_FIELD, index]].concat(),
                original: field.json_name.clone(),
                changed,
            });
        }
        for (nested, index) in message.nested_type.iter().zip(0..) {
            self.json_names(nested, &[path, &[MESSAGE_NESTED, index]].concat());
        }
    }

    pub(crate) fn is_needed(&self) -> bool {
        *self != Self::default()
    }

    /// Changes an encoded file for the pool.
    pub(crate) fn apply(&self, file: &[u8]) -> Result<Vec<u8>, DecodeError> {
        let mut file = decode(file)?;
        if self.syntax.is_some() {
            file.set_field_by_name("syntax", Value::String("proto2".to_owned()));
        }
        if let Some(Value::List(imports)) = file.get_field_by_name_mut("dependency") {
            imports.extend(self.imports.iter().cloned().map(Value::String));
        }
        if self.has_items {
            remove_items(&mut file, "message_type");
        }
        for name in &self.json_names {
            if let Some(field) = at_path(&mut file, &name.path) {
                field.set_field_by_name("json_name", Value::String(name.changed.clone()));
            }
        }
        Ok(file.encode_to_vec())
    }

    /// Reverts the changes in a file of the pool. Items of message sets are lost.
    pub(crate) fn undo(&self, file: &[u8]) -> Result<Vec<u8>, DecodeError> {
        let mut file = decode(file)?;
        match &self.syntax {
            Some(syntax) if self.edition.is_none() => {
                file.set_field_by_name("syntax", Value::String(syntax.clone()));
            }
            Some(_) => file.set_field_by_name("syntax", Value::String("editions".to_owned())),
            None => {}
        }
        if let Some(Value::List(imports)) = file.get_field_by_name_mut("dependency") {
            imports.truncate(imports.len().saturating_sub(self.imports.len()));
        }
        for name in &self.json_names {
            let Some(field) = at_path(&mut file, &name.path) else {
                continue;
            };
            let original = name.original.clone();
            let original = original.unwrap_or_else(|| json_name(&field_name(field)));
            field.set_field_by_name("json_name", Value::String(original));
        }
        let mut bytes = file.encode_to_vec();
        let edition = WithEdition {
            edition: self.edition,
        };
        // Decoding merges concatenated messages.
        bytes.extend(edition.encode_to_vec());
        Ok(bytes)
    }
}

fn decode(file: &[u8]) -> Result<DynamicMessage, DecodeError> {
    DynamicMessage::decode(FileDescriptorProto::default().descriptor(), file)
}

fn has_items(message: &DescriptorProto) -> bool {
    message
        .extension
        .iter()
        .any(|field| field.number() > MAX_FIELD)
        || message.nested_type.iter().any(has_items)
}

/// Removes items of message sets from a file or message, whose nested messages are in the field
/// `nested`.
fn remove_items(parent: &mut DynamicMessage, nested: &str) {
    if let Some(Value::List(extensions)) = parent.get_field_by_name_mut("extension") {
        extensions.retain(|extension| {
            let extension = extension.as_message();
            let number = extension.and_then(|field| field.get_field_by_name("number")?.as_i32());
            number.is_none_or(|number| number <= MAX_FIELD)
        });
    }
    if let Some(Value::List(messages)) = parent.get_field_by_name_mut(nested) {
        for message in messages {
            if let Value::Message(message) = message {
                remove_items(message, "nested_type");
            }
        }
    }
}

/// Returns whether the pool confuses fields that protoc, which compares JSON names, distinguishes.
fn has_similar_names(message: &DescriptorProto) -> bool {
    let fields = || message.field.iter();
    let similar: BTreeSet<String> = fields()
        .map(|field| field.name().replace('_', "").to_ascii_lowercase())
        .collect();
    let in_json: BTreeSet<String> = fields().map(|field| json_name(field.name())).collect();
    (similar.len() < message.field.len() && in_json.len() == message.field.len())
        || message.nested_type.iter().any(has_similar_names)
}

/// Returns the default name of a field in JSON.
fn json_name(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut upper = false;
    for c in name.chars() {
        if c == '_' {
            upper = true;
        } else {
            out.push(if upper { c.to_ascii_uppercase() } else { c });
            upper = false;
        }
    }
    out
}

fn field_name(field: &DynamicMessage) -> String {
    let name = field.get_field_by_name("name");
    name.and_then(|name| name.as_str().map(str::to_owned))
        .unwrap_or_default()
}

/// Returns the message at a path of field numbers and indices.
fn at_path<'a>(file: &'a mut DynamicMessage, path: &[i32]) -> Option<&'a mut DynamicMessage> {
    let mut message = file;
    for step in path.chunks_exact(2) {
        let number = u32::try_from(step[0]).ok()?;
        let index = usize::try_from(step[1]).ok()?;
        message = message
            .get_field_by_number_mut(number)?
            .as_list_mut()?
            .get_mut(index)?
            .as_message_mut()?;
    }
    Some(message)
}
