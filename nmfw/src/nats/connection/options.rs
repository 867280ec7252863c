//! The settings of a connection.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{AuthError, ReconnectToServer, Server, ServerInfo};

use super::{
    Connection,
    credentials::{Credentials, Identity},
    environment::Environment,
    establish, nats_context,
    secret::Secret,
    server_url::{IntoServers, Servers},
    tls::Tls,
};
use nmfw_core::error::Error;

pub(super) type DelayFn = Arc<dyn Fn(usize) -> Duration + Send + Sync>;
type Choice = Pin<Box<dyn Future<Output = Option<ReconnectToServer>> + Send + Sync>>;
pub(super) type ChooseFn = Arc<dyn Fn(Vec<Server>, ServerInfo) -> Choice + Send + Sync>;
pub(super) type ClientOptionsFn =
    Arc<dyn Fn(async_nats::ConnectOptions) -> async_nats::ConnectOptions + Send + Sync>;

#[doc = include_str!("../../docs/connect.md")]
#[derive(Clone, Default)]
#[must_use = "options do nothing until one of the connect methods is called"]
pub struct ConnectOptions {
    pub(super) credentials: Credentials,
    pub(super) tls: Tls,
    pub(super) name: Option<String>,
    pub(super) inbox_prefix: Option<String>,
    pub(super) connect_attempts: Option<u32>,
    pub(super) wait_for_server: Option<Duration>,
    pub(super) max_reconnects: Option<usize>,
    pub(super) reconnect_delay: Option<DelayFn>,
    pub(super) reconnect_to_server: Option<ChooseFn>,
    pub(super) connection_timeout: Option<Duration>,
    pub(super) ping_interval: Option<Duration>,
    pub(super) subscription_capacity: Option<usize>,
    pub(super) client_capacity: Option<usize>,
    pub(super) read_buffer_capacity: Option<u16>,
    pub(super) local_address: Option<SocketAddr>,
    pub(super) ignore_discovered_servers: bool,
    pub(super) retain_servers_order: bool,
    pub(super) client_options: Option<ClientOptionsFn>,
}

impl ConnectOptions {
    /// The defaults, as the methods describe them.
    pub fn new() -> Self {
        Self::default()
    }

    /// Connects to one of the given servers.
    ///
    /// Credentials in the URLs are used unless these options hold any.
    ///
    /// # Errors
    ///
    /// [`InvalidUrl`](crate::ErrorKind::InvalidUrl), [`Unsupported`](crate::ErrorKind::Unsupported)
    /// (a WebSocket URL, an nkey or a JWT without its cargo feature),
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig),
    /// [`Credentials`](crate::ErrorKind::Credentials) and [`Tls`](crate::ErrorKind::Tls) before
    /// anything is sent; [`Authorization`](crate::ErrorKind::Authorization) and
    /// [`Tls`](crate::ErrorKind::Tls) as soon as a server refuses;
    /// [`Connect`](crate::ErrorKind::Connect) when no server was reached, after the attempts or
    /// the time configured.
    pub async fn connect(self, servers: impl IntoServers) -> Result<Connection, Error> {
        let servers = Servers::parse(&servers.into_servers())?;
        establish::establish(self, servers).await
    }

    /// Connects as a NATS context says: a file that `nats context add` wrote, named as there, or
    /// the path of one, recognised by its end `.json`.
    ///
    /// Settings made here win over those in the context; if any credentials are set here, all
    /// those of the context are ignored. `nsc` lookups, SOCKS proxies, 1Password references and the
    /// Windows certificate store are not supported, a context that asks for one is an error.
    ///
    /// # Errors
    ///
    /// [`Context`](crate::ErrorKind::Context) when there is no such context or it cannot be read,
    /// [`Unsupported`](crate::ErrorKind::Unsupported), and those of [`connect`](Self::connect).
    pub async fn connect_context(self, name_or_path: &str) -> Result<Connection, Error> {
        let context = nats_context::load(&Environment::process(), name_or_path).await?;
        let (options, servers) = context.merge_into(self);
        establish::establish(options, servers).await
    }

    /// Connects as the environment says; the first of these that is there counts, alone:
    ///
    /// 1. `$NATS_CONTEXT`, a context's name or path
    /// 2. `$NATS_URL`, one or several server URLs
    /// 3. the context selected with `nats context select`
    /// 4. `nats://localhost:4222`
    ///
    /// Unlike the `nats` program, which sends the credentials of the selected context to the
    /// server in `$NATS_URL`, this never mixes two of them.
    ///
    /// # Errors
    ///
    /// Those of [`connect_context`](Self::connect_context).
    pub async fn connect_env(self) -> Result<Connection, Error> {
        let (options, servers) = nats_context::from_env(&Environment::process(), self).await?;
        establish::establish(options, servers).await
    }

    /// Names the connection, for those who look at the server's list of connections.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Logs in with user and password.
    pub fn user_and_password(
        mut self,
        user: impl Into<String>,
        password: impl Into<String>,
    ) -> Self {
        self.credentials.user = Some((user.into(), Secret::new(password)));
        self
    }

    /// Logs in with a token.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.credentials.token = Some(Secret::new(token));
        self
    }

    /// Logs in with a credentials file (`.creds`), which holds a JWT and its seed. It is read
    /// when connecting and again on every reconnect, so a renewed one is used.
    ///
    /// Needs the cargo feature `nkeys`: without it connecting fails.
    pub fn credentials_file(self, path: impl Into<PathBuf>) -> Self {
        self.identity(Identity::CredsFile(path.into()))
    }

    /// Logs in with the text of a credentials file.
    ///
    /// Needs the cargo feature `nkeys`: without it connecting fails.
    pub fn credentials(self, text: impl Into<String>) -> Self {
        self.identity(Identity::Creds(Secret::new(text)))
    }

    /// Logs in with an nkey, given as its seed (`SU...`).
    ///
    /// Needs the cargo feature `nkeys`: without it connecting fails.
    pub fn nkey(self, seed: impl Into<String>) -> Self {
        self.identity(Identity::Nkey(Secret::new(seed)))
    }

    /// Logs in with an nkey whose seed is in a file. It is read once, when connecting.
    ///
    /// Needs the cargo feature `nkeys`: without it connecting fails.
    pub fn nkey_file(self, path: impl Into<PathBuf>) -> Self {
        self.identity(Identity::NkeyFile(path.into()))
    }

    /// Logs in with a user JWT and the seed that belongs to it.
    ///
    /// Needs the cargo feature `nkeys`: without it connecting fails.
    pub fn jwt_and_seed(self, jwt: impl Into<String>, seed: impl Into<String>) -> Self {
        self.identity(Identity::JwtAndSeed(Secret::new(jwt), Secret::new(seed)))
    }

    /// Logs in with a user JWT; `sign` signs the server's nonce, for instance with a key that does
    /// not leave its hardware.
    ///
    /// Needs the cargo feature `nkeys`: without it connecting fails.
    pub fn jwt<F, Fut>(self, jwt: impl Into<String>, sign: F) -> Self
    where
        F: Fn(Vec<u8>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Vec<u8>, AuthError>> + Send + Sync + 'static,
    {
        let sign = Arc::new(move |nonce| Box::pin(sign(nonce)) as _);
        self.identity(Identity::Jwt(Secret::new(jwt), sign))
    }

    /// Asks `answer` for the credentials on every connect and reconnect. It gets the server's
    /// nonce, and what it returns replaces all other credentials.
    ///
    /// An answer with a signature needs the cargo feature `nkeys`: without it connecting fails.
    pub fn auth_callback<F, Fut>(self, answer: F) -> Self
    where
        F: Fn(Vec<u8>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<async_nats::Auth, AuthError>> + Send + Sync + 'static,
    {
        let answer = Arc::new(move |nonce| Box::pin(answer(nonce)) as _);
        self.identity(Identity::Callback(answer))
    }

    fn identity(mut self, identity: Identity) -> Self {
        self.credentials.identity = Some(identity);
        self
    }

    /// Refuses servers without TLS. Implied by a `tls://` URL and by [`tls_first`](Self::tls_first).
    ///
    /// Without it TLS is used when the server asks for it.
    pub fn require_tls(mut self, required: bool) -> Self {
        self.tls.required = Some(required);
        self
    }

    /// Starts with the TLS handshake instead of waiting for the server to speak, as servers with
    /// `handshake_first` want it.
    pub fn tls_first(mut self) -> Self {
        self.tls.first = Some(true);
        self
    }

    /// Trusts the certificates in this PEM file instead of those the system trusts. Can be called
    /// for several files.
    pub fn root_certificates(mut self, path: impl Into<PathBuf>) -> Self {
        self.tls.roots.push(path.into());
        self
    }

    /// Shows the server this certificate. Both are PEM files.
    pub fn client_certificate(
        mut self,
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        self.tls.client = Some((certificate.into(), key.into()));
        self
    }

    /// Uses a ready rustls configuration. Certificates given by other methods are then not used.
    pub fn tls_client_config(mut self, config: async_nats::rustls::ClientConfig) -> Self {
        self.tls.config = Some(Box::new(config));
        self
    }

    /// Starts reply subjects with this, for accounts whose permissions ask for it. One or more subject
    /// tokens without wildcards.
    ///
    /// Unless set, they start with `_INBOX.<user>` where the connection logs in with a user name of
    /// ASCII letters, digits, `-` and `_`, and with `_INBOX` otherwise. Permissions for `_INBOX.>` are
    /// enough for both; those for `_INBOX.<user>.>` keep others from reading the answers.
    pub fn inbox_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.inbox_prefix = Some(prefix.into());
        self
    }

    /// How often to go round all servers before connecting fails; 3 unless set. There is a
    /// growing pause of at most two seconds between rounds.
    ///
    /// A refused login or a failed TLS handshake ends it at once.
    pub fn connect_attempts(mut self, attempts: u32) -> Self {
        self.connect_attempts = Some(attempts);
        self
    }

    /// Waits this long for a server that is not there yet, however many attempts that takes;
    /// [`Duration::MAX`] waits for ever. Connecting returns once connected, or with the error of
    /// the last attempt.
    ///
    /// For programs that start together with their broker.
    pub fn wait_for_server(mut self, limit: Duration) -> Self {
        self.wait_for_server = Some(limit);
        self
    }

    /// Gives up after this many attempts in a row to reconnect, over all servers: the connection is
    /// then [`Closed`](crate::ConnectionStatus::Closed). `None`, the default, never gives up.
    ///
    /// Every configured server is tried at least once, so a smaller number counts as the number of
    /// servers. Zero is an error: async-nats takes it for "never give up", other NATS clients for
    /// "never reconnect".
    pub fn max_reconnects(mut self, attempts: impl Into<Option<usize>>) -> Self {
        self.max_reconnects = attempts.into();
        self
    }

    /// How long to pause before each attempt to reconnect. `delay` gets the number of the attempt
    /// since the connection was lost, from 1.
    ///
    /// The default pauses a random time around 50 ms, doubling up to 2 s, so that the clients of a
    /// lost server do not all come back at the same moment.
    pub fn reconnect_delay(
        mut self,
        delay: impl Fn(usize) -> Duration + Send + Sync + 'static,
    ) -> Self {
        self.reconnect_delay = Some(Arc::new(delay));
        self
    }

    /// Chooses the server for every attempt to connect, the first ones included: `choose` gets all
    /// known servers and what the last one said of itself. If it returns `None`, or a server that
    /// is not among them, the choice is made as usual.
    pub fn reconnect_to_server<F, Fut>(mut self, choose: F) -> Self
    where
        F: Fn(Vec<Server>, ServerInfo) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Option<ReconnectToServer>> + Send + Sync + 'static,
    {
        let choose = Arc::new(move |servers, info| Box::pin(choose(servers, info)) as _);
        self.reconnect_to_server = Some(choose);
        self
    }

    /// How long one attempt at one address may take, from TCP connect to the accepted login; 5 s
    /// unless set.
    pub fn connection_timeout(mut self, timeout: Duration) -> Self {
        self.connection_timeout = Some(timeout);
        self
    }

    /// How often to ping a silent server; 60 s unless set. A server that leaves two pings
    /// unanswered is taken for gone.
    pub fn ping_interval(mut self, interval: Duration) -> Self {
        self.ping_interval = Some(interval);
        self
    }

    /// How many received messages one subscription may hold; 65,536 unless set. When it is full,
    /// new messages are dropped and
    /// [`SlowConsumer`](crate::ConnectionEvent::SlowConsumer) says so.
    pub fn subscription_capacity(mut self, messages: usize) -> Self {
        self.subscription_capacity = Some(messages);
        self
    }

    /// How many commands (a published message is one) may wait for the connection; 2,048 unless
    /// set. When it is full, publishing waits.
    pub fn client_capacity(mut self, commands: usize) -> Self {
        self.client_capacity = Some(commands);
        self
    }

    /// Initial size of the read buffer in bytes; 65,535 unless set.
    pub fn read_buffer_capacity(mut self, bytes: u16) -> Self {
        self.read_buffer_capacity = Some(bytes);
        self
    }

    /// Connects from this local address; port 0 lets the system choose one.
    pub fn local_address(mut self, address: SocketAddr) -> Self {
        self.local_address = Some(address);
        self
    }

    /// Connects only to the given servers, not to others of the cluster that they tell of. Always
    /// so for WebSocket URLs.
    pub fn ignore_discovered_servers(mut self) -> Self {
        self.ignore_discovered_servers = true;
        self
    }

    /// Tries the servers in the order given instead of a random one.
    pub fn retain_servers_order(mut self) -> Self {
        self.retain_servers_order = true;
        self
    }

    /// Changes the options of async-nats directly, for what has no method here, such as
    /// `request_timeout`. Called after all other settings.
    ///
    /// Three things must stay as they are: the event callback is replaced, since
    /// [`Connection::subscribe_events`] lives on it; `no_echo` stops servers from starting, since
    /// they confirm their subscriptions by a message to themselves; and with
    /// `retry_on_initial_connect` connecting returns before there is a connection.
    pub fn with_client_options(
        mut self,
        change: impl Fn(async_nats::ConnectOptions) -> async_nats::ConnectOptions
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.client_options = Some(Arc::new(change));
        self
    }
}

/// Without secrets.
impl fmt::Debug for ConnectOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectOptions")
            .field("credentials", &self.credentials)
            .field("tls", &self.tls)
            .field("name", &self.name)
            .field("inbox_prefix", &self.inbox_prefix)
            .field("connect_attempts", &self.connect_attempts)
            .field("wait_for_server", &self.wait_for_server)
            .field("max_reconnects", &self.max_reconnects)
            .field("connection_timeout", &self.connection_timeout)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_secrets() {
        let options = ConnectOptions::new()
            .name("shown")
            .user_and_password("shown-user", "hush")
            .token("hush")
            .credentials("hush");
        for options in [
            options.clone().nkey("hush"),
            options.clone().jwt_and_seed("hush", "hush"),
            options,
        ] {
            let text = format!("{options:?}");
            assert!(text.contains("shown-user"), "{text}");
            assert!(!text.contains("hush"), "{text}");
        }
    }
}
