//! [`Channel`]: the way to a service, and how calls take it.

use std::{mem, sync::Arc, time::Duration};

use tokio::time::Instant;
use tracing::Instrument;

use super::Transport;
use crate::{
    Connection, Context, Metadata, Method, ServiceSpec, Status,
    call::{body::Body, per_method::PerMethod, request::Request, response::Response},
    layer::{CallLayer, Layers},
    nats::{client::Nats, ready},
    observe::{
        metrics::{CallCount, CallMetrics},
        trace::{CallSpan, Received},
    },
    service::service::Service,
};

/// The way to a service: a connection, or a service in the same process, with settings for all
/// calls that take it.
///
/// Generated clients are made from one, or from a [`Connection`] if the defaults will do. Clones
/// are cheap. A setting changes the channel that it is called on, not its clones.
///
/// ```no_run
/// use std::time::Duration;
/// use nmfw::Channel;
///
/// # fn example(nats: nmfw::Connection) {
/// let channel = Channel::new(nats)
///     .timeout(Duration::from_millis(500))
///     .header("tenant", "acme");
/// // let calc = CalcClient::new(channel);
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Channel(Arc<Settings>);

#[derive(Clone, Debug)]
struct Settings {
    transport: Transport,
    timeout: Option<Duration>,
    metadata: Metadata,
    /// What was set wrongly. Every call reports it: setters are chained and return no errors.
    invalid: Option<Status>,
    layers: Layers,
    metrics: PerMethod<&'static CallMetrics>,
}

impl Channel {
    /// A channel on a connection.
    pub fn new(connection: impl Into<Connection>) -> Self {
        Self::on(Transport::Nats(Arc::new(Nats::new(connection.into()))))
    }

    /// A channel to a service in this process. Calls go through the same layers, limits, deadlines
    /// and status mapping as they would over NATS, but not over NATS. A call allocates six times besides
    /// what the fields of its messages take.
    ///
    /// Code that sets up a channel need not know which kind it has: settings that are about NATS,
    /// [`subject`](Self::subject), [`max_attempts`](Self::max_attempts),
    /// [`reconnect_grace`](Self::reconnect_grace), [`multiplexed`](Self::multiplexed) and
    /// [`go_compatible`](Self::go_compatible), change nothing here, as there are no subjects, no
    /// connection to lose and no other instance. They are checked all the same, and logged as `DEBUG`.
    /// What a call cannot meet here are the limits of a NATS server: `max_payload`, permissions.
    ///
    /// Generated clients have this as `CalcClient::local(Calculator)`.
    pub fn local(service: Service) -> Self {
        Self::on(Transport::local(service))
    }

    fn on(transport: Transport) -> Self {
        Self(Arc::new(Settings {
            transport,
            timeout: None,
            metadata: Metadata::new(),
            invalid: None,
            layers: Layers::default(),
            metrics: PerMethod::default(),
        }))
    }

    fn set(mut self, set: impl FnOnce(&mut Settings)) -> Self {
        set(Arc::make_mut(&mut self.0));
        self
    }

    /// Sets what calls over NATS have. Code that sets up channels is run with local ones in tests, and
    /// is to work there too: nothing that it asks for is missing where no NATS is.
    fn set_nats(self, setting: &'static str, set: impl FnOnce(&mut Nats)) -> Self {
        self.set(|settings| match &mut settings.transport {
            Transport::Nats(nats) => set(Arc::make_mut(nats)),
            Transport::Local(_) => {
                tracing::debug!(
                    setting,
                    "a setting for NATS changes nothing on a local channel"
                );
            }
        })
    }

    /// Sets the time that calls get which do not set their own. By default it is what the `.proto`
    /// says, else 5 seconds. Calls that stream have no limit but their own and what the `.proto` says
    /// of their method.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.set(|settings| settings.timeout = Some(timeout))
    }

    /// Adds metadata to all calls. Key and value that [`Metadata`] does not take make every call
    /// fail with `INVALID_ARGUMENT`.
    pub fn header(self, key: impl AsRef<str>, value: impl Into<String>) -> Self {
        self.set(|settings| {
            if let Err(error) = settings.metadata.append(key, value) {
                settings
                    .invalid
                    .get_or_insert(Status::from(error).not_started());
            }
        })
    }

    /// Sets the subject that the methods' names are appended to, for a service that was given
    /// another one than the `.proto` says: see [`Service::subject`].
    pub fn subject(self, subject: impl Into<String>) -> Self {
        let subject = subject.into();
        if let Err(why) = crate::nats::subject::check_subject(&subject) {
            let status =
                Status::invalid_argument(format!("the subject {subject:?} cannot be used: {why}"))
                    .not_started();
            return self.set(|settings| {
                settings.invalid.get_or_insert(status);
            });
        }
        self.set_nats("subject", |nats| nats.set_subject(subject))
    }

    /// Sets how often a call is sent, at most, while instances answer that they have not started
    /// it: because they are full, or stopping. That is safe for all methods. Calls that have an
    /// instance that is gone, in a session, are sent again as well if the `.proto` calls their method
    /// `IDEMPOTENT` or `NO_SIDE_EFFECTS`; others end with `UNAVAILABLE`. The default is 5; 1
    /// never repeats.
    ///
    /// So that neither an overload nor a broken service multiplies calls, a channel and its clones have a
    /// budget with each service, of 1,000 sends at first, which each further send lessens by one, and each
    /// call that an instance takes raises by four, to 10,000 at most, of which those that full instances turn
    /// away get 1,000. Layers that retry or hedge spend from it, too. While it is spent, calls are sent once.
    pub fn max_attempts(self, attempts: u32) -> Self {
        self.set_nats("max_attempts", |nats| nats.max_attempts = attempts.max(1))
    }

    /// Sets how long calls wait for a lost connection to NATS to come back, those that begin meanwhile
    /// and those under way. After it they end with `UNAVAILABLE`, and with the NATS server's words if
    /// it has said why it lets nobody in. The default is one second.
    ///
    /// Time with a connection does not count. Once it is back, a call under way waits for its answer
    /// until its deadline: its handler may still be at work. If request or answer were lost with the
    /// old connection, the call ends with `DEADLINE_EXCEEDED`; calls that take sessions are sent again.
    pub fn reconnect_grace(self, grace: Duration) -> Self {
        self.set_nats("reconnect_grace", |nats| nats.reconnect_grace = grace)
    }

    /// Also sends the headers that only services made with Go nmfw read: its framework version and
    /// the client's version. Such services work without; their logs then do not name the client.
    pub fn go_compatible(self) -> Self {
        self.set_nats("go_compatible", |nats| nats.go_compatible = true)
    }

    /// Lets calls with one message each way share sessions with instances of the service, as calls
    /// that stream do: many of them in one NATS message, which raises the throughput when there are
    /// many at a time. Besides, a handler whose caller gives up is dropped at once, calls under
    /// way outlive a connection that is lost and comes back, until their deadlines, and those with an
    /// instance that was killed end with `UNAVAILABLE` within a second, where without this they wait
    /// for their deadlines.
    ///
    /// Without it such calls take a session only if a message is larger than the NATS server's
    /// `max_payload`: requests up to what the service takes, which is 16 MiB unless it says otherwise, and answers
    /// up to 16 MiB. It is a choice because sessions are with a few instances, where
    /// without them NATS gives each call to any of all that there are, one as likely as the other.
    ///
    /// Sessions are opened in the background when the first call is made. That call does not wait
    /// for it, nor do others: they are made as without this, and so are all calls to a service that
    /// has no sessions, or where this connection may not publish to `<subject>._open`; it is tried
    /// again from time to time.
    ///
    /// A channel and its clones keep sessions with two instances, with up to eight when there are
    /// many calls, and each call takes the less loaded of two. Within a minute another instance takes
    /// the place of one of them, if there is another. Of several regions, or where there are leaf
    /// nodes, these are instances nearby as long as there are any; sessions with others are given up
    /// within two minutes after one nearby is back. A call that an instance does not start, because
    /// it is full or stopping, is sent to another; see [`max_attempts`](Self::max_attempts). Sessions
    /// that nobody uses for a minute are closed.
    pub fn multiplexed(self) -> Self {
        self.set_nats("multiplexed", |nats| nats.is_multiplexed = true)
    }

    /// Wraps all calls in a tower layer; see [`middleware`](crate::middleware). The last layer
    /// added is the first to see a call.
    pub fn layer(self, layer: impl CallLayer) -> Self {
        self.set(|settings| settings.layers.push(&layer, Transport::into_service))
    }

    /// Waits until an instance of the service answers in discovery. Generated clients have it as
    /// `calc.wait_ready(timeout)`.
    ///
    /// # Errors
    /// `UNAVAILABLE` if none has after `timeout`; `PERMISSION_DENIED` if the NATS server does not
    /// let this connection ask.
    pub async fn wait_ready(
        &self,
        service: &'static ServiceSpec,
        timeout: Duration,
    ) -> Result<(), Status> {
        match (&self.0.invalid, &self.0.transport) {
            (Some(status), _) => Err(status.clone()),
            (None, Transport::Nats(nats)) => ready::wait(nats, service, timeout).await,
            (None, Transport::Local(local)) => local.as_ref().map(|_| ()).map_err(Clone::clone),
        }
    }

    pub(super) fn default_timeout(&self, method: Method) -> Option<Duration> {
        // How long a stream goes on is a matter of the method alone.
        let own = self.0.timeout.filter(|_| !method.streams());
        own.or_else(|| method.timeout())
    }

    /// Adds where it came from to the status of an answer that cannot be read.
    pub(super) fn not_of(&self, method: Method, status: Status) -> Status {
        let Some(base) = self.0.transport.base(method) else {
            return status;
        };
        let text = format!(
            "{}. It came as the reply to {}: does another service answer there, or one of another \
             .proto?",
            status.message(),
            crate::nats::subject::method(base, method.name())
        );
        status.with_message(text)
    }

    /// Makes a call that somebody listens to, in a span which goes on to the end of the answers.
    pub(super) async fn send_in_span(
        &self,
        mut request: Request,
        now: Instant,
        handler: Option<&Context>,
    ) -> Result<Response, Status> {
        let method = request.method();
        let base = self.0.transport.base(method);
        let mut call = CallSpan::client(method, base, handler.map(Context::span).as_ref());
        let trace = call.trace_context();
        request.head.trace = trace.or_else(|| handler.and_then(Context::shared_trace));
        request.head.body = call.count_requests(request.take_body());
        let span = call.span().clone();
        match self.send(request, now).instrument(span).await {
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
    }

    /// Makes a call, with what is set for all calls added, at this time.
    pub(super) async fn send(
        &self,
        mut request: Request,
        now: Instant,
    ) -> Result<Response, Status> {
        let settings = &*self.0;
        let method = request.method();
        let count = CallCount::begin(settings.metrics.get(method, CallMetrics::of), now);
        if let Some(status) = &settings.invalid {
            return count.response(Err(status.clone()));
        }
        let deadline = request.deadline();
        if deadline.instant().is_some_and(|at| at <= now) {
            let text = format!("no time was left to call {method}");
            return count.response(Err(Status::deadline_exceeded(text).not_started()));
        }
        request.head.body = count.request(request.take_body());
        if !settings.metadata.is_empty() {
            let own = mem::replace(request.metadata_mut(), settings.metadata.clone());
            request.metadata_mut().merge(&own);
        }
        let outcome = match settings.layers.get() {
            None => settings.transport.call(request).await,
            Some(layered) => {
                request.head.via = Some(settings.transport.clone());
                let call = tower::ServiceExt::oneshot(layered.clone(), request);
                // A layer may make a call wait; the deadline holds there too.
                let outcome = deadline.limit_boxed(call).await;
                outcome.unwrap_or_else(|| {
                    let text = format!("{method} was not done when the deadline passed");
                    Err(Status::deadline_exceeded(text))
                })
            }
        };
        count.response(outcome)
    }
}

impl From<Connection> for Channel {
    fn from(connection: Connection) -> Self {
        Self::new(connection)
    }
}

impl From<&Connection> for Channel {
    fn from(connection: &Connection) -> Self {
        Self::new(connection.clone())
    }
}

impl From<&Self> for Channel {
    fn from(channel: &Self) -> Self {
        channel.clone()
    }
}
