//! Compiles `.proto` files with protox.

use std::path::Path;

use protox::Compiler;
use protox::file::{
    ChainFileResolver, File, FileResolver, GoogleFileResolver, IncludeFileResolver,
};

use crate::SchemaError;

/// The options of nmfw, which every build finds.
const OPTIONS: (&str, &str) = (
    "nmfw/options.proto",
    include_str!("../../proto/nmfw/options.proto"),
);

/// Compiles files, and returns the encoded set with all imports and comments.
///
/// # Errors
/// Fails if a file cannot be read or does not compile.
pub(crate) fn compile(
    protos: impl IntoIterator<Item = impl AsRef<Path>>,
    includes: impl IntoIterator<Item = impl AsRef<Path>>,
) -> Result<Vec<u8>, SchemaError> {
    let mut resolver = ChainFileResolver::new();
    for include in includes {
        resolver.add(IncludeFileResolver::new(include.as_ref().to_owned()));
    }
    resolver.add(GoogleFileResolver::new());
    resolver.add(OwnOptions);
    let mut compiler = Compiler::with_file_resolver(resolver);
    compiler.include_imports(true).include_source_info(true);
    compiler
        .open_files(protos)
        .map_err(|error| describe(&error))?;
    Ok(compiler.encode_file_descriptor_set())
}

/// Finds the options of nmfw.
#[derive(Debug)]
struct OwnOptions;

impl FileResolver for OwnOptions {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        if name == OPTIONS.0 {
            File::from_source(name, OPTIONS.1)
        } else {
            Err(protox::Error::file_not_found(name))
        }
    }
}

/// Describes an error. The `Debug` output of protox begins with the position.
fn describe(error: &protox::Error) -> SchemaError {
    SchemaError::new(format!("{error:?}"))
}
