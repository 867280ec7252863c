//! The attempts of a call: sends it until an instance accepts it, in a session or in base mode.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    session::{
        client::{Handle, source::Sent},
        protocol::PeerGone,
    },
    transport::NatsTransport,
};
use crate::{Idempotency, Method, Status};
use nmfw_core::{
    call::{attempt::Parallel, request::Request, response::Response},
    observe::{metrics::CallMetrics, trace::Attempts},
};

/// The initial backoff between sends of a call, which doubles up to [`MAX_BACKOFF`] and is
/// randomised, so that callers do not return in step.
const INITIAL_BACKOFF: Duration = Duration::from_millis(2);
const MAX_BACKOFF: Duration = Duration::from_millis(250);

/// How long a call waits for a connection that is being moved to another server.
const MAX_MOVE: Duration = Duration::from_secs(5);

/// A refusal within this time comes from an instance; later ones are timeouts.
const SOON: Duration = Duration::from_millis(500);

impl NatsTransport {
    /// Sends the call until an instance accepts it. It may have been sent once already.
    ///
    /// No timer per call: `Replies` expires all calls with one timer. Other waits have their own
    /// limits.
    pub(super) async fn attempts(
        &self,
        request: Request,
        sent: Sent,
        mut asked: Option<(Option<Arc<Handle>>, AttemptError)>,
    ) -> Result<Response, Status> {
        let (service, deadline) = (request.method().service(), request.deadline());
        let mut max_backoff = INITIAL_BACKOFF;
        let mut attempts = Attempts(1);
        let parallel = request.extensions().get_shared::<Parallel>();
        // Where another attempt is in flight, or the last one was refused.
        let mut avoid = parallel.as_ref().and_then(|parallel| parallel.taken());
        let (mut last_resort, mut has_resorted) = (None, false);
        let mut may_have_started = false;
        let failure = |status: Status, may_have_started| match may_have_started {
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
                    return Err(failure(status, may_have_started));
                }
                // Resending cannot help without instances; use `wait_ready` to wait for a service.
                // But one may be reconnecting, with its sessions.
                Err(AttemptError::NoInstance(status)) => {
                    if !has_resorted {
                        has_resorted = true;
                        last_resort = self.last_resort(request.method());
                    }
                    if last_resort.is_some() && self.send_budgets.spend(service, &status) {
                        continue;
                    }
                    return Err(failure(status, may_have_started));
                }
                // A request that is too large was not sent.
                Err(AttemptError::TooLarge(status))
                    if !status.is_not_started() && !self.send_budgets.spend(service, &status) =>
                {
                    return Err(failure(status, may_have_started));
                }
                Err(AttemptError::TooLarge(status)) => {
                    let again = self.again_in_session(&request, &sent, status);
                    let outcome = deadline.limit_boxed(again).await;
                    let outcome = outcome.unwrap_or_else(|| Err(late(request.method())));
                    return outcome.map_err(|status| failure(status, may_have_started));
                }
                Err(AttemptError::Elsewhere(status)) => status,
            };
            may_have_started |= !status.is_not_started();
            if let Some(failure) = sent.failure() {
                return Err(failure.clone());
            }
            let backoff = max_backoff.mul_f64(rand::random_range(0.5..1.0));
            // Without time for another attempt, the refusal is the better answer: it gives the
            // reason and says that nothing was started, which a passed deadline does not.
            let left = deadline.time_left();
            let is_late = left.is_some_and(|left| left <= backoff);
            if attempts.0 >= self.max_attempts || is_late || !sent.is_whole() {
                return Err(failure(status, may_have_started));
            }
            if !self.send_budgets.spend(service, &status) {
                log_limited!(
                    debug, method = %request.method(), %status,
                    "not resent: the budget is used up"
                );
                return Err(failure(status, may_have_started));
            }
            log_limited!(
                debug, method = %request.method(), %status, attempt = attempts.0, "resending a call"
            );
            CallMetrics::of(request.method()).redispatched();
            // Boxed, like everything that few calls need.
            Box::pin(tokio::time::sleep(backoff)).await;
            max_backoff = (max_backoff * 2).min(MAX_BACKOFF);
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
    NoInstance(Status),
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
