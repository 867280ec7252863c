//! Schemas of services: the descriptor set of a service's file and everything it imports, compressed,
//! which generated code embeds and instances serve.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use hmac_sha256::Hash;
use prost::Message;
use prost_reflect::FileDescriptor;

use crate::error::Error;
use crate::model::Service;
use crate::output;
use crate::protos::{EncodedFiles, Protos};
use crate::settings::Settings;

/// The highest level that takes little more time than the default, which is 6.
const COMPRESSION_LEVEL: u8 = 9;

/// The schemas of a build, one for each file with services.
#[derive(Debug, Default)]
pub(crate) struct Schemas {
    by_proto: BTreeMap<String, Schema>,
}

/// The schema of the services of a file.
#[derive(Debug)]
pub(crate) struct Schema {
    /// The name of the file beside the code of the package, which includes it.
    pub(crate) file: String,
    /// The SHA-256 of the encoded `FileDescriptorSet`, in lower-case hexadecimal digits.
    pub(crate) hash: String,
    /// The encoded `FileDescriptorSet`, compressed with zlib (RFC 1950).
    compressed: Vec<u8>,
}

impl Schemas {
    /// Makes the schemas of services, unless the builder disabled them.
    ///
    /// # Errors
    /// Fails if the descriptor set that was passed in is damaged.
    pub(crate) fn make(
        protos: &Protos,
        services: &[Service],
        settings: &Settings,
    ) -> Result<Self, Error> {
        let mut by_proto = BTreeMap::new();
        if !settings.schema || !(settings.client || settings.server) {
            return Ok(Self::default());
        }
        let encoded = protos
            .encoded_files()
            .map_err(|error| Error::set(error.to_string()))?;
        for service in services {
            let name = &service.place.file;
            if by_proto.contains_key(name) {
                continue;
            }
            // The pool has the file of each service that was read from it.
            let Some(file) = protos.pool.get_file_by_name(name) else {
                continue;
            };
            let set = set(&file, &encoded);
            let schema = Schema {
                // Full names are unique, and file names that differ in `.` and `/` are not.
                file: format!("{}.schema", service.full_name),
                hash: hex(&Hash::hash(&set)),
                compressed: miniz_oxide::deflate::compress_to_vec_zlib(&set, COMPRESSION_LEVEL),
            };
            by_proto.insert(name.clone(), schema);
        }
        Ok(Self { by_proto })
    }

    /// Returns the schema of a service.
    pub(crate) fn of(&self, service: &Service) -> Option<&Schema> {
        self.by_proto.get(&service.place.file)
    }

    /// Writes the schemas beside the code.
    ///
    /// # Errors
    /// Fails if a file cannot be written.
    pub(crate) fn write(&self, dir: &Path) -> Result<(), Error> {
        self.by_proto.values().try_for_each(|schema| {
            output::write_if_changed(&dir.join(&schema.file), &schema.compressed)
        })
    }
}

/// Returns the encoded set of a file and everything it imports, each file after its imports.
fn set(file: &FileDescriptor, encoded: &BTreeMap<String, Vec<u8>>) -> Vec<u8> {
    let mut files = Vec::new();
    let mut seen = BTreeSet::new();
    // Imports are visited before the file that imports them, without recursion, because files of
    // others may form long chains.
    let mut open = vec![(file.clone(), false)];
    while let Some((file, is_complete)) = open.pop() {
        if is_complete {
            files.extend(encoded.get(file.name()).cloned());
        } else if seen.insert(file.name().to_owned()) {
            open.push((file.clone(), true));
            let imports: Vec<_> = file.dependencies().collect();
            open.extend(imports.into_iter().rev().map(|import| (import, false)));
        }
    }
    EncodedFiles { file: files }.encode_to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
