//! async-nats, the NATS client that nmfw is built on, and the functions of nmfw that take or return
//! its types.
//!
//! # Stability
//! async-nats has not reached 1.0. **A minor release of nmfw may update async-nats to an
//! incompatible version**, which changes the types of this module; no other part of nmfw's API
//! names them. Use async-nats through this module rather than as a dependency of your own, so that
//! both are the same version.
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

/// The parts of a [`Connection`](crate::Connection) that use types of async-nats.
pub trait ConnectionExt: sealed::Sealed {
    /// Uses a connection that async-nats made.
    ///
    /// Prefer [`connect`](crate::connect): async-nats reports events only to a callback that is set
    /// when connecting, so a connection created this way has no events. A subject that the server
    /// denies then shows as a timeout, the [state](crate::Connection::state) does not change when
    /// the connection is lost, and the connection does not move when its server is about to shut
    /// down.
    #[must_use]
    fn from_client(client: Client) -> Self;

    /// Returns the async-nats client, for everything else that NATS offers: JetStream, key-value buckets.
    fn client(&self) -> &Client;

    /// Returns the latest information from the NATS server about itself; `None` before the first
    /// connect.
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

/// The parts of a handler's [`Context`](crate::Context) that use types of async-nats.
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
    /// Needs the cargo feature `nkeys`; without it, connecting fails.
    #[must_use]
    fn jwt<F, Fut>(self, jwt: impl Into<String>, sign: F) -> Self
    where
        F: Fn(Vec<u8>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Vec<u8>, AuthError>> + Send + Sync + 'static;

    /// Calls `answer` for the credentials on every connect and reconnect, with the server's nonce.
    /// The result replaces all other credentials.
    ///
    /// A result with a signature needs the cargo feature `nkeys`; without it, connecting fails.
    #[must_use]
    fn auth_callback<F, Fut>(self, answer: F) -> Self
    where
        F: Fn(Vec<u8>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Auth, AuthError>> + Send + Sync + 'static;

    /// Uses an existing rustls configuration. Certificates set by other methods are then ignored.
    #[must_use]
    fn tls_client_config(self, config: rustls::ClientConfig) -> Self;

    /// Chooses the server for every attempt to connect, including the first. `choose` gets all
    /// known servers and the information that the last server sent. If it returns `None`,
    /// or a server that is not among them, the choice is made as usual.
    #[must_use]
    fn reconnect_to_server<F, Fut>(self, choose: F) -> Self
    where
        F: Fn(Vec<Server>, ServerInfo) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Option<ReconnectToServer>> + Send + Sync + 'static;

    /// Changes the options of async-nats directly, for options without a method here, such as
    /// `request_timeout`. The change is applied after all other settings.
    ///
    /// Three options must stay as they are: the event callback is replaced, because
    /// [`Connection::events`](crate::Connection::events) needs it; `no_echo` keeps servers from
    /// starting, because they confirm their subscriptions by a message to themselves; and with
    /// `retry_on_initial_connect`, connecting returns before there is a connection.
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
