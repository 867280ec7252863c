//! Calls over sessions: choosing a session for a call, and opening sessions.

mod call;
mod calls;
mod command;
mod handle;
mod liveness;
mod pool;
pub(crate) mod source;
#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc, OnceLock, PoisonError, RwLock, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_nats::{HeaderMap, Subject};

use self::{calls::ClientCalls, pool::Pool};
pub(crate) use self::{
    command::{Mailbox, Outgoing},
    handle::Handle,
};
use super::{
    driver::{self, Publisher},
    protocol::Session,
};
use crate::{
    Code, Connection, Method, Status,
    nats::{connection::replies::SessionInbox, headers, subject},
};

/// Time limit for sending the last packet of a session.
const MAX_FLUSH: Duration = Duration::from_secs(1);

/// The sessions of a channel and its clones, which end with it.
#[derive(Debug, Default)]
pub(crate) struct ClientSessions {
    /// The pool of the first called service, usually the only one. Each call looks here first.
    first: OnceLock<Arc<Pool>>,
    /// Pools of other called services, because a channel can be shared by several, and of methods
    /// with sessions of their own.
    others: RwLock<Vec<Arc<Pool>>>,
    /// Whether a service had an answer that base mode could not carry: more are likely.
    are_preferred: AtomicBool,
    /// The instance of all sessions; `None` for any.
    instance: Option<String>,
}

/// The scope of a pool's sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Scope {
    base: String,
    /// `None` for all methods of the service; otherwise a single method, for a client that may call
    /// no others, or a method with its own queue group.
    method: Option<&'static str>,
    /// `None` for any instance.
    instance: Option<String>,
}

impl Scope {
    fn is(&self, base: &str, method: Option<&str>) -> bool {
        self.base == base && self.method == method
    }

    /// Returns the subject on which sessions are opened.
    fn open(&self) -> String {
        let pinned = self.instance.as_ref();
        let pinned = pinned.map(|id| subject::pinned(&self.base, id));
        let base = pinned.as_deref().unwrap_or(&self.base);
        match self.method {
            None => subject::open(base),
            Some(method) => subject::method(base, method),
        }
    }
}

impl ClientSessions {
    /// Creates sessions with one instance.
    pub(crate) fn pinned(instance: String) -> Self {
        Self {
            instance: Some(instance),
            ..Self::default()
        }
    }

    /// Makes all later calls use sessions.
    pub(crate) fn prefer(&self) {
        self.are_preferred.store(true, Ordering::Relaxed);
    }

    pub(crate) fn are_preferred(&self) -> bool {
        self.are_preferred.load(Ordering::Relaxed)
    }

    /// Returns a session for a call, if there is one. Otherwise, one is opened for later calls,
    /// unless that has just failed. `avoid` has just refused the call.
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

    /// Returns the session for a call that found no other instance: its service is disconnected
    /// from NATS, but may come back.
    pub(crate) fn last_resort(
        &self,
        connection: &Connection,
        base: &str,
        method: Method,
    ) -> Option<Arc<Handle>> {
        self.pool(connection, base, None).last_resort(method)
    }

    /// Returns a session for a call that requires one, waiting while it is opened.
    ///
    /// # Errors
    /// Returns the reason why there is none.
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
        // Service-wide sessions are not available for this method or client. Sessions of the method
        // itself may be.
        own.wait(method, avoid).await.map_err(|own| {
            // If service-wide sessions are denied, the per-method error is the one to report;
            // otherwise the service-wide one.
            match status.code() {
                Code::PermissionDenied => own,
                _ => status,
            }
        })
    }

    fn scope(&self, base: &str, method: Option<&'static str>) -> Scope {
        Scope {
            base: base.to_owned(),
            method,
            instance: self.instance.clone(),
        }
    }

    /// Returns the pool of the first called service, if it matches.
    fn first(&self, connection: &Connection, base: &str) -> Option<&Arc<Pool>> {
        let first = self
            .first
            .get_or_init(|| Arc::new(Pool::new(self.scope(base, None), connection.clone())));
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
                let pool = Pool::new(self.scope(base, method), connection.clone());
                let pool = Arc::new(pool);
                pools.push(Arc::clone(&pool));
                pool
            })
        })
    }
}

/// The task of a session, from its first packet to its last, or to the end of its runtime, which
/// callers on other runtimes may outlive.
struct Opening {
    pool: Weak<Pool>,
    connection: Connection,
    scope: Scope,
    mailbox: Arc<Mailbox>,
    calls: ClientCalls,
}

impl Opening {
    async fn run(mut self, config: crate::nats::session::protocol::Config) {
        if let Err(status) = self.carry(config).await {
            log_limited!(debug, open = self.scope.open(), %status, "cannot open a session");
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
        // Requests arrive on a method's subject too, and look the same.
        let mark = self.scope.method.map(|_| {
            let mut mark = HeaderMap::new();
            mark.insert(headers::SESSION, "1");
            mark
        });
        let mut publisher = Publisher::to_open(self.connection.clone(), own, open, mark);
        let mut session = Session::client(config, inbox.secret(), driver::now());
        driver::drive(&mut session, &self.mailbox, &mut publisher, &mut self.calls).await;
        drop(inbox);
        if self.pool.strong_count() == 0 {
            // This may be the last clone of the connection, which would end without sending its
            // buffered CLOSE.
            let flushed = self.connection.flush_within(MAX_FLUSH).await;
            flushed.map_err(|error| Status::unavailable(error.to_string()))?;
        }
        Ok(())
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        // Leave the pool before closing the mailbox, so that a bounced caller is not given this
        // session again.
        self.calls.leave();
        for command in self.mailbox.close() {
            command.refuse();
        }
    }
}
