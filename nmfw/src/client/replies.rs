//! The replies of a connection: one subscription for all calls.
//!
//! async-nats has its own, but that keeps an entry for every request that timed out, and does not
//! end requests when the connection is lost or the server denies them.

mod denials;
mod session;
mod waiting;

use std::{
    ops::Deref,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_nats::{Message, Subject, Subscriber};
use futures_util::{FutureExt, StreamExt};
use slab::Slab;
use tokio::{
    sync::{Notify, broadcast, oneshot, watch},
    task::AbortHandle,
    time::Instant,
};

use self::denials::Denials;
use self::session::{SESSION, SessionEntry};
pub(crate) use self::{session::SessionInbox, waiting::Waiting};
use super::multiplexed::Mailbox;
use crate::{Connection, ConnectionEvent, ConnectionState, Deadline, Status};

/// Gives each reply to the call that waits for it.
#[derive(Debug)]
pub(crate) struct Replies {
    shared: Arc<Shared>,
    reader: AbortHandle,
}

#[derive(Debug)]
struct Shared {
    /// What the inboxes of all calls begin with, dot included.
    prefix: String,
    state: watch::Receiver<ConnectionState>,
    calls: Mutex<Calls>,
    /// The alarm was set to an earlier time.
    earlier: Notify,
}

#[derive(Debug, Default)]
struct Calls {
    waiting: Slab<Entry>,
    /// When to look for calls that are to end without a reply. Not later than the first of them is
    /// due; earlier, if that one has ended since.
    alarm: Option<Instant>,
    sessions: Slab<SessionEntry>,
    denials: Denials,
    /// Makes each inbox unique, so that a late reply does not reach the next user of its slot.
    generation: u32,
    /// Why no reply will ever come.
    dead: Option<Status>,
}

#[derive(Debug)]
struct Entry {
    generation: u32,
    subject: Subject,
    deadline: Deadline,
    grace: Duration,
    /// Which of the connection's lives the request belongs to.
    epoch: u64,
    /// When to give up, once that life is over.
    give_up: Option<Instant>,
    sender: oneshot::Sender<Outcome>,
}

/// A reply; `None` if there was none at the deadline.
type Outcome = Result<Option<Message>, Status>;

impl Entry {
    /// When it is to end without a reply.
    fn end(&self) -> Option<Instant> {
        [self.deadline.instant(), self.give_up]
            .into_iter()
            .flatten()
            .min()
    }
}

impl Replies {
    pub(crate) async fn start(connection: &Connection) -> Result<Self, Status> {
        let prefix = format!("{}.{}.", connection.inbox_prefix(), nuid::next());
        // Before subscribing, so that no denial is missed.
        let events = connection.subscribe_events();
        let subscriber = connection.client().subscribe(format!("{prefix}>")).await?;
        let shared = Arc::new(Shared {
            prefix,
            state: connection.state(),
            calls: Mutex::default(),
            earlier: Notify::new(),
        });
        let reader = connection
            .spawn(read(Arc::clone(&shared), subscriber, events))
            .abort_handle();
        Ok(Self { shared, reader })
    }
}

impl Replies {
    /// Ends all sessions, so that services learn of it at once, and waits until they have. Calls
    /// that begin later open others.
    pub(crate) async fn end_sessions(&self, limit: Duration) {
        let status = Status::unavailable("the connection to NATS is being closed");
        let end = |session: &SessionEntry| session.mailbox.fail(status.clone());
        self.shared.each_session(end);
        let gone = async {
            while !self.shared.calls().sessions.is_empty() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        // Those that are stuck end with the connection.
        _ = tokio::time::timeout(limit, gone).await;
    }
}

impl Drop for Replies {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Shared {
    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn deliver(&self, message: Message) {
        let id = message.subject.strip_prefix(self.prefix.as_str());
        if let Some(id) = id.and_then(|id| id.strip_prefix(SESSION)) {
            let mailbox = parse_id(id).and_then(|id| self.calls().session(id));
            match mailbox {
                Some(mailbox) => mailbox.packet(message.into()),
                None => tracing::debug!(subject = %message.subject, "a packet of no session"),
            }
            return;
        }
        let Some((slot, generation)) = id.and_then(parse_id) else {
            tracing::debug!(subject = %message.subject, "a reply that nobody asked for");
            return;
        };
        let (entry, denied) = {
            let mut calls = self.calls();
            match calls.waiting.get(slot) {
                Some(entry) if entry.generation == generation => {
                    (calls.waiting.remove(slot), calls.take_denied())
                }
                // Given up, or answered already: with no queue group, every instance answers.
                _ => return,
            }
        };
        // Fails if the call was given up this moment.
        _ = entry.sender.send(Ok(Some(message)));
        end_denied(denied);
    }

    /// The NATS server has denied one publish to the subject.
    fn publish_denied(&self, subject: &str) {
        let denied = {
            let mut calls = self.calls();
            let newest = calls.generation;
            calls.denials.add(subject, newest);
            calls.take_denied()
        };
        end_denied(denied);
    }

    /// Ends the calls that match.
    fn fail(&self, matches: impl Fn(usize, &Entry) -> bool, status: impl Fn(&Entry) -> Status) {
        self.end(matches, |entry| Err(status(entry)));
    }

    fn end(&self, matches: impl Fn(usize, &Entry) -> bool, outcome: impl Fn(&Entry) -> Outcome) {
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

    fn each_session(&self, tell: impl Fn(&SessionEntry)) {
        for (_, session) in &self.calls().sessions {
            tell(session);
        }
    }

    fn fail_all_from_now_on(&self, status: &Status) {
        self.calls().dead = Some(status.clone());
        self.each_session(|session| session.mailbox.fail(status.clone()));
        self.fail(|_, _| true, |_| status.clone());
    }

    /// Starts the clock of the calls whose connection is lost.
    fn connection_changed(&self, state: ConnectionState) {
        let now = Instant::now();
        let mut calls = self.calls();
        // What was denied may be allowed now; if not, the server says so again.
        calls.dead = None;
        calls.denials.clear();
        for (_, entry) in calls.waiting.iter_mut() {
            if !state.is_connected() || entry.epoch < state.epoch {
                entry.give_up.get_or_insert(now + entry.grace);
            }
        }
        calls.set_alarm();
    }

    /// Ends what is due, and tells when something will be.
    fn next_alarm(&self) -> Option<Instant> {
        let alarm = self.calls().alarm?;
        if alarm > Instant::now() {
            return Some(alarm);
        }
        self.give_up();
        self.calls().alarm
    }

    /// Ends the calls whose deadline has passed, or whose connection was lost for too long.
    fn give_up(&self) {
        let now = Instant::now();
        self.end(
            |_, entry| entry.end().is_some_and(|at| at <= now),
            |entry| {
                if entry.deadline.instant().is_some_and(|at| at <= now) {
                    return Ok(None);
                }
                Err(Status::unavailable(format!(
                    "the connection to NATS was lost while {} was under way",
                    entry.subject
                )))
            },
        );
        self.calls().set_alarm();
    }
}

impl Calls {
    fn session(&self, (slot, generation): (usize, u32)) -> Option<Arc<Mailbox>> {
        let session = self.sessions.get(slot)?;
        (session.generation == generation).then(|| Arc::clone(&session.mailbox))
    }

    /// Removes the calls that match.
    fn take(&mut self, matches: impl Fn(usize, &Entry) -> bool) -> Vec<Entry> {
        let waiting = self.waiting.iter();
        let slots: Vec<_> = waiting
            .filter(|(slot, entry)| matches(*slot, entry))
            .map(|(slot, _)| slot)
            .collect();
        let removed = slots.into_iter().map(|slot| self.waiting.remove(slot));
        removed.collect()
    }

    /// Removes the calls that are known to be denied. Called whenever a call has ended or a publish
    /// was denied; nearly always there are no denials.
    fn take_denied(&mut self) -> Vec<Entry> {
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

    fn set_alarm(&mut self) {
        self.alarm = self.waiting.iter().filter_map(|(_, e)| e.end()).min();
    }
}

async fn read(
    shared: Arc<Shared>,
    mut subscriber: Subscriber,
    mut events: broadcast::Receiver<ConnectionEvent>,
) {
    // Also if the task is dropped, with its runtime: callers on others have no timers of their own.
    let shared = &*Reading(shared);
    let mut state = shared.state.clone();
    let mut epoch = state.borrow_and_update().epoch;
    let mut alarm = pin!(tokio::time::sleep(Duration::ZERO));
    let mut armed: Option<Instant> = None;
    loop {
        // Looked at for each row of replies, as tokio lets nothing else have its turn while they come
        // without an end.
        let at = shared.next_alarm();
        if at != armed {
            armed = at;
            if let Some(at) = at {
                alarm.as_mut().reset(at);
            }
        }
        tokio::select! {
            biased;
            message = subscriber.next() => match message {
                Some(message) => {
                    shared.deliver(message);
                    // They come in rows. Its turn ends by tokio's own limit.
                    while let Some(Some(message)) = subscriber.next().now_or_never() {
                        shared.deliver(message);
                    }
                }
                None => return,
            },
            // It has to be set anew, even to the same time.
            () = &mut alarm, if armed.is_some() => armed = None,
            () = shared.earlier.notified() => {}
            event = events.recv() => match event {
                Ok(event) => on_event(shared, &event),
                // What was missed can only be denials; those calls end at their deadlines.
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return,
            },
            changed = state.changed() => {
                let state = *state.borrow_and_update();
                if changed.is_err() || state.is_closed() {
                    return;
                }
                shared.connection_changed(state);
                if state.is_connected() && state.epoch != epoch {
                    epoch = state.epoch;
                    shared.each_session(|session| session.mailbox.reconnected());
                }
            }
        }
    }
}

/// When it ends, so do all calls.
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

fn on_event(shared: &Shared, event: &ConnectionEvent) {
    match event {
        ConnectionEvent::PublishDenied { subject } => {
            shared.publish_denied(subject);
            shared.each_session(|session| {
                let status = denied(&format!("publish to {subject}"));
                session.mailbox.denied(subject, status);
            });
        }
        ConnectionEvent::ReplyDenied { reply } => {
            let id = reply.strip_prefix(&shared.prefix).and_then(parse_id);
            // No two calls have the same reply subject, so that it is this one that was denied, and
            // the server delivers nothing that it has denied: the call cannot have started.
            shared.fail(
                |slot, entry| id == Some((slot, entry.generation)),
                |_| denied(&format!("use the reply subject {reply}")).not_started(),
            );
        }
        ConnectionEvent::SubscribeDenied { subject, .. }
            if subject.strip_suffix('>') == Some(&shared.prefix) =>
        {
            let status = denied(&format!(
                "subscribe to {subject}, where replies arrive: allow it, or set another inbox prefix"
            ));
            shared.fail_all_from_now_on(&status);
        }
        _ => {}
    }
}

/// Ends calls whose requests the NATS server has denied.
///
/// They are not marked as not started. A denial names the subject and not the message, and a call that
/// was given up may have been the denied one, so that one of these may have got through.
fn end_denied(entries: Vec<Entry>) {
    for entry in entries {
        let status = denied(&format!("publish to {}", entry.subject));
        _ = entry.sender.send(Err(status));
    }
}

fn denied(what: &str) -> Status {
    Status::permission_denied(format!(
        "the NATS server does not let this connection {what}"
    ))
}

fn parse_id(id: &str) -> Option<(usize, u32)> {
    let id = u64::from_str_radix(id, 16).ok()?;
    let slot = usize::try_from(id & u64::from(u32::MAX)).ok()?;
    Some((slot, u32::try_from(id >> 32).ok()?))
}
