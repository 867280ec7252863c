//! The sessions of an instance: opening them, routing their packets, and ending them.

mod calls;
mod opens;
mod overdue;
mod places;
mod served;
mod start;
mod subscriptions;
mod task;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use async_nats::{Message, Subject};
use smol_str::SmolStr;

pub(crate) use self::subscriptions::{opening, packets};
use self::task::SessionCallTask;
use self::{
    calls::{ServerCalls, ServerCommand},
    opens::Opens,
    places::{Granted, NewSession, Places},
    served::Served,
};
use super::{
    driver::{self, Answers, Mailbox, Publish as _, Publisher, QueuedPacket},
    protocol::{MethodEntry, Methods, Session, answer_of_service},
};
use crate::{
    Connection, Status,
    nats::{client_id::client_of, reply_subject, subject},
};
use nmfw_core::{
    escape::Escaped,
    observe::metrics,
    service::{
        client_id::ClientId,
        instance::{Endpoint, Instance},
        workers::Workers,
    },
};

/// Sessions accept at least messages of this size, about the largest of base mode, even if all
/// methods have smaller limits, so that the service itself reports its limit.
const MIN_LARGEST: usize = 1024 * 1024;

/// The sessions of an instance.
#[derive(Debug)]
pub(crate) struct ServerSessions {
    instance: Arc<Instance>,
    connection: Connection,
    /// The methods of service-wide sessions, which are those in the service's own queue group. A
    /// method with another queue group has its own sessions.
    served: Arc<[Served]>,
    methods: Arc<Methods>,
    open: Mutex<Places>,
    opens: Mutex<Opens>,
    answers: Answers,
    /// The tasks that run handlers.
    workers: Workers<SessionCallTask>,
}

impl ServerSessions {
    /// Returns `None` if the instance has no sessions.
    pub(crate) fn new(instance: &Arc<Instance>, connection: &Connection) -> Option<Arc<Self>> {
        let group_of = |endpoint: &Endpoint| endpoint.limits.queue_group.clone();
        // Every instance should get every call of a method without a queue group.
        let mut groups = instance.endpoints.iter().filter_map(|e| group_of(e));
        groups.next()?;
        let served = instance.endpoints.iter().filter(|endpoint| {
            let group = group_of(endpoint);
            group.is_some() && group == instance.queue_group
        });
        let served: Arc<[Served]> = served.map(Served::new).collect();
        Some(Arc::new(Self {
            instance: Arc::clone(instance),
            connection: connection.clone(),
            methods: methods(&served),
            served,
            open: Mutex::default(),
            opens: Mutex::default(),
            answers: Answers::default(),
            workers: Workers::new(),
        }))
    }

    /// Returns the queue group in which service-wide sessions are opened, if there are any.
    pub(crate) fn queue_group(&self) -> Option<&str> {
        let group = self.instance.queue_group.as_deref();
        group.filter(|_| !self.served.is_empty())
    }

    fn open(&self) -> MutexGuard<'_, Places> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Accepts an OPEN for a service-wide session.
    pub(crate) fn accept(self: &Arc<Self>, message: Message) {
        self.open_for(None, message);
    }

    /// Accepts an OPEN on a method's subject, for a session of that method.
    pub(crate) fn accept_for(self: &Arc<Self>, endpoint: &Arc<Endpoint>, message: Message) {
        self.open_for(Some(endpoint), message);
    }

    /// Does not wait; the session's task sends the answer.
    fn open_for(self: &Arc<Self>, endpoint: Option<&Arc<Endpoint>>, message: Message) {
        let Some(client) = message.reply.clone() else {
            log_limited!(debug, "ignored an OPEN without a reply subject");
            return;
        };
        if !reply_subject::admits("OPEN of a session", &client) {
            return;
        }
        let client_id = client_of(&client, message.headers.as_ref());
        let (served, methods) = match endpoint {
            None => (Arc::clone(&self.served), Arc::clone(&self.methods)),
            Some(endpoint) => {
                let served: Arc<[Served]> = [Served::new(endpoint)].into();
                let methods = methods(&served);
                (served, methods)
            }
        };
        let config = driver::config(&self.connection);
        let admitted = match config {
            Some(_) => self.admit(endpoint, client_id),
            None => {
                let text = "the NATS server's max_payload is too small for sessions";
                // Not started: no session was opened.
                Err(Status::unimplemented(text).not_started())
            }
        };
        let mut config = config.unwrap_or_default();
        if let Ok(place) = &admitted {
            config.packet_window = place.granted.window;
            let sizes = served.iter().map(|s| s.endpoint.limits.max_request_size);
            config.max_message = sizes.fold(MIN_LARGEST, usize::max);
        }
        let id = self.instance.id.clone();
        // Created only once it is needed.
        let session = || Session::server(config, id, &methods, driver::now());
        let tasks = &self.instance.lifecycle.tasks;
        match admitted {
            Ok(place) => {
                place.granted.mailbox.packet(QueuedPacket::from(message));
                let own = place.subject.clone();
                let publisher = Publisher::to_peer(self.connection.clone(), own, client);
                tasks.spawn(serve(place, served, session(), publisher));
            }
            Err(status) => {
                metrics::session_refused();
                if !self.opens().may_refuse(tokio::time::Instant::now()) {
                    log_limited!(
                        warn, %status,
                        "refused a session without an answer: too many refusals"
                    );
                    return;
                }
                log_limited!(warn, %status, "refused a session");
                let refusals = Arc::clone(&self.instance.lifecycle.refusals);
                let Ok(permit) = refusals.try_acquire_owned() else {
                    log_limited!(
                        error,
                        "refused a session without an answer: too many answers are queued"
                    );
                    return;
                };
                let own = self.subject(endpoint, 0);
                let mut publisher = Publisher::to_peer(self.connection.clone(), own, client);
                let mut session = session();
                session.refuse(&message.payload, status);
                tasks.spawn(async move {
                    driver::flush(&mut session, &mut publisher).await;
                    drop(permit);
                });
            }
        }
    }

    fn admit(
        self: &Arc<Self>,
        endpoint: Option<&Arc<Endpoint>>,
        client: ClientId,
    ) -> Result<SessionSlot, Status> {
        if let Some(endpoint) = endpoint
            && endpoint.limits.queue_group.is_none()
        {
            let text = format!(
                "{} has no queue group and does not support sessions",
                endpoint.method
            );
            // Not started: no session was opened.
            return Err(Status::unimplemented(text).not_started());
        }
        if let Some(refusal) = self.instance.lifecycle.checks.refusal() {
            return Err(refusal);
        }
        if !self.opens().take(client, tokio::time::Instant::now()) {
            let text = "too many sessions are being opened: try again later";
            // Not started: no session was opened.
            return Err(Status::resource_exhausted(text).not_started());
        }
        let mut open = self.open();
        if open.is_draining {
            // Not started: no session was opened.
            return Err(Status::unavailable("the server is stopping").not_started());
        }
        if endpoint.is_some() && open.is_denied {
            let text = "this instance may not subscribe to the subjects of sessions of single \
                        methods";
            // Not started: no session was opened.
            return Err(Status::unimplemented(text).not_started());
        }
        let now = driver::now();
        let window = open.make_room(client, self.most(), now)?;
        // Random, so that clients cannot guess each other's subjects.
        let mut id = rand::random();
        while open.sessions.contains_key(&id) {
            id = rand::random();
        }
        let subject = self.subject(endpoint, id);
        let new = NewSession {
            client,
            id,
            subject: subject.clone(),
        };
        let granted = open.add(new, window, now);
        if self.instance.lifecycle.checks.refusal().is_some() {
            // A check has failed meanwhile, when existing sessions were drained.
            granted.mailbox.drain();
        }
        Ok(SessionSlot {
            sessions: Arc::clone(self),
            id,
            subject,
            client,
            granted,
            is_confirmed: false,
            was_busy: false,
        })
    }

    fn opens(&self) -> MutexGuard<'_, Opens> {
        self.opens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the maximum number of packets that all sessions may have in flight. The subscription
    /// has to hold them, and as many resent ones.
    fn most(&self) -> usize {
        self.connection.subscription_capacity() / 2
    }

    fn subject(&self, endpoint: Option<&Arc<Endpoint>>, id: u64) -> Subject {
        let Instance { base, id: own, .. } = &*self.instance;
        match endpoint {
            None => subject::instance(base, own, &format!("s.{id:x}")),
            Some(endpoint) => {
                subject::method_session(base, endpoint.method.name(), own, &format!("{id:x}"))
            }
        }
        .into()
    }

    /// Passes a packet to its session.
    fn deliver(&self, message: Message) {
        let id = message.subject.rsplit_once('.');
        let id = id.and_then(|(_, id)| u64::from_str_radix(id, 16).ok());
        let mailbox = id.and_then(|id| {
            let open = self.open();
            let entry = open.sessions.get(&id)?;
            (entry.subject == message.subject).then(|| Arc::clone(&entry.mailbox))
        });
        match mailbox {
            Some(mailbox) => mailbox.packet(message.into()),
            None => self.answer(message),
        }
    }

    /// Notifies a client that was disconnected that its session has ended.
    fn answer(&self, message: Message) {
        let Some(client) = message.reply else {
            return;
        };
        if let Some(answer) = answer_of_service(&message.payload)
            && reply_subject::admits("a packet of an ended session", &client)
        {
            log_limited!(
                debug, subject = %Escaped::new(&message.subject),
                "a packet of an ended session"
            );
            let client_of_nats = self.connection.client();
            self.answers.send(client_of_nats, client, answer);
        }
    }

    fn each(&self, tell: impl Fn(&Mailbox<ServerCommand>)) {
        for entry in self.open().sessions.values() {
            tell(&entry.mailbox);
        }
    }

    fn denied(&self, subject: &str) {
        let Instance { base, id, .. } = &*self.instance;
        if subject == subject::method_session(base, "*", id, "*") {
            tracing::debug!(
                subject,
                "sessions of single methods are not available: the subscription is denied"
            );
            self.open().is_denied = true;
        }
    }

    /// Lets all sessions end, and accepts no more.
    fn drain(&self) {
        self.open().is_draining = true;
        self.each(Mailbox::drain);
    }

    fn fail(&self, why: &'static str) {
        self.open().is_draining = true;
        self.each(|mailbox| mailbox.fail(Status::unavailable(why)));
    }
}

fn methods(served: &[Served]) -> Arc<Methods> {
    let methods = served.iter().enumerate().map(|(index, served)| {
        let is_single = !served.endpoint.method.is_client_streaming();
        let entry = MethodEntry { index, is_single };
        (SmolStr::new_static(served.method()), entry)
    });
    Arc::new(methods.collect())
}

/// A slot of a session, released when dropped.
struct SessionSlot {
    sessions: Arc<ServerSessions>,
    id: u64,
    /// The subject of its packets.
    subject: Subject,
    client: ClientId,
    granted: Granted,
    is_confirmed: bool,
    was_busy: bool,
}

impl SessionSlot {
    /// Enlarges a small window, for a session that turns out to be busy.
    fn widen(&mut self) -> Option<u32> {
        if self.granted.window >= places::WINDOW {
            return None;
        }
        let window = self.sessions.open().widen(self.id, self.sessions.most())?;
        self.granted.window = window;
        Some(window)
    }

    /// Records the use of the session, which decides whether it makes room for others.
    fn note(&mut self, session: &Session, now: Instant) {
        if !self.is_confirmed && session.is_confirmed() {
            self.is_confirmed = true;
            self.sessions.open().confirm(self.id);
        }
        let is_busy = session.open_streams() > 0;
        if is_busy != self.was_busy {
            self.was_busy = is_busy;
            self.granted.usage.set(is_busy, now);
        }
    }
}

impl Drop for SessionSlot {
    fn drop(&mut self) {
        self.sessions.open().remove(self.id);
    }
}

/// Runs a session. Its calls end with it.
async fn serve(
    place: SessionSlot,
    served: Arc<[Served]>,
    mut session: Session,
    mut publisher: Publisher,
) {
    let (subject, mailbox) = (place.subject.clone(), Arc::clone(&place.granted.mailbox));
    log_limited!(debug, %subject, "opened a session");
    let mut calls = ServerCalls::new(place, served, publisher.peer());
    driver::drive(&mut session, &mailbox, &mut publisher, &mut calls).await;
    // Handlers that end later have no session for their results.
    mailbox.close();
    log_limited!(debug, %subject, "a session has ended");
}
