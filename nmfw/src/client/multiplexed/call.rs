//! [`Handle`]: a session as callers see it, and a call on it.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::oneshot;

use super::side::{Command, Mailbox};
use crate::{
    Method, Status,
    headers::Encoding,
    middleware::{Request, Response},
    session::{CallHead, Opened},
};

/// A session. When the last is dropped, the session ends.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(super) mailbox: Arc<Mailbox>,
    calls: AtomicUsize,
    service: OnceLock<Facts>,
}

/// What the service said of itself.
#[derive(Debug)]
struct Facts {
    /// Sorted; empty if all may be called.
    methods: Vec<String>,
    max_calls: usize,
}

impl Handle {
    pub(super) fn new(packet_window: u32) -> Self {
        Self {
            mailbox: Arc::new(Mailbox::new(packet_window)),
            calls: AtomicUsize::new(0),
            service: OnceLock::new(),
        }
    }

    pub(super) fn opened(&self, opened: Opened) {
        let Opened {
            mut methods,
            max_streams,
            ..
        } = opened;
        methods.sort_unstable();
        let facts = Facts {
            methods,
            max_calls: max_streams,
        };
        // It happens once.
        _ = self.service.set(facts);
    }

    /// Whether a call of the method can go this way: other calls take base mode.
    pub(super) fn takes(&self, method: Method) -> bool {
        let Some(facts) = self.service.get() else {
            return false;
        };
        let name = method.name();
        let is_served = facts.methods.is_empty()
            || facts
                .methods
                .binary_search_by(|served| served.as_str().cmp(name))
                .is_ok();
        is_served && self.calls.load(Ordering::Relaxed) < facts.max_calls
    }

    /// Makes a call. Dropping the future gives the call up, at the service too.
    pub(in crate::client) async fn call(&self, request: &Request) -> Result<Response, Status> {
        let method = request.method();
        let head = CallHead {
            method: method.name().to_owned(),
            deadline: request.deadline().instant().map(Into::into),
            encoding: Encoding::Protobuf,
            client_version: Some(method.service().semver().to_owned()),
            metadata: request.metadata().clone(),
        };
        let (sender, receiver) = oneshot::channel();
        let command = Command {
            head,
            body: request.body().clone(),
            sender,
        };
        let mut waiting = Waiting {
            handle: self,
            receiver,
            is_over: false,
        };
        self.calls.fetch_add(1, Ordering::Relaxed);
        if self.mailbox.command(command).is_err() {
            waiting.is_over = true;
            return Err(Status::unavailable("the session is over").not_started());
        }
        let outcome = (&mut waiting.receiver).await;
        waiting.is_over = true;
        // The session's task answers all calls, unless the runtime it is on is shutting down.
        outcome.unwrap_or_else(|_| Err(Status::unavailable("the session's task has ended")))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.mailbox.drain();
    }
}

/// A call that waits for its answer.
struct Waiting<'a> {
    handle: &'a Handle,
    receiver: oneshot::Receiver<Result<Response, Status>>,
    is_over: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.handle.calls.fetch_sub(1, Ordering::Relaxed);
        if !self.is_over {
            // The session looks for those whose receivers are closed.
            self.receiver.close();
            self.handle.mailbox.gave_up();
        }
    }
}
