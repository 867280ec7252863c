//! [`MetadataError`]: an invalid key or value.

use std::fmt;

/// An error for a key or value that [`Metadata`](crate::Metadata) does not accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataError {
    key: String,
    pub(super) problem: MetadataProblem,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MetadataProblem {
    Key,
    Reserved,
    Control,
    Space,
    TextUnderBin,
    BinUnderText,
    NotBase64,
    TooMany,
    TooLarge,
}

impl MetadataError {
    pub(super) fn new(key: &str, problem: MetadataProblem) -> Self {
        Self {
            key: key.chars().take(64).collect(),
            problem,
        }
    }

    /// Returns the invalid key, or the key of the invalid value, shortened to 64 characters.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl fmt::Display for MetadataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problem = match self.problem {
            MetadataProblem::Key => {
                "is not a valid key: use ASCII letters, digits, '-', '_' and '.'"
            }
            MetadataProblem::Reserved => "is a reserved key: choose another one",
            MetadataProblem::Control => {
                "has a control character in its value: send such bytes under a key that ends in -bin"
            }
            MetadataProblem::Space => {
                "has white space at an end of its value, which NATS trims: trim it, or use a key \
                 that ends in -bin"
            }
            MetadataProblem::TextUnderBin => "ends in -bin: set it with insert_bin or append_bin",
            MetadataProblem::BinUnderText => "carries bytes and must end in -bin",
            MetadataProblem::NotBase64 => "has a value that is not base64",
            MetadataProblem::TooMany => {
                "is one value too many: a call has 256 at most, over all keys"
            }
            MetadataProblem::TooLarge => {
                "makes the metadata too large: keys and values come to 64 KiB at most, with 32 bytes \
                 more for each value; send what is larger in a message"
            }
        };
        write!(f, "metadata {:?} {problem}", self.key)
    }
}

impl std::error::Error for MetadataError {}
