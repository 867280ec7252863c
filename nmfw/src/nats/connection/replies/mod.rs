//! The replies of a connection, with one subscription for all calls.
//!
//! The implementation of async-nats keeps an entry for every request that timed out, and does not
//! end requests when the connection is lost or the server denies them.

mod denials;
mod events;
mod inbox;
mod session;
mod waiting;

use std::{
    collections::HashMap,
    ops::Deref,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_nats::{Message, Subject};
use foldhash::fast::RandomState;
use futures_util::FutureExt;
use slab::Slab;
use tokio::{
    sync::{Notify, broadcast, oneshot, watch},
    task::AbortHandle,
    time::Instant,
};

use self::{
    denials::Denials,
    events::end_denied,
    inbox::Inbox,
    session::{SESSION, SessionEntry},
};
pub(crate) use self::{session::SessionInbox, waiting::Waiting};
use super::Refusals;
use crate::{
    Connection, ConnectionEvent, ConnectionState, Deadline, Status,
    nats::{
        session::{client::Mailbox, driver::Answers, protocol::Secrets},
        unary::stream_ack::StreamAck,
    },
};
use nmfw_core::{escape::Escaped, log_limit::LogLimit};

/// Passes each reply to the call that waits for it.
#[derive(Debug)]
pub(crate) struct Replies {
    shared: Arc<Shared>,
    reader: AbortHandle,
}

#[derive(Debug)]
struct Shared {
    /// Common prefix of all calls' inboxes, including the dot.
    prefix: String,
    state: watch::Receiver<ConnectionState>,
    refusals: Refusals,
    calls: Mutex<PendingCalls>,
    /// Notified when the timer has to fire earlier.
    earlier: Notify,
    /// Rate limit for warnings about streams that capture requests.
    captured: LogLimit,
    secrets: Secrets,
    /// Notifications for services that continue a session which has ended.
    answers: Answers,
    client: async_nats::Client,
}

#[derive(Debug, Default)]
struct PendingCalls {
    waiting: Slab<PendingCall>,
    /// When to look for calls that end without a reply. At or before the first due time; earlier if
    /// that call has ended meanwhile.
    timer: Option<Instant>,
    sessions: HashMap<u64, SessionEntry, RandomState>,
    /// The number of the last session. Numbers are never reused, and so neither are their secrets.
    last_session: u64,
    denials: Denials,
    /// Makes each inbox unique, so that a late reply cannot reach the next user of its slot.
    generation: u32,
    /// The reason why replies cannot arrive at present.
    dead: Option<Status>,
}

#[derive(Debug)]
struct PendingCall {
    generation: u32,
    subject: Subject,
    /// Size of the request, headers included.
    size: usize,
    deadline: Deadline,
    grace: Duration,
    /// The epoch of the connection in which the request was registered.
    epoch: u64,
    /// When to end the call unless the connection is back.
    grace_end: Option<Instant>,
    /// A JetStream acknowledgement that arrived instead of an answer.
    captured_by: Option<StreamAck>,
    sender: oneshot::Sender<Outcome>,
}

/// A reply, or `None` if there was none before the deadline.
type Outcome = Result<Option<Message>, Status>;

impl PendingCall {
    /// Returns when the call ends without a reply.
    fn end(&self) -> Option<Instant> {
        [self.deadline.timer_instant(), self.grace_end]
            .into_iter()
            .flatten()
            .min()
    }
}

impl Replies {
    pub(crate) async fn start(connection: &Connection) -> Result<Self, Status> {
        let prefix = format!("{}.{}.", connection.inbox_prefix(), nuid::next());
        // Before subscribing, so that no denial is missed.
        let events = connection.event_receiver();
        let inbox = Inbox::subscribe(connection, format!("{prefix}>")).await?;
        let shared = Arc::new(Shared {
            prefix,
            state: connection.state_receiver(),
            refusals: connection.refusals(),
            calls: Mutex::default(),
            earlier: Notify::new(),
            captured: LogLimit::new(),
            secrets: Secrets::random(),
            answers: Answers::default(),
            client: connection.client().clone(),
        });
        let reader = connection
            .spawn(read(Arc::clone(&shared), inbox, events))
            .abort_handle();
        Ok(Self { shared, reader })
    }
}

/// The position of a call of base mode in the order of calls.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallNumber(u32);

impl Replies {
    /// Returns the newest call of base mode.
    pub(crate) fn newest_call(&self) -> CallNumber {
        CallNumber(self.shared.calls().generation)
    }

    /// Returns whether a call after `after`, and not after `newest`, is in flight.
    pub(crate) fn has_calls(&self, after: Option<CallNumber>, newest: CallNumber) -> bool {
        // Generations wrap around.
        let is_at_most =
            |generation: u32, number: CallNumber| number.0.wrapping_sub(generation) < u32::MAX / 2;
        let calls = self.shared.calls();
        calls.waiting.iter().any(|(_, entry)| {
            is_at_most(entry.generation, newest)
                && after.is_none_or(|after| !is_at_most(entry.generation, after))
        })
    }

    /// Closes all sessions, so that services are notified at once, and waits until they have ended.
    /// Later calls open new ones.
    pub(crate) async fn end_sessions(&self, limit: Duration) {
        let status = Status::unavailable("the connection to NATS is being closed");
        let end = |session: &SessionEntry| session.mailbox.fail(status.clone());
        self.shared.each_session(end);
        let gone = async {
            while !self.shared.calls().sessions.is_empty() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        // Sessions that hang end with the connection.
        _ = tokio::time::timeout(limit, gone).await;
    }
}

impl Drop for Replies {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Shared {
    fn calls(&self) -> MutexGuard<'_, PendingCalls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn deliver(&self, message: Message) {
        let id = message.subject.strip_prefix(self.prefix.as_str());
        if let Some(id) = id.and_then(|id| id.strip_prefix(SESSION)) {
            let number = u64::from_str_radix(id, 16).ok();
            let mailbox = number.and_then(|number| self.calls().session(number));
            match mailbox {
                Some(mailbox) => mailbox.packet(message.into()),
                None => self.answer(number, message),
            }
            return;
        }
        let Some((slot, generation)) = id.and_then(parse_id) else {
            log_limited!(
                debug, subject = %Escaped::new(&message.subject), "skipped a reply without a waiting call"
            );
            return;
        };
        let ack = StreamAck::of(&message);
        let (entry, denied) = {
            let mut calls = self.calls();
            match calls.waiting.get_mut(slot) {
                Some(entry) if entry.generation == generation => match ack {
                    None => (calls.waiting.remove(slot), calls.take_denied()),
                    Some(ack) => {
                        let subject = entry.subject.clone();
                        entry.captured_by = Some(ack.clone());
                        drop(calls);
                        return ack.warn(&subject, &self.captured);
                    }
                },
                // Cancelled, or already answered: without a queue group, every instance answers.
                _ => return,
            }
        };
        // Fails if the call was just cancelled.
        _ = entry.sender.send(Ok(Some(message)));
        end_denied(denied);
    }

    /// Ends the matching calls.
    fn fail(
        &self,
        matches: impl Fn(usize, &PendingCall) -> bool,
        status: impl Fn(&PendingCall) -> Status,
    ) {
        self.end(matches, |entry| Err(status(entry)));
    }

    fn end(
        &self,
        matches: impl Fn(usize, &PendingCall) -> bool,
        outcome: impl Fn(&PendingCall) -> Outcome,
    ) {
        let (ended, denied) = {
            let mut calls = self.calls();
            let ended = calls.take(matches);
            (ended, calls.take_denied())
        };
        for entry in ended {
            let outcome = outcome(&entry);
            _ = entry.sender.send(outcome);
        }
        end_denied(denied);
    }

    fn each_session(&self, each: impl Fn(&SessionEntry)) {
        for session in self.calls().sessions.values() {
            each(session);
        }
    }

    fn fail_all_from_now_on(&self, status: &Status) {
        self.calls().dead = Some(status.clone());
        self.each_session(|session| session.mailbox.fail(status.clone()));
        self.fail(|_, _| true, |_| status.clone());
    }

    /// Starts the grace period of calls whose connection is lost, and ends it once the connection
    /// is back: a handler may still be running, and its answer will arrive. A call whose reply was
    /// lost meanwhile ends at its deadline; a call without a deadline is ended after the grace
    /// period, because nothing else would end it.
    fn connection_changed(&self, state: ConnectionState) {
        let now = Instant::now();
        let mut calls = self.calls();
        // A denied subscription may be permitted now; otherwise, the server denies it again.
        calls.dead = None;
        calls.denials.clear();
        for (_, entry) in calls.waiting.iter_mut() {
            // Replies still arrive while the connection moves to another server.
            let is_back = state.is_connected() || self.refusals.is_moving();
            if is_back && entry.deadline != Deadline::NONE {
                entry.grace_end = None;
            } else if !is_back || entry.epoch < state.epoch {
                entry.grace_end.get_or_insert(now + entry.grace);
            }
        }
        calls.set_timer();
    }

    /// Ends the due calls, and returns when the next one is due.
    fn next_timer(&self) -> Option<Instant> {
        let timer = self.calls().timer?;
        if timer > Instant::now() {
            return Some(timer);
        }
        self.end_due();
        self.calls().timer
    }

    /// Ends calls whose deadline has passed, or whose connection was lost for too long.
    fn end_due(&self) {
        let now = Instant::now();
        self.end(
            |_, entry| entry.end().is_some_and(|at| at <= now),
            |entry| {
                if entry.deadline.timer_instant().is_some_and(|at| at <= now) {
                    return match &entry.captured_by {
                        None => Ok(None),
                        Some(ack) => Err(Status::deadline_exceeded(format!(
                            "no service responded in time: {}",
                            ack.describe(&entry.subject)
                        ))),
                    };
                }
                let lost = format!(
                    "the connection to NATS was lost while {} was in flight",
                    entry.subject
                );
                Err(Status::unavailable(self.refusals.because(&lost)))
            },
        );
        self.calls().set_timer();
    }
}

impl PendingCalls {
    fn session(&self, number: u64) -> Option<Arc<Mailbox>> {
        let session = self.sessions.get(&number)?;
        Some(Arc::clone(&session.mailbox))
    }

    /// Removes the matching calls.
    fn take(&mut self, matches: impl Fn(usize, &PendingCall) -> bool) -> Vec<PendingCall> {
        let waiting = self.waiting.iter();
        let slots: Vec<_> = waiting
            .filter(|(slot, entry)| matches(*slot, entry))
            .map(|(slot, _)| slot)
            .collect();
        let removed = slots.into_iter().map(|slot| self.waiting.remove(slot));
        removed.collect()
    }

    /// Removes the calls that are known to be denied. Called whenever a call has ended or a publish
    /// was denied; usually there are no denials.
    fn take_denied(&mut self) -> Vec<PendingCall> {
        if self.denials.is_empty() {
            return Vec::new();
        }
        let denied = self.denials.settle(|denied| {
            let waiting = self.waiting.iter();
            waiting
                .filter(|(_, entry)| denied.may_be(&entry.subject, entry.generation))
                .count()
        });
        if denied.is_empty() {
            return Vec::new();
        }
        self.take(|_, entry| {
            let mut denied = denied.iter();
            denied.any(|denied| denied.may_be(&entry.subject, entry.generation))
        })
    }

    fn set_timer(&mut self) {
        self.timer = self.waiting.iter().filter_map(|(_, e)| e.end()).min();
    }
}

async fn read(
    shared: Arc<Shared>,
    mut inbox: Inbox,
    mut events: broadcast::Receiver<ConnectionEvent>,
) {
    // Runs even if the task is dropped with its runtime, because callers on other runtimes have no
    // timers of their own.
    let shared = &*Reading(shared);
    let mut state = shared.state.clone();
    let mut epoch = state.borrow_and_update().epoch;
    // The connection may be moving, and its last change of state was before this.
    inbox.follow().await;
    let mut timer = pin!(tokio::time::sleep(Duration::ZERO));
    let mut armed: Option<Instant> = None;
    loop {
        // Checked for each batch of replies, because tokio runs no other branch while they arrive
        // continuously.
        let at = shared
            .next_timer()
            .into_iter()
            .chain(inbox.retry_at())
            .min();
        if at != armed {
            armed = at;
            if let Some(at) = at {
                timer.as_mut().reset(at);
            }
        }
        tokio::select! {
            biased;
            message = inbox.next() => match message {
                Some(message) => {
                    shared.deliver(message);
                    // Replies come in batches. tokio's coop budget ends the loop.
                    while let Some(Some(message)) = inbox.next().now_or_never() {
                        shared.deliver(message);
                    }
                }
                None => return,
            },
            // The timer has fired and has to be reset, even to the same time.
            () = &mut timer, if armed.is_some() => {
                armed = None;
                if inbox.try_again().await {
                    shared.calls().dead = None;
                }
            }
            () = shared.earlier.notified() => {}
            event = events.recv() => match event {
                Ok(ConnectionEvent::TooManySubscriptions { error }) => {
                    if let Some(status) = inbox.refused(&error) {
                        shared.fail_all_from_now_on(&status);
                    }
                }
                Ok(event) => shared.on_event(&event),
                // Only denials can be missed; those calls end at their deadlines.
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return,
            },
            changed = state.changed() => {
                let state = *state.borrow_and_update();
                if changed.is_err() || state.is_closed() {
                    return;
                }
                inbox.follow().await;
                shared.connection_changed(state);
                if state.is_connected() && state.epoch != epoch {
                    epoch = state.epoch;
                    inbox.reconnected();
                    shared.each_session(|session| {
                        // Newer sessions have lost nothing.
                        if session.epoch < epoch {
                            session.mailbox.reconnected(epoch);
                        }
                    });
                }
            }
        }
    }
}

/// Ends all calls when dropped.
struct Reading(Arc<Shared>);

impl Deref for Reading {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let status = Status::unavailable("the connection to NATS is closed");
        self.0.fail_all_from_now_on(&status);
    }
}

fn parse_id(id: &str) -> Option<(usize, u32)> {
    let id = u64::from_str_radix(id, 16).ok()?;
    let slot = usize::try_from(id & u64::from(u32::MAX)).ok()?;
    Some((slot, u32::try_from(id >> 32).ok()?))
}
