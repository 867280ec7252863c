//! Builds the pool from the loaded files.

use std::collections::BTreeSet;
use std::path::Path;

use prost::Message;
use prost_reflect::{DescriptorError, DescriptorPool};
use prost_types::FileDescriptorProto;

use super::include::{self, Includes};
use super::link::Linker;
use super::load::Loaded;
use crate::adapt::Adapted;
use crate::fault::Fault;
use crate::protos::Protos;
use crate::reason;

/// Adds the files to a pool, in an order in which imports come first. `names` are the files to
/// compile.
pub(super) fn resolve(
    files: &mut [Loaded],
    names: &BTreeSet<String>,
    includes: &Includes<'_>,
) -> Result<Protos, Box<Fault>> {
    let mut protos = Protos::default();
    let mut linker = Linker::default();
    for at in 0..files.len() {
        let file = &mut files[at];
        let public = linker.link(&mut file.descriptor);
        let adapted = Adapted::find(&file.descriptor, file.edition, public);
        let added = add(&mut protos.pool, &file.descriptor, &adapted);
        if let Err(error) = added {
            return Err(explain(error, &protos.pool, files, includes));
        }
        let name = file.source.file.clone();
        if adapted.is_needed() {
            protos.adapted.insert(name.clone(), adapted);
        }
        if !names.contains(&name) {
            protos.imported.insert(name);
        }
    }
    Ok(protos)
}

/// Converts an error of the pool to a report.
fn explain(
    error: DescriptorError,
    pool: &DescriptorPool,
    files: &[Loaded],
    includes: &Includes<'_>,
) -> Box<Fault> {
    let named = |file: &&Loaded| Some(file.source.file.as_str()) == error.file();
    let Some(file) = files.iter().find(named) else {
        return Fault::new(error.to_string());
    };
    if let Some(other) = same_file(files, file) {
        let path = file.path.as_deref().unwrap_or(Path::new(""));
        return Fault::new(format!(
            "the file `{}` is imported by two names, `{}` and `{}`",
            path.display(),
            other.source.file,
            file.source.file
        ))
        .note(format!(
            "the include folders are {}",
            include::list(includes.0)
        ))
        .help(
            "remove one of the include folders that contain the file, and import it by the same \
               name everywhere",
        );
    }
    let error = match &file.source.text {
        Some(text) => error.with_source_code(text),
        None => error,
    };
    let mut fault = Fault::from_diagnostic(&error, &file.source, &|offset| offset);
    // Undo the qualification of option names.
    fault.message = fault.message.replace("(.", "(");
    fault.help.extend(reason::help(&error, pool));
    fault
}

/// Finds the same file under another name.
fn same_file<'a>(files: &'a [Loaded], file: &Loaded) -> Option<&'a Loaded> {
    let real = |file: &Loaded| file.path.as_ref()?.canonicalize().ok();
    let path = real(file)?;
    let mut others = files
        .iter()
        .filter(|other| other.source.file != file.source.file);
    others.find(|other| real(other).as_ref() == Some(&path))
}

fn add(
    pool: &mut DescriptorPool,
    file: &FileDescriptorProto,
    adapted: &Adapted,
) -> Result<(), DescriptorError> {
    if adapted.is_needed()
        && let Ok(bytes) = adapted.apply(&file.encode_to_vec())
    {
        return pool.decode_file_descriptor_proto(bytes.as_slice());
    }
    pool.add_file_descriptor_proto(file.clone())
}
