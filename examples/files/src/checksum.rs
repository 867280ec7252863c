//! SHA-256, for which every system has a command.

use std::fmt;

use bytes::Bytes;
use ring::digest::{Context, SHA256, SHA256_OUTPUT_LEN};

/// A SHA-256 checksum, displayed in hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Checksum([u8; SHA256_OUTPUT_LEN]);

impl Checksum {
    pub(crate) const LEN: usize = SHA256_OUTPUT_LEN;

    pub(crate) fn of(data: &[u8]) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(data);
        hasher.finish()
    }

    /// Returns `None` if the length is wrong.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn to_bytes(self) -> Bytes {
        Bytes::copy_from_slice(&self.0)
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Computes a [`Checksum`] incrementally.
#[derive(Clone)]
pub(crate) struct Hasher(Context);

impl Hasher {
    pub(crate) fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    pub(crate) fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    pub(crate) fn finish(self) -> Checksum {
        let mut sum = [0; SHA256_OUTPUT_LEN];
        sum.copy_from_slice(self.0.finish().as_ref());
        Checksum(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_what_sha256sum_says() {
        assert_eq!(
            Checksum::of(b"abc").to_string(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        let sum = Checksum::of(b"");
        assert_eq!(Checksum::from_bytes(sum.as_bytes()), Some(sum));
        assert_eq!(Checksum::from_bytes(b"short"), None);
    }
}
