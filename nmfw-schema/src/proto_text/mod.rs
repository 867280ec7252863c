//! `.proto` text from descriptors, with comments.
//!
//! The text of a file compiles to the same descriptors: proto2, proto3 and editions, with options
//! and custom options, extensions, groups, maps, reserved names and numbers. Declarations stand in
//! the order of the source, if the schema has source positions.
//!
//! ```
//! use nmfw_schema::{Schema, proto_text};
//!
//! # fn main() -> Result<(), nmfw_schema::SchemaError> {
//! let schema = Schema::compile(["calc.proto"], ["../proto"])?;
//! let text = proto_text::element(&schema, "calc.Calc/Add").expect("the method exists");
//! assert!(text.contains("// Calculates the sum of a series of numbers"));
//! assert!(text.contains("rpc Add(AddRequest) returns (CalcResponse);"));
//! assert!(!text.contains("rpc Average"));
//! # Ok(())
//! # }
//! ```

mod comments;
mod field;
mod file;
mod literal;
mod message;
mod names;
mod options;
mod select;
mod service;
mod writer;

use prost::Message;

use crate::Schema;
use crate::schema::raw::FileSet;
use file::Printer;
use names::Names;
use select::Selection;

/// Returns the text of a file of a schema, by its name; nothing if there is none.
///
/// [`ProtoText`] is faster for several files.
#[must_use]
pub fn file(schema: &Schema, name: &str) -> Option<String> {
    ProtoText::new(schema).file(name)
}

/// Returns the text of a service, method, message or enum with the types that it needs; nothing if
/// there is no such element.
///
/// `full_name` is like `calc.Calc`, `calc.Calc/Add`, `calc.Calc.Add` or `calc.AddRequest`. If types
/// are in several files, the text has a part for each, after a comment with the file's name; those
/// of Google's well-known files are only imported.
#[must_use]
pub fn element(schema: &Schema, full_name: &str) -> Option<String> {
    ProtoText::new(schema).element(full_name)
}

/// The files of a schema, prepared for printing.
pub struct ProtoText<'a> {
    schema: &'a Schema,
    /// The files as they are in the set, which the pool of the schema has changed.
    set: FileSet,
    names: Names,
}

impl std::fmt::Debug for ProtoText<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProtoText")
            .field("schema", self.schema)
            .finish_non_exhaustive()
    }
}

impl<'a> ProtoText<'a> {
    /// Prepares a schema.
    #[must_use]
    pub fn new(schema: &'a Schema) -> Self {
        // The set was decoded before.
        let set = FileSet::decode(schema.descriptor_set()).unwrap_or_default();
        let names = Names::new(&set);
        Self { schema, set, names }
    }

    /// Returns the text of a file, by its name; nothing if there is none.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<String> {
        let file = self.set.file.iter().find(|file| file.name() == name)?;
        Some(Printer::new(self.schema, &self.names, file, None).print())
    }

    /// Returns the text of an element with the types that it needs, like [`element`].
    #[must_use]
    pub fn element(&self, full_name: &str) -> Option<String> {
        let selection = Selection::new(self.schema, &self.set, full_name)?;
        let mut text = String::new();
        for file in selection.files(&self.set) {
            if !text.is_empty() {
                text.push('\n');
            }
            if selection.number_of_files() > 1 {
                text.push_str(&format!("// {}\n\n", file.name()));
            }
            let printer = Printer::new(self.schema, &self.names, file, Some(&selection));
            text.push_str(&printer.print());
        }
        Some(text)
    }
}
