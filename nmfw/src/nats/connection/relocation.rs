//! [`Relocation`]: moves a connection away from a server that is about to shut down, without losing messages.
//!
//! A connection that is cut and re-established at another server misses messages that are published
//! in between, and loses messages that the old server has sent or received by then. Meanwhile, a
//! second connection to another server carries the subscriptions:
//!
//! 1. Inboxes and queue groups are also subscribed on the second connection.
//! 2. Queue groups unsubscribe on the first, which is read until the server has sent everything.
//! 3. New calls of base mode use the second connection, and those on the first may end.
//! 4. New calls wait, published messages are flushed, and the first connection moves.
//! 5. Queue groups subscribe on the first connection again, which calls use from then on; those on the
//!    second may end.
//! 6. Queue groups unsubscribe on the second, which is read until its server has sent everything, and is
//!    then closed.
//!
//! Calls may end before their connection leaves its server, because a request that an account imports
//! is answered through a subject that the server of its caller maps, as long as that connection is
//! open. A caller cannot see which requests these are.
//!
//! A reply that arrives on both connections is used once, because its call waits for a single
//! reply. Subscriptions without a queue group, other than inboxes, are not carried, because each
//! message would arrive twice; sessions resend their packets, and discovery is queried again.

use std::{
    convert::Infallible,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use rand::RngExt as _;
use tokio::{
    sync::{Notify, broadcast},
    task::AbortHandle,
    time::{sleep, timeout},
};

use super::{
    Connection, ConnectionEvent, ConnectionState, Inner,
    events::{EventHub, LOG},
    replies::CallNumber,
    round_trip::round_trip,
};

/// The clients of a server leave at random times within this period, so that they do not reach the
/// other servers at once. It is below any reasonable grace period.
const MAX_DELAY: Duration = Duration::from_millis(500);

/// How long a subscription may take to spread to the other servers of a cluster.
const SPREAD: Duration = Duration::from_millis(250);

/// Time limit for the second connection, for the return of the first, and for other steps that
/// normally take milliseconds.
const MAX_CONNECT: Duration = Duration::from_secs(5);
const MAX_STEP: Duration = Duration::from_secs(2);

/// How long a connection waits, twice per move, for calls whose answers may depend on it. It is below
/// the default grace period of a server, 10 s.
const MAX_CALLS: Duration = Duration::from_secs(5);

/// Delay before the other servers are tried again.
const RETRY: Duration = Duration::from_secs(1);

/// The current placement of subscriptions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Placement {
    /// All subscriptions are on the first connection, which is the only one.
    #[default]
    First,
    /// All on both.
    Both,
    /// Queue groups on the second, inboxes on both.
    Second,
    /// Queue groups on the first connection, inboxes on both; the second is about to be closed.
    Leaving,
}

/// A stage of a relocation.
#[derive(Clone, Default)]
pub(crate) struct Stage {
    /// Incremented with every stage.
    number: u64,
    pub(crate) place: Placement,
    /// The second connection, unless the placement is `First`.
    pub(crate) second: Option<async_nats::Client>,
    events: Option<Arc<EventHub>>,
}

/// The state of relocations, shared by a connection and the subscriptions that move with it.
#[derive(Default)]
pub(crate) struct Relocation {
    stage: Mutex<Stage>,
    followers: Mutex<Vec<Known>>,
    followed: Notify,
    /// Whether calls of base mode use the second connection.
    calls_use_second: AtomicBool,
}

/// A registered follower.
struct Known {
    /// The last stage that it has followed.
    followed: Weak<AtomicU64>,
    fence: Option<String>,
}

/// Moves a subscription along with a relocation.
pub(crate) struct Follower {
    relocation: Arc<Relocation>,
    followed: Arc<AtomicU64>,
}

impl Follower {
    /// Returns the current stage, unless it was already followed.
    pub(crate) fn due(&self) -> Option<Stage> {
        let stage = self.relocation.stage();
        (stage.number > self.followed.load(Ordering::Acquire)).then_some(stage)
    }

    /// Returns the current stage.
    pub(crate) fn stage(&self) -> Stage {
        self.relocation.stage()
    }

    /// Marks the stage as followed.
    pub(crate) fn done(&self, stage: &Stage) {
        self.followed.store(stage.number, Ordering::Release);
        self.relocation.followed.notify_one();
    }
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Follower")
            .field(&self.relocation.stage().place)
            .finish()
    }
}

impl Relocation {
    /// Registers a subscription that is about to be made on the first connection. The connection
    /// may subscribe below the subject `fence`: see [`round_trip`].
    pub(super) fn follow(self: &Arc<Self>, fence: Option<String>) -> Follower {
        // A relocation in progress is followed, too.
        let followed = Arc::new(AtomicU64::new(0));
        let mut followers = self.followers();
        followers.retain(|known| known.followed.strong_count() > 0);
        followers.push(Known {
            followed: Arc::downgrade(&followed),
            fence,
        });
        drop(followers);
        Follower {
            relocation: Arc::clone(self),
            followed,
        }
    }

    /// Returns the connection that calls of base mode use, if it is not the first one.
    pub(super) fn second_for_calls(&self) -> Option<Box<async_nats::Client>> {
        if !self.calls_use_second.load(Ordering::Acquire) {
            return None;
        }
        let second = self.stage().second?;
        // Its server may be restarted as well.
        let is_connected = second.connection_state() == async_nats::connection::State::Connected;
        is_connected.then(|| Box::new(second))
    }

    fn stage(&self) -> Stage {
        self.stage
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn fence(&self) -> Option<String> {
        let followers = self.followers();
        let mut alive = followers
            .iter()
            .filter(|known| known.followed.strong_count() > 0);
        alive.find_map(|known| known.fence.clone())
    }

    fn followers(&self) -> MutexGuard<'_, Vec<Known>> {
        self.followers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a stage, and waits until all followers have followed. Returns `false` on a timeout.
    async fn enter(
        &self,
        hub: &EventHub,
        place: Placement,
        second: Option<(&async_nats::Client, &Arc<EventHub>)>,
    ) -> bool {
        let number = {
            let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
            *stage = Stage {
                number: stage.number + 1,
                place,
                second: second.map(|(client, _)| client.clone()),
                events: second.map(|(_, hub)| Arc::clone(hub)),
            };
            stage.number
        };
        // Followers wait for changes of the state.
        hub.wake();
        let all = async {
            loop {
                let followed = self.followed.notified();
                let is_behind = |known: &Known| {
                    let followed = known.followed.upgrade();
                    followed.is_some_and(|followed| followed.load(Ordering::Acquire) < number)
                };
                if !self.followers().iter().any(is_behind) {
                    return;
                }
                followed.await;
            }
        };
        timeout(MAX_STEP, all).await.is_ok()
    }
}

/// Starts the task that leaves servers which are about to shut down. It must be aborted with the
/// connection. `options` are those of the connection.
pub(super) fn watch(connection: &Connection, options: async_nats::ConnectOptions) -> AbortHandle {
    let weak = Arc::downgrade(&connection.0);
    let mut lame_ducks = connection.0.hub.lame_ducks();
    let watching = async move {
        while lame_ducks.changed().await.is_ok() {
            let epoch = *lame_ducks.borrow_and_update();
            let delay = MAX_DELAY.mul_f64(rand::rng().random_range(0.0..1.0));
            sleep(delay).await;
            let Some(inner) = Weak::<Inner>::upgrade(&weak) else {
                return;
            };
            let connection = Connection(inner);
            let Inner {
                hub, relocation, ..
            } = &*connection.0;
            let mut state = hub.state();
            tokio::select! {
                () = leave(&connection, &options, epoch) => {}
                // The connection may be lost or closed first.
                _ = state.wait_for(ConnectionState::is_closed) => {}
            }
            // Whatever the outcome, delayed calls continue and no subscription stays on a second
            // connection.
            relocation.calls_use_second.store(false, Ordering::Release);
            hub.release(&connection.0.client);
            relocation.enter(hub, Placement::First, None).await;
        }
    };
    connection.spawn(watching).abort_handle()
}

/// Moves the connection as soon as another server accepts it, unless its server closes it first:
/// then async-nats reconnects.
async fn leave(connection: &Connection, options: &async_nats::ConnectOptions, epoch: u64) {
    let hub = &connection.0.hub;
    let mut has_warned = false;
    while hub.is_connected() && hub.current().epoch == epoch {
        let second_hub = EventHub::new(format!("{}, on the second connection", hub.servers()));
        match connect_second(&connection.0.client, options, &second_hub).await {
            Ok(second) => return relocate(connection, second, &second_hub, epoch).await,
            Err(error) if !has_warned => {
                has_warned = true;
                tracing::warn!(
                    target: LOG, servers = hub.servers(), error,
                    "no other NATS server accepts this connection: it stays connected until its \
                     server closes it"
                );
            }
            Err(_) => {}
        }
        sleep(RETRY).await;
    }
}

/// Moves the connection. On any failure, the first connection stays, and async-nats reconnects it.
async fn relocate(
    connection: &Connection,
    second: async_nats::Client,
    second_hub: &Arc<EventHub>,
    epoch: u64,
) {
    let Inner {
        client,
        hub,
        relocation,
        ..
    } = &*connection.0;
    let fence = relocation.fence();
    let prefix = connection.inbox_prefix();
    let second_trip = || round_trip(&second, second_hub, prefix, fence.as_deref());
    let stage = async |place| {
        let is_followed = relocation
            .enter(hub, place, Some((&second, second_hub)))
            .await;
        if !is_followed {
            tracing::warn!(target: LOG, ?place, "the subscriptions did not move in time");
        }
    };

    let mut events = second_hub.subscribe();
    stage(Placement::Both).await;
    second_trip().await;
    sleep(SPREAD).await;
    let refused = std::iter::from_fn(|| events.try_recv().ok()).find(is_refusal);
    let has_moved = match &refused {
        Some(_) => false,
        None => {
            stage(Placement::Second).await;
            round_trip(client, hub, prefix, fence.as_deref()).await;
            let denials = forward_denials(second_hub.subscribe(), hub);
            let moving = async {
                relocation.calls_use_second.store(true, Ordering::Release);
                let before = newest_call(connection);
                calls_end(connection, (None, before), epoch).await;
                let has_moved = move_first(connection, epoch).await;
                relocation.calls_use_second.store(false, Ordering::Release);
                let last = newest_call(connection);
                stage(Placement::Both).await;
                // A flush instead of a round trip, whose own subscription might exceed the limit.
                _ = timeout(MAX_STEP, client.flush()).await;
                sleep(SPREAD).await;
                calls_end(connection, (before, last), hub.current().epoch).await;
                has_moved
            };
            tokio::select! {
                has_moved = moving => has_moved,
                never = denials => match never {},
            }
        }
    };
    stage(Placement::Leaving).await;
    // Messages that the server has sent by then arrive before its answer.
    second_trip().await;
    relocation.enter(hub, Placement::First, None).await;
    _ = timeout(MAX_STEP, second.drain()).await;
    if has_moved {
        let info = client.server_info();
        tracing::info!(
            target: LOG, servers = hub.servers(), server_name = info.server_name,
            "moved to another NATS server"
        );
    } else {
        tracing::warn!(
            target: LOG, servers = hub.servers(), ?refused,
            "the connection was not moved: it reconnects when the NATS server closes it"
        );
    }
}

/// Returns whether the other server refuses some of the subscriptions.
fn is_refusal(event: &ConnectionEvent) -> bool {
    matches!(
        event,
        ConnectionEvent::SubscribeDenied { .. } | ConnectionEvent::TooManySubscriptions { .. }
    )
}

/// Moves the first connection while new calls wait; returns whether it has moved.
async fn move_first(connection: &Connection, epoch: u64) -> bool {
    let Inner {
        client,
        hub,
        relocation,
        ..
    } = &*connection.0;
    let is_still_there = || hub.is_connected() && hub.current().epoch == epoch;
    if is_still_there() {
        hub.hold();
        // A flush is not enough: what the system has not sent yet is lost if the connection is closed
        // while something on it is unread.
        let fence = relocation.fence();
        let sent = async {
            round_trip(client, hub, connection.inbox_prefix(), fence.as_deref()).await;
            client.flush().await
        };
        _ = timeout(MAX_STEP, sent).await;
        // Unless async-nats has reconnected meanwhile.
        if hub.current().epoch == epoch
            && let Err(error) = client.force_reconnect().await
        {
            tracing::debug!(target: LOG, %error, "the connection is closed");
        }
    }
    let mut state = hub.state();
    let moved = state.wait_for(|state| state.is_connected() && state.epoch > epoch);
    let has_moved = matches!(timeout(MAX_CONNECT, moved).await, Ok(Ok(_)));
    hub.release(client);
    has_moved
}

/// Returns the newest call of base mode.
fn newest_call(connection: &Connection) -> Option<CallNumber> {
    Some(connection.replies_at_hand()?.newest_call())
}

/// Waits until the calls of base mode after `after` up to `newest` have ended, at most as long as the
/// connection of this epoch is there.
async fn calls_end(
    connection: &Connection,
    (after, newest): (Option<CallNumber>, Option<CallNumber>),
    epoch: u64,
) {
    let (Some(replies), Some(newest)) = (connection.replies_at_hand(), newest) else {
        return;
    };
    let hub = &connection.0.hub;
    let ended = async {
        while hub.current().epoch == epoch && replies.has_calls(after, newest) {
            sleep(Duration::from_millis(5)).await;
        }
    };
    if timeout(MAX_CALLS, ended).await.is_err() {
        tracing::debug!(target: LOG, "the connection does not wait any longer for calls in flight");
    }
}

/// Passes on which calls the server of the second connection denies.
async fn forward_denials(
    mut events: broadcast::Receiver<ConnectionEvent>,
    hub: &EventHub,
) -> Infallible {
    loop {
        match events.recv().await {
            Ok(
                denial @ (ConnectionEvent::PublishDenied { .. }
                | ConnectionEvent::ReplyDenied { .. }),
            ) => hub.emit(denial),
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return std::future::pending().await,
        }
    }
}

/// Waits until the server of the second connection has sent everything.
pub(super) async fn pass_second(connection: &Connection) {
    let relocation = &connection.0.relocation;
    let stage = relocation.stage();
    if let (Some(client), Some(hub)) = (stage.second, stage.events) {
        let prefix = connection.inbox_prefix();
        round_trip(&client, &hub, prefix, relocation.fence().as_deref()).await;
    }
}

/// Connects to another server. A server that is about to shut down accepts no connections.
async fn connect_second(
    client: &async_nats::Client,
    options: &async_nats::ConnectOptions,
    hub: &Arc<EventHub>,
) -> Result<async_nats::Client, String> {
    let late = |_| "the second connection was not established in time".to_owned();
    let pool = timeout(MAX_STEP, client.server_pool())
        .await
        .map_err(late)?;
    let pool = pool.map_err(|error| error.to_string())?;
    let servers: Vec<_> = pool.into_iter().map(|server| server.addr).collect();
    let connecting = hub.install(options.clone()).connect(servers);
    let second = timeout(MAX_CONNECT, connecting).await.map_err(late)?;
    let second = second.map_err(|error| error.to_string())?;
    hub.attach(&second);
    Ok(second)
}
