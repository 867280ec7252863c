//! [`ClientCommand`]: commands from callers to the task of a session.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::{
    Method, Status,
    nats::session::{
        driver::{self, StreamCommand, StreamIo},
        protocol::CallHead,
    },
};
use nmfw_core::call::response::Response;

pub(crate) type Mailbox = driver::Mailbox<ClientCommand>;
pub(crate) type Outgoing = driver::Outgoing<ClientCommand>;

/// Commands are processed once, in order.
#[derive(Debug)]
pub(crate) enum ClientCommand {
    /// A call with one message in each direction.
    Unary {
        method: Method,
        head: CallHead,
        body: Bytes,
        sender: oneshot::Sender<Result<Response, Status>>,
    },
    /// A call that streams, with its request if that is a single one.
    Begin {
        head: CallHead,
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
