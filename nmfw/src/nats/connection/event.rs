//! [`ConnectionEvent`]: something that happened on a connection.

/// Something that happened on a connection.
///
/// Received from [`Connection::events`](super::Connection::events).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionEvent {
    /// Connected, for the first time or again.
    Connected,
    /// The connection is lost. It is being re-established unless [`Closed`](Self::Closed) follows.
    Disconnected,
    /// The connection is gone for good: closed on purpose, or given up after `max_reconnects`.
    Closed,
    /// The server will shut down soon and has asked its clients to move on. The connection does so, if
    /// another server lets it in: `Disconnected` and `Connected` follow within about a second, and no
    /// call or session is lost by that.
    LameDuck,
    /// Messages were dropped because a subscription's buffer was full. At most one a second.
    #[non_exhaustive]
    SlowConsumer {
        /// async-nats' number of the subscription that dropped last.
        subscription: u64,
        /// Messages dropped since the last such event, on any subscription of the connection.
        dropped: u64,
    },
    /// The server does not let this connection publish to the subject. The message is lost.
    #[non_exhaustive]
    PublishDenied {
        /// The subject published to.
        subject: String,
    },
    /// The server does not let this connection publish with this reply subject. The message is
    /// lost.
    #[non_exhaustive]
    ReplyDenied {
        /// The reply subject of the message.
        reply: String,
    },
    /// The server does not let this connection subscribe to the subject. Nothing will arrive.
    #[non_exhaustive]
    SubscribeDenied {
        /// The subject subscribed to.
        subject: String,
        /// The queue group, if the subscription had one.
        queue: Option<String>,
    },
    /// The server has refused a subscription because this connection has as many as it may:
    /// `max_subscriptions` of the server, the account or the user. It does not say which one, and
    /// nothing will arrive there.
    #[non_exhaustive]
    TooManySubscriptions {
        /// The server's words.
        error: String,
    },
    /// The server closes the connection because a message was larger than it takes: the account or
    /// the user may send less than the `max_payload` that the server announced when it accepted the
    /// connection. The message is lost. From now on a quarter of that size is taken for the largest;
    /// see [`Connection::max_payload`](super::Connection::max_payload).
    #[non_exhaustive]
    PayloadTooLarge {
        /// The server's words.
        error: String,
    },
    /// Events were lost, because more than 256 waited to be received.
    #[non_exhaustive]
    EventsMissed {
        /// The number of lost events.
        count: u64,
    },
    /// Any other error that the server sent, in its words. It closes the connection after nearly all
    /// of them.
    ServerError(String),
    /// An error inside the client, such as a failed attempt to reconnect.
    ClientError(String),
}
