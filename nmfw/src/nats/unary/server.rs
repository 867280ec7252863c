//! The server side of base mode: from a NATS message to a handler, and back.

use std::{pin::pin, sync::Arc, time::Duration};

use async_nats::{HeaderMap, Message, PublishError, Subject};
use bytes::Bytes;
use futures_util::FutureExt;
use tokio::task::unconstrained;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::{
    reply,
    request::{RequestHead, encoding_of_refused},
};
use crate::{
    Connection, DEFAULT_TIMEOUT, Status,
    nats::{
        client_id::{client_of_reply, imported},
        context::NatsCall,
        headers, reply_subject,
    },
};
use nmfw_core::{
    call::{
        deadline::within,
        request::{Encoding, Request},
        response::Response,
    },
    escape::Escaped,
    service::{
        admission::{Admitted, Permit},
        execute::{Now, Work},
        instance::{Endpoint, Instance},
        workers::{Job, Workers},
    },
};

/// Time limit for passing an answer to the connection's buffer. It is reached only while the
/// connection is lost, when callers are unlikely to wait.
const MAX_SEND: Duration = Duration::from_secs(10);

/// Receives an instance's requests in base mode.
#[derive(Debug)]
pub(crate) struct UnaryFront {
    pub(crate) instance: Arc<Instance>,
    connection: Connection,
    /// The tasks that run handlers and send their answers.
    workers: Workers<RequestTask>,
}

impl UnaryFront {
    pub(crate) fn new(instance: Arc<Instance>, connection: Connection) -> Self {
        Self {
            instance,
            connection,
            workers: Workers::new(),
        }
    }
}

/// Handles a message of a method's subscription without waiting, because it delays the messages
/// behind it. Each message is answered, by the handler or with an error.
pub(crate) fn accept(front: &Arc<UnaryFront>, endpoint: &Arc<Endpoint>, message: Message) {
    let instance = &front.instance;
    let Some(reply) = message.reply.clone() else {
        // Without a reply subject the outcome has nowhere to go; count the request, but do not run
        // the handler.
        endpoint.refuse(&Status::invalid_argument(
            "refused a request without a reply subject: its response could not be sent",
        ));
        return;
    };
    if !reply_subject::admits("a request", &reply) {
        endpoint.refuse(&Status::invalid_argument(
            "refused a request: its reply subject is not allowed",
        ));
        return;
    }
    let shared = imported(&reply, message.headers.as_ref());
    let bytes = message.length;
    let mut request = match read(front, endpoint, message, reply.clone()) {
        Ok(request) => request,
        Err((status, encoding)) => return refuse(front, endpoint, reply, encoding, status),
    };
    let encoding = request.encoding();
    let client = || shared.unwrap_or_else(|| client_of_reply(&reply));
    let work = match instance.admit(endpoint, &mut request, bytes, client) {
        Admitted::Refused(status) => return refuse(front, endpoint, reply, encoding, status),
        Admitted::Now(permit) if endpoint.runs_at_once(encoding) => {
            match instance.call_now(endpoint, request) {
                Now::Done(outcome) => {
                    return answer_now(front, endpoint, reply, outcome, permit);
                }
                Now::Begun(handler) => Work::Begun(Box::new(handler), permit),
            }
        }
        admitted => Work::Admitted(admitted, request),
    };
    let task = RequestTask {
        _tracked: instance.lifecycle.tasks.token(),
        front: Arc::clone(front),
        endpoint: Arc::clone(endpoint),
        work,
        reply,
        encoding,
    };
    front.workers.start(task);
}

/// Answers a request to this instance for a method that it does not serve.
pub(crate) fn refuse_unknown(front: &Arc<UnaryFront>, message: Message) {
    log_limited!(
        debug, subject = %Escaped::new(&message.subject),
        "a request for a method that is not served here"
    );
    let Some(reply) = message.reply else {
        return;
    };
    if !reply_subject::admits("a request", &reply) {
        return;
    }
    let instance = &front.instance;
    let Ok(place) = Arc::clone(&instance.lifecycle.refusals).try_acquire_owned() else {
        log_limited!(
            error,
            "refused a request without an answer: too many answers are queued"
        );
        return;
    };
    let text = format!("{} does not serve this method", instance.id);
    // Not started: no handler was found.
    let status = Status::unimplemented(text).not_started();
    let connection = front.connection.clone();
    let (headers, body, _) = reply::encode(Err(status), connection.max_payload());
    let answer = Answer {
        reply,
        headers,
        body,
        bytes: 0,
    };
    instance.lifecycle.tasks.spawn(async move {
        // Nothing is counted, because there is no method.
        _ = within(MAX_SEND, pin!(answer.publish(&connection))).await;
        drop(place);
    });
}

/// Sends an answer without waiting if the connection accepts it; otherwise a task waits.
fn answer_now(
    front: &Arc<UnaryFront>,
    endpoint: &Arc<Endpoint>,
    reply: Subject,
    outcome: Result<Response, Status>,
    permit: Permit,
) {
    let UnaryFront {
        instance,
        connection,
        ..
    } = &**front;
    // A request in JSON waits for its conversion.
    let answer = Answer::new(connection, endpoint, reply, Encoding::Protobuf, outcome);
    // Unconstrained, so that the reader's coop budget does not delay it.
    let published = unconstrained(pin!(answer.clone().publish(connection))).now_or_never();
    match published {
        Some(published) => note(endpoint, answer.bytes, published),
        None => {
            let (connection, endpoint) = (connection.clone(), Arc::clone(endpoint));
            instance.lifecycle.tasks.spawn(async move {
                answer.send(&connection, &endpoint).await;
                drop(permit);
            });
        }
    }
}

/// A running handler of a request.
#[derive(Debug)]
struct RequestTask {
    front: Arc<UnaryFront>,
    endpoint: Arc<Endpoint>,
    work: Work,
    reply: Subject,
    encoding: Encoding,
    _tracked: TaskTrackerToken,
}

impl Job for RequestTask {
    async fn run(self) {
        let Self {
            front,
            endpoint,
            work,
            reply,
            encoding,
            _tracked,
        } = self;
        let (outcome, permit) = front.instance.work(&endpoint, work, None).await;
        answer(&front.connection, &endpoint, reply, encoding, outcome).await;
        drop(permit);
    }
}

/// Reads a request, or returns an error and the encoding of its answer.
fn read(
    front: &UnaryFront,
    endpoint: &Endpoint,
    mut message: Message,
    reply: Subject,
) -> Result<Request, (Status, Encoding)> {
    if let Err(error) = headers::check_size(&message) {
        let status = Status::invalid_argument(error.to_string());
        return Err((status, Encoding::Protobuf));
    }
    let headers = message.headers.take();
    read_message(front, endpoint, message, headers.as_ref(), reply)
        .map_err(|status| (status, encoding_of_refused(headers.as_ref())))
}

fn read_message(
    front: &UnaryFront,
    endpoint: &Endpoint,
    message: Message,
    headers: Option<&HeaderMap>,
    reply: Subject,
) -> Result<Request, Status> {
    if endpoint.method.is_streaming() {
        return Err(Status::unimplemented(format!(
            "{} streams and needs a session: a plain NATS request is not sufficient",
            endpoint.method
        ))
        // Not started: the request is refused before its handler is called.
        .not_started());
    }
    endpoint.check_size(message.payload.len())?;
    let timeout = endpoint.limits.timeout.unwrap_or(DEFAULT_TIMEOUT);
    let incoming = RequestHead::from_headers(headers, endpoint.method, timeout)?;
    // Not marked as not started: all instances of this version refuse an encoding.
    endpoint
        .check_encoding(incoming.encoding)
        .map_err(Status::started)?;
    let mut request = Request::with_head(
        endpoint.method,
        incoming.deadline,
        incoming.metadata,
        message.payload,
    );
    let origin = front.instance.origin(NatsCall {
        subject: message.subject,
        reply,
        connection: front.connection.clone(),
    });
    request.head.origin = Some(Arc::new(origin));
    request.head.client_version = incoming.client_version;
    request.head.trace = incoming.trace;
    request.set_encoding(incoming.encoding);
    Ok(request)
}

fn refuse(
    front: &Arc<UnaryFront>,
    endpoint: &Arc<Endpoint>,
    reply: Subject,
    encoding: Encoding,
    status: Status,
) {
    // The status that the caller will receive.
    let status = match endpoint.limits.queue_group {
        Some(_) => status,
        None => status.started(),
    };
    endpoint.refuse(&status);
    let Ok(place) = Arc::clone(&front.instance.lifecycle.refusals).try_acquire_owned() else {
        log_limited!(error, method = %endpoint.method, %status,
            "refused a request without an answer: too many answers are queued"
        );
        return;
    };
    let (own, endpoint) = (Arc::clone(front), Arc::clone(endpoint));
    front.instance.lifecycle.tasks.spawn(async move {
        answer(&own.connection, &endpoint, reply, encoding, Err(status)).await;
        drop(place);
    });
}

async fn answer(
    connection: &Connection,
    endpoint: &Endpoint,
    reply: Subject,
    encoding: Encoding,
    outcome: Result<Response, Status>,
) {
    let answer = Answer::new(connection, endpoint, reply, encoding, outcome);
    answer.send(connection, endpoint).await;
}

/// An answer to the caller.
#[derive(Clone)]
struct Answer {
    reply: Subject,
    headers: Option<HeaderMap>,
    body: Bytes,
    /// Counted size of a handler's answer.
    bytes: usize,
}

impl Answer {
    fn new(
        connection: &Connection,
        endpoint: &Endpoint,
        reply: Subject,
        encoding: Encoding,
        outcome: Result<Response, Status>,
    ) -> Self {
        // If every instance gets every request, this one cannot know whether another has started
        // it.
        let outcome = match endpoint.limits.queue_group {
            Some(_) => outcome,
            None => outcome.map_err(Status::started),
        };
        let started = outcome.is_ok();
        let (headers, body, sent) = match encoding {
            Encoding::Protobuf => reply::encode(outcome, connection.max_payload()),
            _ => reply::encode_json(outcome, endpoint.method, connection.max_payload()),
        };
        if let (true, Err(status)) = (started, &sent) {
            // The handler succeeded, but its answer is too large. This is counted in addition to
            // the success.
            endpoint.stats.fail(status);
        }
        let is_answer = started && sent.is_ok();
        Self {
            bytes: if is_answer { body.len() } else { 0 },
            reply,
            headers,
            body,
        }
    }

    async fn send(self, connection: &Connection, endpoint: &Endpoint) {
        let bytes = self.bytes;
        match within(MAX_SEND, pin!(self.publish(connection))).await {
            Some(published) => note(endpoint, bytes, published),
            None => {
                let seconds = MAX_SEND.as_secs();
                let problem = format!("the connection accepted no data for {seconds} s");
                log_limited!(warn, method = %endpoint.method, problem, "cannot send a response");
            }
        }
    }

    async fn publish(self, connection: &Connection) -> Result<(), PublishError> {
        let client = connection.client();
        let Self {
            reply,
            headers,
            body,
            ..
        } = self;
        match headers {
            None => client.publish(reply, body).await,
            Some(headers) => client.publish_with_headers(reply, headers, body).await,
        }
    }
}

/// Counts an answer, or logs why it was not sent.
fn note(endpoint: &Endpoint, bytes: usize, published: Result<(), PublishError>) {
    match published {
        Ok(()) => endpoint.stats.metrics.sent(bytes),
        Err(problem) => {
            log_limited!(warn, method = %endpoint.method, %problem, "cannot send a response");
        }
    }
}
