#![doc = include_str!("../README.md")]

use std::path::Path;

mod accessors;
mod adapt;
mod attributes;
mod check;
mod collisions;
mod comments;
mod compile;
mod config;
mod debug;
mod descriptor_set;
mod docs;
mod editions;
mod emit;
mod error;
mod extern_path;
mod fault;
mod generator;
mod groups;
mod index;
mod inline;
mod location;
mod model;
mod names;
mod nesting;
mod option_place;
mod options;
mod output;
mod package;
mod permissions;
mod protoc;
mod protos;
mod reason;
mod references;
mod schema;
mod service_attributes;
mod service_names;
mod services;
mod settings;
mod source;
mod well_known;

pub use config::Builder;
pub use error::Error;
pub use permissions::PermissionFiles;

/// Generates code for `.proto` files and everything they import, with the defaults.
///
/// `nmfw::include_protos!()` includes the code of all packages, `nmfw::include_proto!("calc")` that
/// of one. The code of a package is a file in `OUT_DIR` named after it: `calc.rs` for
/// `package calc`, `acme.billing.v1.rs` for `package acme.billing.v1`, `_.rs` without a package.
/// The files have to be in one of the include folders.
///
/// # Errors
/// Fails if a file is missing or does not compile, if a service is invalid, or if the code cannot
/// be written. Return the error from the `main` of the build script, and cargo shows the report.
///
/// ```no_run
/// fn main() -> Result<(), nmfw_build::Error> {
///     nmfw_build::compile_protos(&["proto/calc.proto"], &["proto"])
/// }
/// ```
pub fn compile_protos(
    protos: &[impl AsRef<Path>],
    includes: &[impl AsRef<Path>],
) -> Result<(), Error> {
    configure().compile_protos(protos, includes)
}

/// Returns a builder to configure the generated code.
///
/// ```no_run
/// fn main() -> Result<(), nmfw_build::Error> {
///     nmfw_build::configure()
///         .build_server(false)
///         .subject_prefix("acme")
///         .compile_protos(&["proto/calc.proto"], &["proto"])
/// }
/// ```
pub fn configure() -> Builder {
    Builder::new()
}
