//! [`Calls`]: the calls of a session, from callers to packets and back.

use std::{collections::HashMap, sync::Weak, time::Instant};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{Handle, Service};
use crate::{
    Metadata, Status,
    driver::{self, Side, Signals},
    middleware::Response,
    session::{CallHead, Event, SendError, Session, StreamId},
};

pub(crate) type Mailbox = driver::Mailbox<Command>;

/// A call to make.
#[derive(Debug)]
pub(crate) struct Command {
    pub(super) head: CallHead,
    pub(super) body: Bytes,
    pub(super) sender: oneshot::Sender<Result<Response, Status>>,
}

impl Command {
    /// The session ended before it was read.
    pub(super) fn refuse(self) {
        let status = Status::unavailable("the session is over").not_started();
        // Fails if the call was given up.
        _ = self.sender.send(Err(status));
    }
}

/// The calls under way on a session.
pub(super) struct Calls {
    service: Weak<Service>,
    handle: Weak<Handle>,
    calls: HashMap<StreamId, Call>,
    /// Nobody makes further calls.
    is_abandoned: bool,
    has_gone_away: bool,
    /// Whether a call was answered.
    was_of_use: bool,
}

struct Call {
    metadata: Metadata,
    body: Option<Bytes>,
    sender: oneshot::Sender<Result<Response, Status>>,
}

impl Calls {
    pub(super) fn new(service: Weak<Service>, handle: Weak<Handle>) -> Self {
        Self {
            service,
            handle,
            calls: HashMap::new(),
            is_abandoned: false,
            has_gone_away: false,
            was_of_use: false,
        }
    }

    /// Tells the callers to look for another session.
    pub(super) fn leave(&self) {
        if let Some(service) = self.service.upgrade() {
            service.left(&self.handle, self.was_of_use);
        }
    }

    fn finish(&mut self, stream: StreamId, outcome: Result<Metadata, Status>) {
        let Some(call) = self.calls.remove(&stream) else {
            return;
        };
        let outcome = match (outcome, call.body) {
            (Ok(trailers), Some(body)) => {
                let mut metadata = call.metadata;
                metadata.merge(&trailers);
                Ok(Response::with_metadata(body, metadata))
            }
            (Ok(_), None) => Err(Status::internal("the answer has no message")),
            (Err(status), _) => Err(status),
        };
        // Fails if the call was given up this moment.
        _ = call.sender.send(outcome);
    }

    /// Ends the calls that nobody waits for any more, at the service too.
    fn reset_abandoned(&mut self, session: &mut Session) {
        let status = Status::cancelled("the caller does not wait any more");
        self.calls.retain(|&stream, call| {
            let is_abandoned = call.sender.is_closed();
            if is_abandoned {
                session.reset(stream, &status);
            }
            !is_abandoned
        });
    }
}

impl Side for Calls {
    type Command = Command;

    fn on_command(&mut self, session: &mut Session, command: Command) {
        let Command { head, body, sender } = command;
        if sender.is_closed() {
            // Given up before it began.
            return;
        }
        let opened = session.open_call(&head).and_then(|stream| {
            match session.send_message(stream, body, true) {
                Ok(()) => Ok(stream),
                Err(SendError::TooLarge(status)) => Err(status.not_started()),
                Err(SendError::Full(_) | SendError::Ended) => {
                    let status = Status::internal("a new stream does not take a message");
                    session.reset(stream, &status);
                    Err(status.not_started())
                }
            }
        });
        match opened {
            Ok(stream) => {
                let call = Call {
                    metadata: Metadata::new(),
                    body: None,
                    sender,
                };
                self.calls.insert(stream, call);
            }
            // Fails if the call was given up this moment.
            Err(status) => _ = sender.send(Err(status)),
        }
    }

    fn on_event(&mut self, session: &mut Session, event: Event) {
        match event {
            Event::Opened(opened) => {
                if let Some(handle) = self.handle.upgrade() {
                    tracing::debug!(instance = opened.instance, "a session is open");
                    handle.opened(opened);
                    if let Some(service) = self.service.upgrade() {
                        service.opened(&handle);
                    }
                }
            }
            Event::Headers { stream, metadata } => {
                if let Some(call) = self.calls.get_mut(&stream) {
                    call.metadata = metadata;
                }
            }
            Event::Message { stream, message } => {
                session.consume(stream, message.len());
                self.was_of_use = true;
                if let Some(call) = self.calls.get_mut(&stream)
                    && call.body.replace(message).is_some()
                {
                    let status = Status::internal("the answer has more than one message");
                    session.reset(stream, &status);
                    self.finish(stream, Err(status));
                }
            }
            Event::Finished { stream, outcome } => self.finish(stream, outcome),
            Event::GoAway => {
                self.has_gone_away = true;
                self.was_of_use = true;
                self.leave();
            }
            Event::Closed(status) => {
                if let Some(status) = status {
                    tracing::debug!(%status, "a session was ended");
                }
                self.leave();
            }
            Event::Call { .. } | Event::End { .. } | Event::Writable { .. } | Event::Drained => {}
        }
    }

    /// Further calls try their luck elsewhere. Those under way may still be answered.
    fn on_vanished(&mut self) {
        self.leave();
    }

    fn settle(&mut self, session: &mut Session, signals: &Signals, _now: Instant) {
        self.is_abandoned |= signals.drain;
        if signals.gave_up {
            self.reset_abandoned(session);
        }
        // The service ends the session by itself once it has gone away and has all
        // acknowledgements.
        if self.is_abandoned && !self.has_gone_away && session.open_streams() == 0 {
            session.close(None);
        }
    }

    fn is_busy(&self) -> bool {
        self.calls.len() > 1
    }
}
