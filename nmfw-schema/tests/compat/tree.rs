//! Real trees of `.proto` files, compared with themselves.
//!
//! `NMFW_PROTO_TREE` names the root directory of a tree, such as a checkout of googleapis:
//!
//! ```text
//! NMFW_PROTO_TREE=.. cargo test --release -p nmfw-schema --test compat tree -- --nocapture
//! ```

use std::env;
use std::path::PathBuf;
use std::time::Instant;

use nmfw_schema::Schema;
use nmfw_schema::compat::{Category, Report, Rule, Rules, compare};
use prost::Message as _;
use prost_types::{DescriptorProto, FileDescriptorSet};

use crate::pairs::{self, corpus, with_imports};
use crate::peer::say;
use crate::schema::{Files, compile};

/// The number of files that are compared at once.
const FILES: usize = 500;

/// Returns the tree that `NMFW_PROTO_TREE` names.
pub(crate) fn chosen() -> Option<(PathBuf, Files)> {
    let root = env::var_os("NMFW_PROTO_TREE").map(PathBuf::from)?;
    let files = pairs::tree(&root);
    Some((root, files))
}

#[test]
fn the_corpus_equals_itself() {
    let schema = compile(&corpus()).unwrap();
    let again = compile(&corpus()).unwrap();
    let report = compare(&schema, &again, Rules::all());
    assert!(report.is_empty(), "{report}");
    let renamed = with_fields_renamed(&schema);
    let report = compare(&schema, &renamed, Rules::all());
    assert!(report.is_compatible(Category::Wire), "{report}");
    assert!(report.count_of(Rule::FieldSameName) > 50, "{report}");
}

#[test]
fn a_public_tree_equals_itself() {
    let Some((root, tree)) = chosen() else {
        return;
    };
    let names: Vec<_> = tree.keys().map(String::as_str).collect();
    let mut open: Vec<_> = names.chunks(FILES).rev().collect();
    let (mut files, mut refused) = (0, 0);
    while let Some(names) = open.pop() {
        let part: Files = names
            .iter()
            .flat_map(|name| with_imports(&tree, name))
            .collect();
        match compile(&part) {
            Ok(schema) => {
                files += names.len();
                equals_itself(&schema, part.len());
            }
            // The set is too large, or a file does not compile.
            Err(_) if names.len() > 1 => {
                let (first, second) = names.split_at(names.len() / 2);
                open.extend([second, first]);
            }
            Err(why) => {
                say(&format!("NOT COMPARED: {why}"));
                refused += 1;
            }
        }
    }
    say(&format!(
        "{files} files of {} equal themselves; {refused} do not compile",
        root.display()
    ));
    assert!(files > 0);
}

fn equals_itself(schema: &Schema, files: usize) {
    let start = Instant::now();
    let again = Schema::from_descriptor_set(schema.descriptor_set()).unwrap();
    let read = start.elapsed();
    let (same, time) = timed(schema, &again);
    assert!(same.is_empty(), "{same}");
    let (renamed, time_renamed) = timed(schema, &with_fields_renamed(schema));
    say(&format!(
        "{files} files, {} bytes: read in {read:.2?}, compared in {time:.2?}; with all fields renamed \
         in {time_renamed:.2?} ({} findings)",
        schema.descriptor_set().len(),
        renamed.total()
    ));
}

fn timed(old: &Schema, new: &Schema) -> (Report, std::time::Duration) {
    let start = Instant::now();
    let report = compare(old, new, Rules::all());
    (report, start.elapsed())
}

fn with_fields_renamed(schema: &Schema) -> Schema {
    fn rename(message: &mut DescriptorProto) {
        if message
            .options
            .as_ref()
            .is_some_and(prost_types::MessageOptions::map_entry)
        {
            return;
        }
        for field in &mut message.field {
            field.name = Some(format!("{}_renamed", field.name()));
            field.json_name = None;
        }
        message.nested_type.iter_mut().for_each(rename);
    }
    let mut set = FileDescriptorSet::decode(schema.descriptor_set()).unwrap();
    let own = set.file.iter_mut();
    // The meaning of options depends on the names of their fields.
    let own = own.filter(|file| !file.name().starts_with("google/protobuf/"));
    own.flat_map(|file| &mut file.message_type).for_each(rename);
    Schema::from_descriptor_set(&set.encode_to_vec()).unwrap()
}
