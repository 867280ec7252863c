//! Takes in descriptor sets, which come from other tools and may be anything.

use std::collections::BTreeSet;
use std::panic::catch_unwind;

use prost::Message;
use prost_reflect::DescriptorPool;
use prost_types::{FileDescriptorProto, FileDescriptorSet};

use crate::error::{Error, Kind};

/// Builds the pool of an encoded set.
///
/// # Errors
/// The bytes are no set, a file is not proto2 or proto3 or imports one that is not there, or the set contradicts itself.
pub(crate) fn pool(bytes: &[u8]) -> Result<DescriptorPool, Error> {
    let set = FileDescriptorSet::decode(bytes)
        .map_err(|error| Error::set(format!("these bytes are no FileDescriptorSet: {error}")))?;
    check(&set)?;
    // prost-reflect panics while it makes the message of some errors.
    let pool = catch_unwind(|| DescriptorPool::decode(bytes))
        .map_err(|_| Error::set("it contradicts itself".to_owned()))?;
    Ok(pool.map_err(Kind::DescriptorSet)?)
}

fn check(set: &FileDescriptorSet) -> Result<(), Error> {
    let names: BTreeSet<&str> = set.file.iter().map(FileDescriptorProto::name).collect();
    for file in &set.file {
        let name = file.name();
        if name.is_empty() {
            return Err(Error::set("a file in it has no name".to_owned()));
        }
        match file.syntax() {
            "" | "proto2" | "proto3" => {}
            "editions" => {
                return Err(Error::set(format!(
                    "`{name}` uses editions, which are not supported yet; proto2 and proto3 are"
                )));
            }
            other => {
                return Err(Error::set(format!(
                    "`{name}` has the unknown syntax `{other}`"
                )));
            }
        }
        for import in &file.dependency {
            if !names.contains(import.as_str()) {
                return Err(Error::set(format!(
                    "`{name}` imports `{import}`, which is not in the set; write it with `protoc --include_imports`"
                )));
            }
        }
    }
    Ok(())
}
