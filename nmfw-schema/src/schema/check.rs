//! Checks a set before prost-reflect builds a pool from it.
//!
//! A set may come from a peer. prost-reflect panics or recurses without end on some damaged sets,
//! and needs time or memory that grows with the square of a set's size on others. All of them are
//! refused here. `docs/upstream.md` lists the faults.

use crate::SchemaError;
use crate::schema::Schema;
use crate::schema::raw::{
    Enum, ExtensionRange, Field, File, FileSet, LABEL_OPTIONAL, LABEL_REPEATED, LABEL_REQUIRED,
    Msg, Service, TYPE_BYTES, TYPE_DOUBLE, TYPE_ENUM, TYPE_FLOAT, TYPE_GROUP, TYPE_MAX,
    TYPE_MESSAGE,
};
use crate::schema::{editions, imports};

/// The largest length of a full name and of the name of a file, in bytes.
pub(crate) const MAX_NAME: usize = 1_024;

/// The largest number of steps that a pool may take to build, as counted by [`Checker::work`].
const MAX_WORK: usize = 1 << 28;

/// The largest total length of all full names, in bytes.
const MAX_NAMES: usize = 128 << 20;

/// The number of the field `uninterpreted_option` of all options.
const UNINTERPRETED: u32 = 999;

/// Checks the files of a set.
///
/// # Errors
/// Fails at the first fault that is found.
pub(crate) fn check(set: &FileSet) -> Result<(), SchemaError> {
    if set.file.len() > Schema::MAX_FILES {
        return Err(error(format!(
            "it has {} files, more than the {} that are accepted",
            set.file.len(),
            Schema::MAX_FILES
        )));
    }
    imports::check(&set.file)?;
    let mut checker = Checker::default();
    for file in &set.file {
        checker.file(file)?;
    }
    checker.extensions()
}

pub(crate) fn error(reason: impl std::fmt::Display) -> SchemaError {
    SchemaError::new(format!("the descriptor set is not valid: {reason}"))
}

#[derive(Default)]
struct Checker {
    types: usize,
    names: usize,
    work: usize,
    extensions: usize,
    most_ranges: usize,
}

impl Checker {
    fn file(&mut self, file: &File) -> Result<(), SchemaError> {
        let name = file.name();
        match (file.syntax(), file.edition) {
            ("" | "proto2" | "proto3", _) => {}
            ("editions", Some(edition)) if editions::is_supported(edition) => {}
            ("editions", _) => {
                return Err(error(format!(
                    "`{name}` has an unsupported edition: the editions {}, proto2 and proto3 are \
                     supported",
                    editions::supported()
                )));
            }
            (other, _) => {
                return Err(error(format!(
                    "`{name}` has the unknown syntax `{}`",
                    short(&other.escape_debug().to_string())
                )));
            }
        }
        if file
            .public_dependency
            .iter()
            .any(|index| index_of(*index, file.dependency.len()).is_none())
        {
            return Err(error(format!("`{name}` has an import that does not exist")));
        }
        let package = file.package();
        if !package.is_empty() && (package.len() > MAX_NAME || !package.split('.').all(is_name)) {
            return Err(error(format!(
                "`{name}` has the package {:?}",
                short(package)
            )));
        }
        options(file.options.as_deref(), name)?;
        for message in &file.message_type {
            self.message(message, package)?;
        }
        for each in &file.enum_type {
            self.enumeration(each, package)?;
        }
        for field in &file.extension {
            self.extension(field, package)?;
        }
        for service in &file.service {
            self.service(service, package)?;
        }
        Ok(())
    }

    fn message(&mut self, message: &Msg, scope: &str) -> Result<(), SchemaError> {
        let full_name = self.name(message.name(), scope)?;
        self.a_type()?;
        options(message.options.as_deref(), &full_name)?;
        let ranges = message.reserved_range.len() + message.extension_range.len();
        self.most_ranges = self.most_ranges.max(ranges);
        self.add_work(message.field.len().saturating_mul(ranges + 1))?;
        // `descriptors.oneofs().fields()` looks at all fields of a message.
        self.add_work(message.oneof_decl.len().saturating_mul(message.field.len()))?;
        for ExtensionRange { options: set, .. } in &message.extension_range {
            options(set.as_deref(), &full_name)?;
        }
        for oneof in &message.oneof_decl {
            let name = self.name(oneof.name(), &full_name)?;
            options(oneof.options.as_deref(), &name)?;
        }
        for field in &message.field {
            let name = self.field(field, &full_name)?;
            if let Some(index) = field.oneof_index
                && index_of(index, message.oneof_decl.len()).is_none()
            {
                return Err(error(format!("`{name}` is in a oneof that does not exist")));
            }
            if field.extendee.is_some() {
                return Err(error(format!("`{name}` extends a message, as a field")));
            }
        }
        if message.is_map_entry() {
            map_entry(message, &full_name)?;
        }
        for field in &message.extension {
            self.extension(field, &full_name)?;
        }
        for nested in &message.nested_type {
            self.message(nested, &full_name)?;
        }
        for each in &message.enum_type {
            self.enumeration(each, &full_name)?;
        }
        Ok(())
    }

    fn extension(&mut self, field: &Field, scope: &str) -> Result<(), SchemaError> {
        let name = self.field(field, scope)?;
        self.extensions += 1;
        if !field.extendee().starts_with('.') {
            return Err(error(format!("`{name}` extends no message")));
        }
        if field.oneof_index.is_some() {
            return Err(error(format!("`{name}` is an extension in a oneof")));
        }
        Ok(())
    }

    fn field(&mut self, field: &Field, scope: &str) -> Result<String, SchemaError> {
        let name = self.name(field.name(), scope)?;
        options(field.options.as_deref(), &name)?;
        let kind = field.r#type();
        if !(TYPE_DOUBLE..=TYPE_MAX).contains(&kind)
            || field.type_name.is_some() != is_named(kind)
            || (is_named(kind) && !field.type_name().starts_with('.'))
        {
            return Err(error(format!("`{name}` has no valid type")));
        }
        if ![0, LABEL_OPTIONAL, LABEL_REPEATED, LABEL_REQUIRED].contains(&field.label()) {
            return Err(error(format!("`{name}` has no valid label")));
        }
        if field.number() < 1 {
            return Err(error(format!(
                "`{name}` has the field number {}",
                field.number()
            )));
        }
        if let Some(json) = &field.json_name
            && (json.len() > MAX_NAME || json.chars().any(char::is_control))
        {
            return Err(error(format!("the JSON name of `{name}` is not valid")));
        }
        if let Some(default) = &field.default_value
            && (field.is_repeated()
                || matches!(kind, TYPE_MESSAGE | TYPE_GROUP)
                || (kind == TYPE_BYTES && !is_escaped(default)))
        {
            return Err(error(format!("the default value of `{name}` is not valid")));
        }
        Ok(name)
    }

    fn enumeration(&mut self, each: &Enum, scope: &str) -> Result<(), SchemaError> {
        let full_name = self.name(each.name(), scope)?;
        self.a_type()?;
        options(each.options.as_deref(), &full_name)?;
        let values = each.value.len();
        self.add_work(values.saturating_mul(values + each.reserved_range.len()))?;
        for value in &each.value {
            // A value is in the scope of its enum's parent.
            let name = self.name(value.name(), scope)?;
            options(value.options.as_deref(), &name)?;
        }
        Ok(())
    }

    fn service(&mut self, service: &Service, scope: &str) -> Result<(), SchemaError> {
        let full_name = self.name(service.name(), scope)?;
        self.a_type()?;
        options(service.options.as_deref(), &full_name)?;
        for method in &service.method {
            let name = self.name(method.name(), &full_name)?;
            options(method.options.as_deref(), &name)?;
            let types = [method.input_type(), method.output_type()];
            if !types.iter().all(|name| name.starts_with('.')) {
                return Err(error(format!("`{name}` lacks a type")));
            }
        }
        Ok(())
    }

    /// Checks that the ranges of messages can be searched for each extension.
    fn extensions(&mut self) -> Result<(), SchemaError> {
        self.add_work(self.extensions.saturating_mul(self.most_ranges + 1))
    }

    /// Checks a name, and returns the full one.
    fn name(&mut self, name: &str, scope: &str) -> Result<String, SchemaError> {
        if !is_name(name) {
            return Err(error(format!(
                "something in `{scope}` has the name {:?}",
                short(name)
            )));
        }
        let full_name = join(scope, name);
        self.names += full_name.len();
        if full_name.len() > MAX_NAME || self.names > MAX_NAMES {
            return Err(error(format!("`{}` is too long", short(&full_name))));
        }
        Ok(full_name)
    }

    fn a_type(&mut self) -> Result<(), SchemaError> {
        self.types += 1;
        if self.types > Schema::MAX_TYPES {
            return Err(error(format!(
                "it has more than the {} messages, enums and services that are accepted",
                Schema::MAX_TYPES
            )));
        }
        Ok(())
    }

    fn add_work(&mut self, steps: usize) -> Result<(), SchemaError> {
        self.work = self.work.saturating_add(steps);
        if self.work > MAX_WORK {
            return Err(error(
                "its types have too many fields, values or reserved ranges",
            ));
        }
        Ok(())
    }
}

/// Joins a name and the full name of its scope.
pub(crate) fn join(scope: &str, name: &str) -> String {
    match scope {
        "" => name.to_owned(),
        _ => format!("{scope}.{name}"),
    }
}

fn is_named(kind: i32) -> bool {
    matches!(kind, TYPE_MESSAGE | TYPE_GROUP | TYPE_ENUM)
}

/// Checks that a map entry has a key and a value, because prost-reflect relies on them.
fn map_entry(message: &Msg, full_name: &str) -> Result<(), SchemaError> {
    let is_key = |field: &Field| {
        let kind = field.r#type();
        !is_named(kind) && !matches!(kind, TYPE_DOUBLE | TYPE_FLOAT | TYPE_BYTES)
    };
    let is_valid = match message.field.as_slice() {
        [key, value] => {
            key.number() == 1
                && is_key(key)
                && value.number() == 2
                && value.r#type() != TYPE_GROUP
                && [key, value]
                    .iter()
                    .all(|field| field.label() <= LABEL_OPTIONAL && field.oneof_index.is_none())
        }
        _ => false,
    };
    if !is_valid || !message.nested_type.is_empty() || !message.extension.is_empty() {
        return Err(error(format!("`{full_name}` is not a valid map entry")));
    }
    Ok(())
}

/// Refuses options that a compiler has not interpreted: their text is parsed recursively.
fn options(encoded: Option<&[u8]>, owner: &str) -> Result<(), SchemaError> {
    let mut encoded = encoded.unwrap_or_default();
    while !encoded.is_empty() {
        let number = skip(&mut encoded)
            .map_err(|_| error(format!("the options of `{owner}` are damaged")))?;
        if number == UNINTERPRETED {
            return Err(error(format!(
                "`{owner}` has an option that was not interpreted: create the set with a compiler"
            )));
        }
    }
    Ok(())
}

/// Skips a field, and returns its number.
fn skip(encoded: &mut &[u8]) -> Result<u32, prost::DecodeError> {
    let (number, wire_type) = prost::encoding::decode_key(encoded)?;
    let context = prost::encoding::DecodeContext::default();
    prost::encoding::skip_field(wire_type, number, encoded, context)?;
    Ok(number)
}

/// Whether a default value is escaped as protoc does: ASCII, with complete escapes below 256.
fn is_escaped(value: &str) -> bool {
    let mut left = value.as_bytes();
    while let Some((first, rest)) = left.split_first() {
        left = match (first, rest) {
            (b'\\', [b'x' | b'X', high, low, rest @ ..])
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                rest
            }
            (b'\\', [b'0'..=b'3', b'0'..=b'7', b'0'..=b'7', rest @ ..]) => rest,
            (b'\\', [escape, rest @ ..]) if b"abfnrtv\\?'\"".contains(escape) => rest,
            (b'\\', _) => return false,
            (first, rest) if first.is_ascii() => rest,
            _ => return false,
        };
    }
    true
}

fn is_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    bytes
        .first()
        .is_some_and(|first| first.is_ascii_alphabetic() || *first == b'_')
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

/// Returns an index as one of a list with this length.
pub(crate) fn index_of(index: i32, length: usize) -> Option<usize> {
    usize::try_from(index).ok().filter(|index| *index < length)
}

/// Returns the beginning of a text for an error.
pub(crate) fn short(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
