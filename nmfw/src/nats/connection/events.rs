//! Events of a connection, as reported by async-nats: forwarded to receivers, reflected in a state
//! to wait for, and logged.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use async_nats::{ClientError, Event, ServerError, Statistics};
use tokio::sync::{broadcast, watch};

use super::{
    event::ConnectionEvent, refusal::Refusal, server_message::ServerMessage, violation::Violation,
};
use nmfw_core::{escape::Escaped, observe::metrics};

/// Number of events that a receiver may lag behind before it loses the oldest.
const EVENT_CAPACITY: usize = 256;

/// Interval at which slow consumers are reported at most. async-nats sends one event per dropped
/// message, and hundreds of thousands of them would displace all others.
const SLOW_CONSUMER_INTERVAL: Duration = Duration::from_secs(1);

/// Whether a connection is up, and how often it was established.
///
/// Returned by [`Connection::state`](super::Connection::state).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionState {
    /// The current status.
    pub status: ConnectionStatus,
    /// Incremented by every (re)connect and never reused: 0 before the first, then 1 and more. It
    /// can skip numbers.
    ///
    /// A reply to a request of one epoch may be lost if it was sent before the next one began.
    pub epoch: u64,
}

/// The status of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectionStatus {
    /// Not connected yet.
    Connecting,
    /// Connected.
    Connected,
    /// Lost, and being re-established.
    Disconnected,
    /// Closed permanently.
    Closed,
}

impl ConnectionState {
    /// Returns whether the connection is up.
    pub fn is_connected(&self) -> bool {
        self.status == ConnectionStatus::Connected
    }

    /// Returns whether the connection is closed permanently.
    pub fn is_closed(&self) -> bool {
        self.status == ConnectionStatus::Closed
    }
}

/// Receives events from async-nats and forwards them. It never blocks, because async-nats drops
/// events when its callback is slow, including important ones.
pub(super) struct EventHub {
    events: broadcast::Sender<ConnectionEvent>,
    state: watch::Sender<ConnectionState>,
    /// A copy from the state, because every call reads it, and a lock would be too slow.
    is_connected: AtomicBool,
    epoch: AtomicU64,
    servers: String,
    /// Set once the client exists; its `connects` is the epoch. Counting `Connected` events would
    /// be wrong, because async-nats drops events when many arrive at once.
    statistics: OnceLock<Arc<Statistics>>,
    slow: Mutex<SlowConsumers>,
    /// Number of client errors since it was last connected.
    failures: AtomicU64,
    pub(super) refusal: Refusal,
    /// The epoch of the connection whose server is about to shut down.
    lame_duck: watch::Sender<u64>,
    /// Whether the connection is being moved on purpose.
    is_moving: AtomicBool,
}

#[derive(Default)]
struct SlowConsumers {
    reported: Option<Instant>,
    dropped: u64,
}

impl EventHub {
    /// `servers` is the name of the connection in log lines; it must not contain credentials.
    pub(super) fn new(servers: String) -> Arc<Self> {
        metrics::register();
        let state = ConnectionState {
            status: ConnectionStatus::Connecting,
            epoch: 0,
        };
        Arc::new(Self {
            events: broadcast::Sender::new(EVENT_CAPACITY),
            state: watch::Sender::new(state),
            is_connected: AtomicBool::new(false),
            epoch: AtomicU64::new(0),
            servers,
            statistics: OnceLock::new(),
            slow: Mutex::default(),
            failures: AtomicU64::new(0),
            refusal: Refusal::default(),
            lame_duck: watch::Sender::new(0),
            is_moving: AtomicBool::new(false),
        })
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<ConnectionEvent> {
        self.events.subscribe()
    }

    pub(super) fn state(&self) -> watch::Receiver<ConnectionState> {
        self.state.subscribe()
    }

    pub(super) fn current(&self) -> ConnectionState {
        *self.state.borrow()
    }

    pub(super) fn is_connected(&self) -> bool {
        self.is_connected.load(Ordering::Acquire)
    }

    /// Returns the epoch. It is not older than a preceding [`Self::is_connected`].
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    pub(super) fn servers(&self) -> &str {
        &self.servers
    }

    /// Returns a receiver of the epochs whose servers are about to shut down.
    pub(super) fn lame_ducks(&self) -> watch::Receiver<u64> {
        self.lame_duck.subscribe()
    }

    /// Wakes all tasks that wait for a change of the state, without changing it.
    pub(super) fn wake(&self) {
        self.state.send_modify(|_| {});
    }

    /// Delays new calls, because the connection is about to be moved.
    pub(super) fn hold(&self) {
        self.is_moving.store(true, Ordering::Release);
        self.set(ConnectionStatus::Disconnected, 0);
    }

    /// Ends [`hold`](Self::hold), whether or not the connection was moved.
    pub(super) fn release(&self, client: &async_nats::Client) {
        self.is_moving.store(false, Ordering::Release);
        if client.connection_state() == async_nats::connection::State::Connected {
            self.set(ConnectionStatus::Connected, 0);
        }
    }

    /// Returns whether the connection is being moved on purpose, in which case there is no need to
    /// wait.
    pub(super) fn is_moving(&self) -> bool {
        self.is_moving.load(Ordering::Acquire)
    }

    /// Sets the state at the moment when connecting returns, because the first `Connected` event
    /// may still be queued.
    pub(super) fn attach(&self, client: &async_nats::Client) {
        let statistics = client.statistics();
        let epoch = connects(&statistics);
        // Set once per hub, which has only one client.
        _ = self.statistics.set(statistics);
        self.change(|state| {
            // Any other status was set by an event and is newer than the status that is read here.
            if state.status != ConnectionStatus::Connecting {
                return false;
            }
            state.status = match client.connection_state() {
                async_nats::connection::State::Connected => ConnectionStatus::Connected,
                async_nats::connection::State::Disconnected => ConnectionStatus::Disconnected,
                async_nats::connection::State::Pending => ConnectionStatus::Connecting,
            };
            state.epoch = state.epoch.max(epoch);
            true
        });
    }

    /// Installs this hub as the event callback.
    pub(super) fn install(
        self: &Arc<Self>,
        options: async_nats::ConnectOptions,
    ) -> async_nats::ConnectOptions {
        let last = CloseOnDrop(Arc::clone(self));
        options.event_callback(move |event| {
            last.0.handle(&event);
            std::future::ready(())
        })
    }

    fn handle(&self, event: &Event) {
        let servers = self.servers.as_str();
        match event {
            Event::Connected => {
                let epoch = self
                    .statistics
                    .get()
                    .map_or(1, |statistics| connects(statistics));
                self.set(ConnectionStatus::Connected, epoch);
                self.failures.store(0, Ordering::Relaxed);
                self.refusal.clear();
                // The first time is logged where connecting returns, with the server's name.
                if epoch > 1 {
                    metrics::reconnected();
                    log_limited!(target: LOG, info, servers, epoch, "reconnected to the NATS server");
                }
                self.emit(ConnectionEvent::Connected);
            }
            Event::Disconnected => {
                self.set(ConnectionStatus::Disconnected, 0);
                if self.is_moving() {
                    log_limited!(target: LOG, debug, servers, "connection lost while moving to another NATS server");
                } else {
                    log_limited!(target: LOG, warn, servers, "connection to the NATS server lost, reconnecting");
                }
                self.emit(ConnectionEvent::Disconnected);
            }
            Event::LameDuckMode => {
                tracing::info!(target: LOG, servers, "the NATS server is about to shut down");
                let epoch = self.current().epoch;
                self.lame_duck.send_if_modified(|lame_duck| {
                    // The server repeats the message.
                    std::mem::replace(lame_duck, epoch) != epoch
                });
                self.emit(ConnectionEvent::LameDuck);
            }
            Event::Draining => tracing::debug!(target: LOG, servers, "draining"),
            Event::Closed | Event::ClientError(ClientError::MaxReconnects) => {
                if matches!(event, Event::ClientError(_)) {
                    tracing::error!(target: LOG, servers, "not reconnecting any more: max_reconnects is reached");
                }
                self.close();
            }
            Event::SlowConsumer(sid) => self.slow_consumer(*sid),
            Event::ServerError(ServerError::SlowConsumer(sid)) => self.slow_consumer(*sid),
            Event::ServerError(ServerError::Other(text)) => self.server_error(text),
            Event::ServerError(ServerError::AuthorizationViolation) => {
                self.server_error("Authorization Violation");
            }
            Event::ClientError(error) => {
                let error = error.to_string();
                // Logged with exponentially decreasing frequency.
                let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
                if failures.is_power_of_two() {
                    tracing::warn!(target: LOG, servers, error, failures, "cannot connect to the NATS server");
                }
                self.emit(ConnectionEvent::ClientError(error));
            }
        }
    }

    fn server_error(&self, text: &str) {
        let servers = self.servers.as_str();
        let event = match ServerMessage::parse(text) {
            ServerMessage::Violation(Violation::Publish { subject }) => {
                log_limited!(
                    target: LOG, error, servers, subject = %Escaped::new(&subject),
                    "the NATS server denies publishing to a subject"
                );
                ConnectionEvent::PublishDenied { subject }
            }
            ServerMessage::Violation(Violation::Reply { reply }) => {
                log_limited!(
                    target: LOG, error, servers, reply = %Escaped::new(&reply),
                    "the NATS server denies a reply subject"
                );
                ConnectionEvent::ReplyDenied { reply }
            }
            ServerMessage::Violation(Violation::Subscribe { subject, queue }) => {
                log_limited!(
                    target: LOG, error, servers, subject = %Escaped::new(&subject), queue,
                    error = %Escaped::new(text), "a subscription was refused"
                );
                let error = text.to_owned();
                ConnectionEvent::SubscribeDenied {
                    subject,
                    queue,
                    error,
                }
            }
            ServerMessage::TooManySubscriptions => {
                log_limited!(
                    target: LOG, error, servers, error = %Escaped::new(text),
                    "a subscription was refused"
                );
                let error = text.to_owned();
                ConnectionEvent::TooManySubscriptions { error }
            }
            ServerMessage::PayloadTooLarge => {
                log_limited!(target: LOG, error, servers, error = %Escaped::new(text),
                    "a message exceeded a limit that is lower than the announced max_payload: the \
                     maximum payload is reduced to a quarter"
                );
                self.refusal.lower_max_payload();
                self.refusal.set(text);
                // The server reads nothing more, which shows only a moment later: a request sent in
                // between would wait for its deadline.
                self.set(ConnectionStatus::Disconnected, 0);
                let error = text.to_owned();
                ConnectionEvent::PayloadTooLarge { error }
            }
            meaning @ (ServerMessage::Closing | ServerMessage::Other) => {
                if meaning == ServerMessage::Closing {
                    self.refusal.set(text);
                }
                log_limited!(
                    target: LOG, error, servers, error = %Escaped::new(text),
                    "the NATS server reported an error"
                );
                ConnectionEvent::ServerError(text.to_owned())
            }
        };
        self.emit(event);
    }

    fn slow_consumer(&self, subscription: u64) {
        metrics::message_dropped();
        let dropped = {
            let mut slow = self.slow.lock().unwrap_or_else(PoisonError::into_inner);
            slow.dropped = slow.dropped.saturating_add(1);
            let now = Instant::now();
            if slow
                .reported
                .is_some_and(|at| now - at < SLOW_CONSUMER_INTERVAL)
            {
                return;
            }
            slow.reported = Some(now);
            std::mem::take(&mut slow.dropped)
        };
        let servers = self.servers.as_str();
        tracing::warn!(
            target: LOG, servers, subscription, dropped, "messages were dropped because a subscription's buffer is full"
        );
        self.emit(ConnectionEvent::SlowConsumer {
            subscription,
            dropped,
        });
    }

    /// Changes the state and notifies waiting tasks; the only function that does so.
    fn change(&self, change: impl FnOnce(&mut ConnectionState) -> bool) {
        self.state.send_if_modified(|state| {
            let is_changed = change(state);
            self.epoch.store(state.epoch, Ordering::Release);
            self.is_connected
                .store(state.is_connected(), Ordering::Release);
            is_changed
        });
    }

    fn set(&self, status: ConnectionStatus, epoch: u64) {
        self.change(|state| {
            let next = ConnectionState {
                status,
                epoch: state.epoch.max(epoch),
            };
            // Closed is final: later events of async-nats are irrelevant.
            let changed = !state.is_closed() && *state != next;
            if changed {
                *state = next;
            }
            changed
        });
    }

    /// Marks the connection as permanently closed, once.
    pub(super) fn close(&self) {
        let mut before = ConnectionStatus::Closed;
        self.change(|state| {
            before = std::mem::replace(&mut state.status, ConnectionStatus::Closed);
            before != ConnectionStatus::Closed
        });
        if before == ConnectionStatus::Closed {
            return;
        }
        // A connection that was never established is reported as an error instead.
        if before != ConnectionStatus::Connecting {
            tracing::info!(target: LOG, servers = self.servers.as_str(), "connection closed");
        }
        self.emit(ConnectionEvent::Closed);
    }

    pub(super) fn emit(&self, event: ConnectionEvent) {
        // Fails only without receivers.
        _ = self.events.send(event);
    }
}

impl fmt::Debug for EventHub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventHub")
            .field("servers", &self.servers)
            .field("state", &self.current())
            .finish_non_exhaustive()
    }
}

/// async-nats owns the callback in the task that outlives its connection task, so the callback is
/// dropped exactly when nothing more can happen on the connection. Unlike the closing events, this
/// cannot be lost.
struct CloseOnDrop(Arc<EventHub>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close();
    }
}

pub(super) const LOG: &str = "nmfw::connection";

fn connects(statistics: &Statistics) -> u64 {
    statistics.connects.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub() -> Arc<EventHub> {
        EventHub::new("nats://test:4222".to_owned())
    }

    fn denied(text: &str) -> Event {
        Event::ServerError(ServerError::Other(text.to_owned()))
    }

    #[test]
    fn states_follow_events_and_closed_is_final() {
        let hub = hub();
        let mut events = hub.subscribe();
        for event in [Event::Connected, Event::Disconnected] {
            hub.handle(&event);
        }
        assert_eq!(hub.current().status, ConnectionStatus::Disconnected);
        assert_eq!(hub.current().epoch, 1);
        hub.handle(&Event::ClientError(ClientError::MaxReconnects));
        hub.handle(&Event::Connected);
        hub.close();
        assert!(hub.current().is_closed());
        assert_eq!(events.try_recv(), Ok(ConnectionEvent::Connected));
        assert_eq!(events.try_recv(), Ok(ConnectionEvent::Disconnected));
        assert_eq!(events.try_recv(), Ok(ConnectionEvent::Closed));
    }

    #[test]
    fn dropping_the_callback_closes() {
        let hub = hub();
        let options = hub.install(async_nats::ConnectOptions::new());
        let copy = options.clone();
        drop(options);
        assert!(!hub.current().is_closed());
        drop(copy);
        assert!(hub.current().is_closed());
    }

    #[test]
    fn violations_become_events() {
        let hub = hub();
        let mut events = hub.subscribe();
        hub.handle(&denied("Permissions Violation for Publish to \"a.b\""));
        hub.handle(&denied("Stale Connection"));
        assert_eq!(
            events.try_recv(),
            Ok(ConnectionEvent::PublishDenied {
                subject: "a.b".to_owned()
            })
        );
        assert_eq!(
            events.try_recv(),
            Ok(ConnectionEvent::ServerError("Stale Connection".to_owned()))
        );
    }

    #[test]
    fn a_storm_of_slow_consumer_events_is_one_event() {
        let hub = hub();
        let mut events = hub.subscribe();
        for _ in 0..10_000 {
            hub.handle(&Event::SlowConsumer(7));
        }
        let first = ConnectionEvent::SlowConsumer {
            subscription: 7,
            dropped: 1,
        };
        assert_eq!(events.try_recv(), Ok(first));
        // On a slow machine the next second may have begun, but not the ten-thousandth.
        assert!(events.len() < 100);
    }
}
