//! [`ClientId`]: identifies the client of a call, to account for its share of a service.

use std::{
    hash::{BuildHasher, Hash, RandomState},
    sync::LazyLock,
};

/// Random, so that peers cannot search for identities that collide.
static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// The client of a call, which gets its share of a full service: queued calls are served
/// round-robin by client.
///
/// The front that takes calls from a wire names the client in an extension of the request, by
/// whatever it knows of it, such as an address or a user. Calls without it are those of one client,
/// as are [local](crate::Channel::local) calls.
///
/// ```
/// use nmfw::{Method, middleware::{Body, Request}, server::ClientId};
///
/// fn request(method: Method, body: Body, peer: std::net::SocketAddr) -> Request {
///     let mut request = Request::new(method, body);
///     request.extensions_mut().insert(ClientId::of(peer.ip()));
///     request
/// }
/// ```
///
/// It is a hash of the identity with a key of this process, so that peers cannot search for
/// identities that collide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(u64);

impl ClientId {
    /// Callers in this process, and clients that their front does not name.
    pub(crate) const LOCAL: Self = Self(0);

    /// Returns the client with an identity.
    #[must_use]
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
