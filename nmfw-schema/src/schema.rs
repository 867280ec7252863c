//! [`Schema`].

use std::sync::Arc;

use prost_reflect::DescriptorPool;
use sha2::{Digest, Sha256};

use crate::SchemaError;

/// The `.proto` files of a service and all that they import, as a descriptor set.
///
/// Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Schema(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    pool: DescriptorPool,
    set: Vec<u8>,
    hash: String,
}

impl Schema {
    /// The largest descriptor set that is accepted, in bytes: 16 MiB.
    pub const MAX_BYTES: usize = 16 << 20;

    /// Reads an encoded `FileDescriptorSet`, which may come from a peer.
    ///
    /// # Errors
    /// Fails if the set is damaged, larger than [`MAX_BYTES`](Self::MAX_BYTES), or lacks an imported file.
    pub fn from_descriptor_set(set: &[u8]) -> Result<Self, SchemaError> {
        if set.len() > Self::MAX_BYTES {
            return Err(SchemaError::new(format!(
                "the descriptor set has {} bytes, more than the {} that are accepted",
                set.len(),
                Self::MAX_BYTES
            )));
        }
        // prost-reflect panics while it formats some errors.
        let pool = std::panic::catch_unwind(|| {
            DescriptorPool::decode(set).map_err(|error| error.to_string())
        })
        .unwrap_or_else(|_| Err("it contradicts itself".to_owned()))
        .map_err(|reason| SchemaError::new(format!("the descriptor set is not valid: {reason}")))?;
        Ok(Self(Arc::new(Inner {
            pool,
            set: set.to_vec(),
            hash: Self::hash_of(set),
        })))
    }

    /// Reads a set that was compressed with zlib (RFC 1950).
    ///
    /// # Errors
    /// Like [`from_descriptor_set`](Self::from_descriptor_set), and if the compressed data is damaged.
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

    /// Returns the SHA-256 of the encoded set, in lower-case hexadecimal digits.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.0.hash
    }

    /// Returns the hash that a set has.
    #[must_use]
    pub fn hash_of(set: &[u8]) -> String {
        Sha256::digest(set)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// Returns the encoded `FileDescriptorSet`.
    #[must_use]
    pub fn descriptor_set(&self) -> &[u8] {
        &self.0.set
    }

    /// Returns the descriptors.
    #[must_use]
    pub fn pool(&self) -> &DescriptorPool {
        &self.0.pool
    }
}
