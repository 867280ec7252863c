//! [`Channel`]: the settings with which calls reach a service.

use std::{
    any::Any,
    fmt, mem,
    sync::Arc,
    task::{self, Poll},
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use tokio::time::Instant;
use tower::service_fn;
use tracing::Instrument;

use super::{exchange::Exchange, json::JsonLayer};
use crate::{
    Context, Deadline, Metadata, Method, ServiceSpec, Status,
    call::{
        address,
        body::Body,
        per_method::PerMethod,
        request::Request,
        response::Response,
        transport::{IntoTransport, Transport},
    },
    layer::{BoxService, CallLayer},
    observe::{
        metrics::{CallCount, CallMetrics},
        trace::{self, CallSpan, Received},
    },
    service::service::Service,
};

/// A connection to a service, over NATS or in the same process, with the settings of its calls.
///
/// Generated clients are made from a channel, or from a `Connection` for the defaults. Clones are
/// cheap. A setting applies to the channel on which it is called, not to its clones.
///
/// ```no_run
/// use std::time::Duration;
/// use nmfw::Channel;
///
/// # fn example(nats: nmfw::Connection) {
/// let channel = Channel::new(nats)
///     .timeout(Duration::from_millis(500))
///     .metadata("tenant", "acme");
/// // let calc = CalcClient::new(channel);
/// # }
/// ```
#[derive(Clone)]
#[must_use]
pub struct Channel(Arc<ChannelSettings>);

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = &*self.0;
        f.debug_struct("Channel")
            .field("timeout", &settings.timeout)
            .field("metadata", &settings.metadata)
            .field("layers", &settings.layers.layers.len())
            .finish_non_exhaustive()
    }
}

#[derive(Clone)]
struct ChannelSettings {
    transport: Arc<dyn Transport>,
    timeout: Option<Duration>,
    metadata: Metadata,
    /// The error of an invalid setting. Setters are chained and return no errors, so every call
    /// reports it.
    invalid: Option<Status>,
    layers: Stack,
    metrics: PerMethod<&'static CallMetrics>,
}

impl Channel {
    /// Creates a channel on a transport: a connection, a configured transport, or a service in this
    /// process.
    pub fn new(transport: impl IntoTransport) -> Self {
        Self(Arc::new(ChannelSettings {
            transport: transport.into_transport(),
            timeout: None,
            metadata: Metadata::new(),
            invalid: None,
            layers: Stack::default(),
            metrics: PerMethod::default(),
        }))
    }

    /// Creates a channel to a service in this process. Calls pass the same layers, limits,
    /// deadlines and status conversions as over NATS. Only the limits of a NATS server do not
    /// apply: `max_payload` and permissions.
    ///
    /// Generated clients offer this as `CalcClient::local(Calculator)`.
    pub fn local(service: Service) -> Self {
        Self::new(service)
    }

    fn set(mut self, set: impl FnOnce(&mut ChannelSettings)) -> Self {
        set(Arc::make_mut(&mut self.0));
        self
    }

    /// Changes a setting of the transport, for crates that add setters of their transport to
    /// channels.
    ///
    /// If the channel's transport is not a `T`, all calls fail with `INVALID_ARGUMENT`, not
    /// started, so that no setting is silently ignored.
    pub fn set_transport<T: Transport + Clone>(
        self,
        setting: &'static str,
        set: impl FnOnce(T) -> T,
    ) -> Self {
        self.set(|settings| {
            let transport = &*settings.transport as &dyn Any;
            match transport.downcast_ref::<T>() {
                Some(transport) => {
                    settings.transport = Arc::new(set(transport.clone()));
                    settings.layers.compose(&settings.transport);
                }
                None => {
                    let text = format!("`{setting}` is not a setting of this channel's transport");
                    // Not started: no call is made with these settings.
                    let status = Status::invalid_argument(text).not_started();
                    settings.invalid.get_or_insert(status);
                }
            }
        })
    }

    /// Sets the timeout of calls that do not set their own. The default is that of the `.proto`,
    /// otherwise 5 seconds. Calls that stream are limited only by their own timeout and by that of
    /// their method in the `.proto`.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.set(|settings| settings.timeout = Some(timeout))
    }

    /// Adds metadata to all calls. If [`Metadata`] does not accept the key or the value, every call
    /// fails with `INVALID_ARGUMENT`.
    pub fn metadata(self, key: impl AsRef<str>, value: impl Into<String>) -> Self {
        self.set(|settings| {
            if let Err(error) = settings.metadata.append(key, value) {
                settings
                    .invalid
                    // Not started: no call is made with these settings.
                    .get_or_insert(Status::from(error).not_started());
            }
        })
    }

    /// Wraps all calls in a tower layer; see [`middleware`](crate::middleware). The last layer
    /// added is the first to see a call.
    pub fn layer(self, layer: impl CallLayer + Send + Sync + 'static) -> Self {
        self.set(|settings| settings.layers.push(layer, &settings.transport))
    }

    /// Sends calls in protobuf's JSON format, for services in languages or behind gateways that do
    /// not read its binary format. Requires the feature `json`; without it, and for services whose
    /// code was generated with `embed_schema(false)`, calls fail with `UNIMPLEMENTED`.
    ///
    /// Layers and callers see messages as without this setting. A conversion takes several
    /// microseconds a message.
    pub fn json(self) -> Self {
        self.set(|settings| {
            settings
                .layers
                .push_innermost(JsonLayer, &settings.transport);
        })
    }

    /// Calls any method with encoded messages, for gateways and tools. The channel adds its
    /// metadata and timeout, and its layers, metrics and spans apply.
    ///
    /// # Errors
    /// See [`Call`](super::Call).
    pub async fn call(&self, mut request: Request) -> Result<Response, Status> {
        let (now, method) = (Instant::now(), request.method());
        if request.deadline() == Deadline::NONE
            && let Some(timeout) = self.default_timeout(method)
        {
            request.limit_deadline(Deadline::after_from(now, timeout));
        }
        match trace::is_listened_to() {
            true => self.send_in_span(request, now, None).await,
            false => self.send(request, now).await,
        }
    }

    /// Waits until discovery reports an instance of the service. Generated clients offer this as
    /// `calc.wait_ready(timeout)`.
    ///
    /// # Errors
    /// Returns `UNAVAILABLE` if there is none within `timeout`, and `PERMISSION_DENIED` if the NATS
    /// server does not allow this connection to query discovery.
    pub async fn wait_ready(
        &self,
        service: &'static ServiceSpec,
        timeout: Duration,
    ) -> Result<(), Status> {
        match &self.0.invalid {
            Some(status) => Err(status.clone()),
            None => self.0.transport.ready(service, timeout).await,
        }
    }

    pub(super) fn default_timeout(&self, method: Method) -> Option<Duration> {
        // The duration of a stream is not limited by the channel.
        let own = self.0.timeout.filter(|_| !method.is_streaming());
        own.or_else(|| method.timeout())
    }

    /// Adds the origin to the status of a response that cannot be decoded.
    pub(super) fn not_of(&self, method: Method, status: Status) -> Status {
        let Some(base) = self.0.transport.address(method.service()) else {
            return status;
        };
        let text = format!(
            "{}. The response came from {}: check that no other service, and no other version of \
             the .proto, is served there",
            status.message(),
            address::method(base, method.name())
        );
        status.with_message(text)
    }

    /// Makes a call with tracing enabled, in a span that lasts until the end of the responses.
    pub(super) fn send_in_span(
        &self,
        mut request: Request,
        now: Instant,
        handler: Option<Context>,
    ) -> BoxFuture<'static, Result<Response, Status>> {
        let method = request.method();
        let base = self.0.transport.address(method.service());
        let handler = handler.as_ref();
        let mut call = CallSpan::client(method, base, handler.map(Context::span).as_ref());
        let trace = call.trace_context();
        request.head.trace = trace.or_else(|| handler.and_then(Context::shared_trace));
        call.count_requests(&mut request.head.body);
        let span = call.span().clone();
        let sent = span.in_scope(|| self.send(request, now)).instrument(span);
        Box::pin(async move {
            match sent.await {
                Ok(Response {
                    metadata,
                    body: Body::Messages(messages),
                }) => {
                    let messages = messages.wrap(|messages| Received::new(messages, call));
                    Ok(Response::streaming(messages, metadata))
                }
                outcome => {
                    call.end(outcome.as_ref().map(|_| ()));
                    outcome
                }
            }
        })
    }

    /// Makes a call with the settings of the channel, starting now.
    pub(super) fn send(&self, mut request: Request, now: Instant) -> Exchange {
        let settings = &*self.0;
        let method = request.method();
        let count = CallCount::begin(settings.metrics.get(method, CallMetrics::of), now);
        if let Some(status) = &settings.invalid {
            return Exchange::refused(count, status.clone());
        }
        let deadline = request.deadline();
        if deadline.timer_instant().is_some_and(|at| at <= now) {
            let text = format!("the deadline passed before {method} was called");
            // Not started: the call is not handed to a transport.
            return Exchange::refused(count, Status::deadline_exceeded(text).not_started());
        }
        count.request(&mut request.head.body);
        if !settings.metadata.is_empty() {
            let own = mem::replace(request.metadata_mut(), settings.metadata.clone());
            request.metadata_mut().merge(&own);
        }
        match &settings.layers.composed {
            None => match carry(&settings.transport, request) {
                Ok(reply) => Exchange::new(count, reply),
                Err(status) => Exchange::refused(count, status),
            },
            Some(layered) => {
                let call = tower::ServiceExt::oneshot(layered.clone(), request);
                // The deadline also covers waits in layers.
                let limited = async move {
                    let outcome = deadline.limit_boxed(call).await;
                    outcome.unwrap_or_else(|| {
                        let text = format!("{method} did not complete before its deadline");
                        Err(Status::deadline_exceeded(text))
                    })
                };
                Exchange::new(count, limited.boxed())
            }
        }
    }
}

impl<T: IntoTransport> From<T> for Channel {
    fn from(transport: T) -> Self {
        Self::new(transport)
    }
}

impl From<&Self> for Channel {
    fn from(channel: &Self) -> Self {
        channel.clone()
    }
}

impl tower::Service<Request> for Channel {
    type Response = Response;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Response, Status>>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let channel = self.clone();
        Box::pin(async move { channel.call(request).await })
    }
}

/// The layers of a channel.
#[derive(Clone, Default)]
struct Stack {
    /// In the order in which they were added.
    layers: Vec<Arc<dyn CallLayer + Send + Sync>>,
    /// All layers around the transport; `None` without layers, which then cost nothing.
    composed: Option<BoxService>,
}

impl Stack {
    fn push(
        &mut self,
        layer: impl CallLayer + Send + Sync + 'static,
        transport: &Arc<dyn Transport>,
    ) {
        let inner = self.composed.take().unwrap_or_else(|| innermost(transport));
        self.composed = Some(layer.wrap(inner));
        self.layers.push(Arc::new(layer));
    }

    /// Adds a layer below all others.
    fn push_innermost(
        &mut self,
        layer: impl CallLayer + Send + Sync + 'static,
        transport: &Arc<dyn Transport>,
    ) {
        self.layers.insert(0, Arc::new(layer));
        self.compose(transport);
    }

    /// Wraps another transport in the layers.
    fn compose(&mut self, transport: &Arc<dyn Transport>) {
        self.composed = self.layers.iter().fold(None, |inner, layer| {
            Some(layer.wrap(inner.unwrap_or_else(|| innermost(transport))))
        });
    }
}

/// Returns the innermost service, which the layers wrap.
fn innermost(transport: &Arc<dyn Transport>) -> BoxService {
    let transport = Arc::clone(transport);
    BoxService::new(service_fn(move |request: Request| {
        let transport = Arc::clone(&transport);
        async move { carry(&transport, request)?.await }.boxed()
    }))
}

/// Makes a call after all layers, which may have added metadata.
fn carry(
    transport: &Arc<dyn Transport>,
    request: Request,
) -> Result<BoxFuture<'static, Result<Response, Status>>, Status> {
    if let Err(error) = request.metadata().check_size() {
        // Not started: the call is not handed to a transport.
        return Err(Status::from(error).not_started());
    }
    Ok(Arc::clone(transport).call(request))
}
