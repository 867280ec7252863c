//! Calls over sessions: which session a call takes, and when one is opened.

mod call;
mod side;

use std::{
    sync::{Arc, PoisonError, RwLock, Weak},
    time::Duration,
};

use async_nats::Subject;
use tokio::{sync::watch, time::Instant};

use self::side::Calls;
pub(super) use self::{call::Handle, side::Mailbox};
use super::replies::SessionInbox;
use crate::{
    Connection, Method, Status,
    driver::{self, Carrier},
    session::Session,
    subject,
};

/// The pause after the first attempt to open a session that failed; each further one is twice as
/// long, up to [`MAX_PAUSE`], and all are cut by chance. Meanwhile calls take base mode.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// How long to wait for the last packet of a session to be sent.
const MAX_FLUSH: Duration = Duration::from_secs(1);

/// The sessions of a channel and its clones. They end with it.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    /// One for each service that was called: a channel can be used for several.
    services: RwLock<Vec<Arc<Service>>>,
}

/// The way to one service.
#[derive(Debug)]
struct Service {
    base: String,
    connection: Connection,
    /// There is one session; when there are more, this is where to choose.
    state: watch::Sender<State>,
}

#[derive(Debug, Default)]
struct State {
    open: Option<Arc<Handle>>,
    opening: Option<Arc<Handle>>,
    /// When to try again, if the last attempt failed.
    retry: Option<Instant>,
    failures: u32,
}

impl Sessions {
    /// The session that a call takes. If there is none, one is opened for those that come later,
    /// unless that has just failed.
    pub(super) fn pick(
        &self,
        connection: &Connection,
        base: &str,
        method: Method,
    ) -> Option<Arc<Handle>> {
        let service = self.service(connection, base);
        {
            let state = service.state.borrow();
            if let Some(handle) = &state.open {
                return handle.takes(method).then(|| Arc::clone(handle));
            }
        }
        service.open();
        None
    }

    /// The session that a call takes which cannot take anything else. Waits while one is opened.
    pub(super) async fn wait(
        &self,
        connection: &Connection,
        base: &str,
        method: Method,
    ) -> Option<Arc<Handle>> {
        let service = self.service(connection, base);
        service.open();
        let mut state = service.state.subscribe();
        let state = state.wait_for(|state| state.opening.is_none()).await.ok()?;
        let handle = state.open.as_ref()?;
        handle.takes(method).then(|| Arc::clone(handle))
    }

    fn service(&self, connection: &Connection, base: &str) -> Arc<Service> {
        let of = |services: &Vec<Arc<Service>>| {
            let service = services.iter().find(|service| service.base == base);
            service.map(Arc::clone)
        };
        let known = of(&self.services.read().unwrap_or_else(PoisonError::into_inner));
        known.unwrap_or_else(|| {
            let mut services = self
                .services
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            of(&services).unwrap_or_else(|| {
                let service = Arc::new(Service {
                    base: base.to_owned(),
                    connection: connection.clone(),
                    state: watch::Sender::default(),
                });
                services.push(Arc::clone(&service));
                service
            })
        })
    }
}

impl Service {
    /// Opens a session in the background, unless there is one, or one is being opened, or it is
    /// too early to try again.
    fn open(self: &Arc<Self>) {
        // The writer's lock is taken only where it is needed.
        if !self.state.borrow().may_open() {
            return;
        }
        let Some(config) = driver::config(&self.connection) else {
            return;
        };
        let handle = Arc::new(Handle::new(config.packet_window));
        let is_ours = self.state.send_if_modified(|state| {
            let may = state.may_open();
            if may {
                state.opening = Some(Arc::clone(&handle));
            }
            may
        });
        if is_ours {
            let mailbox = Arc::clone(&handle.mailbox);
            let calls = Calls::new(Arc::downgrade(self), Arc::downgrade(&handle));
            // It ends when the handle is dropped, which this service holds.
            drop(handle);
            let opening = Opening {
                service: Arc::downgrade(self),
                connection: self.connection.clone(),
                open: subject::open(&self.base).into(),
                mailbox,
                calls,
            };
            tokio::spawn(opening.run(config));
        }
    }

    /// The handshake is done.
    fn opened(&self, handle: &Arc<Handle>) {
        self.state.send_if_modified(|state| {
            let ours = is(&state.opening, handle);
            if ours {
                state.opening = None;
                state.open = Some(Arc::clone(handle));
            }
            ours
        });
    }

    /// The session takes no more calls. If it has never been of use, the next has to wait.
    fn left(&self, handle: &Weak<Handle>, was_of_use: bool) {
        let is = |other: &Option<Arc<Handle>>| {
            other
                .as_ref()
                .is_some_and(|other| Weak::as_ptr(handle) == Arc::as_ptr(other))
        };
        // Dropped outside, as that rings the session.
        let mut left = None;
        self.state.send_if_modified(|state| {
            if is(&state.open) {
                left = state.open.take();
            } else if is(&state.opening) {
                left = state.opening.take();
            } else {
                return false;
            }
            if was_of_use {
                state.failures = 0;
                state.retry = None;
            } else {
                let longest = FIRST_PAUSE * 2_u32.saturating_pow(state.failures.min(16));
                let pause = longest.min(MAX_PAUSE).mul_f64(rand::random_range(0.5..1.0));
                state.failures = state.failures.saturating_add(1);
                state.retry = Some(Instant::now() + pause);
            }
            true
        });
    }
}

impl State {
    fn may_open(&self) -> bool {
        self.open.is_none()
            && self.opening.is_none()
            && self.retry.is_none_or(|at| at <= Instant::now())
    }
}

fn is(one: &Option<Arc<Handle>>, other: &Arc<Handle>) -> bool {
    one.as_ref().is_some_and(|one| Arc::ptr_eq(one, other))
}

/// The task of a session, from its first packet to its last.
struct Opening {
    service: Weak<Service>,
    connection: Connection,
    open: Subject,
    mailbox: Arc<Mailbox>,
    calls: Calls,
}

impl Opening {
    async fn run(mut self, config: crate::session::Config) {
        if let Err(status) = self.carry(config).await {
            tracing::debug!(open = %self.open, %status, "no session");
        }
        // In this order: who finds the mailbox closed finds no session to be told of either.
        self.calls.leave();
        for command in self.mailbox.close() {
            command.refuse();
        }
    }

    async fn carry(&mut self, config: crate::session::Config) -> Result<(), Status> {
        let replies = self.connection.replies().await?;
        let mailbox = Arc::clone(&self.mailbox);
        let inbox = SessionInbox::register(Arc::clone(replies), mailbox)?;
        let own = Subject::from(inbox.subject());
        let mut carrier = Carrier::to_open(self.connection.clone(), own, self.open.clone());
        let mut session = Session::client(config, std::time::Instant::now());
        driver::drive(&mut session, &self.mailbox, &mut carrier, &mut self.calls).await;
        drop(inbox);
        if self.service.strong_count() == 0 {
            // This may be the last that holds the connection, which then ends without sending what
            // lies in its buffer: the goodbye.
            let flushed = self.connection.flush_within(MAX_FLUSH).await;
            flushed.map_err(|error| Status::unavailable(error.to_string()))?;
        }
        Ok(())
    }
}
