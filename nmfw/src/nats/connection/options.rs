//! The options of a connection.

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
    /// Creates options with the defaults that the methods describe.
    pub fn new() -> Self {
        Self::default()
    }

    /// Connects to one of the given servers.
    ///
    /// Credentials in the URLs are used unless these options have any.
    ///
    /// # Errors
    ///
    /// [`InvalidUrl`](crate::ErrorKind::InvalidUrl), [`Unsupported`](crate::ErrorKind::Unsupported)
    /// (a WebSocket URL, an nkey or a JWT without its cargo feature),
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig),
    /// [`Credentials`](crate::ErrorKind::Credentials) and [`Tls`](crate::ErrorKind::Tls) before
    /// anything is sent; [`Authorization`](crate::ErrorKind::Authorization) and
    /// [`Tls`](crate::ErrorKind::Tls) as soon as a server refuses;
    /// [`Connect`](crate::ErrorKind::Connect) if no server was reached after the configured
    /// attempts or time.
    pub async fn connect(self, servers: impl IntoServers) -> Result<Connection, Error> {
        let servers = Servers::parse(&servers.into_servers())?;
        establish::establish(self, servers).await
    }

    /// Connects with a NATS context: a file written by `nats context add`, given by its name, or by
    /// its path if it ends in `.json`.
    ///
    /// These options take precedence over the context; if any credentials are set here, all
    /// credentials of the context are ignored. `nsc` look-ups, SOCKS proxies, 1Password references
    /// and the Windows certificate store are not supported; a context that uses one is an error.
    ///
    /// # Errors
    ///
    /// [`Context`](crate::ErrorKind::Context) if there is no such context or it cannot be read,
    /// [`Unsupported`](crate::ErrorKind::Unsupported), and the errors of
    /// [`connect`](Self::connect).
    pub async fn connect_context(self, name_or_path: &str) -> Result<Connection, Error> {
        let context = nats_context::load(&Environment::process(), name_or_path).await?;
        let (options, servers) = context.merge_into(self);
        establish::establish(options, servers).await
    }

    /// Connects according to the environment. Only the first of these that is set is used:
    ///
    /// 1. `$NATS_CONTEXT`, a context's name or path
    /// 2. `$NATS_URL`, one or several server URLs
    /// 3. the context selected with `nats context select`
    /// 4. `nats://localhost:4222`
    ///
    /// Unlike the `nats` program, which sends the credentials of the selected context to the server
    /// in `$NATS_URL`, this method never combines two sources.
    ///
    /// # Errors
    ///
    /// See [`connect_context`](Self::connect_context).
    pub async fn connect_env(self) -> Result<Connection, Error> {
        let (options, servers) = nats_context::from_env(&Environment::process(), self).await?;
        establish::establish(options, servers).await
    }

    /// Sets the name of the connection in the server's list of connections.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Logs in with a user and a password.
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

    /// Logs in with a credentials file (`.creds`), which contains a JWT and its seed. It is read
    /// when connecting and on every reconnect, so that a renewed file is used.
    ///
    /// Needs the cargo feature `nkeys`; without it, connecting fails.
    pub fn credentials_file(self, path: impl Into<PathBuf>) -> Self {
        self.identity(Identity::CredsFile(path.into()))
    }

    /// Logs in with the text of a credentials file.
    ///
    /// Needs the cargo feature `nkeys`; without it, connecting fails.
    pub fn credentials(self, text: impl Into<String>) -> Self {
        self.identity(Identity::Creds(Secret::new(text)))
    }

    /// Logs in with an nkey, given as its seed (`SU...`).
    ///
    /// Needs the cargo feature `nkeys`; without it, connecting fails.
    pub fn nkey(self, seed: impl Into<String>) -> Self {
        self.identity(Identity::Nkey(Secret::new(seed)))
    }

    /// Logs in with an nkey whose seed is in a file. It is read once, when connecting.
    ///
    /// Needs the cargo feature `nkeys`; without it, connecting fails.
    pub fn nkey_file(self, path: impl Into<PathBuf>) -> Self {
        self.identity(Identity::NkeyFile(path.into()))
    }

    /// Logs in with a user JWT and its seed.
    ///
    /// Needs the cargo feature `nkeys`; without it, connecting fails.
    pub fn jwt_and_seed(self, jwt: impl Into<String>, seed: impl Into<String>) -> Self {
        self.identity(Identity::JwtAndSeed(Secret::new(jwt), Secret::new(seed)))
    }

    pub(crate) fn jwt<F, Fut>(self, jwt: impl Into<String>, sign: F) -> Self
    where
        F: Fn(Vec<u8>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Vec<u8>, AuthError>> + Send + Sync + 'static,
    {
        let sign = Arc::new(move |nonce| Box::pin(sign(nonce)) as _);
        self.identity(Identity::Jwt(Secret::new(jwt), sign))
    }

    pub(crate) fn auth_callback<F, Fut>(self, answer: F) -> Self
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

    /// Refuses servers without TLS. Implied by a `tls://` URL and by
    /// [`tls_first`](Self::tls_first).
    ///
    /// Otherwise, TLS is used if the server requires it.
    pub fn require_tls(mut self, required: bool) -> Self {
        self.tls.required = Some(required);
        self
    }

    /// Starts with the TLS handshake instead of waiting for the server's INFO, as required by
    /// servers with `handshake_first`.
    pub fn tls_first(mut self, first: bool) -> Self {
        self.tls.first = Some(first);
        self
    }

    /// Trusts the certificates in this PEM file instead of the system's. Can be called for several
    /// files.
    pub fn root_certificates(mut self, path: impl Into<PathBuf>) -> Self {
        self.tls.roots.push(path.into());
        self
    }

    /// Sets the client certificate and its key, both as PEM files.
    pub fn client_certificate(
        mut self,
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        self.tls.client = Some((certificate.into(), key.into()));
        self
    }

    pub(crate) fn tls_client_config(mut self, config: async_nats::rustls::ClientConfig) -> Self {
        self.tls.config = Some(Box::new(config));
        self
    }

    /// Sets the prefix of reply subjects, for accounts whose permissions require one: one or more
    /// subject tokens without wildcards.
    ///
    /// The default is `_INBOX.<user>` if the connection logs in with a user name of ASCII letters,
    /// digits, `-` and `_`. With a user JWT whose permissions allow inboxes with a single prefix, such as
    /// `_INBOX.ann.>`, it is that prefix. Otherwise it is `_INBOX`: permissions of an nkey, or of the
    /// signing key of a JWT, are known to the NATS server only. The permission `_INBOX.>` covers all of
    /// them; `_INBOX.<user>.>` keeps other users from reading the answers.
    pub fn inbox_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.inbox_prefix = Some(prefix.into());
        self
    }

    /// Sets how often to try all servers before connecting fails; the default is 3. The delay
    /// between rounds increases up to two seconds.
    ///
    /// A refused login or a failed TLS handshake ends connecting at once.
    pub fn connect_attempts(mut self, attempts: u32) -> Self {
        self.connect_attempts = Some(attempts);
        self
    }

    /// Waits up to `limit` for a server, with any number of attempts; [`Duration::MAX`] waits
    /// forever. Connecting returns once connected, or with the error of the last attempt.
    ///
    /// Use it for programs that start together with their broker.
    pub fn wait_for_server(mut self, limit: Duration) -> Self {
        self.wait_for_server = Some(limit);
        self
    }

    /// Closes the connection after this number of consecutive failed reconnect attempts, over all
    /// servers: it is then [`Closed`](crate::ConnectionStatus::Closed). The default, `None`,
    /// retries forever.
    ///
    /// Every configured server is tried at least once, so a smaller number counts as the number of
    /// servers. Zero is an error, because it means "retry forever" in async-nats, and "never
    /// reconnect" in other NATS clients.
    pub fn max_reconnects(mut self, attempts: impl Into<Option<usize>>) -> Self {
        self.max_reconnects = attempts.into();
        self
    }

    /// Sets the delay before each reconnect attempt. `delay` receives the number of the attempt
    /// since the connection was lost, from 1.
    ///
    /// The default is a random delay around 50 ms, doubling up to 2 s, so that the clients of a
    /// lost server do not all reconnect at the same moment.
    pub fn reconnect_delay(
        mut self,
        delay: impl Fn(usize) -> Duration + Send + Sync + 'static,
    ) -> Self {
        self.reconnect_delay = Some(Arc::new(delay));
        self
    }

    pub(crate) fn reconnect_to_server<F, Fut>(mut self, choose: F) -> Self
    where
        F: Fn(Vec<Server>, ServerInfo) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Option<ReconnectToServer>> + Send + Sync + 'static,
    {
        let choose = Arc::new(move |servers, info| Box::pin(choose(servers, info)) as _);
        self.reconnect_to_server = Some(choose);
        self
    }

    /// Sets the timeout of a single attempt at one address, from the TCP connect to the accepted
    /// login; the default is 5 s.
    pub fn connection_timeout(mut self, timeout: Duration) -> Self {
        self.connection_timeout = Some(timeout);
        self
    }

    /// Sets the interval of pings to a silent server; the default is 60 s. After two unanswered
    /// pings, the connection is considered lost.
    pub fn ping_interval(mut self, interval: Duration) -> Self {
        self.ping_interval = Some(interval);
        self
    }

    /// Sets how many received messages a subscription buffers; the default is 65,536. When the
    /// buffer is full, new messages are dropped and
    /// [`SlowConsumer`](crate::ConnectionEvent::SlowConsumer) is reported.
    pub fn subscription_capacity(mut self, messages: usize) -> Self {
        self.subscription_capacity = Some(messages);
        self
    }

    /// Sets how many commands, such as published messages, may be queued for the connection; the
    /// default is 2,048. When the queue is full, publishing waits.
    pub fn client_capacity(mut self, commands: usize) -> Self {
        self.client_capacity = Some(commands);
        self
    }

    /// Sets the initial size of the read buffer in bytes; the default is 65,535.
    pub fn read_buffer_capacity(mut self, bytes: u16) -> Self {
        self.read_buffer_capacity = Some(bytes);
        self
    }

    /// Connects from this local address; port 0 lets the system choose one.
    pub fn local_address(mut self, address: SocketAddr) -> Self {
        self.local_address = Some(address);
        self
    }

    /// Connects only to the given servers, not to others that the cluster announces. This is always
    /// the case for WebSocket URLs.
    pub fn ignore_discovered_servers(mut self, ignored: bool) -> Self {
        self.ignore_discovered_servers = ignored;
        self
    }

    /// Tries the servers in the given order instead of a random one.
    pub fn retain_servers_order(mut self, retained: bool) -> Self {
        self.retain_servers_order = retained;
        self
    }

    pub(crate) fn with_client_options(
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

/// Formats the options without secrets.
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
