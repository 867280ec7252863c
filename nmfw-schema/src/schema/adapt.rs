//! Changes files for the descriptor pool, which refuses some files that protoc accepts.
//!
//! `docs/upstream.md` describes each issue. The changes are:
//!
//! - A file of an edition becomes a proto3 file ([`editions`](crate::schema::editions)).
//! - The imports of a file are all that it can see, without public imports. prost-reflect follows
//!   chains of those wrongly, and circles without end.
//! - A proto3 file with fields whose names differ only in case or underscores becomes a proto2
//!   file.
//! - If two fields have the same JSON name, the second gets its own name as JSON name.
//! - Extensions with field numbers that only message sets allow are left out.

use std::collections::BTreeSet;

use crate::SchemaError;
use crate::schema::raw::{Field, File, FileSet, MAX_FIELD, Msg};
use crate::schema::{editions, imports};

/// The largest number of imports of all files together, those behind public imports included.
const MAX_IMPORTS: usize = 1 << 18;

/// Changes a set that was checked.
///
/// # Errors
/// Fails if the files import too many others.
pub(crate) fn adapt(set: &mut FileSet) -> Result<(), SchemaError> {
    let visible = visible(&set.file)?;
    for (file, imports) in set.file.iter_mut().zip(visible) {
        if file.syntax().is_empty() {
            file.syntax = None;
        }
        if file.syntax() == "editions" {
            editions::lower(file);
        }
        file.dependency = imports;
        file.public_dependency.clear();
        file.weak_dependency.clear();
        if file.syntax() == "proto3" && file.message_type.iter().any(has_similar_names) {
            file.syntax = Some("proto2".to_owned());
        }
        file.extension.retain(is_ordinary);
        for message in &mut file.message_type {
            adapt_message(message);
        }
    }
    Ok(())
}

/// Returns the files that each file can see.
fn visible(files: &[File]) -> Result<Vec<Vec<String>>, SchemaError> {
    let by_name = imports::by_name(files);
    let mut number = 0;
    let mut all = Vec::with_capacity(files.len());
    for file in files {
        let direct = file.dependency.iter().chain(&file.option_dependency);
        let seen = imports::with_public(direct.map(String::as_str), &by_name);
        number += seen.len();
        if number > MAX_IMPORTS {
            return Err(SchemaError::new(format!(
                "the descriptor set is not valid: its files have more than {MAX_IMPORTS} imports"
            )));
        }
        // A set from `protoc --include_imports` need not have the files of `import option`.
        let present = seen.into_iter().filter(|name| by_name.contains_key(name));
        all.push(present.map(str::to_owned).collect());
    }
    Ok(all)
}

fn is_ordinary(field: &Field) -> bool {
    field.number() <= MAX_FIELD
}

fn adapt_message(message: &mut Msg) {
    message.extension.retain(is_ordinary);
    for range in &mut message.extension_range {
        range.end = range.end.map(|end| end.min(MAX_FIELD + 1));
    }
    let mut taken: BTreeSet<String> = BTreeSet::new();
    for field in &mut message.field {
        let json = field
            .json_name
            .clone()
            .unwrap_or_else(|| json_name(field.name()));
        if taken.insert(json) {
            continue;
        }
        // Names of fields are unique, but another field's JSON name may be the same.
        let own = field.name().to_owned();
        let free = if taken.contains(&own) {
            format!("{own}#{}", field.number())
        } else {
            own
        };
        taken.insert(free.clone());
        field.json_name = Some(free);
    }
    for nested in &mut message.nested_type {
        adapt_message(nested);
    }
}

/// Returns whether the pool confuses fields that protoc, which compares JSON names, distinguishes.
fn has_similar_names(message: &Msg) -> bool {
    let similar: BTreeSet<String> = message
        .field
        .iter()
        .map(|field| field.name().replace('_', "").to_ascii_lowercase())
        .collect();
    similar.len() < message.field.len() || message.nested_type.iter().any(has_similar_names)
}

/// Returns the default name of a field in JSON.
pub(crate) fn json_name(name: &str) -> String {
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
