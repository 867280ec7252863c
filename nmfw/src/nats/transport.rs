//! Calls over NATS: which way they take, and how often they are sent.

use std::{pin::pin, sync::Arc, task::Poll, time::Duration};

use async_nats::Subject;
use futures_util::{StreamExt, future::BoxFuture, stream};
use tokio::time::Instant;

use super::{
    ready,
    send_budget::SendBudgets,
    session::{
        client::{Handle, Sessions},
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

/// The pause before the first repetition; each further one is twice as long, up to
/// [`MAX_PAUSE`], and all are cut by chance so that callers do not come back together.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const MAX_PAUSE: Duration = Duration::from_millis(250);

/// How long a call waits for a connection that is being moved to another server.
const MAX_MOVE: Duration = Duration::from_secs(5);

/// A refusal that comes within this time is an answer; after it, it is that none came.
const SOON: Duration = Duration::from_millis(500);

/// Carries calls over NATS, with settings of its own: what a [`Channel`](crate::Channel) on a
/// [`Connection`] is made from.
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
    /// Where requests for the methods go.
    subjects: PerMethod<Subject>,
    max_attempts: u32,
    send_budgets: Arc<SendBudgets>,
    pub(crate) reconnect_grace: Duration,
    pub(crate) go_compatible: bool,
    /// Whether calls with one message each way share sessions too.
    is_multiplexed: bool,
    pub(crate) sessions: Arc<Sessions>,
    /// What was set wrongly. Every call reports it.
    invalid: Option<Status>,
}

impl NatsTransport {
    /// A transport on a connection, with the default settings.
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

    /// Sets the subject that the methods' names are appended to, for a service that was given
    /// another one than the `.proto` says: see [`Service::subject`](crate::server::Service::subject).
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        let subject = subject.into();
        if let Err(why) = subject::check_subject(&subject) {
            let text = format!("the subject {subject:?} cannot be used: {why}");
            let status = Status::invalid_argument(text).not_started();
            self.invalid.get_or_insert(status);
            return self;
        }
        self.subject = Some(subject);
        self.subjects = PerMethod::default();
        self
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
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts.max(1);
        self
    }

    /// Sets how long calls wait for a lost connection to NATS to come back, those that begin meanwhile
    /// and those under way. After it they end with `UNAVAILABLE`, and with the NATS server's words if
    /// it has said why it lets nobody in. The default is one second.
    ///
    /// Time with a connection does not count. Once it is back, a call under way waits for its answer
    /// until its deadline: its handler may still be at work. If request or answer were lost with the
    /// old connection, the call ends with `DEADLINE_EXCEEDED`; calls that take sessions are sent again.
    pub fn reconnect_grace(mut self, grace: Duration) -> Self {
        self.reconnect_grace = grace;
        self
    }

    /// Also sends the headers that only services made with Go nmfw read: its framework version and
    /// the client's version. Such services work without; their logs then do not name the client.
    pub fn go_compatible(mut self) -> Self {
        self.go_compatible = true;
        self
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
    pub fn multiplexed(mut self) -> Self {
        self.is_multiplexed = true;
        self
    }

    /// What a service's methods' names are appended to.
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
    /// Nearly all with one message each way go a short way: a session is there, or the connection
    /// takes the request at once, and an instance takes the call. They have no room in their futures
    /// for the rest, which is in boxes.
    async fn send(&self, mut request: Request) -> Result<Response, Status> {
        if let Some(status) = &self.invalid {
            return Err(status.clone());
        }
        let method = request.method();
        if request.extensions().get::<Resent>().is_some() {
            self.send_budgets.spend_for_layer(method.service())?;
        }
        if method.streams() {
            return Box::pin(self.stream(request)).await;
        }
        let session = self.session_at_hand(&request);
        let sent = Sent::from(request.take_body());
        let outcome = match &session {
            Some(session) => {
                let outcome = session.call(&request, &sent).await;
                outcome.map_err(|status| Refusal::of(status, method))
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

    /// The session for a call with one message each way, if such calls take sessions and it need not
    /// wait for one.
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

    /// A call that streams.
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

    /// Sends the call until an instance takes it. One may have been asked already.
    ///
    /// Answers are waited for without a timer: who gives them out sees to deadlines too, for all
    /// calls together. Whatever else is waited for is limited where it is.
    async fn attempts(
        &self,
        request: Request,
        sent: Sent,
        mut asked: Option<(Option<Arc<Handle>>, Refusal)>,
    ) -> Result<Response, Status> {
        let (service, deadline) = (request.method().service(), request.deadline());
        let mut longest = FIRST_PAUSE;
        let mut attempts = Attempts(1);
        let parallel = request.extensions().get_shared::<Parallel>();
        // Where another attempt is under way already, or the last one was refused.
        let mut avoid = parallel.as_ref().and_then(|parallel| parallel.taken());
        let (mut last_resort, mut has_resorted) = (None, false);
        let mut may_have_started = false;
        let honest = |status: Status, may_have_started| match may_have_started {
            // The mark is of the last attempt, and is taken for the call.
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
                Err(Refusal::Final(status)) => {
                    self.send_budgets.ended(service, Err(&status));
                    return Err(honest(status, may_have_started));
                }
                // A repetition cannot help where nobody listens; who waits for a service to come
                // has `wait_ready`. But one may be on its way back, with its sessions.
                Err(Refusal::Nobody(status)) => {
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
                Err(Refusal::TooLarge(status))
                    if !status.is_not_started() && !self.send_budgets.spend(service, &status) =>
                {
                    return Err(honest(status, may_have_started));
                }
                Err(Refusal::TooLarge(status)) => {
                    let again = self.again_in_session(&request, &sent, status);
                    let outcome = deadline.limit_boxed(again).await;
                    let outcome = outcome.unwrap_or_else(|| Err(late(request.method())));
                    return outcome.map_err(|status| honest(status, may_have_started));
                }
                Err(Refusal::Elsewhere(status)) => status,
            };
            may_have_started |= !status.is_not_started();
            if let Some(failure) = sent.failure() {
                return Err(failure.clone());
            }
            let pause = longest.mul_f64(rand::random_range(0.5..1.0));
            // Without time for a repetition the refusal is the better answer: it says what is wrong
            // and that nothing was started, which a passed deadline does not.
            let left = deadline.time_left();
            let is_late = left.is_some_and(|left| left <= pause);
            if attempts.0 >= self.max_attempts || is_late || !sent.is_whole() {
                return Err(honest(status, may_have_started));
            }
            if !self.send_budgets.spend(service, &status) {
                log_limited!(
                    debug, method = %request.method(), %status,
                    "not sent again: the budget is spent"
                );
                return Err(honest(status, may_have_started));
            }
            log_limited!(
                debug, method = %request.method(), %status, attempt = attempts.0, "sending again"
            );
            CallMetrics::of(request.method()).redispatched();
            // In a box, like all that few calls need.
            Box::pin(tokio::time::sleep(pause)).await;
            longest = (longest * 2).min(MAX_PAUSE);
            attempts.0 += 1;
        }
    }

    /// The session with a service that has no connection to NATS, for a call that no instance took in
    /// base mode: the service may be on its way back.
    fn last_resort(&self, method: Method) -> Option<Arc<Handle>> {
        if !self.is_multiplexed {
            return None;
        }
        let base = self.base(method.service());
        self.sessions.last_resort(&self.connection, base, method)
    }

    /// The session for a call, if it takes one; it may be known already.
    async fn session(
        &self,
        request: &Request,
        avoid: Option<Arc<Handle>>,
        known: Option<Arc<Handle>>,
    ) -> Result<Option<Arc<Handle>>, Refusal> {
        if known.is_some() {
            return Ok(known);
        }
        let (connection, method) = (&self.connection, request.method());
        let mut avoid = avoid.as_ref();
        if !method.streams() {
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
            // It would do better elsewhere, but not so much that sessions are opened for it.
            avoid = None;
        }
        let wait = self.wait_for_session(request, avoid);
        let outcome = request.deadline().limit_boxed(wait).await;
        outcome.unwrap_or_else(|| Err(Refusal::Final(late(method))))
    }

    /// The session for a call that needs one, or does better with one.
    async fn wait_for_session(
        &self,
        request: &Request,
        avoid: Option<&Arc<Handle>>,
    ) -> Result<Option<Arc<Handle>>, Refusal> {
        let begin = Instant::now();
        let (connection, method) = (&self.connection, request.method());
        let base = self.base(method.service());
        let outcome = match self.wait_for_connection().await {
            Ok(()) => match self.sessions.wait(connection, base, method, avoid).await {
                // Without a session base mode does what it can.
                Err(_) if !method.streams() => return Ok(None),
                outcome => outcome,
            },
            Err(lost) => Err(lost),
        };
        outcome.map(Some).map_err(|status| {
            // Another instance may take a session. What took its time would again.
            if begin.elapsed() < SOON {
                Refusal::of(status, method)
            } else {
                Refusal::Final(status)
            }
        })
    }

    /// Request or answer were too large for base mode. What may be repeated is; what may not is at
    /// least answered the next time.
    async fn again_in_session(
        &self,
        request: &Request,
        sent: &Sent,
        status: Status,
    ) -> Result<Response, Status> {
        if !status.is_not_started() {
            // More such answers are to be expected.
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
                "{}; it was not called again, as the .proto does not call it idempotent, but \
                 further calls take a session, which can carry such answers",
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
    ) -> Result<Response, Refusal> {
        if !self.connection.is_connected() {
            let wait = self.wait_for_connection();
            let outcome = request.deadline().limit_boxed(wait).await;
            let outcome = outcome.unwrap_or_else(|| Err(late(request.method())));
            outcome.map_err(Refusal::Final)?;
            if session.is_absent(self.connection.epoch()) {
                // It was chosen in a former life of the connection, and may have been given up since.
                let text = "the instance was not heard since the connection came back";
                let status = Status::unavailable(text).not_started();
                return Err(Refusal::Elsewhere(status));
            }
        }
        let outcome = session.call(request, sent).await;
        outcome.map_err(|status| Refusal::of(status, request.method()))
    }

    /// A call that begins while the connection is lost waits a little for it.
    pub(crate) async fn wait_for_connection(&self) -> Result<(), Status> {
        if self.connection.is_connected() {
            return Ok(());
        }
        // A connection that moves to another server is away for a moment, whatever the grace is.
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

/// What a call ends with at its deadline.
pub(crate) fn late(method: Method) -> Status {
    Status::deadline_exceeded(format!("{method} did not end in time"))
}

/// Why an attempt gave no answer.
#[derive(Clone)]
pub(crate) enum Refusal {
    /// Not started by the instance that got it, or ended with it and safe to repeat: another may.
    Elsewhere(Status),
    /// No instance takes calls in base mode.
    Nobody(Status),
    /// No repetition is safe, or none would help.
    Final(Status),
    /// The request or, if it was started, its answer is too large for base mode.
    TooLarge(Status),
}

impl Refusal {
    /// What it means that a call of a method ended with a status.
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
