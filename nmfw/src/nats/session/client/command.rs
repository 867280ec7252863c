//! [`ClientCommand`]: commands from callers to the task of a session.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use smol_str::SmolStr;
use tokio::sync::oneshot;

use crate::{
    Metadata, Method, Status,
    nats::session::{
        driver::{self, StreamCommand, StreamIo},
        protocol::CallHead,
    },
};
use nmfw_core::call::{
    request::{Encoding, Request},
    response::Response,
    trace_context::TraceContext,
};

pub(crate) type Mailbox = driver::Mailbox<ClientCommand>;
pub(crate) type Outgoing = driver::Outgoing<ClientCommand>;

/// The head of a request. The session's task adds what the method says, so that commands are small.
#[derive(Debug)]
pub(crate) struct CommandHead {
    pub(crate) method: Method,
    pub(crate) deadline: Option<Instant>,
    pub(crate) encoding: Encoding,
    pub(crate) metadata: Metadata,
    pub(crate) trace: Option<Arc<TraceContext>>,
}

impl CommandHead {
    pub(crate) fn of(request: &Request) -> Self {
        Self {
            method: request.method(),
            deadline: request.deadline().instant(),
            encoding: request.encoding(),
            metadata: request.metadata().clone(),
            trace: request.head.trace.clone(),
        }
    }

    pub(crate) fn into_call_head(self) -> CallHead {
        let service = self.method.service();
        CallHead {
            method: SmolStr::new_static(self.method.name()),
            deadline: self.deadline,
            encoding: self.encoding,
            client_version: service.client_version().map(SmolStr::new_static),
            metadata: self.metadata,
            trace: self.trace,
        }
    }
}

/// Commands are processed once, in order.
#[derive(Debug)]
pub(crate) enum ClientCommand {
    /// A call with one message in each direction.
    Unary {
        head: CommandHead,
        body: Bytes,
        sender: oneshot::Sender<Result<Response, Status>>,
    },
    /// A call that streams, with its request if that is a single one.
    Begin {
        head: CommandHead,
        io: Arc<StreamIo>,
        body: Option<Bytes>,
        /// Whether there is a single answer.
        is_single: bool,
    },
    StreamIo(StreamCommand),
}

impl From<StreamCommand> for ClientCommand {
    fn from(command: StreamCommand) -> Self {
        Self::StreamIo(command)
    }
}

impl ClientCommand {
    /// Refuses the command, because the session ended before it was processed.
    pub(crate) fn refuse(self) {
        // Not started: the session never read the command.
        let status = Status::unavailable("the session has ended").not_started();
        match self {
            // Fails if the call was cancelled.
            Self::Unary { sender, .. } => _ = sender.send(Err(status)),
            Self::Begin { io, .. } => io.finish(Err(status)),
            Self::StreamIo(_) => {}
        }
    }
}
