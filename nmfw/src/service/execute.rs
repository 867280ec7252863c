//! Calls of an instance: from a request that the gate has been asked about to what its handler says.

use std::{
    fmt,
    future::{pending, poll_fn},
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use tokio::{task::unconstrained, time::Instant};

use super::{
    admission::{Admitted, Permit},
    call_guard::{self, Count, Watched},
    causes,
    client_id::ClientId,
    instance::{Endpoint, Instance},
    stalled::{Stalling, Stream, StreamPlace},
};
use crate::{
    Code, Deadline, Method, Status,
    call::{body::Body, request::Request, response::Response},
    observe::trace::{self, CallSpan},
};

/// A handler at work.
pub(crate) struct Begun {
    method: Method,
    deadline: Deadline,
    work: BoxFuture<'static, Result<Response, Status>>,
    /// If anybody listens.
    call: Option<Box<CallSpan>>,
    began: Instant,
    has_waited: bool,
    is_released: bool,
}

impl Begun {
    /// A panic ends the handler, and nothing else.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response, Status>> {
        let entered = self.call.as_ref().map(|call| call.enter());
        let polled = catch_unwind(AssertUnwindSafe(|| self.work.poll_unpin(cx)));
        drop(entered);
        self.has_waited |= matches!(polled, Ok(Poll::Pending));
        polled.unwrap_or_else(|panic| {
            Poll::Ready(Err(call_guard::panicked(self.method, panic.as_ref())))
        })
    }

    /// Drops what the handler holds, in its span. A panic ends nothing else here either: not the task
    /// that reads calls, nor that of a local caller.
    fn release(&mut self) -> Result<(), Status> {
        self.is_released = true;
        let _entered = self.call.as_ref().map(|call| call.enter());
        let work = &mut self.work;
        catch_unwind(AssertUnwindSafe(|| *work = Box::pin(pending())))
            .map_err(|panic| call_guard::panicked(self.method, panic.as_ref()))
    }

    /// The outcome of a handler that has ended, at this time. After the deadline nobody waits for it
    /// any more, over NATS; so a local caller does not get it either.
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
        if self.deadline.instant().is_none_or(|end| at < end) {
            return outcome;
        }
        match outcome {
            Err(status) if status.code() == Code::DeadlineExceeded => Err(status),
            Err(status) => Err(call_guard::late(self.method).with_source(status)),
            Ok(_) => Err(call_guard::late(self.method)),
        }
    }

    /// Logs what led to a failure, and notes it in the span.
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
            // It is logged.
            _ = self.release();
        }
    }
}

impl fmt::Debug for Begun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a handler of {}", self.method)
    }
}

/// What became of a handler that was run at once.
pub(crate) enum Now {
    Done(Result<Response, Status>),
    /// It waits.
    Begun(Begun),
}

/// What a worker is given: a request that the gate has been asked about, or a handler that has begun.
#[derive(Debug)]
pub(crate) enum Work {
    Admitted(Admitted, Request),
    Begun(Begun, Permit),
}

impl Instance {
    /// Runs a request that the gate has been asked about: waits for its turn if it must, and lets the
    /// handler work until it answers, panics, or nobody waits any more. A stream that it answers
    /// with is watched over in the same way, to its end.
    ///
    /// The permit is for the caller to keep until the answer is on its way, so that answers which
    /// cannot be sent do not pile up behind handlers that go on making more. A stream keeps its own.
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
                // In a box, so that calls that need not wait have no room for it in their futures.
                let turn = ticket.turn(request.deadline(), &self.lifecycle.draining, || {
                    endpoint.stats.metrics.displaced();
                });
                let turn = Box::pin(turn).await;
                // Others may be ready in the meantime.
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

    /// Runs a request of this process, as part of who calls. A handler that need not wait takes no
    /// memory but its own.
    pub(crate) async fn call_here(
        &self,
        endpoint: &Arc<Endpoint>,
        request: Request,
    ) -> Result<Response, Status> {
        let bytes = request.body().map_or(0, Bytes::len);
        match self.admit(endpoint, bytes, || ClientId::LOCAL) {
            Admitted::Now(permit) if !endpoint.method.streams() => {
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

    /// Runs a request here and now, without waiting: for handlers that are known to be
    /// [quick](super::quick).
    pub(crate) fn call_now(&self, endpoint: &Arc<Endpoint>, request: Request) -> Now {
        let mut handler = match self.begin(endpoint, request) {
            Ok(handler) => handler,
            Err(status) => return Now::Done(Err(status)),
        };
        // It is not to wait because whoever reads has done enough for a turn. If it waits, it is asked
        // again at once by whom it is left to.
        let polled = unconstrained(poll_fn(|cx| handler.poll(cx))).now_or_never();
        match polled {
            Some(outcome) => Now::Done(ended_at_once(endpoint, handler, outcome)),
            None => Now::Begun(handler),
        }
    }

    fn begin(&self, endpoint: &Arc<Endpoint>, mut request: Request) -> Result<Begun, Status> {
        let (method, deadline, began) = (request.method(), request.deadline(), Instant::now());
        if deadline.instant().is_some_and(|at| at <= began) {
            // A handler that never waits would otherwise run to its end all the same.
            let status = Status::deadline_exceeded(format!("no time was left for {method}"));
            let status = status.not_started();
            endpoint.stats.refuse(&status);
            return Err(status);
        }
        if let Some(message) = request.body() {
            endpoint.stats.metrics.received(message.len());
        }
        endpoint.check_sizes(&mut request.head.body);
        let call = trace::is_listened_to().then(|| {
            // Who calls from the same process is around it.
            let from_afar = request.head.origin.as_ref();
            let trace = from_afar.and(request.trace_context());
            let call = CallSpan::server(method, &self.identity(), trace);
            call.count_requests(&mut request.head.body);
            Box::new(call)
        });
        let work = match self.layers.get() {
            None => self.handlers.call(request),
            Some(layered) => tower::ServiceExt::oneshot(layered.clone(), request).boxed(),
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

    /// Lets a handler work to its end. A permit is its place among those that run; a stream of answers
    /// may have to give it to others while it is `stalling`.
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
        // Only a handler that waits has a timer, which takes some work and memory.
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
            // Not twice in the same turn.
            outcome = poll_fn(|cx| match mem::take(&mut has_asked) {
                true => Poll::Pending,
                false => handler.poll(cx),
            }) => outcome,
            status = Box::pin(end) => Err(status),
        }
    }

    /// Has a worker's work done. A stream of answers may be `stalling`, which its permit is taken for.
    pub(crate) async fn work(
        &self,
        endpoint: &Arc<Endpoint>,
        work: Work,
        stalling: Option<Arc<Stream<dyn Stalling>>>,
    ) -> (Result<Response, Status>, Option<StreamPlace>) {
        match work {
            Work::Admitted(admitted, request) => {
                self.call(endpoint, admitted, request, stalling).await
            }
            Work::Begun(handler, permit) => self.finish(endpoint, handler, permit, stalling).await,
        }
    }
}

/// Refuses an answer with more values of metadata than a session carries, whatever carries it.
fn check_values(response: &Response) -> Result<(), Status> {
    response.metadata.check_size().map_err(|error| {
        let text = format!("the answer cannot be sent: {error}");
        Status::resource_exhausted(text)
    })
}

/// Refuses one message where a stream of them is expected: a layer may have answered by itself. A
/// session could send it; a local caller would get an error.
fn check_kind(method: Method, response: &Response) -> Result<(), Status> {
    if method.streams_responses() && response.body().is_some() {
        let text = "a layer has answered with one message, where there is to be a stream of them";
        return Err(Status::internal(format!("{method}: {text}")));
    }
    Ok(())
}

/// What has come of a handler that did not wait.
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
