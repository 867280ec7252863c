//! The parsed and resolved files of a build.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use prost::{DecodeError, Message};
use prost_reflect::{DescriptorPool, FileDescriptor};
use prost_types::FileDescriptorProto;

use crate::adapt::Adapted;
use crate::editions;

/// All files of a build.
#[derive(Debug, Default)]
pub(crate) struct Protos {
    /// Names, comments and options.
    pub(crate) pool: DescriptorPool,
    /// The files that are only imported, not compiled.
    pub(crate) imported: BTreeSet<String>,
    /// The changes to files for the pool, by file name.
    pub(crate) adapted: BTreeMap<String, Adapted>,
    /// The author's source, if known.
    pub(crate) sources: BTreeMap<String, Arc<str>>,
    /// The encoded descriptor set that the files came from, if any.
    pub(crate) set: Option<Vec<u8>>,
}

/// A descriptor set whose files stay encoded.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct EncodedFiles {
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub(crate) file: Vec<Vec<u8>>,
}

/// The name of an encoded `FileDescriptorProto`.
#[derive(Clone, PartialEq, Message)]
struct FileName {
    #[prost(string, tag = "1")]
    name: String,
}

impl Protos {
    /// Returns the descriptor of a file for prost-build.
    pub(crate) fn descriptor(&self, file: &FileDescriptor) -> FileDescriptorProto {
        let mut descriptor = file.file_descriptor_proto().clone();
        if let Some(adapted) = self.adapted.get(file.name()) {
            if adapted.edition.is_some() {
                editions::lower(&mut descriptor, &file.encode_to_vec());
            } else if let Some(syntax) = &adapted.syntax {
                descriptor.syntax = Some(syntax.clone());
            }
        }
        descriptor
    }

    /// Returns the encoded descriptor set of all files: the input, or a new one.
    pub(crate) fn encoded_set(&self) -> Vec<u8> {
        if let Some(set) = &self.set {
            return set.clone();
        }
        let file = self.pool.files().map(|file| self.encode(&file)).collect();
        EncodedFiles { file }.encode_to_vec()
    }

    /// Returns the encoded files by name, as their authors wrote them.
    pub(crate) fn encoded_files(&self) -> Result<BTreeMap<String, Vec<u8>>, DecodeError> {
        let Some(set) = &self.set else {
            let files = self.pool.files();
            let files = files.map(|file| (file.name().to_owned(), self.encode(&file)));
            return Ok(files.collect());
        };
        let files = EncodedFiles::decode(&set[..])?.file.into_iter();
        files
            .map(|file| Ok((FileName::decode(&file[..])?.name, file)))
            .collect()
    }

    fn encode(&self, file: &FileDescriptor) -> Vec<u8> {
        let encoded = file.encode_to_vec();
        let adapted = self.adapted.get(file.name());
        // The pool's encoding always decodes.
        let undone = adapted.and_then(|adapted| adapted.undo(&encoded).ok());
        undone.unwrap_or(encoded)
    }
}
