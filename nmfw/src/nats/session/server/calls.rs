//! [`ServerCalls`]: the calls of a session on the service's side.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_nats::Subject;
use bytes::Bytes;

use super::{
    SessionSlot,
    overdue::Arriving,
    served::{RunningCall, Served},
    task::Common,
};
use crate::{
    Deadline, Metadata, Status,
    nats::{
        context::NatsCall,
        session::{
            driver::{Ended, Flow, MailboxSignals, Side, StreamCommand},
            protocol::{CallHead, Event, SendError, Session, StreamId, StreamTable},
        },
    },
};
use nmfw_core::{
    call::{body::Body, origin::Origin, response::Response},
    escape::Escaped,
    service::stalled::Stall,
};

/// A session with this many concurrent calls is busy.
const BUSY: usize = 4;

/// How long the client may take to acknowledge the last answers during shutdown.
const MAX_LAST_ACKS: Duration = Duration::from_secs(3);

/// A command from a handler's task to the session's task.
#[derive(Debug)]
pub(crate) enum ServerCommand {
    /// The answer of a handler that does not stream, or its error.
    Answer {
        stream: StreamId,
        outcome: Result<Response, Status>,
    },
    StreamIo(StreamCommand),
    /// The call has stalled, and its slot was given to another call.
    Stalled {
        stream: StreamId,
        why: Stall,
    },
}

impl From<StreamCommand> for ServerCommand {
    fn from(command: StreamCommand) -> Self {
        Self::StreamIo(command)
    }
}

/// The calls of a session. Calls in flight end when it is dropped.
pub(crate) struct ServerCalls {
    pub(crate) place: SessionSlot,
    pub(crate) common: Arc<Common>,
    client: Subject,
    pub(crate) calls: StreamTable<ServerCall>,
    /// Set during shutdown.
    is_draining: bool,
    /// When to stop waiting for the client's acknowledgements.
    end: Option<Instant>,
    /// Whether no call was in flight when the shutdown began.
    was_idle: bool,
    /// A lower bound for the deadlines of calls that wait for their messages.
    pub(crate) arriving_until: Option<Instant>,
    /// When to check whether callers read pending answers, if there are any.
    pub(crate) look_at: Option<Instant>,
}

/// A call whose message has not arrived.
pub(crate) struct Arrived {
    /// The index of its method among the served ones.
    pub(crate) index: usize,
    pub(crate) head: CallHead,
    /// The deadline runs from the arrival of CALL, even while the message is incomplete.
    pub(crate) deadline: Deadline,
}

pub(crate) enum ServerCall {
    /// The message of the call has not arrived.
    Arriving(Box<Arriving>),
    Running(RunningCall),
}

impl ServerCalls {
    pub(crate) fn new(place: SessionSlot, served: Arc<[Served]>, client: Subject) -> Self {
        let instance = Arc::clone(&place.sessions.instance);
        let origin = |served: &Served| -> Arc<Origin> {
            Arc::new(instance.origin(NatsCall {
                subject: served.subject.clone(),
                reply: client.clone(),
                connection: place.sessions.connection.clone(),
            }))
        };
        let common = Common {
            origins: served.iter().map(origin).collect(),
            served,
            mailbox: Arc::clone(&place.granted.mailbox),
            client: place.client,
            _tracked: instance.lifecycle.tasks.token(),
            instance,
        };
        Self {
            place,
            common: Arc::new(common),
            client,
            calls: StreamTable::default(),
            is_draining: false,
            end: None,
            was_idle: false,
            arriving_until: None,
            look_at: None,
        }
    }

    /// Handles the end of the caller's messages.
    fn on_end(&mut self, session: &mut Session, stream: StreamId) {
        match self.calls.get(stream) {
            Some(ServerCall::Arriving(_)) => {
                self.calls.remove(stream);
                let status = Status::invalid_argument(
                    "this method requires one message, but the caller sent none",
                );
                session.send_status(stream, Err(&status));
            }
            Some(ServerCall::Running(RunningCall {
                half: Some(half), ..
            })) => half.io.finish_inbox(Ok(Metadata::new())),
            _ => {}
        }
    }

    fn on_stream_command(&mut self, session: &mut Session, command: StreamCommand) {
        let StreamCommand { io, flow } = command;
        let Some(stream) = io.stream() else {
            return;
        };
        let Some(ServerCall::Running(RunningCall {
            index,
            half: Some(half),
            ..
        })) = self.calls.get_mut(stream)
        else {
            // A handler may have moved its requests into a task.
            if let Flow::Taken = flow {
                io.release(session, stream);
            }
            return;
        };
        let index = *index;
        match flow {
            Flow::Headers(metadata) => {
                if let Err(status) = session.send_headers(stream, &metadata) {
                    let ended = half.fail(session, stream, status);
                    self.after(stream, index, ended);
                }
            }
            Flow::Batch(batch) => {
                let ended = half.on_batch(session, stream, batch);
                self.after(stream, index, ended);
            }
            // A handler may drop its requests and still answer.
            Flow::Taken => _ = half.on_taken(session, stream),
        }
    }

    /// Handles a call that this side may have ended. The handler's own errors are counted.
    fn after(&mut self, stream: StreamId, index: usize, ended: Ended) {
        match ended {
            Ended::No => return self.expect_taking(stream),
            Ended::Finished | Ended::Failed => {}
            Ended::Refused { status, was_done } => {
                let Some(served) = self.common.served.get(index) else {
                    return;
                };
                log_limited!(warn, method = %served.method(), %status, "cannot send a response");
                // For a handler that is still running, the end of its call is counted.
                if was_done {
                    served.endpoint.stats.fail(&status);
                }
            }
        }
        if let Some(ServerCall::Running(running)) = self.calls.remove(stream) {
            running.is_over();
        }
    }

    fn answer(
        &mut self,
        session: &mut Session,
        stream: StreamId,
        outcome: Result<Response, Status>,
    ) {
        let Some(ServerCall::Running(running)) = self.calls.remove(stream) else {
            return;
        };
        running.is_over();
        self.deliver(session, stream, running.index, outcome);
    }

    /// Sends the outcome of a handler that does not stream; `index` is that of its method.
    pub(crate) fn deliver(
        &self,
        session: &mut Session,
        stream: StreamId,
        index: usize,
        outcome: Result<Response, Status>,
    ) {
        let Some(served) = self.common.served.get(index) else {
            return;
        };
        let stats = &served.endpoint.stats;
        match outcome {
            Ok(response) => {
                let bytes = response.body.message().map_or(0, Bytes::len);
                match send(session, stream, response) {
                    Ok(()) => stats.metrics.sent(bytes),
                    // The handler succeeded, but its answer is too large. This is counted in
                    // addition to the success.
                    Err(status) => stats.fail(&status),
                }
            }
            Err(status) => session.send_status(stream, Err(&status)),
        }
    }
}

/// Sends a single answer.
///
/// # Errors
/// Fails if the answer is too large. The caller gets an error.
fn send(session: &mut Session, stream: StreamId, response: Response) -> Result<(), Status> {
    let Response { metadata, body } = response;
    let Body::Message(body) = body else {
        let status = Status::internal("the response is a stream instead of a single message");
        session.send_status(stream, Err(&status));
        return Err(status);
    };
    if !metadata.is_empty()
        && let Err(status) = session.send_headers(stream, &metadata)
    {
        session.send_status(stream, Err(&status));
        return Err(status);
    }
    match session.send_message(stream, body, true) {
        // The caller has just cancelled the call.
        Ok(()) | Err(SendError::Ended) => Ok(()),
        Err(SendError::TooLarge(status)) => Err(status),
        Err(SendError::Full(_)) => Err(session.refuse_answer(stream)),
    }
}

impl Side for ServerCalls {
    type Command = ServerCommand;

    fn on_command(&mut self, session: &mut Session, command: ServerCommand) {
        match command {
            ServerCommand::Answer { stream, outcome } => self.answer(session, stream, outcome),
            ServerCommand::StreamIo(command) => self.on_stream_command(session, command),
            ServerCommand::Stalled { stream, why } => self.end_stalled(session, stream, why),
        }
    }

    fn on_event(&mut self, session: &mut Session, event: Event) {
        match event {
            Event::Call {
                stream,
                method,
                head,
                message,
            } => self.on_call(session, stream, (method, head, message)),
            Event::Message { stream, message } => self.on_chunk(session, stream, message.into()),
            Event::Row { stream, row } => self.on_chunk(session, stream, row.into()),
            Event::End { stream } => self.on_end(session, stream),
            Event::Writable { stream } => {
                if let Some(ServerCall::Running(running)) = self.calls.get_mut(stream)
                    && let Some(half) = &mut running.half
                {
                    let index = running.index;
                    let ended = half.push(session, stream);
                    self.after(stream, index, ended);
                }
            }
            Event::Finished { stream, outcome } => {
                if let Some(ServerCall::Running(running)) = self.calls.remove(stream) {
                    let status = outcome
                        .err()
                        .unwrap_or_else(|| Status::cancelled("the caller has disconnected"));
                    running.give_up(&status);
                }
            }
            Event::Drained => session.close(None),
            Event::Closed(Some(status)) => {
                log_limited!(
                    debug, client = %Escaped::new(&self.client), %status, "ended a session"
                );
            }
            Event::Opened(_)
            | Event::Headers { .. }
            | Event::Answer { .. }
            | Event::GoAway
            | Event::Closed(None) => {}
        }
    }

    fn settle(&mut self, session: &mut Session, signals: &MailboxSignals, now: Instant) {
        self.place.note(session, now);
        self.see_to_overdue(session, now);
        if session.open_streams() >= BUSY
            && let Some(window) = self.place.widen()
        {
            session.set_packet_window(window);
        }
        if signals.drain {
            self.is_draining = true;
            self.was_idle = session.open_streams() == 0;
            session.go_away();
        }
        if self.is_draining && session.open_streams() == 0 {
            let end = *self.end.get_or_insert(now + MAX_LAST_ACKS);
            // An idle client that has disconnected does not need CLOSE.
            if now >= end || (self.was_idle && session.vanished_since().is_some()) {
                session.close(None);
            }
        }
    }

    fn timer(&self) -> Option<Instant> {
        let timers = [self.end, self.arriving_until, self.look_at];
        timers.into_iter().flatten().min()
    }

    fn is_busy(&self) -> bool {
        self.calls.len() > 1
    }
}

impl Drop for ServerCalls {
    fn drop(&mut self) {
        for call in self.calls.values() {
            if let ServerCall::Running(running) = call {
                running.give_up(&Status::unavailable("the session has ended"));
            }
        }
    }
}
