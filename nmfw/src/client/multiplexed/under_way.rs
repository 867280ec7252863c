//! [`Call`]: what the task of a session keeps of a call that is under way.

use std::time::Instant;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::{
    Metadata, Method, Status,
    driver::Port,
    middleware::Response,
    session::{Session, StreamId, Tally},
};

/// A call that was begun.
pub(super) enum Call {
    Unary(Unary),
    /// Requests stream, and there is one answer.
    Uploading {
        port: Port,
        is_answered: bool,
    },
    /// Answers stream.
    Streaming(Port),
}

impl Call {
    /// The session's end of its lane, if it has one.
    pub(super) fn port_mut(&mut self) -> Option<&mut Port> {
        match self {
            Self::Unary(_) => None,
            Self::Uploading { port, .. } | Self::Streaming(port) => Some(port),
        }
    }
}

/// A call with one message each way.
pub(super) struct Unary {
    pub(super) method: Method,
    pub(super) deadline: Option<Instant>,
    pub(super) metadata: Metadata,
    pub(super) body: Option<Bytes>,
    pub(super) sender: oneshot::Sender<Result<Response, Status>>,
}

impl Unary {
    /// Lets the session know that its answer, if it has come, is taken.
    pub(super) fn give_back(&self, session: &mut Session, stream: StreamId) {
        if let Some(body) = &self.body {
            session.consume(stream, Tally::of(body.len()));
        }
    }

    pub(super) fn finish(self, outcome: Result<Metadata, Status>) {
        let outcome = match (outcome, self.body) {
            (Ok(trailers), Some(body)) => {
                let mut metadata = self.metadata;
                metadata.merge(&trailers);
                Ok(Response::with_metadata(body, metadata))
            }
            (Ok(_), None) => Err(Status::internal("the answer has no message")),
            (Err(status), _) => Err(status),
        };
        // Fails if the call was given up this moment.
        _ = self.sender.send(outcome);
    }
}
