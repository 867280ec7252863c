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
                "has a value with a control character: use a key that ends in -bin for binary \
                 values"
            }
            MetadataProblem::Space => {
                "has a value with leading or trailing white space, which NATS would remove: trim \
                 the value, or use a key that ends in -bin"
            }
            MetadataProblem::TextUnderBin => {
                "ends in -bin: set its value with insert_bin or \
                                              append_bin"
            }
            MetadataProblem::BinUnderText => "has a binary value: use a key that ends in -bin",
            MetadataProblem::NotBase64 => "has a value that is not valid base64",
            MetadataProblem::TooMany => "exceeds the limit of 256 values over all keys",
            MetadataProblem::TooLarge => {
                "exceeds the limit of 64 KiB for all keys and values, counting 32 additional bytes \
                 per value: send larger data in a message"
            }
        };
        write!(f, "metadata {:?} {problem}", self.key)
    }
}

impl std::error::Error for MetadataError {}
