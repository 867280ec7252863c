//! The connection to NATS, shared by servers and clients.

mod credentials;
mod environment;
mod establish;
mod event;
mod event_stream;
mod events;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod nats_context;
mod options;
mod refusal;
mod relocation;
pub(crate) mod replies;
mod round_trip;
mod secret;
pub(crate) mod server_message;
mod server_url;
#[cfg(feature = "nkeys")]
mod signing;
mod tls;
#[cfg(not(feature = "nkeys"))]
mod unsigned;
#[cfg(feature = "nkeys")]
mod user_jwt;
mod violation;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{OnceCell, broadcast, watch};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{sleep, timeout};

pub use event::ConnectionEvent;
pub use event_stream::ConnectionEvents;
pub use events::{ConnectionState, ConnectionStatus};
pub use options::ConnectOptions;
pub(crate) use relocation::{Follower, Placement, Stage};
pub use server_url::IntoServers;

use self::replies::Replies;
use crate::Status;
use events::EventHub;
use nmfw_core::error::{Error, ErrorKind};
use relocation::Relocation;

/// The default of async-nats.
const SUBSCRIPTION_CAPACITY: usize = 64 * 1024;

/// Time limit for closing sessions when the connection is closed.
const MAX_GOODBYE: Duration = Duration::from_secs(1);

/// Connects to a NATS server, or to one of several: `nmfw::connect("nats://localhost:4222")`.
///
/// See [`IntoServers`] for the form of URLs, and [`ConnectOptions`] for all settings.
///
/// ```no_run
/// # async fn example() -> Result<(), nmfw::Error> {
/// let nats = nmfw::connect("nats://localhost:4222").await?;
/// let nats = nmfw::connect(["nats://user:password@a.example.net", "nats://b.example.net"]).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// See [`ConnectOptions::connect`].
pub async fn connect(servers: impl IntoServers) -> Result<Connection, Error> {
    ConnectOptions::new().connect(servers).await
}

/// Connects with a NATS context, given by name or path.
///
/// ```no_run
/// # async fn example() -> Result<(), nmfw::Error> {
/// let nats = nmfw::connect_context("production").await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// See [`ConnectOptions::connect_context`].
pub async fn connect_context(name_or_path: &str) -> Result<Connection, Error> {
    ConnectOptions::new().connect_context(name_or_path).await
}

/// Connects according to the environment: `$NATS_CONTEXT`, `$NATS_URL`, the selected NATS context,
/// or `nats://localhost:4222`.
///
/// ```no_run
/// # async fn example() -> Result<(), nmfw::Error> {
/// let nats = nmfw::connect_env().await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// See [`ConnectOptions::connect_env`].
pub async fn connect_env() -> Result<Connection, Error> {
    ConnectOptions::new().connect_env().await
}

/// A connection to NATS. Clones are cheap and share the connection.
///
/// The connection is closed by [`close`](Self::close), or when the last clone of it and of its
/// [`client`](crate::async_nats::ConnectionExt::client) is dropped.
#[derive(Clone)]
pub struct Connection(Arc<Inner>);

struct Inner {
    client: async_nats::Client,
    inbox_prefix: String,
    hub: Arc<EventHub>,
    subscription_capacity: usize,
    /// Receives replies; created by the first call.
    replies: OnceCell<Arc<Replies>>,
    /// The runtime in which it was created, if any.
    runtime: Option<Handle>,
    relocation: Arc<Relocation>,
    /// The task that moves the connection to another server.
    mover: OnceLock<AbortHandle>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(mover) = self.mover.get() {
            mover.abort();
        }
    }
}

impl Connection {
    fn new(
        client: async_nats::Client,
        hub: Arc<EventHub>,
        subscription_capacity: Option<usize>,
    ) -> Self {
        // async-nats has no getter for the prefix; an inbox is the prefix, a dot and a unique
        // token.
        let inbox = client.new_inbox();
        let inbox_prefix = inbox
            .rsplit_once('.')
            .map_or("_INBOX", |(prefix, _)| prefix);
        Self(Arc::new(Inner {
            inbox_prefix: inbox_prefix.to_owned(),
            client,
            hub,
            subscription_capacity: subscription_capacity.unwrap_or(SUBSCRIPTION_CAPACITY),
            replies: OnceCell::new(),
            runtime: Handle::try_current().ok(),
            relocation: Arc::default(),
            mover: OnceLock::new(),
        }))
    }

    /// Moves to another server whenever the current one is about to shut down.
    fn leave_lame_ducks(&self, options: async_nats::ConnectOptions) {
        // This function is called once.
        _ = self.0.mover.set(relocation::watch(self, options));
    }

    /// While the connection is being moved, waits until the server of the second connection has
    /// sent everything.
    pub(crate) async fn pass_second(&self) {
        relocation::pass_second(self).await;
    }

    /// Returns the connection that calls of base mode use instead of this one, while it moves.
    pub(crate) fn second_for_calls(&self) -> Option<Box<async_nats::Client>> {
        self.0.relocation.second_for_calls()
    }

    /// Returns a follower that keeps a subscription with the connection when it moves to another
    /// server. Call it before subscribing. Each stage of a move is announced by a change of the
    /// [state](Self::state_receiver). The connection may subscribe below the subject `fence`.
    pub(crate) fn follow(&self, fence: Option<String>) -> Follower {
        self.0.relocation.follow(fence)
    }

    pub(crate) fn of_client(client: async_nats::Client) -> Self {
        let hub = EventHub::new("a connection made by async-nats".to_owned());
        hub.attach(&client);
        Self::new(client, hub, None)
    }

    pub(crate) fn client(&self) -> &async_nats::Client {
        &self.0.client
    }

    /// Returns a stream of events, starting now.
    ///
    /// ```no_run
    /// # async fn example(nats: nmfw::Connection) {
    /// let mut events = nats.events();
    /// while let Some(event) = events.recv().await {
    ///     tracing::info!(?event);
    /// }
    /// # }
    /// ```
    pub fn events(&self) -> ConnectionEvents {
        ConnectionEvents::new(self.event_receiver())
    }

    pub(crate) fn event_receiver(&self) -> broadcast::Receiver<ConnectionEvent> {
        self.0.hub.subscribe()
    }

    /// Returns the current state.
    pub fn state(&self) -> ConnectionState {
        self.0.hub.current()
    }

    /// Waits until the state meets a condition, and returns it. Short-lived states may be missed.
    ///
    /// ```no_run
    /// # async fn example(nats: nmfw::Connection) {
    /// let state = nats.wait_for_state(|state| state.is_connected() || state.is_closed()).await;
    /// # }
    /// ```
    pub async fn wait_for_state(
        &self,
        mut condition: impl FnMut(&ConnectionState) -> bool,
    ) -> ConnectionState {
        let mut receiver = self.state_receiver();
        match receiver.wait_for(|state| condition(state)).await {
            Ok(state) => *state,
            // The sender lives as long as this connection.
            Err(_) => self.state(),
        }
    }

    pub(crate) fn state_receiver(&self) -> watch::Receiver<ConnectionState> {
        self.0.hub.state()
    }

    /// Returns whether the connection is up.
    pub fn is_connected(&self) -> bool {
        self.0.hub.is_connected()
    }

    /// Returns the current or last epoch of the connection: see [`ConnectionState::epoch`].
    pub(crate) fn epoch(&self) -> u64 {
        self.0.hub.epoch()
    }

    /// Returns the reason why there is no connection, with the server's message if it gave one;
    /// `None` while it is connected.
    pub(crate) fn loss(&self) -> Option<String> {
        let refusals = self.refusals();
        // A connection that is being moved is back shortly, and its calls still arrive.
        let is_lost = !self.is_connected() && !refusals.is_moving();
        is_lost.then(|| refusals.because("the connection to NATS is lost"))
    }

    /// Returns the largest payload in bytes that the server accepts. It can change on reconnect.
    ///
    /// The server announces its own limit. A lower limit of an account or a user becomes known only
    /// when the server closes the connection with [`ConnectionEvent::PayloadTooLarge`]; each time,
    /// the value is reduced to a quarter.
    pub fn max_payload(&self) -> usize {
        let announced = self.0.client.max_payload();
        self.0.hub.refusal.max_payload(announced)
    }

    /// Appends the server's message to an error about the lost connection, if there is one.
    pub(crate) fn because(&self, what: &str) -> String {
        self.refusals().because(what)
    }

    /// Returns the server's messages, for tasks that must not keep the connection alive.
    pub(crate) fn refusals(&self) -> Refusals {
        Refusals(Arc::clone(&self.0.hub))
    }

    /// Returns how many messages a subscription buffers before it drops some.
    pub(crate) fn subscription_capacity(&self) -> usize {
        self.0.subscription_capacity
    }

    /// Spawns a task that all calls need, and that must not end with the runtime of the first call.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        match &self.0.runtime {
            Some(runtime) => runtime.spawn(task),
            None => tokio::spawn(task),
        }
    }

    pub(crate) async fn replies(&self) -> Result<&Arc<Replies>, Status> {
        let start = || async { Replies::start(self).await.map(Arc::new) };
        self.0.replies.get_or_try_init(start).await
    }

    /// Returns the replies, if they were already created.
    pub(crate) fn replies_at_hand(&self) -> Option<&Arc<Replies>> {
        self.0.replies.get()
    }

    /// Returns the prefix of reply subjects: `_INBOX` by default.
    pub fn inbox_prefix(&self) -> &str {
        &self.0.inbox_prefix
    }

    /// Waits until everything published so far was passed to the operating system.
    ///
    /// This does not prove that the server has received it.
    ///
    /// # Errors
    ///
    /// [`TimedOut`](ErrorKind::TimedOut) after `limit`, for example while the connection is lost;
    /// [`Closed`](ErrorKind::Closed) if it is closed permanently.
    pub async fn flush_within(&self, limit: Duration) -> Result<(), Error> {
        if self.0.hub.current().is_closed() {
            return Err(closed());
        }
        match timeout(limit, self.0.client.flush()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(closed().with_source(error)),
            Err(_) => Err(Error::new(
                ErrorKind::TimedOut,
                format!(
                    "the messages published so far were not sent to the NATS server within \
                         {limit:?}"
                ),
            )),
        }
    }

    /// Closes the connection for all its clones. Ends multiplexed and streaming calls, and notifies
    /// their services, which drop the handlers; then sends buffered messages. Returns after at most
    /// `limit`. Closing a closed connection has no effect.
    ///
    /// Messages in transit to this connection's subscriptions can be lost, so stop a server before
    /// closing its connection.
    ///
    /// # Errors
    ///
    /// [`TimedOut`](ErrorKind::TimedOut) if not everything could be sent, for example because the
    /// connection is lost. The connection is closed anyway.
    pub async fn close(&self, limit: Duration) -> Result<(), Error> {
        let started = Instant::now();
        let left = || limit.saturating_sub(started.elapsed());
        if let Some(replies) = self.0.replies.get()
            && self.is_connected()
        {
            replies.end_sessions(left().min(MAX_GOODBYE)).await;
        }
        let flushed = match self.flush_within(left()).await {
            Err(error) if error.kind() == ErrorKind::Closed => return Ok(()),
            flushed => flushed,
        };
        let drain = async {
            _ = self.0.client.drain().await;
            // A drain has no result. Its end shows in the end of the connection task, within a
            // round trip to the server.
            while self.0.client.flush().await.is_ok() {
                sleep(Duration::from_millis(1)).await;
            }
        };
        // Without a connection, the command is never read: the state alone then marks the
        // connection as closed, and stops reconnecting.
        _ = timeout(left(), drain).await;
        self.0.hub.close();
        flushed
    }
}

/// The server's reasons for closing a connection, or for refusing a new one.
#[derive(Clone, Debug)]
pub(crate) struct Refusals(Arc<EventHub>);

impl Refusals {
    /// Returns whether the connection is being moved to another server.
    pub(crate) fn is_moving(&self) -> bool {
        self.0.is_moving()
    }

    /// Appends the server's message to an error about the lost connection, if there is one.
    pub(crate) fn because(&self, what: &str) -> String {
        match self.0.refusal.words() {
            Some(words) => format!("{what}: the NATS server reports {words:?}"),
            None => what.to_owned(),
        }
    }
}

/// Clones the connection, so that functions that take a connection accept a reference.
impl From<&Self> for Connection {
    fn from(connection: &Self) -> Self {
        connection.clone()
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connection").field(&self.0.hub).finish()
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the connection to NATS is closed")
}
