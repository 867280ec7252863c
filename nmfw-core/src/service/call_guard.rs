//! Guards for the whole duration of a call: counting, the deadline and forced shutdown, and
//! isolation of panics.

use std::{
    any::Any,
    ops::Deref,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{Stream, StreamExt};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{causes, instance::Endpoint, stalled::StreamPlace};
use crate::{
    Deadline, Method, Status,
    call::body::{Messages, chunk::Chunk},
    escape::Escaped,
    observe::trace::CallSpan,
};

/// Counts a call exactly once: when it ends or, if dropped before, as cancelled.
pub(crate) struct Count<E: Deref<Target = Endpoint>> {
    endpoint: E,
    begin: Option<Instant>,
    is_done: bool,
}

impl<E: Deref<Target = Endpoint>> Count<E> {
    pub(crate) fn new(endpoint: E) -> Self {
        Self {
            endpoint,
            begin: None,
            is_done: false,
        }
    }

    /// Starts counting for a handler that started at `begin`.
    pub(crate) fn begun(endpoint: E, begin: Instant) -> Self {
        Self {
            endpoint,
            begin: Some(begin),
            is_done: false,
        }
    }

    /// Leaves the counting to another guard.
    pub(crate) fn leave(mut self) {
        self.is_done = true;
    }

    pub(crate) fn end(&mut self, outcome: Result<(), &Status>) {
        _ = self.end_at(outcome, Instant::now());
    }

    /// Returns the run time of the handler so far.
    pub(crate) fn end_at(&mut self, outcome: Result<(), &Status>, now: Instant) -> Duration {
        self.is_done = true;
        if let (None, Err(status)) = (self.begin, outcome) {
            self.endpoint.refuse(status);
            return Duration::ZERO;
        }
        let time = self
            .begin
            .map_or(Duration::ZERO, |begin| now.duration_since(begin));
        self.endpoint.stats.record(outcome, time);
        time
    }
}

impl Count<&Endpoint> {
    /// Converts the guard for a call that outlives the borrow.
    pub(crate) fn keep(mut self, endpoint: &Arc<Endpoint>) -> Count<Arc<Endpoint>> {
        self.is_done = true;
        Count {
            endpoint: Arc::clone(endpoint),
            begin: self.begin,
            is_done: false,
        }
    }
}

impl<E: Deref<Target = Endpoint>> Drop for Count<E> {
    fn drop(&mut self) {
        if !self.is_done {
            self.end(Err(&Status::cancelled("the call ended before its handler")));
        }
    }
}

/// A handler's response stream, with its guards.
pub(crate) struct Watched {
    messages: Messages,
    method: Method,
    deadline: Option<Pin<Box<Sleep>>>,
    forced: Pin<Box<WaitForCancellationFutureOwned>>,
    call: Option<Box<CallSpan>>,
    count: Count<Arc<Endpoint>>,
    /// The slot of the handler.
    _place: StreamPlace,
}

impl Watched {
    pub(crate) fn new(
        messages: Messages,
        (method, deadline): (Method, Deadline),
        forced: &CancellationToken,
        call: Option<Box<CallSpan>>,
        count: Count<Arc<Endpoint>>,
        place: StreamPlace,
    ) -> Self {
        let deadline = deadline.timer_instant();
        Self {
            messages,
            method,
            deadline: deadline.map(|at| Box::pin(tokio::time::sleep_until(at))),
            forced: Box::pin(forced.clone().cancelled_owned()),
            call,
            count,
            _place: place,
        }
    }
}

impl Stream for Watched {
    type Item = Result<Chunk, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let method = this.method;
        let entered = this.call.as_ref().map(|call| call.enter());
        let polled = catch_unwind(AssertUnwindSafe(|| this.messages.poll_next_unpin(cx)));
        drop(entered);
        let item = match polled {
            Ok(Poll::Ready(item)) => item,
            Ok(Poll::Pending) => {
                if let Some(deadline) = &mut this.deadline
                    && deadline.as_mut().poll(cx).is_ready()
                {
                    Some(Err(late(method)))
                } else if this.forced.as_mut().poll(cx).is_ready() {
                    Some(Err(stopped(method)))
                } else {
                    return Poll::Pending;
                }
            }
            Err(panic) => Some(Err(panicked(method, panic.as_ref()))),
        };
        // A stream that is always ready must still observe its deadline.
        let is_late = |deadline: &Pin<Box<Sleep>>| deadline.deadline() <= Instant::now();
        let item = match item {
            Some(Ok(_)) | None if this.deadline.as_ref().is_some_and(is_late) => {
                Some(Err(late(method)))
            }
            item => item,
        };
        if let Some(Err(status)) = &item {
            causes::log(method, this.call.as_deref(), status);
        }
        if let Some(call) = &mut this.call {
            call.answer(item.as_ref());
        }
        match &item {
            Some(Ok(chunk)) => this.count.endpoint.stats.metrics.sent_in_stream(chunk),
            Some(Err(status)) => this.count.end(Err(status)),
            None => this.count.end(Ok(())),
        }
        Poll::Ready(item)
    }
}

/// Drops the values of the handler's stream in the span of its call.
impl Drop for Watched {
    fn drop(&mut self) {
        let _entered = self.call.as_ref().map(|call| call.enter());
        clear(self.method, &mut self.messages);
    }
}

/// Drops the response stream of a call that has already ended. A panic is logged and contained, so
/// that it ends neither the sending task nor that of a local caller.
pub(crate) fn clear(method: Method, messages: &mut Messages) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| messages.clear())) {
        _ = panicked(method, panic.as_ref());
    }
}

pub(crate) fn late(method: Method) -> Status {
    Status::deadline_exceeded(format!("{method} did not complete before its deadline"))
}

pub(crate) fn stopped(method: Method) -> Status {
    Status::unavailable(format!("the server was stopped before {method} completed"))
}

/// Maximum length of a panic message in a log line, in bytes.
const MAX_PANIC: usize = 1024;

/// Logs a panic. Its text is for the operator, not for the caller.
pub(crate) fn panicked(method: Method, panic: &(dyn Any + Send)) -> Status {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let panic = text.unwrap_or("(no text)");
    // The text may contain data from a peer.
    log_limited!(error, %method, panic = %Escaped::up_to(panic, MAX_PANIC), "handler panicked");
    Status::internal(format!("the handler of {method} panicked"))
}
