//! Sessions of an instance: who opens one, where its packets go, and the end of all.

mod intake;
mod side;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use async_nats::{Message, Subject};

pub(super) use self::intake::{opening, packets};
use self::side::{Calls, Command, Served};
use super::Instance;
use crate::{
    Connection, Status,
    driver::{self, Carrier, Mailbox, Packet},
    session::{Config, Session},
    subject,
};

/// The sessions of one instance.
#[derive(Debug)]
pub(super) struct Sessions {
    instance: Arc<Instance>,
    connection: Connection,
    /// What sessions serve: the methods of the instance's own queue group. One that every instance
    /// is to run, or that other instances share, is not called by way of a single one.
    served: Arc<[Served]>,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    /// By the last token of their subjects.
    sessions: HashMap<u64, Arc<Mailbox<Command>>>,
    last: u64,
    /// Packets that all of them may have on their way. The subscription has to hold them, and as
    /// many again that are sent twice.
    window: usize,
    is_draining: bool,
}

impl Sessions {
    /// `None` if the instance has none.
    pub(super) fn new(instance: &Arc<Instance>) -> Option<Arc<Self>> {
        let connection = instance.connection.clone()?;
        let group = instance.queue_group.as_ref()?;
        let served: Arc<[Served]> = instance
            .endpoints
            .iter()
            .filter(|endpoint| endpoint.limits.queue_group.as_ref() == Some(group))
            .map(Served::new)
            .collect();
        (!served.is_empty()).then(|| {
            Arc::new(Self {
                instance: Arc::clone(instance),
                connection,
                served,
                open: Mutex::default(),
            })
        })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an OPEN. Does not wait; the answer comes from the task of the session.
    fn accept(self: &Arc<Self>, message: Message) {
        let Some(client) = message.reply.clone() else {
            tracing::debug!("nobody waits for the answer to an OPEN without a reply subject");
            return;
        };
        let config = driver::config(&self.connection).unwrap_or_default();
        let admitted = self.admit(&config);
        let methods = self.served.iter().map(|served| served.method().to_owned());
        let mut session = Session::server(
            config,
            self.instance.id.clone(),
            methods.collect(),
            Instant::now(),
        );
        let tasks = &self.instance.lifecycle.tasks;
        match admitted {
            Ok(place) => {
                place.mailbox.packet(Packet::from(message));
                let carrier = Carrier::to_peer(self.connection.clone(), place.subject(), client);
                tasks.spawn(serve(place, session, carrier));
            }
            Err(status) => {
                tracing::warn!(%status, "a session was refused");
                let refusals = Arc::clone(&self.instance.lifecycle.refusals);
                let Ok(permit) = refusals.try_acquire_owned() else {
                    tracing::error!("a refused session gets no answer: too many wait already");
                    return;
                };
                let own = Subject::from(self.subject(0));
                let carrier = Carrier::to_peer(self.connection.clone(), own, client);
                session.close(Some(status));
                tasks.spawn(async move {
                    driver::farewell(&mut session, &carrier).await;
                    drop(permit);
                });
            }
        }
    }

    fn admit(self: &Arc<Self>, config: &Config) -> Result<Place, Status> {
        let mut open = self.open();
        if open.is_draining {
            return Err(Status::unavailable("the server is stopping").not_started());
        }
        let window = config.packet_window as usize;
        if open.window + window > self.connection.subscription_capacity() / 2 {
            let text = format!("{} sessions are open: no more", open.sessions.len());
            return Err(Status::resource_exhausted(text).not_started());
        }
        open.window += window;
        open.last += 1;
        let id = open.last;
        let mailbox = Arc::new(Mailbox::new(config.packet_window));
        open.sessions.insert(id, Arc::clone(&mailbox));
        Ok(Place {
            sessions: Arc::clone(self),
            id,
            window,
            mailbox,
        })
    }

    fn subject(&self, id: u64) -> String {
        let what = format!("s.{id:x}");
        subject::instance(&self.instance.base, &self.instance.id, &what)
    }

    /// Gives a packet to its session.
    fn deliver(&self, message: Message) {
        let id = message.subject.rsplit_once('.');
        let id = id.and_then(|(_, id)| u64::from_str_radix(id, 16).ok());
        let mailbox = id.and_then(|id| self.open().sessions.get(&id).cloned());
        match mailbox {
            Some(mailbox) => mailbox.packet(message.into()),
            // Its client learns of it when it gets no answer.
            None => tracing::debug!(subject = %message.subject, "a packet of no session"),
        }
    }

    fn each(&self, tell: impl Fn(&Mailbox<Command>)) {
        for mailbox in self.open().sessions.values() {
            tell(mailbox);
        }
    }

    /// Lets all sessions end, and opens no more.
    fn drain(&self) {
        self.open().is_draining = true;
        self.each(Mailbox::drain);
    }

    fn fail(&self, why: &'static str) {
        self.open().is_draining = true;
        self.each(|mailbox| mailbox.fail(Status::unavailable(why)));
    }
}

/// A place among the sessions, given up when dropped.
struct Place {
    sessions: Arc<Sessions>,
    id: u64,
    window: usize,
    mailbox: Arc<Mailbox<Command>>,
}

impl Place {
    fn subject(&self) -> Subject {
        self.sessions.subject(self.id).into()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.sessions.open();
        open.sessions.remove(&self.id);
        open.window -= self.window;
    }
}

/// The life of a session. Its calls end with it.
async fn serve(place: Place, mut session: Session, mut carrier: Carrier) {
    let subject = place.subject();
    tracing::debug!(%subject, "a session is opened");
    let sessions = &place.sessions;
    let mut calls = Calls::new(
        Arc::clone(&sessions.instance),
        Arc::clone(&sessions.served),
        Arc::clone(&place.mailbox),
        carrier.peer(),
    );
    driver::drive(&mut session, &place.mailbox, &mut carrier, &mut calls).await;
    // What handlers say now has nowhere to go.
    place.mailbox.close();
    tracing::debug!(%subject, "a session has ended");
}
