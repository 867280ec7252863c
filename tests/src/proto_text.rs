//! Prints all files of a tree from their descriptors, and compiles the text again.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nmfw_schema::Schema;
use nmfw_schema::prost_reflect::{DescriptorPool, DynamicMessage, Value};
use nmfw_schema::proto_text::ProtoText;

use crate::failure::{Doing as _, Failure};

/// What was printed, and how it differs.
#[derive(Debug)]
pub struct Printed {
    /// The number of files.
    pub files: usize,
    /// The time that reading the set took.
    pub reading: Duration,
    /// The time that printing took.
    pub printing: Duration,
    /// How the sets differ; a text for each file.
    pub differences: Vec<String>,
}

/// Compares a set of protoc with the set that it writes for the printed files.
///
/// `compile` is called with the folder of the printed files, the files and the path of the set that
/// it should write.
///
/// # Errors
/// Fails if protoc rejects a printed file, or if a file cannot be read or written.
pub fn round_trip(
    set: &Path,
    folder: &Path,
    compile: impl FnOnce(&Path, &[PathBuf], &Path) -> Result<(), Failure>,
) -> Result<Printed, Failure> {
    let bytes = fs::read(set).doing(format_args!("read {}", set.display()))?;
    let start = Instant::now();
    let schema = Schema::from_descriptor_set(&bytes).doing("read the set")?;
    let reading = start.elapsed();
    if folder.exists() {
        fs::remove_dir_all(folder).doing(format_args!("remove {}", folder.display()))?;
    }
    let start = Instant::now();
    let printer = ProtoText::new(&schema);
    let mut texts = Vec::new();
    for file in schema.pool().files() {
        let text = printer
            .file(file.name())
            .ok_or_else(|| Failure::new(format!("{} has no text", file.name())))?;
        texts.push((folder.join(file.name()), text));
    }
    let printing = start.elapsed();
    for (path, text) in &texts {
        let parent = path.parent().unwrap_or(folder);
        fs::create_dir_all(parent).doing(format_args!("create {}", parent.display()))?;
        fs::write(path, text).doing(format_args!("write {}", path.display()))?;
    }
    let paths: Vec<PathBuf> = texts.into_iter().map(|(path, _)| path).collect();
    let again = folder.join("again.fds");
    compile(folder, &paths, &again)?;
    let again = fs::read(&again).doing(format_args!("read {}", again.display()))?;
    let (before, mut after) = (describe(&bytes, &schema)?, describe(&again, &schema)?);
    let mut differences = Vec::new();
    for (name, before) in &before {
        let after = after.remove(name).unwrap_or_default();
        if *before != after {
            let lines = before.lines().zip(after.lines());
            let different = lines.filter(|(before, after)| before != after).take(2);
            differences.push(format!("{name}: {:?}", different.collect::<Vec<_>>()));
        }
    }
    differences.extend(after.keys().map(|name| format!("{name}: not in the set")));
    Ok(Printed {
        files: before.len(),
        reading,
        printing,
        differences,
    })
}

/// Returns the files of a set in the text format, without source positions, by name.
fn describe(set: &[u8], schema: &Schema) -> Result<BTreeMap<String, String>, Failure> {
    let name = "google.protobuf.FileDescriptorSet";
    let desc = schema
        .message(name)
        .or_else(|| DescriptorPool::global().get_message_by_name(name))
        .ok_or_else(|| Failure::new(format!("there is no {name}")))?;
    let set = DynamicMessage::decode(desc, set).doing("decode the set")?;
    let files = set.get_field_by_name("file");
    let files = files.as_deref().and_then(Value::as_list);
    let files = files
        .unwrap_or_default()
        .iter()
        .filter_map(Value::as_message);
    Ok(files
        .map(|file| {
            let mut file = file.clone();
            file.clear_field_by_name("source_code_info");
            let name = file.get_field_by_name("name");
            let name = name
                .as_deref()
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned();
            (name, format!("{file:#}"))
        })
        .collect())
}
