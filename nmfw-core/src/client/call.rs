//! [`Call`]: a call that was not made yet.

use std::{fmt, marker::PhantomData, time::Duration};

use prost::Message;
use tokio::time::Instant;

use super::{
    Channel,
    exchange::{CallFuture, Exchange, WithMetadata},
};
use crate::{
    Context, Deadline, Metadata, Method, Status, Streaming,
    call::{
        body::{Body, streaming::Payload},
        request::Request,
    },
    observe::trace,
};

/// The result of a call: a message, or a [`Streaming`] of messages.
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

/// A call, which is made when it is awaited or [sent](Self::send), and can be configured before
/// that.
///
/// ```no_run
/// # use std::time::Duration;
/// # async fn example(call: nmfw::client::Call<String>, ctx: nmfw::Context) -> nmfw::Result<()> {
/// // let call = calc.add(request);
/// let sum = call
///     .timeout(Duration::from_millis(200))
///     .metadata("tenant", "acme")
///     .await?;
/// # Ok(())
/// # }
/// ```
///
/// `A` is the result: a message or, for a method with a response stream, a [`Streaming`] that is
/// available once the service has started to respond.
///
/// Dropping the call, its future or the resulting stream cancels the call. A handler that has
/// started is then dropped too if either side streams or if the channel is
/// multiplexed; otherwise, over NATS, it runs until its deadline.
///
/// # Errors
/// Every error is a [`Status`]: the handler's own, or one of these:
///
/// | code | when |
/// |---|---|
/// | `UNAVAILABLE`, not started | no instance serves the method; or the connection stays lost, or all instances are stopping |
/// | `UNAVAILABLE` | the connection was lost during the call, or the instance is gone: the call may have been executed. The message includes the NATS server's reason, if it gave one |
/// | `RESOURCE_EXHAUSTED`, not started | every instance that was tried is full; or the NATS server refuses the subscription for replies because of a limit |
/// | `RESOURCE_EXHAUSTED` | a request exceeds the service's limit (16 MiB by default), or a response exceeds 16 MiB; the service buffers too many responses that this client has not read; a message exceeds the NATS server's `max_payload` and the service has no sessions, or exceeds the account's limit, which is known only after the NATS server has closed the connection; or, once per method that is not idempotent in the `.proto`, only the response exceeds it |
/// | `PERMISSION_DENIED` | the NATS server does not allow this connection to call the method |
/// | `DEADLINE_EXCEEDED` | no response arrived in time: the call may have been executed |
/// | `INVALID_ARGUMENT`, not started | metadata or a setting of the channel is invalid, or a layer names a method that the service does not have |
/// | `INVALID_ARGUMENT` | the service could not decode the request |
/// | `INTERNAL` | the handler panicked, returned an error with the code OK, or its response has another type |
/// | `UNIMPLEMENTED` | the service does not serve the method, or does not serve it to this kind of client |
#[must_use = "a call is made when it is awaited or sent"]
pub struct Call<A> {
    channel: Channel,
    /// The request with the call's own metadata and an inherited deadline; the channel adds its
    /// settings.
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
            request: Request::with_head(method, Deadline::NONE, Metadata::new(), body),
            timeout: None,
            handler: None,
            invalid: None,
            answer: PhantomData,
        }
    }

    /// Sets the timeout of the call, measured from when it is awaited, in place of the channel's.
    /// For a call that streams, it covers the whole call up to its last message.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Adds metadata, replacing the channel's values of the same key. If [`Metadata`] does not
    /// accept the key or the value, the call fails with `INVALID_ARGUMENT`.
    pub fn metadata(mut self, key: impl AsRef<str>, value: impl Into<String>) -> Self {
        if let Err(error) = self.request.metadata_mut().append(key, value) {
            self.invalid
                // Not started: no call is made with this metadata.
                .get_or_insert(Status::from(error).not_started());
        }
        self
    }

    /// Adds metadata, replacing values of the same keys, for example to forward that of the
    /// handler's own caller.
    pub fn merge_metadata(mut self, metadata: &Metadata) -> Self {
        self.request.metadata_mut().merge(metadata);
        self
    }

    /// Makes the call on behalf of a handler's call: it inherits the remaining time and the
    /// [trace](Context::trace_context). If both have a limit, the shorter one applies.
    pub fn context(mut self, ctx: &Context) -> Self {
        self.request.limit_deadline(ctx.deadline());
        self.handler = Some(ctx.clone());
        self
    }
}

impl<A: Answer> Call<A> {
    /// Returns the future of the call, for functions that take a future. It is equivalent to
    /// `.await` on the call itself. Nothing is sent before the future is polled.
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
    /// See [`Call`](Self#errors).
    pub fn send(self) -> CallFuture<A> {
        CallFuture::new(self)
    }

    /// Makes the call like [`send`](Self::send), and returns the response with its metadata. The
    /// metadata of a stream is the part that is sent before its messages; that of an error is in
    /// the [`Status`].
    ///
    /// # Errors
    /// See [`Call`](Self#errors).
    pub fn send_with_metadata(
        self,
    ) -> impl Future<Output = Result<(A, Metadata), Status>> + Send + use<A> {
        WithMetadata::new(self)
    }
}

/// A call that was handed to its channel.
pub(super) struct Started {
    pub(super) channel: Channel,
    pub(super) method: Method,
    pub(super) exchange: Exchange,
}

impl<A> Call<A> {
    /// Starts the call.
    pub(super) fn start(self) -> Result<Started, Status> {
        let Self {
            channel,
            mut request,
            timeout,
            handler,
            invalid,
            ..
        } = self;
        if let Some(status) = invalid {
            return Err(status);
        }
        let now = Instant::now();
        let method = request.method();
        if let Some(timeout) = timeout.or_else(|| channel.default_timeout(method)) {
            request.limit_deadline(Deadline::after_from(now, timeout));
        }
        let exchange = match trace::is_listened_to() {
            true => Exchange::in_span(channel.send_in_span(request, now, handler)),
            false => {
                request.head.trace = handler.as_ref().and_then(Context::shared_trace);
                channel.send(request, now)
            }
        };
        Ok(Started {
            channel,
            method,
            exchange,
        })
    }
}

impl<A: Answer> IntoFuture for Call<A> {
    type Output = Result<A, Status>;
    type IntoFuture = CallFuture<A>;

    fn into_future(self) -> Self::IntoFuture {
        self.send()
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
