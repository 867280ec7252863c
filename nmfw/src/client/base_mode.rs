//! Base mode: a call is one NATS request and one NATS reply.

use std::{pin::pin, sync::Arc};

use async_nats::{Message, StatusCode, Subject, client::PublishErrorKind};
use bytes::Bytes;

use super::{
    nats::{Nats, Refusal, late},
    replies::Waiting,
    requests::Sent,
};
use crate::{
    Deadline, Status,
    base::{self, reply, request::Outgoing},
    middleware::{Request, Response},
};

impl Nats {
    pub(super) async fn attempt_in_base_mode(
        &self,
        request: &Request,
        sent: &Sent,
    ) -> Result<Response, Refusal> {
        let (method, deadline) = (request.method(), request.deadline());
        let Sent::Message(body) = sent else {
            let text = "a stream of requests needs a session";
            return Err(Refusal::Final(Status::internal(text)));
        };
        let headers = self.headers(request);
        let size = base::size(Some(&headers), body);
        let max = self.connection.max_payload();
        if size > max {
            return Err(Refusal::TooLarge(
                Status::resource_exhausted(format!(
                    "the request of {size} bytes is over the NATS server's max_payload of {max}"
                ))
                .not_started(),
            ));
        }
        let subject = self.method_subject(method);
        let asked = self.ask(&subject, headers, body.clone(), deadline);
        let message = asked.await?.ok_or_else(|| Refusal::Final(late(method)))?;
        if message.status == Some(StatusCode::NO_RESPONDERS) {
            let text = format!("nobody serves {subject}: no responders");
            return Err(Refusal::Final(Status::unavailable(text).not_started()));
        }
        let is_answer_too_large = reply::is_answer_too_large(&message);
        reply::decode(message).map_err(|status| match is_answer_too_large {
            true => Refusal::TooLarge(status),
            false => Refusal::of(status),
        })
    }

    fn headers(&self, request: &Request) -> async_nats::HeaderMap {
        Outgoing {
            deadline: request.deadline(),
            metadata: request.metadata(),
            client_version: Some(request.method().service().semver()),
            trace: request.trace_context(),
            go_compatible: self.go_compatible,
        }
        .to_headers()
    }

    /// Sends a request and waits for its reply, however long. The reply can say that there are no
    /// responders.
    pub(super) async fn request(
        &self,
        subject: &Subject,
        headers: async_nats::HeaderMap,
        body: Bytes,
    ) -> Result<Message, Refusal> {
        let asked = self.ask(subject, headers, body, Deadline::NONE).await?;
        asked.ok_or_else(|| Refusal::Final(Status::internal("late, without a deadline")))
    }

    /// Sends a request and waits for its reply; `None` if there is none at the deadline.
    async fn ask(
        &self,
        subject: &Subject,
        headers: async_nats::HeaderMap,
        body: Bytes,
        deadline: Deadline,
    ) -> Result<Option<Message>, Refusal> {
        let send = async {
            self.wait_for_connection().await?;
            let replies = self.connection.replies().await?;
            // There before the request is sent, gone when this future is.
            let waiting =
                Waiting::register(Arc::clone(replies), subject, deadline, self.reconnect_grace)?;
            self.connection
                .client()
                .publish_with_reply_and_headers(subject.clone(), waiting.inbox(), headers, body)
                .await
                .map_err(|error| {
                    let text = format!("the request to {subject} was not sent: {error}");
                    let status = match error.kind() {
                        PublishErrorKind::MaxPayloadExceeded => Status::resource_exhausted(text),
                        PublishErrorKind::InvalidSubject => Status::invalid_argument(text),
                        PublishErrorKind::Send => Status::unavailable(text),
                    };
                    status.not_started().with_source(error)
                })?;
            Ok::<_, Status>(waiting)
        };
        let sent = deadline.limit(pin!(send)).await;
        let Some(sent) = sent else {
            return Ok(None);
        };
        let waiting = sent.map_err(Refusal::Final)?;
        waiting.reply().await.map_err(Refusal::Final)
    }
}
