//! [`Calls`]: the calls of a session, from packets to handlers and back.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use async_nats::Subject;
use bytes::Bytes;
use tokio::task::AbortHandle;

use super::super::{Instance, admission::Admitted, instance::Endpoint};
use crate::{
    Deadline, Metadata, Status,
    driver::{Mailbox, Side, Signals},
    headers::Encoding,
    middleware::{Caller, Request, Response},
    session::{CallHead, Event, SendError, Session, StreamId},
};

/// How long the client may take to acknowledge the last answers when the server stops.
const MAX_LAST_ACKS: Duration = Duration::from_secs(3);

/// A method that sessions serve.
#[derive(Clone, Debug)]
pub(super) struct Served {
    endpoint: Arc<Endpoint>,
    subject: Subject,
}

impl Served {
    pub(super) fn new(endpoint: &Arc<Endpoint>) -> Self {
        Self {
            endpoint: Arc::clone(endpoint),
            subject: endpoint.subject.clone().into(),
        }
    }

    pub(super) fn method(&self) -> &'static str {
        self.endpoint.method.name()
    }
}

/// What a handler's task tells the session's.
#[derive(Debug)]
pub(super) struct Command {
    stream: StreamId,
    outcome: Result<Response, Status>,
}

/// The calls of a session. Those under way end when it is dropped.
pub(super) struct Calls {
    instance: Arc<Instance>,
    served: Arc<[Served]>,
    mailbox: Arc<Mailbox<Command>>,
    client: Subject,
    calls: HashMap<StreamId, Call>,
    /// Set when the server stops.
    is_draining: bool,
    /// When to wait no longer for the client's acknowledgements.
    end: Option<Instant>,
}

enum Call {
    /// Its message has not come.
    Arriving(Box<CallHead>),
    /// At work, on behalf of the method with this index among those served.
    Running(usize, AbortHandle),
}

impl Calls {
    pub(super) fn new(
        instance: Arc<Instance>,
        served: Arc<[Served]>,
        mailbox: Arc<Mailbox<Command>>,
        client: Subject,
    ) -> Self {
        Self {
            instance,
            served,
            mailbox,
            client,
            calls: HashMap::new(),
            is_draining: false,
            end: None,
        }
    }

    /// Starts the handler, or says why not.
    fn start(&mut self, stream: StreamId, head: CallHead, body: Bytes) -> Result<(), Status> {
        let index = self
            .served
            .iter()
            .position(|served| served.method() == head.method)
            .ok_or_else(|| Status::unimplemented("the method is not served here").not_started())?;
        let Served { endpoint, subject } = &self.served[index];
        let refused = |status: Status| {
            endpoint.refuse(&status);
            status
        };
        if head.encoding == Encoding::Json {
            return Err(refused(
                Status::unimplemented(
                    "this service does not take JSON: send the request as protobuf",
                )
                .not_started(),
            ));
        }
        let limit = endpoint.limits.max_request_size;
        if body.len() > limit {
            return Err(refused(Status::resource_exhausted(format!(
                "the request of {} bytes is over this service's limit of {limit}",
                body.len()
            ))));
        }
        let deadline = match head.deadline {
            Some(at) => Deadline::at(at.into()),
            None => Deadline::after(endpoint.limits.timeout),
        };
        let mut request = Request::new(endpoint.method, deadline, head.metadata, body);
        request.caller = Some(Caller {
            subject: subject.clone(),
            reply: self.client.clone(),
            client_version: head.client_version,
        });
        request.connection = self.instance.connection.clone();
        let admitted = self.instance.admit(endpoint);
        if let Admitted::Refused(status) = admitted {
            return Err(refused(status));
        }
        let (instance, endpoint) = (Arc::clone(&self.instance), Arc::clone(endpoint));
        let mailbox = Arc::clone(&self.mailbox);
        let handler = self.instance.lifecycle.tasks.spawn(async move {
            // The permit lasts until the session has the answer; how many of those a session
            // can hold is bounded by its streams.
            let (outcome, _permit) = instance.call(&endpoint, admitted, request).await;
            // Fails if the session has ended: then nobody waits for the answer.
            _ = mailbox.command(Command { stream, outcome });
        });
        let running = Call::Running(index, handler.abort_handle());
        self.calls.insert(stream, running);
        Ok(())
    }

    fn on_message(&mut self, session: &mut Session, stream: StreamId, message: Bytes) {
        session.consume(stream, message.len());
        let refusal = match self.calls.remove(&stream) {
            Some(Call::Arriving(head)) => self.start(stream, *head, message).err(),
            Some(Call::Running(index, handler)) => {
                let status = Status::invalid_argument("a unary call has one message only");
                self.give_up(index, &handler, &status);
                Some(status)
            }
            None => None,
        };
        if let Some(status) = refusal {
            session.send_status(stream, Err(&status));
        }
    }

    /// Drops the handler of a call that nobody waits for.
    fn give_up(&self, index: usize, handler: &AbortHandle, status: &Status) {
        if !handler.is_finished() {
            handler.abort();
            if let Some(served) = self.served.get(index) {
                served.endpoint.refuse(status);
            }
        }
    }

    fn answer(&self, index: usize, session: &mut Session, command: Command) {
        let Command { stream, outcome } = command;
        let failed = match outcome {
            Ok(response) => send(session, stream, response).err(),
            Err(status) => {
                session.send_status(stream, Err(&status));
                None
            }
        };
        if let (Some(status), Some(served)) = (failed, self.served.get(index)) {
            // The handler was well; its answer turned out too large. Counted besides its success.
            served.endpoint.stats.fail(&status);
        }
    }
}

/// # Errors
/// If the answer is too large. The caller is told.
fn send(session: &mut Session, stream: StreamId, response: Response) -> Result<(), Status> {
    let Response { metadata, body } = response;
    if metadata != Metadata::new()
        && let Err(status) = session.send_headers(stream, &metadata)
    {
        session.send_status(stream, Err(&status));
        return Err(status);
    }
    match session.send_message(stream, body, true) {
        // The caller went away this moment.
        Ok(()) | Err(SendError::Ended) => Ok(()),
        Err(SendError::TooLarge(status)) => Err(status),
        Err(SendError::Full(_)) => {
            let status = Status::internal("there is no room for the only message of an answer");
            session.send_status(stream, Err(&status));
            Err(status)
        }
    }
}

impl Side for Calls {
    type Command = Command;

    fn on_command(&mut self, session: &mut Session, command: Command) {
        if let Some(Call::Running(index, _)) = self.calls.remove(&command.stream) {
            self.answer(index, session, command);
        }
    }

    fn on_event(&mut self, session: &mut Session, event: Event) {
        match event {
            Event::Call { stream, head } => {
                self.calls.insert(stream, Call::Arriving(Box::new(head)));
            }
            Event::Message { stream, message } => self.on_message(session, stream, message),
            Event::End { stream } => {
                if let Some(Call::Arriving(_)) = self.calls.get(&stream) {
                    self.calls.remove(&stream);
                    let status = Status::invalid_argument("a unary call needs a message");
                    session.send_status(stream, Err(&status));
                }
            }
            Event::Finished { stream, outcome } => {
                if let Some(Call::Running(index, handler)) = self.calls.remove(&stream) {
                    let status = outcome
                        .err()
                        .unwrap_or_else(|| Status::cancelled("the caller went away"));
                    self.give_up(index, &handler, &status);
                }
            }
            Event::Drained => session.close(None),
            Event::Closed(Some(status)) => {
                tracing::debug!(client = %self.client, %status, "a session was ended");
            }
            Event::Opened(_)
            | Event::Headers { .. }
            | Event::Writable { .. }
            | Event::GoAway
            | Event::Closed(None) => {}
        }
    }

    fn settle(&mut self, session: &mut Session, signals: &Signals, now: Instant) {
        if signals.drain {
            self.is_draining = true;
            session.go_away();
        }
        if self.is_draining && session.open_streams() == 0 {
            let end = *self.end.get_or_insert(now + MAX_LAST_ACKS);
            if now >= end {
                session.close(None);
            }
        }
    }

    fn alarm(&self) -> Option<Instant> {
        self.end
    }

    fn is_busy(&self) -> bool {
        self.calls.len() > 1
    }
}

impl Drop for Calls {
    fn drop(&mut self) {
        for call in self.calls.values() {
            if let Call::Running(_, handler) = call {
                handler.abort();
            }
        }
    }
}
