//! Calls over sessions: which session a call takes, and when one is opened.

mod calls;
mod command;
mod doubt;
mod handle;
mod pool;
pub(crate) mod source;
#[cfg(test)]
mod tests;
mod under_way;

use std::{
    sync::{
        Arc, OnceLock, PoisonError, RwLock, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_nats::{HeaderMap, Subject};

use self::{calls::Calls, pool::Pool};
pub(crate) use self::{
    command::{Mailbox, Outgoing},
    handle::Handle,
};
use super::{
    driver::{self, Carrier},
    protocol::Session,
};
use crate::{
    Code, Connection, Method, Status,
    nats::{connection::replies::SessionInbox, headers, subject},
};

/// How long to wait for the last packet of a session to be sent.
const MAX_FLUSH: Duration = Duration::from_secs(1);

/// The sessions of a channel and its clones. They end with it.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    /// Of the service that was called first, and nearly always the only one. Each call looks here.
    first: OnceLock<Arc<Pool>>,
    /// One for each other service that was called, as a channel can be used for several, and for
    /// each method that has sessions of its own.
    others: RwLock<Vec<Arc<Pool>>>,
    /// A service had an answer that base mode could not carry: there may be more.
    are_preferred: AtomicBool,
}

/// What the sessions of a pool are for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Scope {
    base: String,
    /// All methods of the service, or a single one: for a client that may call no other, or a
    /// method that has its own queue group.
    method: Option<&'static str>,
}

impl Scope {
    fn is(&self, base: &str, method: Option<&str>) -> bool {
        self.base == base && self.method == method
    }

    /// Where sessions are opened.
    fn open(&self) -> String {
        match self.method {
            None => subject::open(&self.base),
            Some(method) => subject::method(&self.base, method),
        }
    }
}

impl Sessions {
    /// From now on calls take sessions, even if they could do without.
    pub(crate) fn prefer(&self) {
        self.are_preferred.store(true, Ordering::Relaxed);
    }

    pub(crate) fn are_preferred(&self) -> bool {
        self.are_preferred.load(Ordering::Relaxed)
    }

    /// The session that a call takes, if there is one. If not, one is opened for those that come
    /// later, unless that has just failed. `avoid` has just refused the call.
    pub(crate) fn pick(
        &self,
        connection: &Connection,
        base: &str,
        method: Method,
        avoid: Option<&Arc<Handle>>,
    ) -> Option<Arc<Handle>> {
        match self.first(connection, base) {
            Some(first) => first.pick(method, avoid),
            None => self.pool(connection, base, None).pick(method, avoid),
        }
    }

    /// The session for a call that has found no instance otherwise: its own one has no connection to
    /// NATS, and may come back.
    pub(crate) fn last_resort(
        &self,
        connection: &Connection,
        base: &str,
        method: Method,
    ) -> Option<Arc<Handle>> {
        self.pool(connection, base, None).last_resort(method)
    }

    /// The session for a call that cannot be made without one. Waits while one is opened.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) async fn wait(
        &self,
        connection: &Connection,
        base: &str,
        method: Method,
        avoid: Option<&Arc<Handle>>,
    ) -> Result<Arc<Handle>, Status> {
        let all = self.pool(connection, base, None);
        if let Some(handle) = all.pick(method, avoid) {
            return Ok(handle);
        }
        let own = self.pool(connection, base, Some(method.name()));
        if let Some(handle) = own.pick_open(method, avoid) {
            return Ok(handle);
        }
        let status = match all.wait(method, avoid).await {
            Ok(handle) => return Ok(handle),
            Err(status) => status,
        };
        // The service as a whole has none for this method or this client. The method may.
        own.wait(method, avoid).await.map_err(|own| {
            // Who may open sessions has the reason there; to who may not, the method's is news.
            match status.code() {
                Code::PermissionDenied => own,
                _ => status,
            }
        })
    }

    /// The pool of the service that was called first, if that is the one.
    fn first(&self, connection: &Connection, base: &str) -> Option<&Arc<Pool>> {
        let first = self.first.get_or_init(|| {
            let base = base.to_owned();
            let scope = Scope { base, method: None };
            Arc::new(Pool::new(scope, connection.clone()))
        });
        (first.scope().base == base).then_some(first)
    }

    fn pool(&self, connection: &Connection, base: &str, method: Option<&'static str>) -> Arc<Pool> {
        let of = |pools: &Vec<Arc<Pool>>| {
            let pool = pools.iter().find(|pool| pool.scope().is(base, method));
            pool.map(Arc::clone)
        };
        if method.is_none()
            && let Some(first) = self.first(connection, base)
        {
            return Arc::clone(first);
        }
        let known = of(&self.others.read().unwrap_or_else(PoisonError::into_inner));
        known.unwrap_or_else(|| {
            let mut pools = self.others.write().unwrap_or_else(PoisonError::into_inner);
            of(&pools).unwrap_or_else(|| {
                let base = base.to_owned();
                let pool = Arc::new(Pool::new(Scope { base, method }, connection.clone()));
                pools.push(Arc::clone(&pool));
                pool
            })
        })
    }
}

/// The task of a session, from its first packet to its last, or to the end of the runtime that it is
/// on, which other callers may outlive.
struct Opening {
    pool: Weak<Pool>,
    connection: Connection,
    scope: Scope,
    mailbox: Arc<Mailbox>,
    calls: Calls,
}

impl Opening {
    async fn run(mut self, config: crate::nats::session::protocol::Config) {
        if let Err(status) = self.carry(config).await {
            log_limited!(debug, open = self.scope.open(), %status, "no session");
            self.calls.fail(status);
        }
    }

    async fn carry(
        &mut self,
        config: crate::nats::session::protocol::Config,
    ) -> Result<(), Status> {
        let replies = self.connection.replies().await?;
        let mailbox = Arc::clone(&self.mailbox);
        let inbox = SessionInbox::register(Arc::clone(replies), mailbox)?;
        self.calls.epoch = inbox.epoch();
        let own = Subject::from(inbox.subject());
        let open = Subject::from(self.scope.open());
        // On a method's subject requests arrive too, and look alike.
        let mark = self.scope.method.map(|_| {
            let mut mark = HeaderMap::new();
            mark.insert(headers::SESSION, "1");
            mark
        });
        let mut carrier = Carrier::to_open(self.connection.clone(), own, open, mark);
        let mut session = Session::client(config, inbox.secret(), driver::now());
        driver::drive(&mut session, &self.mailbox, &mut carrier, &mut self.calls).await;
        drop(inbox);
        if self.pool.strong_count() == 0 {
            // This may be the last that holds the connection, which then ends without sending what
            // lies in its buffer: the goodbye.
            let flushed = self.connection.flush_within(MAX_FLUSH).await;
            flushed.map_err(|error| Status::unavailable(error.to_string()))?;
        }
        Ok(())
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        // In this order: who finds the mailbox closed finds no session to be told of either.
        self.calls.leave();
        for command in self.mailbox.close() {
            command.refuse();
        }
    }
}
