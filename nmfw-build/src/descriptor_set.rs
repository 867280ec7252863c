//! Reads descriptor sets, which come from other tools and need not be valid.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::catch_unwind;

use prost::Message;
use prost_reflect::DescriptorPool;
use prost_types::FileDescriptorProto;

use crate::adapt::{Adapted, WithEdition};
use crate::editions;
use crate::error::Error;
use crate::protos::{EncodedFiles, Protos};

/// Reads an encoded set.
///
/// # Errors
/// Fails if the bytes are not a set, if a file has an unknown syntax or edition or imports a
/// missing one, or if the set is inconsistent.
pub(crate) fn read(bytes: &[u8]) -> Result<Protos, Error> {
    let no_set = |error| Error::set(format!("the bytes are not a FileDescriptorSet: {error}"));
    let mut encoded = EncodedFiles::decode(bytes).map_err(no_set)?;
    let mut files = Vec::new();
    for file in &encoded.file {
        let edition = WithEdition::decode(file.as_slice())
            .map_err(no_set)?
            .edition;
        files.push((
            FileDescriptorProto::decode(file.as_slice()).map_err(no_set)?,
            edition,
        ));
    }
    check(&files)?;
    let public = public_imports(&files);
    let mut adapted = BTreeMap::new();
    for (((file, edition), public), encoded) in files.iter().zip(public).zip(&mut encoded.file) {
        let edition = edition.filter(|_| file.syntax() == "editions");
        let found = Adapted::find(file, edition, public);
        if found.is_needed() {
            *encoded = found.apply(encoded).map_err(no_set)?;
            adapted.insert(file.name().to_owned(), found);
        }
    }
    let pool_bytes = encoded.encode_to_vec();
    // prost-reflect panics while it formats some errors.
    let pool = catch_unwind(|| DescriptorPool::decode(pool_bytes.as_slice()))
        .map_err(|_| Error::set("the set is inconsistent".to_owned()))?;
    Ok(Protos {
        pool: pool.map_err(|error| Error::contradiction(&error))?,
        adapted,
        set: Some(bytes.to_vec()),
        ..Protos::default()
    })
}

fn check(files: &[(FileDescriptorProto, Option<i32>)]) -> Result<(), Error> {
    let names: BTreeSet<&str> = files.iter().map(|(file, _)| file.name()).collect();
    for (file, edition) in files {
        let name = file.name();
        if name.is_empty() {
            return Err(Error::set("a file in the set has no name".to_owned()));
        }
        match (file.syntax(), edition) {
            ("" | "proto2" | "proto3", _) => {}
            ("editions", Some(edition)) if editions::is_supported(*edition) => {}
            ("editions", _) => {
                return Err(Error::set(format!(
                    "`{name}` has an unsupported edition: the editions {}, proto2 and proto3 are \
                     supported",
                    editions::supported()
                )));
            }
            (other, _) => {
                return Err(Error::set(format!(
                    "`{name}` has the unknown syntax `{other}`"
                )));
            }
        }
        for import in &file.dependency {
            if !names.contains(import.as_str()) {
                return Err(Error::set(format!(
                    "`{name}` imports `{import}`, which is not in the set: create the set with \
                     `protoc --include_imports`"
                )));
            }
        }
    }
    Ok(())
}

/// Returns, for each file, the files that are visible through public imports only.
fn public_imports(files: &[(FileDescriptorProto, Option<i32>)]) -> Vec<Vec<String>> {
    let by_name: HashMap<&str, &FileDescriptorProto> =
        files.iter().map(|(file, _)| (file.name(), file)).collect();
    let seen_by = |file: &FileDescriptorProto| {
        let direct: BTreeSet<&str> = file.dependency.iter().map(String::as_str).collect();
        let mut seen = direct.clone();
        let mut left: Vec<&str> = direct.iter().copied().collect();
        while let Some(import) = left.pop().and_then(|name| by_name.get(name)) {
            let public = import.public_dependency.iter();
            let names =
                public.filter_map(|index| import.dependency.get(usize::try_from(*index).ok()?));
            left.extend(names.map(String::as_str).filter(|name| seen.insert(name)));
        }
        let public = seen
            .into_iter()
            .filter(|name| !direct.contains(name) && *name != file.name());
        public.map(str::to_owned).collect()
    };
    files.iter().map(|(file, _)| seen_by(file)).collect()
}
