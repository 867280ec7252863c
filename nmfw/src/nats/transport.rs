//! [`NatsTransport`]: calls over NATS, in base mode or sessions, and resending.

use std::{pin::pin, sync::Arc, task::Poll, time::Duration};

use async_nats::Subject;
use futures_util::{StreamExt, future::BoxFuture, stream};
use tokio::time::Instant;

use super::{
    ready,
    send_budget::SendBudgets,
    session::{
        client::{ClientSessions, Handle},
        protocol::PeerGone,
    },
    subject,
};
use crate::{
    Connection, Deadline, Idempotency, Method, ServiceSpec, Status,
    nats::session::client::source::Sent,
};
use nmfw_core::{
    call::{
        attempt::{Parallel, Resent},
        body::Body,
        per_method::PerMethod,
        request::Request,
        response::Response,
        transport::{IntoTransport, Transport},
    },
    observe::{metrics::CallMetrics, trace::Attempts},
};

/// The initial backoff between sends of a call, which doubles up to [`MAX_PAUSE`] and is
/// randomised, so that callers do not return in step.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const MAX_PAUSE: Duration = Duration::from_millis(250);

/// How long a call waits for a connection that is being moved to another server.
const MAX_MOVE: Duration = Duration::from_secs(5);

/// A refusal within this time comes from an instance; later ones are timeouts.
const SOON: Duration = Duration::from_millis(500);

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
    subject: Option<String>,
    /// The subjects of the methods.
    subjects: PerMethod<Subject>,
    max_attempts: u32,
    send_budgets: Arc<SendBudgets>,
    pub(crate) reconnect_grace: Duration,
    pub(crate) go_compatible: bool,
    /// Whether calls with one message in each direction share sessions too.
    is_multiplexed: bool,
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

    /// Sets the maximum number of sends of a call while instances answer that they have not started
    /// it, because they are full or stopping. This is safe for all methods. In a session, calls to
    /// an instance that is gone are resent as well if the `.proto` declares their method
    /// `IDEMPOTENT` or `NO_SIDE_EFFECTS`; others end with `UNAVAILABLE`. The default is 5; 1
    /// disables resends.
    ///
    /// So that neither an overload nor a broken service multiplies calls, a channel and its clones
    /// have a budget for each service. It starts with 1,000 sends; each resend costs one, and each
    /// accepted call adds four, up to 10,000. Resends to full instances can use at most 1,000 of
    /// it. Layers that retry or hedge spend from it, too. While it is used up, calls are sent once.
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
    /// Otherwise, such calls use a session only if a message is larger than the NATS server's
    /// `max_payload`: requests up to the service's limit, 16 MiB by default, and answers up to 16
    /// MiB. This is opt-in because sessions exist with only a few instances, whereas NATS
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
            subject::method(self.base(method.service()), method.name()).into()
        })
    }

    /// Makes a call.
    ///
    /// Most calls with one message in each direction take a fast path: a session exists, or the
    /// connection accepts the request at once, and an instance accepts the call. Their futures have
    /// no space for the slow path, which is boxed.
    async fn send(&self, mut request: Request) -> Result<Response, Status> {
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
            Err(refusal) => Box::pin(self.attempts(request, sent, Some((session, refusal)))).await,
        }
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

    /// Sends the call until an instance accepts it. It may have been sent once already.
    ///
    /// No timer per call: `Replies` expires all calls with one timer. Other waits have their own
    /// limits.
    async fn attempts(
        &self,
        request: Request,
        sent: Sent,
        mut asked: Option<(Option<Arc<Handle>>, AttemptError)>,
    ) -> Result<Response, Status> {
        let (service, deadline) = (request.method().service(), request.deadline());
        let mut longest = FIRST_PAUSE;
        let mut attempts = Attempts(1);
        let parallel = request.extensions().get_shared::<Parallel>();
        // Where another attempt is in flight, or the last one was refused.
        let mut avoid = parallel.as_ref().and_then(|parallel| parallel.taken());
        let (mut last_resort, mut has_resorted) = (None, false);
        let mut may_have_started = false;
        let honest = |status: Status, may_have_started| match may_have_started {
            // The mark applies to the last attempt only, but would be taken for the whole call.
            true => status.started(),
            false => status,
        };
        loop {
            let outcome = match asked.take() {
                Some((session, refusal)) => {
                    avoid = session;
                    Err(refusal)
                }
                None => match self
                    .session(&request, avoid.take(), last_resort.take())
                    .await
                {
                    Ok(session) => {
                        if let (Some(parallel), Some(session)) = (&parallel, &session) {
                            parallel.set_taken(session);
                        }
                        let outcome = match &session {
                            Some(session) => {
                                self.attempt_in_session(session, &request, &sent).await
                            }
                            None => self.attempt_in_base_mode(&request, &sent).await,
                        };
                        avoid = session;
                        outcome
                    }
                    Err(refusal) => Err(refusal),
                },
            };
            let status = match outcome {
                Ok(response) => {
                    self.send_budgets.ended(service, Ok(()));
                    return Ok(response);
                }
                Err(AttemptError::Final(status)) => {
                    self.send_budgets.ended(service, Err(&status));
                    return Err(honest(status, may_have_started));
                }
                // Resending cannot help without instances; use `wait_ready` to wait for a service.
                // But one may be reconnecting, with its sessions.
                Err(AttemptError::Nobody(status)) => {
                    if !has_resorted {
                        has_resorted = true;
                        last_resort = self.last_resort(request.method());
                    }
                    if last_resort.is_some() && self.send_budgets.spend(service, &status) {
                        continue;
                    }
                    return Err(honest(status, may_have_started));
                }
                // A request that is too large was not sent.
                Err(AttemptError::TooLarge(status))
                    if !status.is_not_started() && !self.send_budgets.spend(service, &status) =>
                {
                    return Err(honest(status, may_have_started));
                }
                Err(AttemptError::TooLarge(status)) => {
                    let again = self.again_in_session(&request, &sent, status);
                    let outcome = deadline.limit_boxed(again).await;
                    let outcome = outcome.unwrap_or_else(|| Err(late(request.method())));
                    return outcome.map_err(|status| honest(status, may_have_started));
                }
                Err(AttemptError::Elsewhere(status)) => status,
            };
            may_have_started |= !status.is_not_started();
            if let Some(failure) = sent.failure() {
                return Err(failure.clone());
            }
            let pause = longest.mul_f64(rand::random_range(0.5..1.0));
            // Without time for another attempt, the refusal is the better answer: it gives the
            // reason and says that nothing was started, which a passed deadline does not.
            let left = deadline.time_left();
            let is_late = left.is_some_and(|left| left <= pause);
            if attempts.0 >= self.max_attempts || is_late || !sent.is_whole() {
                return Err(honest(status, may_have_started));
            }
            if !self.send_budgets.spend(service, &status) {
                log_limited!(
                    debug, method = %request.method(), %status,
                    "not resent: the budget is used up"
                );
                return Err(honest(status, may_have_started));
            }
            log_limited!(
                debug, method = %request.method(), %status, attempt = attempts.0, "resending a call"
            );
            CallMetrics::of(request.method()).redispatched();
            // Boxed, like everything that few calls need.
            Box::pin(tokio::time::sleep(pause)).await;
            longest = (longest * 2).min(MAX_PAUSE);
            attempts.0 += 1;
        }
    }

    /// Returns the session with a service that is disconnected from NATS, for a call without an
    /// instance in base mode: the service may be reconnecting.
    fn last_resort(&self, method: Method) -> Option<Arc<Handle>> {
        if !self.is_multiplexed {
            return None;
        }
        let base = self.base(method.service());
        self.sessions.last_resort(&self.connection, base, method)
    }

    /// Returns the session for a call, if it uses one.
    async fn session(
        &self,
        request: &Request,
        avoid: Option<Arc<Handle>>,
        known: Option<Arc<Handle>>,
    ) -> Result<Option<Arc<Handle>>, AttemptError> {
        if known.is_some() {
            return Ok(known);
        }
        let (connection, method) = (&self.connection, request.method());
        let mut avoid = avoid.as_ref();
        if !method.is_streaming() {
            let session = if self.is_multiplexed {
                let base = self.base(method.service());
                self.sessions.pick(connection, base, method, avoid)
            } else {
                None
            };
            if session.is_some() || !self.sessions.are_preferred() {
                return Ok(session);
            }
        }
        if request.extensions().get::<Parallel>().is_some() {
            // A different instance would be better, but is not worth opening sessions for.
            avoid = None;
        }
        let wait = self.wait_for_session(request, avoid);
        let outcome = request.deadline().limit_boxed(wait).await;
        outcome.unwrap_or_else(|| Err(AttemptError::Final(late(method))))
    }

    /// Returns a session for a call that requires or prefers one, waiting for it.
    async fn wait_for_session(
        &self,
        request: &Request,
        avoid: Option<&Arc<Handle>>,
    ) -> Result<Option<Arc<Handle>>, AttemptError> {
        let begin = Instant::now();
        let (connection, method) = (&self.connection, request.method());
        let base = self.base(method.service());
        let outcome = match self.wait_for_connection().await {
            Ok(()) => match self.sessions.wait(connection, base, method, avoid).await {
                // Without a session, the call falls back to base mode.
                Err(_) if !method.is_streaming() => return Ok(None),
                outcome => outcome,
            },
            Err(lost) => Err(lost),
        };
        outcome.map(Some).map_err(|status| {
            // Another instance may accept a session. An attempt that timed out would time out
            // again.
            if begin.elapsed() < SOON {
                AttemptError::of(status, method)
            } else {
                AttemptError::Final(status)
            }
        })
    }

    /// Repeats a call whose request or answer was too large for base mode, if that is safe;
    /// otherwise, later calls use a session.
    async fn again_in_session(
        &self,
        request: &Request,
        sent: &Sent,
        status: Status,
    ) -> Result<Response, Status> {
        if !status.is_not_started() {
            // More such answers are likely.
            self.sessions.prefer();
        }
        let (connection, method) = (&self.connection, request.method());
        let wait = self
            .sessions
            .wait(connection, self.base(method.service()), method, None);
        let Ok(session) = wait.await else {
            return Err(status);
        };
        if !status.is_not_started() && method.idempotency() == Idempotency::Unknown {
            let text = format!(
                "{}; the call was not repeated, because the .proto does not declare the method \
                 idempotent, but later calls use a session, which supports such responses",
                status.message()
            );
            return Err(Status::new(status.code(), text));
        }
        session.call(request, sent).await
    }

    async fn attempt_in_session(
        &self,
        session: &Arc<Handle>,
        request: &Request,
        sent: &Sent,
    ) -> Result<Response, AttemptError> {
        if !self.connection.is_connected() {
            let wait = self.wait_for_connection();
            let outcome = request.deadline().limit_boxed(wait).await;
            let outcome = outcome.unwrap_or_else(|| Err(late(request.method())));
            outcome.map_err(AttemptError::Final)?;
            if session.is_absent(self.connection.epoch()) {
                // It was chosen in an earlier epoch of the connection, and may have been closed
                // since.
                let text = "the instance did not respond since the connection was re-established";
                // Not started: the session was not given the call.
                let status = Status::unavailable(text).not_started();
                return Err(AttemptError::Elsewhere(status));
            }
        }
        let outcome = session.call(request, sent).await;
        outcome.map_err(|status| AttemptError::of(status, request.method()))
    }

    /// Waits briefly for a lost connection, before a call starts.
    pub(crate) async fn wait_for_connection(&self) -> Result<(), Status> {
        if self.connection.is_connected() {
            return Ok(());
        }
        // A connection that moves to another server is down only briefly, whatever the grace
        // period.
        let grace = match self.connection.refusals().is_moving() {
            true => self.reconnect_grace.max(MAX_MOVE),
            false => self.reconnect_grace,
        };
        let mut state = self.connection.state_receiver();
        let back = state.wait_for(|state| state.is_connected() || state.is_closed());
        let lost = match tokio::time::timeout(grace, back).await {
            Ok(Ok(state)) if state.is_connected() => return Ok(()),
            Ok(_) => "the connection to NATS is closed",
            Err(_) => "there is no connection to NATS",
        };
        // Not started: the call waits for the connection, and is not sent.
        Err(Status::unavailable(self.connection.because(lost)).not_started())
    }
}

impl Transport for NatsTransport {
    fn call(&self, request: Request) -> BoxFuture<'_, Result<Response, Status>> {
        Box::pin(self.send(request))
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

/// Returns the error of a call at its deadline.
pub(crate) fn late(method: Method) -> Status {
    Status::deadline_exceeded(format!("{method} did not complete before its deadline"))
}

/// The reason why an attempt gave no answer.
#[derive(Clone)]
pub(crate) enum AttemptError {
    /// Not started by the instance that received it, or ended with it and safe to repeat: another
    /// instance may accept it.
    Elsewhere(Status),
    /// No instance accepts calls in base mode.
    Nobody(Status),
    /// Resending is not safe, or would not help.
    Final(Status),
    /// The request, or the answer if it was started, is too large for base mode.
    TooLarge(Status),
}

impl AttemptError {
    /// Returns the meaning of a status for a call of a method.
    pub(crate) fn of(status: Status, method: Method) -> Self {
        let is_safe = match method.idempotency() {
            Idempotency::Unknown => status.is_not_started(),
            _ => status.is_not_started() || PeerGone::is_cause_of(&status),
        };
        if is_safe {
            Self::Elsewhere(status)
        } else {
            Self::Final(status)
        }
    }
}
