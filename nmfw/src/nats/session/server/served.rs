//! [`Served`] and [`RunningCall`]: the methods of a session, and its calls in flight.

use std::sync::Arc;

use async_nats::Subject;

use super::task::SessionCallTask;
use crate::{Status, nats::session::driver::SessionHalf};
use nmfw_core::service::{instance::Endpoint, workers::Assignment};

/// A method that sessions serve.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) subject: Subject,
}

impl Served {
    pub(crate) fn new(endpoint: &Arc<Endpoint>) -> Self {
        Self {
            endpoint: Arc::clone(endpoint),
            subject: endpoint.subject.clone().into(),
        }
    }

    pub(crate) fn method(&self) -> &'static str {
        self.endpoint.method.name()
    }
}

/// A call whose handler is running or streaming.
pub(crate) struct RunningCall {
    /// The index of its method among the served ones.
    pub(crate) index: usize,
    pub(crate) handler: Assignment<SessionCallTask>,
    /// Set if either side streams.
    pub(crate) half: Option<SessionHalf>,
}

impl RunningCall {
    /// Handles the end of the handler. If it has moved its requests into a task, these must not
    /// look complete unless the caller has sent everything.
    pub(crate) fn is_over(&self) {
        if let Some(half) = &self.half {
            let status = Status::cancelled(
                "the handler ended the call before the caller had sent all \
                                   messages",
            );
            half.io.finish(Err(status));
        }
    }

    /// Drops the handler of a cancelled call.
    pub(crate) fn give_up(&self, status: &Status) {
        self.handler.abort();
        if let Some(half) = &self.half {
            half.io.finish(Err(status.clone()));
        }
    }
}
