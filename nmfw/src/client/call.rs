//! [`Call`]: a call before it is made.

use std::{fmt, marker::PhantomData, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use prost::Message;

use super::Channel;
use crate::{Context, Deadline, Metadata, Method, Status, middleware::Response};

/// A call that is made when it is awaited; until then it can be set up.
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
/// Dropping it, or the future it turns into, gives the call up. A handler that has started is then
/// dropped too on a [multiplexed](Channel::multiplexed) channel; else, over NATS, it goes on until its
/// deadline.
///
/// # Errors
/// Every error is a [`Status`]: the handler's own, or one of these.
///
/// | code | when |
/// |---|---|
/// | `UNAVAILABLE`, not started | nobody serves the method; or the connection is lost, or instances are stopping, and that lasts |
/// | `UNAVAILABLE` | the connection was lost while the call was under way: it may have been carried out |
/// | `RESOURCE_EXHAUSTED`, not started | every instance that was asked is full |
/// | `RESOURCE_EXHAUSTED` | request or answer are larger than the NATS server takes |
/// | `PERMISSION_DENIED` | the NATS server does not let this connection call the method |
/// | `DEADLINE_EXCEEDED` | no answer in time: it may have been carried out |
/// | `INVALID_ARGUMENT` | metadata was not valid, or the service could not read the request |
/// | `INTERNAL` | the handler panicked, or its answer is not of the expected type |
#[must_use = "a call is made when it is awaited"]
pub struct Call<R> {
    channel: Channel,
    method: Method,
    body: Bytes,
    timeout: Option<Duration>,
    inherited: Deadline,
    metadata: Metadata,
    invalid: Option<Status>,
    response: PhantomData<fn() -> R>,
}

impl<R> Call<R> {
    pub(super) fn new(channel: Channel, method: Method, body: Bytes) -> Self {
        Self {
            channel,
            method,
            body,
            timeout: None,
            inherited: Deadline::NONE,
            metadata: Metadata::new(),
            invalid: None,
            response: PhantomData,
        }
    }

    /// Sets the time that the call gets, from when it is awaited, in place of the channel's.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Adds metadata, in place of the channel's of the same key. Key and value that [`Metadata`]
    /// does not take make the call fail with `INVALID_ARGUMENT`.
    pub fn header(mut self, key: impl AsRef<str>, value: impl Into<String>) -> Self {
        if let Err(error) = self.metadata.append(key, value) {
            self.invalid.get_or_insert(error.into());
        }
        self
    }

    /// Adds metadata, in place of any of the same keys: that of the handler's own caller, say.
    pub fn metadata(mut self, metadata: &Metadata) -> Self {
        self.metadata.merge(metadata);
        self
    }

    /// Makes the call on behalf of the call that a handler is in: it gets no more time than is left
    /// there. Where both have a limit, the shorter wins.
    pub fn context(mut self, ctx: &Context) -> Self {
        self.inherited = self.inherited.earlier(ctx.deadline());
        self
    }
}

impl<R: Message + Default + 'static> Call<R> {
    /// Makes the call, and gives the metadata of the answer besides. That of an error is in the
    /// [`Status`].
    ///
    /// # Errors
    /// As the call itself.
    pub async fn with_metadata(self) -> Result<(R, Metadata), Status> {
        let method = self.method;
        let Response { metadata, body } = self.send().await?;
        let message = R::decode(body).map_err(|error| {
            let text = format!("the answer of {method} is not a valid message: {error}");
            Status::internal(text).with_source(error)
        })?;
        Ok((message, metadata))
    }

    async fn send(self) -> Result<Response, Status> {
        if let Some(status) = self.invalid {
            return Err(status);
        }
        let timeout = self
            .timeout
            .unwrap_or_else(|| self.channel.default_timeout(self.method));
        let deadline = Deadline::after(timeout).earlier(self.inherited);
        self.channel
            .send(self.method, deadline, &self.metadata, self.body)
            .await
    }
}

impl<R: Message + Default + 'static> IntoFuture for Call<R> {
    type Output = Result<R, Status>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        async move { Ok(self.with_metadata().await?.0) }.boxed()
    }
}

impl<R> fmt::Debug for Call<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("method", &self.method)
            .field("timeout", &self.timeout)
            .field("metadata", &self.metadata)
            .finish_non_exhaustive()
    }
}
