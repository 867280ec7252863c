//! [`NatsChannel`]: the settings of [`NatsTransport`], as methods of a channel.

use std::time::Duration;

use super::transport::NatsTransport;
use crate::Channel;

/// The settings of a [`NatsTransport`], for a [`Channel`] made from a connection. On a channel with
/// another transport, they make all calls fail with `INVALID_ARGUMENT`.
///
/// ```no_run
/// use nmfw::{Channel, NatsChannel};
///
/// # fn example(nats: &nmfw::Connection) {
/// let channel = Channel::new(nats).multiplexed();
/// # }
/// ```
pub trait NatsChannel: Sized {
    /// See [`NatsTransport::subject`].
    #[must_use]
    fn subject(self, subject: impl Into<String>) -> Self;

    /// See [`NatsTransport::instance`].
    #[must_use]
    fn instance(self, id: impl Into<String>) -> Self;

    /// See [`NatsTransport::max_attempts`].
    #[must_use]
    fn max_attempts(self, attempts: u32) -> Self;

    /// See [`NatsTransport::reconnect_grace`].
    #[must_use]
    fn reconnect_grace(self, grace: Duration) -> Self;

    /// See [`NatsTransport::go_compatible`].
    #[must_use]
    fn go_compatible(self) -> Self;

    /// See [`NatsTransport::multiplexed`].
    #[must_use]
    fn multiplexed(self) -> Self;
}

impl NatsChannel for Channel {
    fn subject(self, subject: impl Into<String>) -> Self {
        self.set_transport("subject", |nats: NatsTransport| nats.subject(subject))
    }

    fn instance(self, id: impl Into<String>) -> Self {
        self.set_transport("instance", |nats: NatsTransport| nats.instance(id))
    }

    fn max_attempts(self, attempts: u32) -> Self {
        self.set_transport("max_attempts", |nats: NatsTransport| {
            nats.max_attempts(attempts)
        })
    }

    fn reconnect_grace(self, grace: Duration) -> Self {
        self.set_transport("reconnect_grace", |nats: NatsTransport| {
            nats.reconnect_grace(grace)
        })
    }

    fn go_compatible(self) -> Self {
        self.set_transport("go_compatible", NatsTransport::go_compatible)
    }

    fn multiplexed(self) -> Self {
        self.set_transport("multiplexed", NatsTransport::multiplexed)
    }
}
