//! [`Call`]: a call before it is made.

use std::{fmt, marker::PhantomData, time::Duration};

use futures_util::{FutureExt, TryFutureExt, future::BoxFuture};
use prost::Message;
use tokio::time::Instant;

use super::Channel;
use crate::{
    Context, Deadline, Metadata, Method, Status, Streaming,
    call::{
        body::{
            Body,
            streaming::{Encoded, Payload, Reader},
        },
        request::Request,
        response::Response,
    },
    observe::trace,
};

/// What a call gives: a message, or a [`Streaming`] of them.
pub trait Answer: Payload + Send + 'static {
    #[doc(hidden)]
    fn with_metadata(self, metadata: Metadata) -> Self;
}

impl<R: Message + Default + 'static> Answer for R {
    fn with_metadata(self, _: Metadata) -> Self {
        self
    }
}

impl<R: Message + Default + 'static> Answer for Streaming<R> {
    fn with_metadata(self, metadata: Metadata) -> Self {
        Self::with_metadata(self, metadata)
    }
}

/// A call that is made when it is awaited or [sent](Self::send); until then it can be set up.
///
/// ```no_run
/// # use std::time::Duration;
/// # async fn example(call: nmfw::client::Call<String>, ctx: nmfw::Context) -> nmfw::Result<()> {
/// // let call = calc.add(request);
/// let sum = call
///     .timeout(Duration::from_millis(200))
///     .header("tenant", "acme")
///     .await?;
/// # Ok(())
/// # }
/// ```
///
/// `A` is what comes of it: a message or, of a method that answers with a stream, a [`Streaming`],
/// which is there when the service has begun to answer.
///
/// Dropping it, the future it turns into or the stream that this gives, gives the call up. A handler
/// that has started is then dropped too if either side streams or the channel is
/// [multiplexed](Channel::multiplexed); else, over NATS, it goes on until its deadline.
///
/// # Errors
/// Every error is a [`Status`]: the handler's own, or one of these.
///
/// | code | when |
/// |---|---|
/// | `UNAVAILABLE`, not started | nobody serves the method; or the connection is lost, or instances are stopping, and that lasts |
/// | `UNAVAILABLE` | the connection was lost while the call was under way, or the instance that carried it out is gone: it may have been carried out. The NATS server's own words are added if it has said why |
/// | `RESOURCE_EXHAUSTED`, not started | every instance that was asked is full; or the NATS server refuses the subscription for replies, which is over its limit |
/// | `RESOURCE_EXHAUSTED` | a request is over what the service takes (16 MiB unless it says otherwise), or an answer over 16 MiB; the service holds too much for this client, which does not take its answers; or over the NATS server's `max_payload`, and the service has no sessions; or over that of the account, which shows only when the NATS server closes the connection over it; or only the answer is, of a method that the `.proto` does not call idempotent, the first time |
/// | `PERMISSION_DENIED` | the NATS server does not let this connection call the method |
/// | `DEADLINE_EXCEEDED` | no answer in time: it may have been carried out |
/// | `INVALID_ARGUMENT`, not started | metadata or a setting of the channel is not valid, or a layer names a method that the service does not have |
/// | `INVALID_ARGUMENT` | the service could not read the request |
/// | `INTERNAL` | the handler panicked, its error says OK, or its answer is not of the expected type |
/// | `UNIMPLEMENTED` | the service does not serve the method, or one that streams to clients such as this one |
#[must_use = "a call is made when it is awaited or sent"]
pub struct Call<A> {
    channel: Channel,
    /// With the metadata of the call alone, and the deadline that it inherits.
    request: Request,
    timeout: Option<Duration>,
    handler: Option<Context>,
    invalid: Option<Status>,
    answer: PhantomData<fn() -> A>,
}

impl<A> Call<A> {
    pub(super) fn new(channel: Channel, method: Method, body: Body) -> Self {
        Self {
            channel,
            request: Request::new(method, Deadline::NONE, Metadata::new(), body),
            timeout: None,
            handler: None,
            invalid: None,
            answer: PhantomData,
        }
    }

    /// Sets the time that the call gets, from when it is awaited, in place of the channel's. Of a
    /// call that streams it is the time for all of it, to the last message.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Adds metadata, in place of the channel's of the same key. Key and value that [`Metadata`]
    /// does not take make the call fail with `INVALID_ARGUMENT`.
    pub fn header(mut self, key: impl AsRef<str>, value: impl Into<String>) -> Self {
        if let Err(error) = self.request.metadata_mut().append(key, value) {
            self.invalid
                // Not started: no call is made with this metadata.
                .get_or_insert(Status::from(error).not_started());
        }
        self
    }

    /// Adds metadata, in place of any of the same keys: that of the handler's own caller, say.
    pub fn metadata(mut self, metadata: &Metadata) -> Self {
        self.request.metadata_mut().merge(metadata);
        self
    }

    /// Makes the call on behalf of the call that a handler is in: it gets no more time than is left
    /// there, and belongs to the same [trace](Context::trace_context). Where both have a limit, the
    /// shorter wins.
    pub fn context(mut self, ctx: &Context) -> Self {
        self.request.limit_deadline(ctx.deadline());
        self.handler = Some(ctx.clone());
        self
    }
}

impl<A: Answer> Call<A> {
    /// Returns the future that makes the call, for functions that take a future: `.await` on the call
    /// itself does the same. Nothing is sent before the future is polled.
    ///
    /// ```no_run
    /// # async fn example(one: nmfw::client::Call<String>, two: nmfw::client::Call<String>) -> nmfw::Result<()> {
    /// // let (one, two) = (calc.add(request), calc.add(other));
    /// let task = tokio::spawn(one.send());
    /// let two = tokio::time::timeout(std::time::Duration::from_secs(1), two.send()).await??;
    /// let one = task.await??;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of the [call](Self#errors).
    pub fn send(self) -> impl Future<Output = Result<A, Status>> + Send + use<A> {
        self.exchange()
            .map_ok(|(answer, metadata)| answer.with_metadata(metadata))
    }

    /// Makes the call as [`send`](Self::send) does, and returns the answer with the metadata that came with
    /// it. The metadata of a stream is what came ahead of its messages; that of an error is in the
    /// [`Status`].
    ///
    /// # Errors
    /// Those of the [call](Self#errors).
    pub fn send_with_metadata(
        self,
    ) -> impl Future<Output = Result<(A, Metadata), Status>> + Send + use<A> {
        self.exchange()
    }

    // Not an `async fn`, whose future would hold the whole call twice.
    fn exchange(self) -> impl Future<Output = Result<(A, Metadata), Status>> + Send + use<A> {
        let Self {
            channel,
            mut request,
            timeout,
            handler,
            invalid,
            ..
        } = self;
        async move {
            if let Some(status) = invalid {
                return Err(status);
            }
            let now = Instant::now();
            let method = request.method();
            if let Some(timeout) = timeout.or_else(|| channel.default_timeout(method)) {
                request.limit_deadline(Deadline::after_from(now, timeout));
            }
            if trace::is_listened_to() {
                let sent = channel.send_in_span(request, now, handler.as_ref());
                // In a box, so that calls that nobody listens to have no room for it in their futures.
                return decoded(&channel, method, Box::pin(sent).await?);
            }
            request.head.trace = handler.as_ref().and_then(Context::shared_trace);
            decoded(&channel, method, channel.send(request, now).await?)
        }
    }
}

fn decoded<A: Answer>(
    channel: &Channel,
    method: Method,
    response: Response,
) -> Result<(A, Metadata), Status> {
    let Response { metadata, body } = response;
    match A::from_body(Encoded(body), method, Reader::Client) {
        Ok(answer) => Ok((answer, metadata)),
        Err(status) => Err(channel.not_of(method, status)),
    }
}

impl<A: Answer> IntoFuture for Call<A> {
    type Output = Result<A, Status>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        self.send().boxed()
    }
}

impl<A> fmt::Debug for Call<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("method", &self.request.method())
            .field("timeout", &self.timeout)
            .field("metadata", self.request.metadata())
            .finish_non_exhaustive()
    }
}
