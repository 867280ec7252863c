//! The client side of base mode: a call is one NATS request and one NATS reply.

use std::{pin::pin, sync::Arc};

use async_nats::{HeaderMap, Message, StatusCode, Subject, client::PublishErrorKind};
use bytes::Bytes;
use futures_util::FutureExt;
use tokio::task::unconstrained;

use super::{reply, request::RequestHeaders};
use crate::{
    Deadline, Status,
    nats::{
        attempts::{AttemptError, late},
        connection::replies::{Replies, Waiting},
        headers,
        session::client::source::Sent,
        transport::NatsTransport,
    },
};
use nmfw_core::call::{attempt::Parallel, request::Request, response::Response};

impl NatsTransport {
    /// Sends the request of a call with one message in each direction, if that is possible without
    /// waiting. This is the usual case, in which the call's future needs no space for waiting.
    /// Returns `None` if nothing was sent, for any reason: [`Self::attempt_in_base_mode`] then
    /// waits, or returns the reason.
    pub(crate) fn ask_at_once(&self, request: &Request, sent: &Sent) -> Option<Waiting> {
        let Sent::Message(body) = sent else {
            return None;
        };
        if !self.connection.is_connected()
            || self.sessions.are_preferred()
            || request.extensions().get::<Parallel>().is_some()
        {
            return None;
        }
        let replies = self.connection.replies_at_hand()?;
        let headers = self.headers(request);
        let size = super::size(Some(&headers), body);
        if size > self.connection.max_payload() {
            return None;
        }
        let subject = self.method_subject(request.method());
        let waiting = self.register(replies, &subject, size, request.deadline());
        let waiting = waiting.ok()?;
        let published = {
            let publishing = pin!(self.publish(&subject, &waiting, headers, body.clone()));
            // Unconstrained, so that the caller's coop budget does not delay it.
            unconstrained(publishing).now_or_never()
        };
        published?.ok()?;
        Some(waiting)
    }

    pub(crate) async fn attempt_in_base_mode(
        &self,
        request: &Request,
        sent: &Sent,
    ) -> Result<Response, AttemptError> {
        let Sent::Message(body) = sent else {
            let text = "a request stream needs a session";
            return Err(AttemptError::Final(Status::internal(text)));
        };
        let headers = self.headers(request);
        let size = super::size(Some(&headers), body);
        let max = self.connection.max_payload();
        if size > max {
            return Err(AttemptError::TooLarge(
                Status::resource_exhausted(format!(
                    "the request of {size} bytes exceeds the NATS server's max_payload of {max} \
                     bytes"
                ))
                // Not started: the request is not sent.
                .not_started(),
            ));
        }
        let method = request.method();
        let subject = self.method_subject(method);
        let asked = self.ask(&subject, headers, body.clone(), request.deadline());
        let waiting = asked
            .await?
            .ok_or_else(|| AttemptError::Final(late(method)))?;
        self.answer(waiting, request).await
    }

    /// Waits for the outcome of a request that was sent.
    pub(crate) async fn answer(
        &self,
        waiting: Waiting,
        request: &Request,
    ) -> Result<Response, AttemptError> {
        let reply = waiting.reply().await.map_err(AttemptError::Final)?;
        let message = reply.ok_or_else(|| AttemptError::Final(late(request.method())))?;
        self.read(message, request)
    }

    fn read(&self, message: Message, request: &Request) -> Result<Response, AttemptError> {
        if message.status == Some(StatusCode::NO_RESPONDERS) {
            let subject = self.method_subject(request.method());
            let text = format!("no instance serves {subject}: no responders");
            // Not started: the NATS server found no subscriber for the request.
            return Err(AttemptError::NoInstance(
                Status::unavailable(text).not_started(),
            ));
        }
        if let Err(error) = headers::check_size(&message) {
            let text = format!("cannot read the reply: {error}");
            return Err(AttemptError::Final(Status::internal(text)));
        }
        let is_answer_too_large = reply::is_answer_too_large(&message);
        reply::decode(message, request.method(), request.deadline()).map_err(|status| {
            match is_answer_too_large {
                true => AttemptError::TooLarge(status),
                false => AttemptError::of(status, request.method()),
            }
        })
    }

    fn headers(&self, request: &Request) -> HeaderMap {
        RequestHeaders {
            deadline: request.deadline(),
            encoding: request.encoding(),
            metadata: request.metadata(),
            client_version: request.method().service().client_version(),
            trace: request.trace_context(),
            go_compatible: self.go_compatible,
        }
        .to_headers()
    }

    /// Sends a request and waits for its reply without a limit. The reply can be "no responders".
    pub(crate) async fn request(
        &self,
        subject: &Subject,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Message, AttemptError> {
        let late =
            || AttemptError::Final(Status::internal("a call without a deadline has timed out"));
        let asked = self.ask(subject, headers, body, Deadline::NONE).await?;
        let reply = asked.ok_or_else(late)?.reply().await;
        reply.map_err(AttemptError::Final)?.ok_or_else(late)
    }

    /// Sends a request; returns `None` if the deadline passes before.
    async fn ask(
        &self,
        subject: &Subject,
        headers: HeaderMap,
        body: Bytes,
        deadline: Deadline,
    ) -> Result<Option<Waiting>, AttemptError> {
        let send = async {
            self.wait_for_connection().await?;
            let replies = self.connection.replies().await?;
            let size = super::size(Some(&headers), &body);
            let waiting = self.register(replies, subject, size, deadline)?;
            self.publish(subject, &waiting, headers, body).await?;
            Ok::<_, Status>(waiting)
        };
        let sent = deadline.limit(pin!(send)).await;
        sent.transpose().map_err(AttemptError::Final)
    }

    /// Registers for the reply, before the request is sent. Dropping the result unregisters.
    fn register(
        &self,
        replies: &Arc<Replies>,
        subject: &Subject,
        size: usize,
        deadline: Deadline,
    ) -> Result<Waiting, Status> {
        let replies = Arc::clone(replies);
        Waiting::register(replies, subject, size, deadline, self.reconnect_grace)
    }

    async fn publish(
        &self,
        subject: &Subject,
        waiting: &Waiting,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<(), Status> {
        let second = self.connection.second_for_calls();
        let client = second.as_deref().unwrap_or(self.connection.client());
        let (to, inbox) = (subject.clone(), waiting.inbox());
        let publishing = client.publish_with_reply_and_headers(to, inbox, headers, body);
        publishing.await.map_err(|error| {
            let text = format!("cannot send the request to {subject}: {error}");
            let status = match error.kind() {
                PublishErrorKind::MaxPayloadExceeded => Status::resource_exhausted(text),
                PublishErrorKind::InvalidSubject => Status::invalid_argument(text),
                PublishErrorKind::Send => Status::unavailable(text),
            };
            // Not started: the NATS client did not take the request.
            status.not_started().with_source(error)
        })
    }
}
