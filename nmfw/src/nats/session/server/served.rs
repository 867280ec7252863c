//! [`Served`] and [`Running`]: methods of a session, and calls under way.

use std::sync::Arc;

use async_nats::Subject;

use super::task::Task;
use crate::{Status, nats::session::driver::Port};
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

/// A call whose handler runs, or streams.
pub(crate) struct Running {
    /// Of the method among those served.
    pub(crate) index: usize,
    pub(crate) handler: Assignment<Task>,
    /// If either side streams.
    pub(crate) port: Option<Port>,
}

impl Running {
    /// The handler has ended. It may have left its requests to a task, which gets no more of them:
    /// if the caller has not said all, that is not to look as if it had.
    pub(crate) fn is_over(&self) {
        if let Some(port) = &self.port {
            let status =
                Status::cancelled("the handler ended the call before its caller had said all");
            port.lane.finish(Err(status));
        }
    }

    /// Drops the handler of a call that nobody waits for.
    pub(crate) fn give_up(&self, status: &Status) {
        self.handler.abort();
        if let Some(port) = &self.port {
            port.lane.finish(Err(status.clone()));
        }
    }
}
