//! [`ConnectionEvent`]: an event of a connection.

/// An event of a connection.
///
/// Received from [`Connection::events`](super::Connection::events).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionEvent {
    /// Connected, for the first time or again.
    Connected,
    /// The connection was lost. It is being re-established unless [`Closed`](Self::Closed) follows.
    Disconnected,
    /// The connection is closed permanently: on request, or after `max_reconnects`.
    Closed,
    /// The server will shut down soon and has asked its clients to leave. The connection moves if
    /// another server accepts it: `Disconnected` and `Connected` follow within about a second,
    /// without losing calls or sessions.
    LameDuck,
    /// Messages were dropped because a subscription's buffer was full. Reported at most once a
    /// second.
    #[non_exhaustive]
    SlowConsumer {
        /// async-nats' id of the subscription that last dropped a message.
        subscription: u64,
        /// Number of messages dropped since the last such event, on all subscriptions of the
        /// connection.
        dropped: u64,
    },
    /// The server does not allow this connection to publish to the subject. The message is lost.
    #[non_exhaustive]
    PublishDenied {
        /// The denied subject.
        subject: String,
    },
    /// The server does not allow this connection to publish with this reply subject. The message is
    /// lost.
    #[non_exhaustive]
    ReplyDenied {
        /// The denied reply subject.
        reply: String,
    },
    /// The server does not allow this connection to subscribe to the subject, because it is not
    /// permitted or has more tokens than the server's `max_sub_tokens`. Nothing will arrive.
    #[non_exhaustive]
    SubscribeDenied {
        /// The denied subject.
        subject: String,
        /// The queue group, if the subscription had one and the server names it.
        queue: Option<String>,
        /// The server's message.
        error: String,
    },
    /// The server has refused a subscription because this connection has reached
    /// `max_subscriptions` of the server, the account or the user. The server does not name the
    /// subscription, on which nothing will arrive.
    #[non_exhaustive]
    TooManySubscriptions {
        /// The server's message.
        error: String,
    },
    /// The server closes the connection because a message was too large: the account or the user
    /// has a lower limit than the `max_payload` that the server announced. The message is lost. The
    /// connection lowers its limit to a quarter; see
    /// [`Connection::max_payload`](super::Connection::max_payload).
    #[non_exhaustive]
    PayloadTooLarge {
        /// The server's message.
        error: String,
    },
    /// Events were lost because more than 256 were waiting to be received.
    #[non_exhaustive]
    EventsMissed {
        /// The number of lost events.
        count: u64,
    },
    /// Any other error from the server, with its message. The server closes the connection after
    /// nearly all of them.
    ServerError(String),
    /// An error inside the client, such as a failed attempt to reconnect.
    ClientError(String),
}
