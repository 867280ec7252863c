//! [`Command`]: what callers tell the task of a session.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::{
    Method, Status,
    call::response::Response,
    nats::session::{
        driver::{self, Lane, LaneCommand},
        protocol::CallHead,
    },
};

pub(crate) type Mailbox = driver::Mailbox<Command>;
pub(crate) type Outgoing = driver::Outgoing<Command>;

/// Each is read once, in its order.
#[derive(Debug)]
pub(crate) enum Command {
    /// A call with one message each way.
    Unary {
        method: Method,
        head: CallHead,
        body: Bytes,
        sender: oneshot::Sender<Result<Response, Status>>,
    },
    /// A call that streams; with its only request, if it has one only.
    Begin {
        head: CallHead,
        lane: Arc<Lane>,
        body: Option<Bytes>,
        /// There is one answer.
        is_single: bool,
    },
    Lane(LaneCommand),
}

impl From<LaneCommand> for Command {
    fn from(command: LaneCommand) -> Self {
        Self::Lane(command)
    }
}

impl Command {
    /// The session ended before it was read.
    pub(crate) fn refuse(self) {
        // Not started: the session never read the command.
        let status = Status::unavailable("the session is over").not_started();
        match self {
            // Fails if the call was given up.
            Self::Unary { sender, .. } => _ = sender.send(Err(status)),
            Self::Begin { lane, .. } => lane.finish(Err(status)),
            Self::Lane(_) => {}
        }
    }
}
