//! async-nats, the NATS client that nmfw stands on, and the functions of nmfw that take or return its types.
//!
//! # Stability
//! async-nats is before 1.0. **A minor release of nmfw may move to the next async-nats**, which changes the types
//! of this module; nothing else of nmfw names them. Code that uses them takes async-nats from here, not from a
//! dependency of its own, so that both are the same release.
//!
//! ```no_run
//! use nmfw::async_nats::{self, ConnectionExt};
//!
//! # async fn example(nats: nmfw::Connection) -> Result<(), async_nats::PublishError> {
//! nats.client().publish("audit", "started".into()).await?;
//! # Ok(())
//! # }
//! ```

#[doc(no_inline)]
pub use ::async_nats::*;

/// What a [`Connection`](crate::Connection) shares with async-nats.
pub trait ConnectionExt: sealed::Sealed {
    /// Uses a connection that async-nats made.
    ///
    /// Prefer [`connect`](crate::connect): async-nats reports events only to a callback that is set when
    /// connecting, so that such a connection has none. A subject that the server denies then shows as a timeout,
    /// the [state](crate::Connection::state) does not change when the connection is lost, and the connection does
    /// not move when its server is about to shut down.
    #[must_use]
    fn from_client(client: Client) -> Self;

    /// Returns the async-nats client, for everything else that NATS offers: JetStream, key-value buckets.
    fn client(&self) -> &Client;

    /// Returns what the server last said of itself; `None` before the first connect.
    fn server_info(&self) -> Option<ServerInfo>;
}

impl ConnectionExt for crate::Connection {
    fn from_client(client: Client) -> Self {
        Self::of_client(client)
    }

    fn client(&self) -> &Client {
        self.client()
    }

    fn server_info(&self) -> Option<ServerInfo> {
        self.client().try_server_info()
    }
}

/// What a handler's [`Context`](crate::Context) has of async-nats.
pub trait ContextExt: sealed::Sealed {
    /// Returns the client of the server's connection; `None` for a call that did not come over NATS.
    fn nats(&self) -> Option<&Client>;
}

impl ContextExt for crate::Context {
    fn nats(&self) -> Option<&Client> {
        crate::NatsContext::connection(self).map(crate::Connection::client)
    }
}

/// Settings of [`ConnectOptions`](crate::ConnectOptions) in the types of async-nats.
pub trait ConnectOptionsExt: sealed::Sealed + Sized {
    /// Logs in with a user JWT; `sign` signs the server's nonce, for instance with a key that does not leave its
    /// hardware.
    ///
    /// Needs the cargo feature `nkeys`: without it connecting fails.
    #[must_use]
    fn jwt<F, Fut>(self, jwt: impl Into<String>, sign: F) -> Self
    where
        F: Fn(Vec<u8>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Vec<u8>, AuthError>> + Send + Sync + 'static;

    /// Calls `answer` for the credentials on every connect and reconnect, with the server's nonce. Its result
    /// replaces all other credentials.
    ///
    /// An answer with a signature needs the cargo feature `nkeys`: without it connecting fails.
    #[must_use]
    fn auth_callback<F, Fut>(self, answer: F) -> Self
    where
        F: Fn(Vec<u8>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Auth, AuthError>> + Send + Sync + 'static;

    /// Uses a ready rustls configuration. Certificates given by other methods are then not used.
    #[must_use]
    fn tls_client_config(self, config: rustls::ClientConfig) -> Self;

    /// Chooses the server for every attempt to connect, the first ones included. `choose` gets all known servers
    /// and what the last one said of itself. If it returns `None`, or a server that is not among them, the choice
    /// is made as usual.
    #[must_use]
    fn reconnect_to_server<F, Fut>(self, choose: F) -> Self
    where
        F: Fn(Vec<Server>, ServerInfo) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Option<ReconnectToServer>> + Send + Sync + 'static;

    /// Changes the options of async-nats directly, for what has no method here, such as `request_timeout`. The
    /// change is made after all other settings.
    ///
    /// Three things must stay as they are: the event callback is replaced, because
    /// [`Connection::events`](crate::Connection::events) needs it; `no_echo` keeps servers from starting, because
    /// they confirm their subscriptions by a message to themselves; and with `retry_on_initial_connect` connecting
    /// returns before there is a connection.
    #[must_use]
    fn with_client_options(
        self,
        change: impl Fn(ConnectOptions) -> ConnectOptions + Send + Sync + 'static,
    ) -> Self;
}

impl ConnectOptionsExt for crate::ConnectOptions {
    fn jwt<F, Fut>(self, jwt: impl Into<String>, sign: F) -> Self
    where
        F: Fn(Vec<u8>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Vec<u8>, AuthError>> + Send + Sync + 'static,
    {
        self.jwt(jwt, sign)
    }

    fn auth_callback<F, Fut>(self, answer: F) -> Self
    where
        F: Fn(Vec<u8>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Auth, AuthError>> + Send + Sync + 'static,
    {
        self.auth_callback(answer)
    }

    fn tls_client_config(self, config: rustls::ClientConfig) -> Self {
        self.tls_client_config(config)
    }

    fn reconnect_to_server<F, Fut>(self, choose: F) -> Self
    where
        F: Fn(Vec<Server>, ServerInfo) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Option<ReconnectToServer>> + Send + Sync + 'static,
    {
        self.reconnect_to_server(choose)
    }

    fn with_client_options(
        self,
        change: impl Fn(ConnectOptions) -> ConnectOptions + Send + Sync + 'static,
    ) -> Self {
        self.with_client_options(change)
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for crate::Connection {}
    impl Sealed for crate::ConnectOptions {}
    impl Sealed for crate::Context {}
}
