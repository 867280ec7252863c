//! [`Schema`].

mod adapt;
mod check;
#[cfg(feature = "compile")]
mod compile;
mod editions;
pub(crate) mod imports;
mod own_types;
pub(crate) mod raw;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use prost::Message;
use prost_reflect::{
    DescriptorPool, FileDescriptor, MessageDescriptor, MethodDescriptor, ServiceDescriptor,
};

pub(crate) use adapt::json_name;
pub(crate) use check::{index_of, join};
pub(crate) use editions::name as edition_name;

use crate::SchemaError;
use raw::FileSet;

/// The `.proto` files of a service and all that they import, as a descriptor set.
///
/// Cloning is cheap.
///
/// A set may come from a peer: a damaged or hostile one is an error. It may have at most
/// [`MAX_BYTES`](Self::MAX_BYTES), [`MAX_FILES`](Self::MAX_FILES) and
/// [`MAX_TYPES`](Self::MAX_TYPES), and messages nested about 90 levels deep.
///
/// ```
/// use nmfw_schema::Schema;
/// # fn main() -> Result<(), nmfw_schema::SchemaError> {
/// // Needs the feature `compile`; a service carries its set with it.
/// let schema = Schema::compile(["calc.proto"], ["../proto"])?;
/// let add = schema.method("calc.Calc/Add").expect("the method exists");
/// assert_eq!(add.input().full_name(), "calc.AddRequest");
/// assert_eq!(schema.hash().len(), 64);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Schema(Arc<Inner>);

struct Inner {
    pool: DescriptorPool,
    set: Vec<u8>,
    hash: String,
    compressed: OnceLock<Vec<u8>>,
}

impl Schema {
    /// The largest descriptor set that is accepted, in bytes: 16 MiB.
    pub const MAX_BYTES: usize = 16 << 20;

    /// The largest number of files in a set.
    pub const MAX_FILES: usize = 8_192;

    /// The largest number of messages, enums and services in a set, nested ones included.
    pub const MAX_TYPES: usize = 131_072;

    /// Reads an encoded `FileDescriptorSet`, which may come from a peer.
    ///
    /// # Errors
    /// Fails if the set is damaged, has no files, exceeds a limit, lacks an imported file, or has
    /// an unsupported edition.
    pub fn from_descriptor_set(set: &[u8]) -> Result<Self, SchemaError> {
        if set.len() > Self::MAX_BYTES {
            return Err(SchemaError::new(format!(
                "the descriptor set has {} bytes, more than the {} that are accepted",
                set.len(),
                Self::MAX_BYTES
            )));
        }
        let decoded = FileSet::decode(set).map_err(|error| {
            SchemaError::new(format!("the bytes are not a descriptor set: {error}"))
        })?;
        if decoded.file.is_empty() {
            return Err(SchemaError::new("the descriptor set has no files"));
        }
        check::check(&decoded)?;
        own_types::check(&decoded)?;
        let mut adapted = decoded;
        adapt::adapt(&mut adapted)?;
        Ok(Self(Arc::new(Inner {
            pool: build(adapted)?,
            set: set.to_vec(),
            hash: Self::hash_of(set),
            compressed: OnceLock::new(),
        })))
    }

    /// Reads a set that was compressed with zlib (RFC 1950), which may come from a peer.
    ///
    /// # Errors
    /// Like [`from_descriptor_set`](Self::from_descriptor_set), and if the compressed data is
    /// damaged.
    pub fn from_compressed(compressed: &[u8]) -> Result<Self, SchemaError> {
        let set =
            miniz_oxide::inflate::decompress_to_vec_zlib_with_limit(compressed, Self::MAX_BYTES)
                .map_err(|error| {
                    SchemaError::new(format!(
                        "the descriptor set cannot be decompressed: {error}"
                    ))
                })?;
        Self::from_descriptor_set(&set)
    }

    /// Compiles `.proto` files, without `protoc`. Comments are kept.
    ///
    /// Each of `protos` is a path that begins with one of `includes`, or is relative to it. The
    /// compiler supports proto2 and proto3.
    ///
    /// # Errors
    /// Fails if a file cannot be read or does not compile; the error names the file and line.
    #[cfg(feature = "compile")]
    pub fn compile(
        protos: impl IntoIterator<Item = impl AsRef<std::path::Path>>,
        includes: impl IntoIterator<Item = impl AsRef<std::path::Path>>,
    ) -> Result<Self, SchemaError> {
        Self::from_descriptor_set(&compile::compile(protos, includes)?)
    }

    /// Returns the SHA-256 of the encoded set, in lower-case hexadecimal digits.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.0.hash
    }

    /// Returns the hash of an encoded set.
    #[must_use]
    pub fn hash_of(set: &[u8]) -> String {
        hmac_sha256::Hash::hash(set)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// Returns the encoded `FileDescriptorSet`, byte by byte as it was read.
    #[must_use]
    pub fn descriptor_set(&self) -> &[u8] {
        &self.0.set
    }

    /// Returns the set, compressed with zlib. It is compressed at the first call.
    #[must_use]
    pub fn compressed(&self) -> &[u8] {
        self.0.compressed.get_or_init(|| {
            const LEVEL: u8 = 9;
            miniz_oxide::deflate::compress_to_vec_zlib(&self.0.set, LEVEL)
        })
    }

    /// Returns the descriptors.
    ///
    /// They differ from the set where prost-reflect requires it: files of editions are proto3
    /// files whose fields have the same presence and encoding, the imports of a file include those
    /// behind public imports, and extensions that only message sets can have are missing.
    #[must_use]
    pub fn pool(&self) -> &DescriptorPool {
        &self.0.pool
    }

    /// Returns all services, in the order of the set.
    pub fn services(&self) -> impl ExactSizeIterator<Item = ServiceDescriptor> + '_ {
        self.0.pool.services()
    }

    /// Finds a service by its full name, such as `calc.Calc`.
    #[must_use]
    pub fn service(&self, full_name: &str) -> Option<ServiceDescriptor> {
        self.0.pool.get_service_by_name(full_name)
    }

    /// Finds a method by its full name, `calc.Calc/Add` or `calc.Calc.Add`.
    #[must_use]
    pub fn method(&self, full_name: &str) -> Option<MethodDescriptor> {
        let full_name = full_name.strip_prefix('/').unwrap_or(full_name);
        let (service, method) = full_name
            .split_once('/')
            .or_else(|| full_name.rsplit_once('.'))?;
        self.service(service)?
            .methods()
            .find(|each| each.name() == method)
    }

    /// Finds a message by its full name, such as `calc.AddRequest`.
    #[must_use]
    pub fn message(&self, full_name: &str) -> Option<MessageDescriptor> {
        self.0.pool.get_message_by_name(full_name)
    }

    /// Finds the file that defines a service, method, message, enum or extension.
    #[must_use]
    pub fn file_of(&self, full_name: &str) -> Option<FileDescriptor> {
        let pool = &self.0.pool;
        if let Some(message) = pool.get_message_by_name(full_name) {
            return Some(message.parent_file());
        }
        if let Some(each) = pool.get_enum_by_name(full_name) {
            return Some(each.parent_file());
        }
        if let Some(service) = pool.get_service_by_name(full_name) {
            return Some(service.parent_file());
        }
        if let Some(extension) = pool.get_extension_by_name(full_name) {
            return Some(extension.parent_file());
        }
        self.method(full_name).map(|method| method.parent_file())
    }
}

impl fmt::Debug for Schema {
    // The pool is left out: prost-reflect prints descriptors that contain each other without end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schema")
            .field("hash", &self.0.hash)
            .finish_non_exhaustive()
    }
}

/// The number of comparisons above which faults are looked for before comments are added.
const CHEAP: usize = 1 << 26;

/// Builds a pool.
fn build(mut set: FileSet) -> Result<DescriptorPool, SchemaError> {
    // prost-reflect searches all locations of a file for each fault.
    let locations = |file: &raw::File| {
        let info = file.source_code_info.as_ref();
        info.map_or(0, |info| info.location.len())
    };
    let most = set.file.iter().map(locations).max().unwrap_or_default();
    if most.saturating_mul(most) > CHEAP {
        let mut bare = set.clone();
        for file in &mut bare.file {
            file.source_code_info = None;
        }
        build_as_it_is(&bare)?;
    }
    for file in &mut set.file {
        if let Some(info) = &mut file.source_code_info {
            info.location
                .retain(|location| matches!(location.span.len(), 3 | 4));
        }
    }
    build_as_it_is(&set)
}

fn build_as_it_is(set: &FileSet) -> Result<DescriptorPool, SchemaError> {
    let bytes = set.encode_to_vec();
    // `check` refuses all sets that are known to make prost-reflect panic.
    catch_unwind(AssertUnwindSafe(|| {
        DescriptorPool::decode(bytes.as_slice()).map_err(|error| error.to_string())
    }))
    .unwrap_or_else(|_| Err("it contradicts itself".to_owned()))
    .map_err(|reason| SchemaError::new(format!("the descriptor set is not valid: {reason}")))
}
