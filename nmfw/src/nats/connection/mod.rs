//! The connection to NATS: set up once, shared by servers and clients.

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
mod server_message;
mod server_url;
#[cfg(feature = "nkeys")]
mod signing;
mod tls;
#[cfg(not(feature = "nkeys"))]
mod unsigned;
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
pub(crate) use relocation::{Follower, Place, Stage};
pub use server_url::IntoServers;

use self::replies::Replies;
use crate::{
    Status,
    error::{Error, ErrorKind},
};
use events::EventHub;
use relocation::Relocation;

/// What async-nats has by default.
const SUBSCRIPTION_CAPACITY: usize = 64 * 1024;

/// How long sessions may take to say goodbye when the connection is closed.
const MAX_GOODBYE: Duration = Duration::from_secs(1);

/// Connects to a NATS server, or to one of several: `nmfw::connect("nats://localhost:4222")`.
///
/// [`IntoServers`] says what a URL can look like, [`ConnectOptions`] has everything beyond.
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
/// Those of [`ConnectOptions::connect`].
pub async fn connect(servers: impl IntoServers) -> Result<Connection, Error> {
    ConnectOptions::new().connect(servers).await
}

/// Connects as a NATS context says, given by name or path.
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
/// Those of [`ConnectOptions::connect_context`].
pub async fn connect_context(name_or_path: &str) -> Result<Connection, Error> {
    ConnectOptions::new().connect_context(name_or_path).await
}

/// Connects as the environment says: `$NATS_CONTEXT`, `$NATS_URL`, the selected NATS context, or
/// `nats://localhost:4222`.
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
/// Those of [`ConnectOptions::connect_env`].
pub async fn connect_env() -> Result<Connection, Error> {
    ConnectOptions::new().connect_env().await
}

/// A connection to NATS. Cheap to clone; all clones are the same connection.
///
/// It lives until [`close`](Self::close) is called or the last clone, of this or of the
/// [`client`](Self::client), is dropped.
#[derive(Clone)]
pub struct Connection(Arc<Inner>);

struct Inner {
    client: async_nats::Client,
    inbox_prefix: String,
    hub: Arc<EventHub>,
    subscription_capacity: usize,
    /// Where replies arrive; made by the first call.
    replies: OnceCell<Arc<Replies>>,
    /// Where it was made, unless that was outside of any.
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
        // async-nats has no getter for it; an inbox is the prefix, a dot and a unique token.
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

    /// Moves to another server whenever the present one is about to shut down.
    fn leave_lame_ducks(&self, options: async_nats::ConnectOptions) {
        // It is called once.
        _ = self.0.mover.set(relocation::watch(self, options));
    }

    /// Waits until the server of the second connection, if the first is moving, has sent all that it
    /// is to send.
    pub(crate) async fn pass_second(&self) {
        relocation::pass_second(self).await;
    }

    /// Returns what keeps a subscription with the connection when that moves to another server; to be
    /// called before it is made. A change of the [state](Self::state_receiver) wakes for each stage of a move. Below
    /// `fence`, a subject, this connection may subscribe.
    pub(crate) fn follow(&self, fence: Option<String>) -> Follower {
        self.0.relocation.follow(fence)
    }

    /// Uses a connection that async-nats made.
    ///
    /// Prefer [`connect`]: async-nats reports events only to a callback that is set when
    /// connecting, so here there are none. A subject that the server denies then shows as a
    /// time-out, [`state`](Self::state) does not change when the connection is lost, and it is not moved
    /// when its server is about to shut down.
    pub fn from_client(client: async_nats::Client) -> Self {
        let hub = EventHub::new("a connection made by async-nats".to_owned());
        hub.attach(&client);
        Self::new(client, hub, None)
    }

    /// The async-nats client, for everything else that one can do with NATS.
    pub fn client(&self) -> &async_nats::Client {
        &self.0.client
    }

    /// Returns the events from now on.
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

    /// Returns the present state.
    pub fn state(&self) -> ConnectionState {
        self.0.hub.current()
    }

    /// Waits until the state meets a condition, at once if it does already, and returns it. A state that lasts
    /// for a moment only can be missed.
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

    /// The connection's present life, or its last: see [`ConnectionState::epoch`].
    pub(crate) fn epoch(&self) -> u64 {
        self.0.hub.epoch()
    }

    /// Returns why there is no connection at this moment, in the server's own words if it has said so;
    /// `None` while there is one.
    pub(crate) fn loss(&self) -> Option<String> {
        let refusals = self.refusals();
        // A connection that is being moved is back in a moment, and its calls arrive meanwhile.
        let is_lost = !self.is_connected() && !refusals.is_moving();
        is_lost.then(|| refusals.because("the connection to NATS is lost"))
    }

    /// The largest payload, in bytes, that the server takes. Can change on reconnect.
    ///
    /// The server announces it. That an account or a user may send less shows only when the server
    /// closes the connection, with [`ConnectionEvent::PayloadTooLarge`]; each time the size becomes a
    /// quarter of what it was.
    pub fn max_payload(&self) -> usize {
        let announced = self.0.client.max_payload();
        self.0.hub.refusal.max_payload(announced)
    }

    /// Adds the server's own words to a sentence about the lost connection, if it has said why.
    pub(crate) fn because(&self, what: &str) -> String {
        self.refusals().because(what)
    }

    /// Returns the server's own words, for tasks that must not keep the connection.
    pub(crate) fn refusals(&self) -> Refusals {
        Refusals(Arc::clone(&self.0.hub))
    }

    /// How many messages each of its subscriptions holds before it loses some.
    pub(crate) fn subscription_capacity(&self) -> usize {
        self.0.subscription_capacity
    }

    /// Starts a task that all calls need, and that must not end with the runtime of the first one.
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

    /// The same, if they are there.
    pub(crate) fn replies_at_hand(&self) -> Option<&Arc<Replies>> {
        self.0.replies.get()
    }

    /// What reply subjects start with: `_INBOX` unless set.
    pub fn inbox_prefix(&self) -> &str {
        &self.0.inbox_prefix
    }

    /// What the server last said of itself; `None` before the first connect.
    pub fn server_info(&self) -> Option<async_nats::ServerInfo> {
        self.0.client.try_server_info()
    }

    /// Waits until everything published so far is handed to the operating system.
    ///
    /// That is not proof that the server has seen it.
    ///
    /// # Errors
    ///
    /// [`TimedOut`](ErrorKind::TimedOut) after `limit`, as while the connection is lost;
    /// [`Closed`](ErrorKind::Closed) when it is gone for good.
    pub async fn flush_within(&self, limit: Duration) -> Result<(), Error> {
        if self.0.hub.current().is_closed() {
            return Err(closed());
        }
        match timeout(limit, self.0.client.flush()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(closed().with_source(error)),
            Err(_) => Err(Error::new(
                ErrorKind::TimedOut,
                format!("not everything was sent to the NATS server within {limit:?}"),
            )),
        }
    }

    /// Ends the calls that share sessions or stream, and tells the services, which drop their
    /// handlers. Sends what is still to be sent, then closes the connection for all its clones. Returns after
    /// `limit` at the latest. Closing a closed connection does nothing.
    ///
    /// Messages on their way to this connection's subscriptions can be lost; a server is stopped
    /// before its connection is closed.
    ///
    /// # Errors
    ///
    /// [`TimedOut`](ErrorKind::TimedOut) when not everything could be sent, as when the connection
    /// is lost at that moment. The connection counts as closed all the same.
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
            // Nothing answers a drain. What can be seen is that the connection task is gone: it
            // ends within a round trip to the server.
            while self.0.client.flush().await.is_ok() {
                sleep(Duration::from_millis(1)).await;
            }
        };
        // Without a connection the command is never read: then the state alone says closed, and
        // stops the reconnecting.
        _ = timeout(left(), drain).await;
        self.0.hub.close();
        flushed
    }
}

/// The server's reasons to have closed a connection, or to refuse a new one.
#[derive(Clone, Debug)]
pub(crate) struct Refusals(Arc<EventHub>);

impl Refusals {
    /// Whether the connection is being moved to another server, and back in a moment.
    pub(crate) fn is_moving(&self) -> bool {
        self.0.is_moving()
    }

    /// Adds the server's own words to a sentence about the lost connection, if it has said why.
    pub(crate) fn because(&self, what: &str) -> String {
        match self.0.refusal.words() {
            Some(words) => format!("{what}: the NATS server says {words:?}"),
            None => what.to_owned(),
        }
    }
}

/// So that whatever takes a connection takes a reference to one, too.
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
