//! The start of a session's calls.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    calls::{Arrived, Call, Calls},
    served::{Running, Served},
    task::Task,
};
use crate::{
    Deadline, Status,
    nats::session::{
        driver::{Incoming, Lane, Port},
        protocol::{CallHead, Session, StreamId},
    },
};
use nmfw_core::{
    call::{
        body::{
            Body, Messages,
            chunk::{Chunk, Tally},
        },
        request::Request,
    },
    service::{
        admission::Admitted,
        execute::{Now, Work},
    },
};

impl Calls {
    /// Handles a new call. A handler with a request stream starts now, others with their message.
    pub(crate) fn on_call(
        &mut self,
        session: &mut Session,
        stream: StreamId,
        (index, head): (usize, CallHead),
    ) {
        let Some(served) = self.common.served.get(index) else {
            return session.send_status(stream, Err(&unknown()));
        };
        let deadline = match (head.deadline, served.endpoint.limits.timeout) {
            (Some(at), _) => Deadline::at(at.into()),
            (None, Some(timeout)) => Deadline::after(timeout),
            (None, None) => Deadline::NONE,
        };
        let call = Arrived {
            index,
            head,
            deadline,
        };
        if !served.endpoint.method.streams_requests() {
            self.newest = Some((stream, call));
            return;
        }
        let lane = Arc::new(Lane::default());
        lane.begin(stream);
        let requests = Incoming::new(Arc::clone(&lane), Arc::clone(&self.common.mailbox));
        let body = Body::Messages(Messages::new(requests));
        if let Err(status) = self.start(session, stream, call, body, Some(lane)) {
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
        lane: Option<Arc<Lane>>,
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
        let bytes = request.body().map_or(0, Bytes::len);
        let instance = &self.common.instance;
        let work = match instance.admit(endpoint, bytes, || self.common.client) {
            Admitted::Refused(status) => return Err(refused(status)),
            Admitted::Now(permit) if !endpoint.method.streams() && endpoint.quick.is_quick() => {
                match instance.call_now(endpoint, request) {
                    Now::Done(outcome) => {
                        self.deliver(session, stream, index, outcome);
                        return Ok(());
                    }
                    Now::Begun(handler) => Work::Begun(handler, permit),
                }
            }
            admitted @ Admitted::Later(_) => {
                request.head.body.unshare();
                Work::Admitted(admitted, request)
            }
            admitted @ Admitted::Now(_) => Work::Admitted(admitted, request),
        };
        let lane = lane.or_else(|| {
            endpoint.method.streams().then(|| {
                let lane = Arc::new(Lane::default());
                lane.begin(stream);
                lane
            })
        });
        let port = lane.clone().map(Port::new);
        let task = Task {
            common: Arc::clone(&self.common),
            index,
            stream,
            lane,
            work,
            deadline,
        };
        let running = Running {
            index,
            handler: self.place.sessions.workers.start(task),
            port,
        };
        self.calls.insert(stream, Call::Running(running));
        Ok(())
    }

    pub(crate) fn on_message(&mut self, session: &mut Session, stream: StreamId, message: Bytes) {
        // The message of a unary call, the usual case.
        if let Some((_, call)) = self.newest.take_if(|(newest, _)| *newest == stream) {
            session.consume(stream, Tally::of(message.len()));
            if let Err(status) = self.start(session, stream, call, message.into(), None) {
                session.send_status(stream, Err(&status));
            }
            return;
        }
        self.on_chunk(session, stream, message.into());
    }

    pub(crate) fn on_chunk(&mut self, session: &mut Session, stream: StreamId, chunk: Chunk) {
        if let Some(Call::Running(Running { index, port, .. })) = self.calls.get(&stream)
            && let Some(port) = port
            && self.common.served[*index]
                .endpoint
                .method
                .streams_requests()
        {
            return port.on_chunk(session, stream, chunk);
        }
        session.consume(stream, chunk.tally());
        let more = || Status::invalid_argument("this method takes a single message");
        let refusal = match (self.calls.remove(&stream), chunk) {
            (Some(Call::Arriving(arriving)), Chunk::Message(message)) => self
                .start(session, stream, arriving.call, message.into(), None)
                .err(),
            (Some(Call::Arriving(_)), Chunk::Row(_)) => Some(more()),
            (Some(Call::Running(running)), _) => {
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
