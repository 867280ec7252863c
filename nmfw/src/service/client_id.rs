//! [`ClientId`]: the client that a call comes from, for its share of a service.

use std::{
    hash::{BuildHasher, Hash, RandomState},
    sync::LazyLock,
};

/// Peers cannot look for names that are taken for the same client.
static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// A client, as a hash of what identifies it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ClientId(u64);

impl ClientId {
    /// Callers in this process.
    pub(crate) const LOCAL: Self = Self(0);

    /// Returns the client of an identity.
    pub(crate) fn of(identity: impl Hash) -> Self {
        Self(HASHER.hash_one(identity))
    }
}

#[cfg(test)]
impl ClientId {
    /// Any client.
    pub(crate) const fn numbered(number: u64) -> Self {
        Self(number)
    }
}
