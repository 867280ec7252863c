//! The start of a session's calls.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    calls::{Arrived, ServerCall, ServerCalls},
    served::{RunningCall, Served},
    task::SessionCallTask,
};
use crate::{
    Deadline, Status,
    nats::session::{
        driver::{Incoming, SessionHalf, StreamIo},
        protocol::{CallHead, Session, StreamId},
    },
};
use nmfw_core::{
    call::{
        body::{Body, Messages, chunk::Chunk},
        request::Request,
    },
    service::{
        admission::Admitted,
        execute::{Now, Work},
    },
};

impl ServerCalls {
    /// Handles a new call. A handler with a request stream starts now, others with their message.
    pub(crate) fn on_call(
        &mut self,
        session: &mut Session,
        stream: StreamId,
        (index, head, message): (usize, CallHead, Option<Bytes>),
    ) {
        let Some(served) = self.common.served.get(index) else {
            return session.send_status(stream, Err(&unknown()));
        };
        let deadline = match (head.deadline, served.endpoint.limits.timeout) {
            (Some(at), _) => Deadline::at(at),
            (None, Some(timeout)) => Deadline::after(timeout),
            (None, None) => Deadline::NONE,
        };
        let call = Arrived {
            index,
            head,
            deadline,
        };
        if let Some(message) = message {
            if let Err(status) = self.start(session, stream, call, message.into(), None) {
                session.send_status(stream, Err(&status));
            }
            return;
        }
        if !served.endpoint.method.is_client_streaming() {
            return self.wait_for_message(stream, call);
        }
        let io = Arc::new(StreamIo::default());
        io.begin(stream);
        let requests = Incoming::new(Arc::clone(&io), Arc::clone(&self.common.mailbox));
        let body = Body::Messages(Messages::new(requests));
        if let Err(status) = self.start(session, stream, call, body, Some(io)) {
            session.send_status(stream, Err(&status));
        }
    }

    /// Starts the handler, or returns an error.
    fn start(
        &mut self,
        session: &mut Session,
        stream: StreamId,
        call: Arrived,
        body: Body,
        io: Option<Arc<StreamIo>>,
    ) -> Result<(), Status> {
        let Arrived {
            index,
            head,
            deadline,
        } = call;
        let served = self.common.served.get(index);
        let Served { endpoint, .. } = served.ok_or_else(unknown)?;
        let refused = |status: Status| {
            endpoint.refuse(&status);
            status
        };
        let size = match &body {
            Body::Message(body) => body.len(),
            _ => 0,
        };
        endpoint.check(head.encoding, size).map_err(refused)?;
        let mut request = Request::with_head(endpoint.method, deadline, head.metadata, body);
        request.head.origin = self.common.origins.get(index).map(Arc::clone);
        request.head.client_version = head.client_version;
        request.head.trace = head.trace;
        request.set_encoding(head.encoding);
        let bytes = request.body().map_or(0, Bytes::len);
        let instance = &self.common.instance;
        let work = match instance.admit(endpoint, &mut request, bytes, || self.common.client) {
            Admitted::Refused(status) => return Err(refused(status)),
            Admitted::Now(permit)
                if !endpoint.method.is_streaming() && endpoint.runs_at_once(head.encoding) =>
            {
                match instance.call_now(endpoint, request) {
                    Now::Done(outcome) => {
                        self.deliver(session, stream, index, outcome);
                        return Ok(());
                    }
                    Now::Begun(handler) => Work::Begun(Box::new(handler), permit),
                }
            }
            admitted @ Admitted::Later(_) => {
                request.head.body.unshare();
                Work::Admitted(admitted, request)
            }
            admitted @ Admitted::Now(_) => Work::Admitted(admitted, request),
        };
        let io = io.or_else(|| {
            endpoint.method.is_streaming().then(|| {
                let io = Arc::new(StreamIo::default());
                io.begin(stream);
                io
            })
        });
        let half = io.clone().map(SessionHalf::new);
        let task = SessionCallTask {
            common: Arc::clone(&self.common),
            index,
            stream,
            io,
            work,
            deadline,
        };
        let running = RunningCall {
            index,
            handler: self.place.sessions.workers.start(task),
            half,
        };
        self.calls.insert(stream, ServerCall::Running(running));
        Ok(())
    }

    pub(crate) fn on_chunk(&mut self, session: &mut Session, stream: StreamId, chunk: Chunk) {
        if let Some(ServerCall::Running(RunningCall { index, half, .. })) = self.calls.get(stream)
            && let Some(half) = half
            && self.common.served[*index]
                .endpoint
                .method
                .is_client_streaming()
        {
            return half.on_chunk(session, stream, chunk);
        }
        session.consume(stream, chunk.tally());
        let more = || Status::invalid_argument("this method takes a single message");
        let refusal = match (self.calls.remove(stream), chunk) {
            (Some(ServerCall::Arriving(arriving)), Chunk::Message(message)) => self
                .start(session, stream, arriving.call, message.into(), None)
                .err(),
            (Some(ServerCall::Arriving(_)), Chunk::Row(_)) => Some(more()),
            (Some(ServerCall::Running(running)), _) => {
                let status = more();
                running.give_up(&status);
                Some(status)
            }
            (None, _) => None,
        };
        if let Some(status) = refusal {
            session.send_status(stream, Err(&status));
        }
    }
}

fn unknown() -> Status {
    // Not started: no handler was found.
    Status::unimplemented("the method is not served by this instance").not_started()
}
