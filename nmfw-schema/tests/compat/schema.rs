//! Schemas from `.proto` text.

use std::collections::BTreeMap;

use nmfw_schema::Schema;
use prost::Message as _;
use protox::Compiler;
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};

/// Files by name.
pub(crate) type Files = BTreeMap<String, String>;

/// Splits text at lines such as `-- b.proto --`; the text before the first one is `a.proto`.
///
/// A file without a `syntax` line is proto3, or proto2 after a line `proto2`, with the package `t`.
pub(crate) fn files(text: &str) -> Files {
    let mut files = Files::new();
    let mut name = "a.proto";
    let mut start = true;
    for line in text.lines() {
        if let Some(next) = line
            .strip_prefix("-- ")
            .and_then(|line| line.strip_suffix(" --"))
        {
            name = next;
            start = true;
            files.entry(name.to_owned()).or_default();
            continue;
        }
        let file = files.entry(name.to_owned()).or_default();
        if std::mem::take(&mut start) && !line.starts_with("syntax") {
            let syntax = if line == "proto2" { "proto2" } else { "proto3" };
            file.push_str(&format!("syntax = \"{syntax}\";\npackage t;\n"));
            if line == "proto2" {
                continue;
            }
        }
        file.push_str(line);
        file.push('\n');
    }
    files
}

/// Compiles all files, with source locations.
pub(crate) fn compile(files: &Files) -> Result<Schema, String> {
    let mut resolver = ChainFileResolver::new();
    resolver.add(Memory(files.clone()));
    resolver.add(GoogleFileResolver::new());
    let mut compiler = Compiler::with_file_resolver(resolver);
    compiler.include_imports(true).include_source_info(true);
    for name in files.keys() {
        compiler
            .open_file(name)
            .map_err(|error| format!("{name}: {error}"))?;
    }
    let set = compiler.file_descriptor_set().encode_to_vec();
    Schema::from_descriptor_set(&set).map_err(|error| error.to_string())
}

struct Memory(Files);

impl FileResolver for Memory {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match self.0.get(name) {
            Some(source) => File::from_source(name, source),
            None => Err(protox::Error::file_not_found(name)),
        }
    }
}
