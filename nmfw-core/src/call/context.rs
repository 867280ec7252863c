//! [`Context`]: a handler's access to its call.

use std::{
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use tokio_util::sync::CancellationToken;
use tracing::{Span, level_filters::LevelFilter};

use super::{
    body::Body,
    request::{Head, Request},
    trace_context::TraceContext,
};
use crate::{Deadline, Metadata, MetadataError, Method};

/// A handler's access to its call beyond the message: the caller's metadata, the deadline, and the
/// metadata of the response. Clones are cheap and refer to the same call.
///
/// ```
/// use nmfw::{Context, Status};
///
/// async fn handle(ctx: &Context) -> Result<(), Status> {
///     let tenant = ctx.metadata().get("tenant").unwrap_or("nobody");
///     tracing::info!(tenant, time_left = ?ctx.time_left(), "working");
///     ctx.set_response_metadata("served-by", "me")?;
///     Ok(())
/// }
/// # tokio_test(handle(&Context::default()));
/// # fn tokio_test(f: impl Future) { tokio::runtime::Runtime::new().unwrap().block_on(f); }
/// ```
///
/// [`Context::default`] belongs to no call, and has no deadline and no metadata. Use it in unit
/// tests of handlers, and to call a client through its trait.
#[derive(Clone, Default)]
pub struct Context(Arc<ContextInner>);

#[derive(Default)]
struct ContextInner {
    method: Option<Method>,
    head: Box<Head>,
    span: Option<Span>,
    response_metadata: Mutex<Metadata>,
    trailers: Mutex<Metadata>,
    // Created lazily by the waiting or the cancelling side, because most calls need neither.
    cancelled: OnceLock<CancellationToken>,
}

impl Context {
    /// Creates a context without a call, for unit tests of handlers.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use nmfw::{Context, Deadline, Metadata};
    /// let ctx = Context::new(Metadata::new(), Deadline::after(Duration::from_secs(1)));
    /// assert!(ctx.time_left() <= Some(Duration::from_secs(1)));
    /// ```
    #[must_use]
    pub fn new(metadata: Metadata, deadline: Deadline) -> Self {
        let head = Head {
            metadata,
            deadline,
            ..Head::default()
        };
        Self(Arc::new(ContextInner {
            head: Box::new(head),
            ..ContextInner::default()
        }))
    }

    /// Splits a request into the context of its handler and its body.
    pub(crate) fn from_request(mut request: Request) -> (Self, Body) {
        let body = request.take_body();
        let context = Self(Arc::new(ContextInner {
            method: Some(request.method),
            head: request.head,
            span: current_span(),
            response_metadata: Mutex::default(),
            trailers: Mutex::default(),
            cancelled: OnceLock::new(),
        }));
        (context, body)
    }

    /// Returns the called method; `None` for [`Context::default`].
    #[must_use]
    pub fn method(&self) -> Option<Method> {
        self.0.method
    }

    /// Returns the caller's metadata.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.0.head.metadata
    }

    /// Sets a key of the response metadata, which is sent with the response or the error. If the
    /// method streams its responses, the metadata is sent before the messages, when the handler
    /// returns its stream; keys that are set later are sent at the end, like
    /// [trailers](Self::set_trailer).
    ///
    /// # Errors
    /// Fails if the key or the value breaks the rules of [`Metadata`].
    pub fn set_response_metadata(
        &self,
        key: impl AsRef<str>,
        value: impl Into<String>,
    ) -> Result<(), MetadataError> {
        self.update_response_metadata(|metadata| metadata.insert(key, value))
    }

    /// Changes the response metadata.
    ///
    /// ```
    /// # fn example(ctx: &nmfw::Context, metadata: &nmfw::Metadata) {
    /// ctx.update_response_metadata(|response| response.merge(metadata));
    /// # }
    /// ```
    pub fn update_response_metadata<T>(&self, change: impl FnOnce(&mut Metadata) -> T) -> T {
        update(&self.0.response_metadata, change)
    }

    /// Sets a key of the trailers, which are sent at the end of a response stream, for values such
    /// as a checksum that are only known then. If the response is a single message, they are sent
    /// with it.
    ///
    /// # Errors
    /// Fails if the key or the value breaks the rules of [`Metadata`].
    pub fn set_trailer(
        &self,
        key: impl AsRef<str>,
        value: impl Into<String>,
    ) -> Result<(), MetadataError> {
        self.update_trailers(|trailers| trailers.insert(key, value))
    }

    /// Changes the trailers.
    pub fn update_trailers<T>(&self, change: impl FnOnce(&mut Metadata) -> T) -> T {
        update(&self.0.trailers, change)
    }

    pub(crate) fn take_response_metadata(&self) -> Metadata {
        self.update_response_metadata(std::mem::take)
    }

    /// Returns all metadata that was not sent yet.
    pub(crate) fn take_trailers(&self) -> Metadata {
        let mut all = self.take_response_metadata();
        all.merge(&self.update_trailers(std::mem::take));
        all
    }

    /// Returns the deadline of the call, at which its handler is dropped.
    #[must_use]
    pub fn deadline(&self) -> Deadline {
        self.0.head.deadline
    }

    /// Returns the time left until the deadline; `None` if there is none.
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        self.0.head.deadline.time_left()
    }

    /// Returns whether the response is no longer needed: the deadline has passed, the caller has
    /// cancelled the call, or the server was stopped by force.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        let told = self
            .0
            .cancelled
            .get()
            .is_some_and(CancellationToken::is_cancelled);
        told || self.0.head.deadline.has_passed()
    }

    /// Completes when the response is no longer needed.
    ///
    /// The handler itself is dropped at that point and need not wait for it. Use this in spawned
    /// work that should end too. It never completes if the handler returns first.
    pub async fn cancelled(&self) {
        self.cancellation().cancelled().await;
    }

    /// Completes when the server starts its shutdown. Handlers may then continue for the [grace
    /// period](https://docs.rs/nmfw/latest/nmfw/struct.Server.html#method.grace). Use this for handlers that would run longer, such as infinite
    /// streams, to end them cleanly instead of with `UNAVAILABLE`. It never completes for a local
    /// call.
    ///
    /// ```
    /// use std::time::Duration;
    /// use futures_util::{StreamExt, stream};
    /// use nmfw::{Context, Status, Stream};
    ///
    /// async fn ticks(ctx: Context) -> Result<impl Stream<Item = Result<u64, Status>>, Status> {
    ///     let ticks = stream::iter(0..).then(|tick| async move {
    ///         tokio::time::sleep(Duration::from_secs(1)).await;
    ///         Ok(tick)
    ///     });
    ///     Ok(ticks.take_until(ctx.stopping()))
    /// }
    /// ```
    pub fn stopping(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        let origin = self.0.head.origin.as_ref();
        let stopping = origin.map(|origin| Arc::clone(&origin.stopping));
        async move {
            match stopping {
                Some(stopping) => stopping.cancelled().await,
                None => std::future::pending().await,
            }
        }
    }

    fn cancellation(&self) -> &CancellationToken {
        self.0.cancelled.get_or_init(CancellationToken::new)
    }

    /// Returns a guard that marks the call as cancelled unless [`CallGuard::finish`] is called
    /// first.
    pub(crate) fn guard(&self) -> CallGuard {
        CallGuard {
            context: self.clone(),
            finished: false,
        }
    }

    /// Returns an extension of this type, as set by middleware or the transport.
    #[must_use]
    pub fn extension<T: Send + Sync + 'static>(&self) -> Option<&T> {
        let head = &self.0.head;
        let of_origin = || head.origin.as_ref()?.get();
        head.extensions.get().or_else(of_origin)
    }

    /// Returns the version of the calling service, if it was sent. Versions of more than 64 bytes
    /// arrive without build metadata and, if still too long, without their pre-release.
    #[must_use]
    pub fn client_version(&self) -> Option<&str> {
        self.0.head.client_version.as_deref()
    }

    /// Returns the trace context that the caller sent. Calls made with
    /// [`Call::context`](crate::client::Call::context) belong to the same trace; see
    /// [`nmfw::trace`](https://docs.rs/nmfw/latest/nmfw/trace/index.html).
    #[must_use]
    pub fn trace_context(&self) -> Option<&TraceContext> {
        self.0.head.trace.as_deref()
    }

    pub(crate) fn shared_trace(&self) -> Option<Arc<TraceContext>> {
        self.0.head.trace.clone()
    }

    /// Returns the span of the call. Events in the handler are recorded in it automatically;
    /// spawned work needs `.instrument(ctx.span())`.
    #[must_use]
    pub fn span(&self) -> Span {
        self.0.span.clone().unwrap_or_else(Span::none)
    }
}

fn update<T>(metadata: &Mutex<Metadata>, change: impl FnOnce(&mut Metadata) -> T) -> T {
    // Poisoned only if a handler panicked during a change, which leaves the metadata usable.
    change(&mut metadata.lock().unwrap_or_else(PoisonError::into_inner))
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("method", &self.0.method)
            .field("time_left", &self.time_left())
            .field("metadata", &self.0.head.metadata)
            .field("extensions", &self.0.head.extensions)
            .finish_non_exhaustive()
    }
}

/// Returns the current span, or `None` without looking for it if no subscriber is interested.
#[inline]
fn current_span() -> Option<Span> {
    (LevelFilter::current() != LevelFilter::OFF).then(Span::current)
}

/// A guard that lives as long as a handler's future and cancels the context if it is dropped early.
pub(crate) struct CallGuard {
    context: Context,
    finished: bool,
}

impl CallGuard {
    pub(crate) fn finish(mut self) {
        self.finished = true;
    }
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        if !self.finished {
            self.context.cancellation().cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dropped_handler_cancels() {
        let context = Context::default();
        let waiting = tokio::spawn({
            let context = context.clone();
            async move { context.cancelled().await }
        });
        tokio::task::yield_now().await;
        drop(context.guard());
        waiting.await.unwrap();
        assert!(context.is_cancelled());
        // Waiting after the cancellation completes too.
        context.cancelled().await;
    }

    #[tokio::test]
    async fn a_handler_that_answered_does_not() {
        let context = Context::default();
        context.guard().finish();
        assert!(!context.is_cancelled());
        let waited = tokio::time::timeout(Duration::from_millis(20), context.cancelled()).await;
        assert!(waited.is_err());
    }
}
