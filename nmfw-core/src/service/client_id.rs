//! [`ClientId`]: identifies the client of a call, to account for its share of a service.

use std::{
    hash::{BuildHasher, Hash, RandomState},
    sync::LazyLock,
};

/// Random, so that peers cannot search for identities that collide.
static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// A client, as a hash of its identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(u64);

impl ClientId {
    /// Callers in this process.
    pub(crate) const LOCAL: Self = Self(0);

    /// Returns the id for an identity.
    pub fn of(identity: impl Hash) -> Self {
        Self(HASHER.hash_one(identity))
    }
}

impl ClientId {
    /// Returns an arbitrary client.
    #[doc(hidden)]
    #[must_use]
    pub const fn numbered(number: u64) -> Self {
        Self(number)
    }
}
