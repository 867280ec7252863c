//! [`Context`]: what a handler knows of its call besides the message.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
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

/// What a handler knows of its call besides the message: who calls, how long there is time, and
/// what goes back beside the answer. Clones are cheap and mean the same call.
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
/// [`Context::default`] is one that no call stands behind, with no deadline and no metadata: what a
/// unit test of a handler passes, and what to call a client with through its trait.
#[derive(Clone, Default)]
pub struct Context(Arc<Inner>);

#[derive(Default)]
struct Inner {
    method: Option<Method>,
    head: Box<Head>,
    span: Option<Span>,
    response_metadata: Mutex<Metadata>,
    trailers: Mutex<Metadata>,
    // Made by who first needs it, the one that asks or the one that tells: most calls have neither.
    cancelled: OnceLock<CancellationToken>,
}

impl Context {
    /// One that no call stands behind, for a unit test of a handler that looks at these.
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
        Self(Arc::new(Inner {
            head: Box::new(head),
            ..Inner::default()
        }))
    }

    /// Splits a request into the context of its handler and what it carries.
    pub(crate) fn from_request(mut request: Request) -> (Self, Body) {
        let body = request.take_body();
        let context = Self(Arc::new(Inner {
            method: Some(request.method),
            head: request.head,
            span: current_span(),
            response_metadata: Mutex::default(),
            trailers: Mutex::default(),
            cancelled: OnceLock::new(),
        }));
        (context, body)
    }

    /// The method that is called; `None` for [`Context::default`].
    #[must_use]
    pub fn method(&self) -> Option<Method> {
        self.0.method
    }

    /// The caller's metadata.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.0.head.metadata
    }

    /// Sets a key of the metadata that goes back with the answer, or with the error. Of a method
    /// that answers with a stream it goes ahead of the messages, at the moment when the handler
    /// returns its stream; what is set later goes with the end, as [trailers](Self::set_trailer) do.
    ///
    /// # Errors
    /// If [`Metadata`] does not take key or value.
    pub fn set_response_metadata(
        &self,
        key: impl AsRef<str>,
        value: impl Into<String>,
    ) -> Result<(), MetadataError> {
        self.response_metadata().insert(key, value)
    }

    /// All metadata that goes back with the answer, to change at will. Do not hold it over an
    /// `await`.
    pub fn response_metadata(&self) -> MutexGuard<'_, Metadata> {
        // Poisoned only if a handler panicked while it changed it, which leaves it usable.
        self.0
            .response_metadata
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets a key of the metadata that goes back with the end of a stream of answers: what is known
    /// only then, such as a checksum. Where the answer is one message, it goes with that.
    ///
    /// # Errors
    /// If [`Metadata`] does not take key or value.
    pub fn set_trailer(
        &self,
        key: impl AsRef<str>,
        value: impl Into<String>,
    ) -> Result<(), MetadataError> {
        self.trailers().insert(key, value)
    }

    /// All metadata that goes back with the end, to change at will. Do not hold it over an `await`.
    pub fn trailers(&self) -> MutexGuard<'_, Metadata> {
        // As with `response_metadata`.
        self.0
            .trailers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn take_response_metadata(&self) -> Metadata {
        std::mem::take(&mut *self.response_metadata())
    }

    /// All that has not gone back yet.
    pub(crate) fn take_trailers(&self) -> Metadata {
        let mut all = self.take_response_metadata();
        all.merge(&std::mem::take(&mut *self.trailers()));
        all
    }

    /// When the call must be done. The handler is dropped then.
    #[must_use]
    pub fn deadline(&self) -> Deadline {
        self.0.head.deadline
    }

    /// The time left until the deadline; `None` if there is none.
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        self.0.head.deadline.time_left()
    }

    /// Whether nobody waits for the answer any more: the deadline passed, the caller gave up, or
    /// the server was stopped by force.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        let told = self
            .0
            .cancelled
            .get()
            .is_some_and(CancellationToken::is_cancelled);
        told || self.0.head.deadline.has_passed()
    }

    /// Waits until nobody waits for the answer any more.
    ///
    /// The handler itself is dropped then and need not ask. This is for work that it has spawned
    /// and that should end too. It never ends if the handler answers first.
    pub async fn cancelled(&self) {
        self.cancellation().cancelled().await;
    }

    /// Completes when the server is told to stop. Handlers may go on then for the
    /// [grace period](crate::Server::grace); this is for those that would go on for longer, such as a
    /// stream without an end, which can end well instead of with `UNAVAILABLE`. It never completes
    /// for a local call.
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

    /// Marks the call as cancelled unless [`CallGuard::finish`] is called first.
    pub(crate) fn guard(&self) -> CallGuard {
        CallGuard {
            context: self.clone(),
            finished: false,
        }
    }

    /// What middleware has left of a type, or what the call came with.
    #[must_use]
    pub fn extension<T: Send + Sync + 'static>(&self) -> Option<&T> {
        let head = &self.0.head;
        let of_origin = || head.origin.as_ref()?.get();
        head.extensions.get().or_else(of_origin)
    }

    /// The version of the calling service, where it says so. One of more than 64 bytes comes without
    /// its build metadata and, if it is still too long, without its pre-release.
    #[must_use]
    pub fn client_version(&self) -> Option<&str> {
        self.0.head.client_version.as_deref()
    }

    /// The trace that the call belongs to, as its caller sent it. Calls that are made with
    /// [`Call::context`](crate::client::Call::context) belong to it too; see
    /// [`tracing`](crate::tracing).
    #[must_use]
    pub fn trace_context(&self) -> Option<&TraceContext> {
        self.0.head.trace.as_deref()
    }

    pub(crate) fn shared_trace(&self) -> Option<Arc<TraceContext>> {
        self.0.head.trace.clone()
    }

    /// The span of the call. Events in the handler land in it by themselves; work that is spawned
    /// needs `.instrument(ctx.span())`.
    #[must_use]
    pub fn span(&self) -> Span {
        self.0.span.clone().unwrap_or_else(Span::none)
    }
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

/// The span that is entered; `None` if nobody listens to anything, which is not worth looking for it.
#[inline]
fn current_span() -> Option<Span> {
    (LevelFilter::current() != LevelFilter::OFF).then(Span::current)
}

/// Lives as long as a handler's future: dropped before its end, it tells the context.
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
        // Asking afterwards ends too.
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
