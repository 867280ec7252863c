//! [`ClientCall`]: the state of a call in the task of a session.

use std::time::Instant;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::{
    Metadata, Method, Status,
    nats::session::{
        driver::SessionHalf,
        protocol::{Session, StreamId},
    },
};
use nmfw_core::call::{body::chunk::Tally, response::Response};

/// A started call.
pub(crate) enum ClientCall {
    Unary(Unary),
    /// Requests stream, and there is one answer.
    Uploading {
        half: SessionHalf,
        is_answered: bool,
    },
    /// Answers stream.
    Streaming(SessionHalf),
}

impl ClientCall {
    /// Returns the session's end of the stream, if there is one.
    pub(crate) fn half_mut(&mut self) -> Option<&mut SessionHalf> {
        match self {
            Self::Unary(_) => None,
            Self::Uploading { half, .. } | Self::Streaming(half) => Some(half),
        }
    }
}

/// A call with one message in each direction.
pub(crate) struct Unary {
    pub(crate) method: Method,
    pub(crate) deadline: Option<Instant>,
    pub(crate) metadata: Metadata,
    pub(crate) body: Option<Bytes>,
    pub(crate) sender: oneshot::Sender<Result<Response, Status>>,
}

impl Unary {
    /// Reports the answer, if it has arrived, as taken.
    pub(crate) fn give_back(&self, session: &mut Session, stream: StreamId) {
        if let Some(body) = &self.body {
            session.consume(stream, Tally::of(body.len()));
        }
    }

    /// Ends the call with its answer.
    pub(crate) fn answer(self, body: Bytes) {
        // Fails if the call was just cancelled.
        _ = self
            .sender
            .send(Ok(Response::with_metadata(body, self.metadata)));
    }

    pub(crate) fn finish(self, outcome: Result<Metadata, Status>) {
        let outcome = match (outcome, self.body) {
            (Ok(trailers), Some(body)) => {
                let mut metadata = self.metadata;
                metadata.merge(&trailers);
                Ok(Response::with_metadata(body, metadata))
            }
            (Ok(_), None) => Err(Status::internal("the response has no message")),
            (Err(status), _) => Err(status),
        };
        // Fails if the call was just cancelled.
        _ = self.sender.send(outcome);
    }
}
