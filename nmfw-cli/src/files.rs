//! [`Files`]: schemas from files.

use std::path::{Path, PathBuf};

use clap::Args;
use nmfw_schema::Schema;

use crate::failure::Failure;

/// The files of a schema, for services that have none.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Files {
    /// A .proto file, for a service that has no schema, such as one of Go nmfw
    #[arg(long, value_name = "FILE", help_heading = "Schema")]
    proto: Vec<PathBuf>,

    /// A folder in which imports are found; the default is that of the file, and the current one
    #[arg(
        long = "include",
        short = 'I',
        value_name = "FOLDER",
        help_heading = "Schema"
    )]
    includes: Vec<PathBuf>,

    /// A descriptor set in place of --proto
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "proto",
        help_heading = "Schema"
    )]
    descriptor_set: Option<PathBuf>,
}

impl Files {
    /// Reads the schema, if any files are named.
    pub(crate) fn read(&self) -> Result<Option<Schema>, Failure> {
        match &self.descriptor_set {
            Some(path) => read_set(path).map(Some),
            None if self.proto.is_empty() => Ok(None),
            None => compile(&self.proto, &self.includes).map(Some),
        }
    }
}

/// Reads a schema from a .proto file or, if its name does not end in that, a descriptor set.
pub(crate) fn read(path: &Path, includes: &[PathBuf]) -> Result<Schema, Failure> {
    match path
        .extension()
        .is_some_and(|extension| extension == "proto")
    {
        true => compile(&[path.to_owned()], includes),
        false => read_set(path),
    }
}

/// Returns the services of a file itself, without those of its imports; nothing, which means all, if
/// the file is not among those of the schema.
pub(crate) fn own_services(schema: &Schema, file: &Path) -> Vec<String> {
    let is_own = |name: &str| file.ends_with(name);
    let services = schema.services();
    let own = services.filter(|service| is_own(service.parent_file().name()));
    own.map(|service| service.full_name().to_owned()).collect()
}

fn compile(protos: &[PathBuf], includes: &[PathBuf]) -> Result<Schema, Failure> {
    let mut folders = includes.to_vec();
    if folders.is_empty() {
        let parents = protos.iter().filter_map(|proto| proto.parent());
        folders.extend(parents.map(|parent| match parent.as_os_str().is_empty() {
            true => PathBuf::from("."),
            false => parent.to_owned(),
        }));
        folders.push(PathBuf::from("."));
    }
    if let Some(missing) = protos.iter().find(|proto| !proto.is_file()) {
        return Err(Failure::new(format!(
            "there is no file {}",
            missing.display()
        )));
    }
    Schema::compile(protos, &folders).map_err(|error| {
        let failure = Failure::new(error.to_string());
        match error.to_string().contains("include path") {
            true => failure.hint("name the folders of imports with --include"),
            false => failure,
        }
    })
}

fn read_set(path: &Path) -> Result<Schema, Failure> {
    let shown = path.display();
    let set = std::fs::read(path)
        .map_err(|error| Failure::new(format!("cannot read {shown}")).caused_by(&error))?;
    Schema::from_descriptor_set(&set)
        .map_err(|error| Failure::new(format!("{shown} is no descriptor set: {error}")))
}
