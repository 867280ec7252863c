//! [`MetadataEntry`]: a validated key with one value.

use std::fmt;

use bytes::Bytes;

use super::{MetadataError, VALUE_COST, error::MetadataProblem};

/// A value of [`Metadata`](crate::Metadata). The set of variants is final.
#[derive(Clone, PartialEq, Eq)]
pub enum MetadataValue {
    /// The value of a plain key.
    Text(String),
    /// The value of a key that ends in `-bin`.
    Binary(Bytes),
}

impl MetadataValue {
    /// Returns the text; `None` for the value of a `-bin` key.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Binary(_) => None,
        }
    }

    /// Returns the bytes of the value, which are UTF-8 if it is a text.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }
}

/// A key with one value that satisfies the rules of [`Metadata`](crate::Metadata).
#[derive(Clone, PartialEq, Eq)]
pub struct MetadataEntry {
    pub(super) key: Box<str>,
    value: MetadataValue,
}

impl MetadataEntry {
    /// Creates an entry with a plain key.
    ///
    /// # Errors
    /// Fails if the key or the value breaks the rules of [`Metadata`](crate::Metadata), or if the key ends in
    /// `-bin`.
    pub fn text(key: impl AsRef<str>, value: impl Into<String>) -> Result<Self, MetadataError> {
        let (key, value) = (key.as_ref(), value.into());
        check_key(key)?;
        if is_binary(key) {
            return Err(MetadataError::new(key, MetadataProblem::TextUnderBin));
        }
        if value.chars().any(char::is_control) {
            return Err(MetadataError::new(key, MetadataProblem::Control));
        }
        if value.trim().len() != value.len() {
            return Err(MetadataError::new(key, MetadataProblem::Space));
        }
        Ok(Self {
            key: key.into(),
            value: MetadataValue::Text(value),
        })
    }

    /// Creates an entry with a `-bin` key.
    ///
    /// # Errors
    /// Fails if the key breaks the rules of [`Metadata`](crate::Metadata) or does not end in `-bin`.
    pub fn binary(key: impl AsRef<str>, value: impl Into<Bytes>) -> Result<Self, MetadataError> {
        let (key, value) = (key.as_ref(), value.into());
        check_key(key)?;
        if !is_binary(key) {
            return Err(MetadataError::new(key, MetadataProblem::BinUnderText));
        }
        Ok(Self {
            key: key.into(),
            value: MetadataValue::Binary(value),
        })
    }

    /// Returns the key as written.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Returns the value.
    #[must_use]
    pub fn value(&self) -> &MetadataValue {
        &self.value
    }

    /// Returns key and value.
    #[must_use]
    pub fn into_parts(self) -> (String, MetadataValue) {
        (self.key.into_string(), self.value)
    }

    /// Returns the contribution of the entry to [`Metadata::size`].
    pub(super) fn size(&self) -> usize {
        self.key.len() + self.value.as_bytes().len() + VALUE_COST
    }

    pub(super) fn pair(&self) -> (&str, &MetadataValue) {
        (&self.key, &self.value)
    }
}

impl fmt::Debug for MetadataEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}", self.key, self.value)
    }
}

impl fmt::Debug for MetadataValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => text.fmt(f),
            Self::Binary(bytes) => bytes.fmt(f),
        }
    }
}

pub(super) fn is_binary(key: &str) -> bool {
    key.len() >= 4 && key.as_bytes()[key.len() - 4..].eq_ignore_ascii_case(b"-bin")
}

fn check_key(key: &str) -> Result<(), MetadataError> {
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if key.is_empty() || !key.bytes().all(is_token) {
        return Err(MetadataError::new(key, MetadataProblem::Key));
    }
    if is_reserved(key) {
        return Err(MetadataError::new(key, MetadataProblem::Reserved));
    }
    Ok(())
}

/// Returns whether a header is reserved by the protocols and so not available as a metadata key.
pub fn is_reserved(name: &str) -> bool {
    let starts_with = |prefix: &str| {
        name.get(..prefix.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    starts_with("nmfw-")
        || starts_with("nats-")
        || ["nmfw", "content-type", "traceparent", "tracestate"]
            .iter()
            .any(|reserved| name.eq_ignore_ascii_case(reserved))
}
