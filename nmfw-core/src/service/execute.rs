//! Execution of an instance's calls, from an admitted request to the handler's response.

use std::{
    fmt,
    future::{pending, poll_fn},
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{FutureExt, TryFutureExt, future::BoxFuture};
use tokio::{task::unconstrained, time::Instant};

use super::{
    admission::{Admitted, Permit},
    call_guard::{self, Count, Watched},
    causes,
    client_id::ClientId,
    entered::Entered,
    handler::Handlers,
    instance::{Endpoint, Instance},
    stalled::{Stalling, Stream, StreamPlace},
    timing::Timing,
};
use crate::{
    Code, Deadline, Method, Status,
    call::{
        body::Body,
        json::{Transcoder, convert},
        request::{Encoding, Request},
        response::Response,
    },
    layer::Layers,
    observe::trace::{self, CallSpan},
};

/// A running handler.
pub struct Begun {
    method: Method,
    deadline: Deadline,
    work: BoxFuture<'static, Result<Response, Status>>,
    /// The span, if a subscriber is interested.
    call: Option<Box<CallSpan>>,
    began: Instant,
    has_waited: bool,
    is_released: bool,
}

impl Begun {
    /// Polls the handler. A panic ends only the handler.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response, Status>> {
        let entered = self.call.as_ref().map(|call| call.enter());
        let polled = catch_unwind(AssertUnwindSafe(|| self.work.poll_unpin(cx)));
        drop(entered);
        self.has_waited |= matches!(polled, Ok(Poll::Pending));
        polled.unwrap_or_else(|panic| {
            Poll::Ready(Err(call_guard::panicked(self.method, panic.as_ref())))
        })
    }

    /// Drops the handler's values in its span. A panic is contained here as well, so that it ends
    /// neither the reader task nor that of a local caller.
    fn release(&mut self) -> Result<(), Status> {
        self.is_released = true;
        let _entered = self.call.as_ref().map(|call| call.enter());
        let work = &mut self.work;
        catch_unwind(AssertUnwindSafe(|| *work = Box::pin(pending())))
            .map_err(|panic| call_guard::panicked(self.method, panic.as_ref()))
    }

    /// Returns the outcome of a handler that ended at `now`. After the deadline, a remote caller no
    /// longer waits; a local caller gets the same result.
    fn ended(
        &mut self,
        outcome: Result<Response, Status>,
        at: Instant,
    ) -> Result<Response, Status> {
        let outcome = match outcome {
            Ok(response) => {
                let released = self.release();
                released
                    .and_then(|()| check_values(&response))
                    .map(|()| response)
            }
            failed => failed,
        };
        if self.deadline.timer_instant().is_none_or(|end| at < end) {
            return outcome;
        }
        match outcome {
            Err(status) if status.code() == Code::DeadlineExceeded => Err(status),
            Err(status) => Err(call_guard::late(self.method).with_source(status)),
            Ok(_) => Err(call_guard::late(self.method)),
        }
    }

    /// Logs the causes of a failure, and records it in the span.
    fn note(&mut self, outcome: &Result<Response, Status>) {
        if let Err(status) = outcome {
            causes::log(self.method, self.call.as_deref(), status);
        }
        if let Some(call) = &mut self.call {
            call.end(outcome.as_ref().map(|_| ()));
        }
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if !self.is_released {
            // Already logged.
            _ = self.release();
        }
    }
}

impl fmt::Debug for Begun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a handler of {}", self.method)
    }
}

/// The state of a handler after its first poll.
#[derive(Debug)]
pub enum Now {
    Done(Result<Response, Status>),
    /// The handler is pending.
    Begun(Begun),
}

/// A job of a worker: an admitted request, or a handler that has started.
#[derive(Debug)]
pub enum Work {
    Admitted(Admitted, Request),
    /// Boxed, so that the others are small to hand over.
    Begun(Box<Begun>, Permit),
}

impl Instance {
    /// Executes an admitted request: waits for a slot if necessary, and runs the handler until it
    /// responds, panics, or the caller no longer waits. A response stream is guarded in the same
    /// way until it ends.
    ///
    /// The caller keeps the permit until the response is sent, so that unsent responses do not pile
    /// up behind handlers that produce more. A stream has its own permit.
    pub(crate) async fn call(
        &self,
        endpoint: &Arc<Endpoint>,
        admitted: Admitted,
        request: Request,
        stalling: Option<Arc<Stream<dyn Stalling>>>,
    ) -> (Result<Response, Status>, Option<StreamPlace>) {
        let mut count = Count::new(&**endpoint);
        let turn = match admitted {
            Admitted::Now(permit) => Ok(permit),
            Admitted::Later(ticket) => {
                // Boxed, because most calls do not wait and should not reserve space for it.
                let turn = ticket.turn(request.deadline(), &self.lifecycle.draining, || {
                    endpoint.stats.metrics.displaced();
                });
                let turn = Box::pin(turn).await;
                // Other instances may be ready meanwhile.
                match self.lifecycle.checks.refusal() {
                    Some(refusal) => turn.and(Err(refusal)),
                    None => turn,
                }
            }
            Admitted::Refused(status) => Err(status),
        };
        let permit = match turn {
            Ok(permit) => permit,
            Err(status) => {
                count.end(Err(&status));
                return (Err(status), None);
            }
        };
        count.leave();
        match self.begin(endpoint, request) {
            Ok(handler) => self.finish(endpoint, handler, permit, stalling).await,
            Err(status) => (Err(status), Some(StreamPlace::Own(permit))),
        }
    }

    /// Executes a local request within the caller's future. A handler that never waits allocates
    /// only its own memory.
    pub(crate) async fn call_here(
        &self,
        endpoint: &Arc<Endpoint>,
        mut request: Request,
    ) -> Result<Response, Status> {
        let bytes = request.body().map_or(0, Bytes::len);
        let named = request.extensions().get().copied();
        let client = || named.unwrap_or(ClientId::LOCAL);
        match self.admit(endpoint, &mut request, bytes, client) {
            Admitted::Now(permit) if !endpoint.method.is_streaming() => {
                let mut handler = self.begin(endpoint, request)?;
                match poll_fn(|cx| Poll::Ready(handler.poll(cx))).await {
                    Poll::Ready(outcome) => ended_at_once(endpoint, handler, outcome),
                    Poll::Pending => {
                        Box::pin(self.finish(endpoint, handler, permit, None))
                            .await
                            .0
                    }
                }
            }
            admitted => {
                Box::pin(self.call(endpoint, admitted, request, None))
                    .await
                    .0
            }
        }
    }

    /// Polls a request's handler once, without waiting, for handlers that are known to be
    /// [quick](super::inline).
    pub fn call_now(&self, endpoint: &Arc<Endpoint>, request: Request) -> Now {
        let mut handler = match self.begin(endpoint, request) {
            Ok(handler) => handler,
            Err(status) => return Now::Done(Err(status)),
        };
        // Unconstrained, because the handler must not be delayed by the reader task's coop budget.
        // If it is pending, the worker that takes over polls it again at once.
        let polled = unconstrained(poll_fn(|cx| handler.poll(cx))).now_or_never();
        match polled {
            Some(outcome) => Now::Done(ended_at_once(endpoint, handler, outcome)),
            None => Now::Begun(handler),
        }
    }

    fn begin(&self, endpoint: &Arc<Endpoint>, mut request: Request) -> Result<Begun, Status> {
        let (method, deadline, began) = (request.method(), request.deadline(), Instant::now());
        if deadline.timer_instant().is_some_and(|at| at <= began) {
            // A handler that never waits would otherwise run to completion.
            let status = Status::deadline_exceeded(format!(
                "the deadline passed before the handler of {method} was called"
            ));
            // Not started: the handler is called below.
            let status = status.not_started();
            endpoint.stats.refuse(&status);
            return Err(status);
        }
        if let Some(message) = request.body() {
            endpoint.stats.metrics.received(message.len());
        }
        endpoint.check_sizes(&mut request.head.body);
        let call = trace::is_listened_to().then(|| {
            // For a local call, the caller's span is already current.
            let from_afar = request.head.origin.as_ref();
            let trace = from_afar.and(request.trace_context());
            let call = CallSpan::server(method, &self.identity(), trace);
            call.count_requests(&mut request.head.body);
            Box::new(call)
        });
        let timing = Timing::asked(&request, &self.id, began);
        let work = match request.encoding() {
            Encoding::Protobuf => handle(&self.handlers, &self.layers, request),
            Encoding::Json => {
                let (handlers, layers) = (self.handlers.clone(), self.layers.clone());
                in_json(request, move |request| handle(&handlers, &layers, request)).boxed()
            }
        };
        let work = match timing {
            None => work,
            Some(timing) => timing.measure(work).boxed(),
        };
        Ok(Begun {
            method,
            deadline,
            work,
            call,
            began,
            has_waited: false,
            is_released: false,
        })
    }

    /// Runs a handler to completion. The permit is its slot; a response stream may lose it while
    /// `stalling`.
    pub(crate) async fn finish(
        &self,
        endpoint: &Arc<Endpoint>,
        mut handler: Begun,
        permit: Permit,
        stalling: Option<Arc<Stream<dyn Stalling>>>,
    ) -> (Result<Response, Status>, Option<StreamPlace>) {
        let place = match stalling {
            Some(stream) => StreamPlace::Lent(endpoint.admission.lend(permit, stream)),
            None => StreamPlace::Own(permit),
        };
        let mut count = Count::begun(&**endpoint, handler.began);
        let outcome = self.outcome(&mut handler).await;
        let now = Instant::now();
        let outcome = handler.ended(outcome, now);
        let method = handler.method;
        let outcome = outcome.and_then(|answer| check_kind(method, &answer).map(|()| answer));
        match outcome {
            Ok(Response {
                metadata,
                body: Body::Messages(messages),
            }) => {
                let call = (handler.method, handler.deadline);
                let count = count.keep(endpoint);
                let (forced, span) = (&self.lifecycle.forced, handler.call.take());
                let messages = messages
                    .wrap(|messages| Watched::new(messages, call, forced, span, count, place));
                (Ok(Response::streaming(messages, metadata)), None)
            }
            outcome => {
                handler.note(&outcome);
                let time = count.end_at(outcome.as_ref().map(|_| ()), now);
                if handler.has_waited {
                    endpoint.quick.waits();
                } else {
                    endpoint.quick.ended(time);
                }
                (outcome, Some(place))
            }
        }
    }

    async fn outcome(&self, handler: &mut Begun) -> Result<Response, Status> {
        let mut has_asked = false;
        if !handler.has_waited {
            let first = poll_fn(|cx| Poll::Ready(handler.poll(cx))).await;
            if let Poll::Ready(outcome) = first {
                return outcome;
            }
            has_asked = true;
        }
        // A timer costs time and memory, so only a handler that is pending gets one.
        let (method, deadline) = (handler.method, handler.deadline);
        let end = async {
            tokio::select! {
                biased;
                () = deadline.passed() => call_guard::late(method),
                () = self.lifecycle.forced.cancelled() => call_guard::stopped(method),
            }
        };
        tokio::select! {
            biased;
            // Polled only once per turn.
            outcome = poll_fn(|cx| match mem::take(&mut has_asked) {
                true => Poll::Pending,
                false => handler.poll(cx),
            }) => outcome,
            status = Box::pin(end) => Err(status),
        }
    }

    /// Executes a worker's job. A response stream may be `stalling`; its permit is then lent.
    pub async fn work(
        &self,
        endpoint: &Arc<Endpoint>,
        work: Work,
        stalling: Option<Arc<Stream<dyn Stalling>>>,
    ) -> (Result<Response, Status>, Option<StreamPlace>) {
        match work {
            Work::Admitted(admitted, request) => {
                self.call(endpoint, admitted, request, stalling).await
            }
            Work::Begun(handler, permit) => self.finish(endpoint, *handler, permit, stalling).await,
        }
    }
}

/// Passes a request to the layers and the handler.
fn handle(
    handlers: &Handlers,
    layers: &Layers,
    mut request: Request,
) -> BoxFuture<'static, Result<Response, Status>> {
    match layers.get() {
        None => handlers.call(request),
        Some(layered) => {
            let entered = Entered::default();
            entered.follow(&mut request);
            let work = tower::ServiceExt::oneshot(layered.clone(), request);
            work.map_err(move |status| entered.unmark(status)).boxed()
        }
    }
}

/// Converts a request from JSON, and its response to JSON.
async fn in_json(
    mut request: Request,
    handle: impl FnOnce(Request) -> BoxFuture<'static, Result<Response, Status>>,
) -> Result<Response, Status> {
    let json = Transcoder::of(request.method())?;
    let requests = json.clone();
    convert(request.body_mut(), move |message| {
        requests.request_to_binary(message)
    })?;
    request.set_encoding(Encoding::Protobuf);
    let mut response = handle(request).await?;
    convert(response.body_mut(), move |message| {
        json.response_to_json(message)
    })?;
    Ok(response)
}

/// Refuses a response with more metadata values than a session can carry, on every transport.
fn check_values(response: &Response) -> Result<(), Status> {
    response.metadata.check_size().map_err(|error| {
        let text = format!("the response cannot be sent: {error}");
        Status::resource_exhausted(text)
    })
}

/// Refuses a single message where a stream is expected, which a layer may have returned. A session
/// could send it, but a local caller would get an error.
fn check_kind(method: Method, response: &Response) -> Result<(), Status> {
    if method.is_server_streaming() && response.body().is_some() {
        let text = "a layer returned a single message for a method that returns a stream";
        return Err(Status::internal(format!("{method}: {text}")));
    }
    Ok(())
}

/// Returns the outcome of a handler that never waited.
fn ended_at_once(
    endpoint: &Endpoint,
    mut handler: Begun,
    outcome: Result<Response, Status>,
) -> Result<Response, Status> {
    let now = Instant::now();
    let time = now.duration_since(handler.began);
    let outcome = handler.ended(outcome, now);
    handler.note(&outcome);
    endpoint.quick.ended(time);
    endpoint.stats.record(outcome.as_ref().map(|_| ()), time);
    outcome
}
