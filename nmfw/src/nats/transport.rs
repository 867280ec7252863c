//! [`NatsTransport`]: calls over NATS, in base mode or sessions.

use std::{pin::pin, sync::Arc, task::Poll, time::Duration};

use async_nats::Subject;
use futures_util::{StreamExt, future::BoxFuture, stream};

use super::{
    attempts::{AttemptError, late},
    ready,
    send_budget::SendBudgets,
    session::client::{ClientSessions, Handle, source::Sent},
    subject,
};
use crate::{Connection, Deadline, Method, ServiceSpec, Status};
use nmfw_core::call::{
    attempt::{Parallel, Resent},
    body::Body,
    per_method::PerMethod,
    request::Request,
    response::Response,
    transport::{IntoTransport, Transport},
};

/// Carries calls over NATS: the transport of a [`Channel`](crate::Channel) on a [`Connection`],
/// with its settings.
///
/// ```no_run
/// use nmfw::{Channel, NatsTransport};
///
/// # fn example(nats: &nmfw::Connection) {
/// let channel = Channel::new(NatsTransport::new(nats).multiplexed().max_attempts(3));
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct NatsTransport {
    pub(crate) connection: Connection,
    pub(super) subject: Option<String>,
    /// The instance of all calls; `None` for any.
    instance: Option<String>,
    /// The subjects of the methods.
    subjects: PerMethod<Subject>,
    pub(super) max_attempts: u32,
    pub(super) send_budgets: Arc<SendBudgets>,
    pub(crate) reconnect_grace: Duration,
    pub(crate) go_compatible: bool,
    /// Whether calls with one message in each direction share sessions too.
    pub(super) is_multiplexed: bool,
    pub(crate) sessions: Arc<ClientSessions>,
    /// The error of an invalid setting, which every call reports.
    invalid: Option<Status>,
}

impl NatsTransport {
    /// Creates a transport on a connection, with the default settings.
    pub fn new(connection: impl Into<Connection>) -> Self {
        Self {
            connection: connection.into(),
            subject: None,
            instance: None,
            subjects: PerMethod::default(),
            max_attempts: 5,
            send_budgets: Arc::default(),
            reconnect_grace: Duration::from_secs(1),
            go_compatible: false,
            is_multiplexed: false,
            sessions: Arc::default(),
            invalid: None,
        }
    }

    /// Sets the subject to which the methods' names are appended, for a service with another one
    /// than in the `.proto`: see [`Service::subject`](crate::server::Service::subject).
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        let subject = subject.into();
        if let Err(why) = subject::check_subject(&subject) {
            let text = format!("the subject {subject:?} cannot be used: {why}");
            // Not started: no call is made with these settings.
            let status = Status::invalid_argument(text).not_started();
            self.invalid.get_or_insert(status);
            return self;
        }
        self.subject = Some(subject);
        self.subjects = PerMethod::default();
        self
    }

    /// Sends all calls to one instance: its id in discovery, or in
    /// [`ServedService::id`](crate::server::ServedService::id). If it is gone, calls fail with
    /// `UNAVAILABLE`, not started. For tools and tests: only calls to any instance are balanced, and
    /// survive the end of an instance.
    pub fn instance(mut self, id: impl Into<String>) -> Self {
        let id = id.into();
        if id.contains('.') || subject::check_subject(&id).is_err() {
            let text = format!("{id:?} is not the id of an instance");
            // Not started: no call is made with these settings.
            let status = Status::invalid_argument(text).not_started();
            self.invalid.get_or_insert(status);
            return self;
        }
        self.sessions = Arc::new(ClientSessions::pinned(id.clone()));
        self.instance = Some(id);
        self.subjects = PerMethod::default();
        self
    }

    /// Sets the maximum number of sends of a call while instances answer that they have not started
    /// it, because they are full or stopping. This is safe for all methods. In a session, calls to
    /// an instance that is gone are resent as well if the `.proto` declares their method
    /// `IDEMPOTENT` or `NO_SIDE_EFFECTS`; others end with `UNAVAILABLE`. The default is 5; 1
    /// disables resends.
    ///
    /// A channel and its clones have a budget for each service, so that neither an overload nor a
    /// broken service multiplies calls. The budget starts with 1,000 sends; each resend costs one,
    /// and each accepted call adds four, up to 10,000. Resends to full instances can use at most
    /// 1,000 of it. Layers that retry or hedge spend from it, too. While it is used up, calls are
    /// sent once.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts.max(1);
        self
    }

    /// Sets how long calls wait for a lost connection to NATS, both new calls and those in flight.
    /// They then end with `UNAVAILABLE`, including the NATS server's reason if it refuses the
    /// connection. The default is one second.
    ///
    /// Connected time does not count. After a reconnect, a call in flight waits for its answer
    /// until its deadline, because its handler may still be running. If the request or answer was
    /// lost with the old connection, the call ends with `DEADLINE_EXCEEDED`; calls in sessions are
    /// resent.
    pub fn reconnect_grace(mut self, grace: Duration) -> Self {
        self.reconnect_grace = grace;
        self
    }

    /// Also sends the headers that only services made with Go nmfw read: its framework version and
    /// the client's version. Such services work without them, but their logs then do not name the
    /// client.
    pub fn go_compatible(mut self) -> Self {
        self.go_compatible = true;
        self
    }

    /// Lets calls with one message in each direction share sessions with instances, like calls that
    /// stream: one NATS message then carries many of them, which increases throughput under
    /// concurrency. In addition, a handler whose caller cancels is dropped at once, calls in flight
    /// survive a reconnect until their deadlines, and those with a killed instance end with
    /// `UNAVAILABLE` within a second instead of waiting for their deadlines.
    ///
    /// Without this setting, such calls use a session only if a message is larger than the NATS
    /// server's `max_payload`: requests up to the service's limit, 16 MiB by default, and answers
    /// up to 16 MiB. This is opt-in because sessions exist with only a few instances, whereas NATS
    /// distributes other calls evenly over all of them.
    ///
    /// Sessions are opened in the background when the first call is made. Calls do not wait for
    /// that: until a session is open, and for a service without sessions or a connection that may
    /// not publish to `<subject>._open`, they are made as without this setting. Opening is retried
    /// from time to time.
    ///
    /// A channel and its clones keep sessions with two instances, or up to eight if there are many
    /// calls, and each call uses the less loaded of two. Within a minute, another instance replaces
    /// one of them, if there is another. With several regions or leaf nodes, these are nearby
    /// instances if there are any; sessions with distant ones are closed within two minutes after a
    /// nearby one is back. A call that an instance does not start, because it is full or stopping,
    /// is sent to another; see [`max_attempts`](Self::max_attempts). Sessions without calls for a
    /// minute are closed.
    pub fn multiplexed(mut self) -> Self {
        self.is_multiplexed = true;
        self
    }

    /// Returns the subject to which a service's methods' names are appended.
    pub(crate) fn base(&self, service: &'static ServiceSpec) -> &str {
        self.subject.as_deref().unwrap_or(service.base_subject())
    }

    pub(crate) fn method_subject(&self, method: Method) -> Subject {
        self.subjects.get(method, |method| {
            let base = self.base(method.service());
            let pinned = self.instance.as_ref().map(|id| subject::pinned(base, id));
            subject::method(pinned.as_deref().unwrap_or(base), method.name()).into()
        })
    }

    /// Returns a session for a call with one message in each direction, if such calls use sessions
    /// and one is available without waiting.
    fn session_at_hand(&self, request: &Request) -> Option<Arc<Handle>> {
        if !self.is_multiplexed
            || !self.connection.is_connected()
            || request.extensions().get::<Parallel>().is_some()
        {
            return None;
        }
        let method = request.method();
        let base = self.base(method.service());
        self.sessions.pick(&self.connection, base, method, None)
    }

    /// Makes a call that streams.
    async fn stream(&self, mut request: Request) -> Result<Response, Status> {
        let (method, deadline) = (request.method(), request.deadline());
        let sent = Sent::from(request.take_body());
        let attempts = self.attempts(request, sent, None);
        let outcome = deadline.limit(pin!(attempts)).await;
        let response = outcome.unwrap_or_else(|| Err(late(method)))?;
        Ok(match response {
            // The answers have only begun.
            Response {
                metadata,
                body: Body::Messages(messages),
            } if deadline != Deadline::NONE => {
                let mut passed = Box::pin(deadline.passed());
                let messages = messages.wrap(|mut messages| {
                    stream::poll_fn(move |cx| match messages.poll_next_unpin(cx) {
                        Poll::Pending => passed.as_mut().poll(cx).map(|()| Some(Err(late(method)))),
                        ready => ready,
                    })
                });
                Response::streaming(messages, metadata)
            }
            response => response,
        })
    }
}

impl Transport for NatsTransport {
    /// Makes a call.
    ///
    /// Most calls with one message in each direction take a fast path: a session exists, or the
    /// connection accepts the request at once, and an instance accepts the call. Their futures have
    /// no space for the slow path, which is boxed.
    fn call(self: Arc<Self>, mut request: Request) -> BoxFuture<'static, Result<Response, Status>> {
        Box::pin(async move {
            if let Some(status) = &self.invalid {
                return Err(status.clone());
            }
            let method = request.method();
            if request.extensions().get::<Resent>().is_some() {
                self.send_budgets.spend_for_layer(method.service())?;
            }
            if method.is_streaming() {
                return Box::pin(self.stream(request)).await;
            }
            let session = self.session_at_hand(&request);
            let sent = Sent::from(request.take_body());
            let outcome = match &session {
                Some(session) => {
                    let outcome = session.call(&request, &sent).await;
                    outcome.map_err(|status| AttemptError::of(status, method))
                }
                None => match self.ask_at_once(&request, &sent) {
                    Some(waiting) => self.answer(waiting, &request).await,
                    None => return Box::pin(self.attempts(request, sent, None)).await,
                },
            };
            match outcome {
                Ok(response) => {
                    self.send_budgets.ended(method.service(), Ok(()));
                    Ok(response)
                }
                Err(refusal) => {
                    Box::pin(self.attempts(request, sent, Some((session, refusal)))).await
                }
            }
        })
    }

    fn ready(
        &self,
        service: &'static ServiceSpec,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<(), Status>> {
        Box::pin(async move {
            match &self.invalid {
                Some(status) => Err(status.clone()),
                None => ready::wait(self, service, timeout).await,
            }
        })
    }

    fn address<'a>(&'a self, service: &'static ServiceSpec) -> Option<&'a str> {
        Some(self.base(service))
    }
}

impl IntoTransport for Connection {
    fn into_transport(self) -> Arc<dyn Transport> {
        Arc::new(NatsTransport::new(self))
    }
}

impl IntoTransport for &Connection {
    fn into_transport(self) -> Arc<dyn Transport> {
        self.clone().into_transport()
    }
}
