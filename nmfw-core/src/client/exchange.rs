//! [`Exchange`] and [`CallFuture`]: calls in flight.

use std::{
    fmt, mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_util::{FutureExt, future::BoxFuture};

use super::call::{Answer, Call, Started};
use crate::{
    Metadata, Status,
    call::{
        body::streaming::{Encoded, ReadingSide},
        response::Response,
    },
    observe::metrics::CallCount,
};

/// A call that a channel has started: its reply, and the metrics that end with it.
pub(super) struct Exchange {
    /// `None` for a call in a span, which contains another exchange.
    count: Option<CallCount>,
    reply: Reply,
}

enum Reply {
    /// `None` once it was returned.
    Refused(Option<Status>),
    Pending(BoxFuture<'static, Result<Response, Status>>),
}

impl Exchange {
    pub(super) fn new(
        count: CallCount,
        reply: BoxFuture<'static, Result<Response, Status>>,
    ) -> Self {
        Self {
            count: Some(count),
            reply: Reply::Pending(reply),
        }
    }

    /// Creates an exchange with a span, for which there is a subscriber.
    pub(super) fn in_span(reply: BoxFuture<'static, Result<Response, Status>>) -> Self {
        Self {
            count: None,
            reply: Reply::Pending(reply),
        }
    }

    /// Creates an exchange that fails.
    pub(super) fn refused(count: CallCount, status: Status) -> Self {
        Self {
            count: Some(count),
            reply: Reply::Refused(Some(status)),
        }
    }
}

impl Future for Exchange {
    type Output = Result<Response, Status>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = match &mut self.reply {
            Reply::Pending(reply) => ready!(reply.poll_unpin(cx)),
            Reply::Refused(status) => match status.take() {
                Some(status) => Err(status),
                None => panic!("the exchange was polled after it had completed"),
            },
        };
        Poll::Ready(match self.count.take() {
            Some(count) => count.response(outcome),
            None => outcome,
        })
    }
}

/// The future of a [`Call`], which starts when it is first polled.
#[must_use = "futures do nothing unless they are polled"]
pub struct CallFuture<A>(WithMetadata<A>);

impl<A> CallFuture<A> {
    pub(super) fn new(call: Call<A>) -> Self {
        Self(WithMetadata(State::New(call)))
    }
}

impl<A: Answer> Future for CallFuture<A> {
    type Output = Result<A, Status>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (answer, metadata) = ready!(self.0.poll_unpin(cx))?;
        Poll::Ready(Ok(answer.with_metadata(metadata)))
    }
}

impl<A> fmt::Debug for CallFuture<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallFuture").finish_non_exhaustive()
    }
}

/// The future of a call, with the metadata of its response.
pub(super) struct WithMetadata<A>(State<A>);

impl<A> WithMetadata<A> {
    pub(super) fn new(call: Call<A>) -> Self {
        Self(State::New(call))
    }
}

enum State<A> {
    New(Call<A>),
    Sent(Started),
    Done,
}

impl<A: Answer> Future for WithMetadata<A> {
    type Output = Result<(A, Metadata), Status>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let State::New(_) = self.0
            && let State::New(call) = mem::replace(&mut self.0, State::Done)
        {
            self.0 = State::Sent(call.start()?);
        }
        let State::Sent(started) = &mut self.0 else {
            panic!("the future of a call was polled after it had completed");
        };
        let outcome = ready!(started.exchange.poll_unpin(cx));
        let outcome = outcome.and_then(|Response { metadata, body }| {
            match A::from_body(Encoded(body), started.method, ReadingSide::Client) {
                Ok(answer) => Ok((answer, metadata)),
                Err(status) => Err(started.channel.not_of(started.method, status)),
            }
        });
        self.0 = State::Done;
        Poll::Ready(outcome)
    }
}
