//! Waiting for a service that is still starting.

use std::time::Duration;

use async_nats::{HeaderMap, Message, StatusCode, Subject};
use bytes::Bytes;
use futures_util::StreamExt;
use serde::Deserialize;
use tokio::time::Instant;

use super::{attempts::AttemptError, subject, transport::NatsTransport};
use crate::{Code, ConnectionEvent, ServiceSpec, Status};

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const MAX_PAUSE: Duration = Duration::from_millis(250);

/// How long to wait for the answers to one query.
const ROUND: Duration = Duration::from_millis(250);

/// Maximum number of answers read per query: more than an account has instances.
const MAX_ANSWERS: usize = 10_000;

/// Maximum size of an answer. The answer of a service with a thousand methods is smaller.
const MAX_ANSWER: usize = 1024 * 1024;

/// Interval of queries to all services, in addition to those of the name. Each service answers
/// them.
const ALL_EVERY: Duration = Duration::from_secs(1);

/// The relevant part of an INFO answer.
#[derive(Deserialize)]
struct InfoReply {
    endpoints: Option<Vec<Endpoint>>,
    /// The list of subjects from before ADR-32 had endpoints, as in Go nmfw's services.
    subjects: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Endpoint {
    subject: String,
}

/// Queries discovery until an instance serves below this channel's subject. Services of the same
/// name are queried first, but the service may have another name.
pub(crate) async fn wait(
    nats: &NatsTransport,
    service: &'static ServiceSpec,
    timeout: Duration,
) -> Result<(), Status> {
    let base = nats.base(service);
    let named = subject::discovery_of("INFO", service.discovery_name());
    let asking = async {
        let mut pause = FIRST_PAUSE;
        let mut all = Instant::now() + MAX_PAUSE;
        loop {
            if first_serves(nats, &named, base).await? {
                return Ok(());
            }
            if Instant::now() >= all {
                if any_serves(nats, "$SRV.INFO", base).await? {
                    return Ok(());
                }
                all = Instant::now() + ALL_EVERY;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    };
    match tokio::time::timeout(timeout, asking).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Status::unavailable(format!(
            "no instance of {} responded to discovery within {timeout:?}",
            service.full_name()
        ))),
    }
}

/// Returns whether the first instance to answer serves. This form detects a denial.
async fn first_serves(nats: &NatsTransport, question: &str, base: &str) -> Result<bool, Status> {
    let question = Subject::from(question);
    let round = nats.request(&question, HeaderMap::new(), Bytes::new());
    match tokio::time::timeout(ROUND, round).await {
        Ok(Ok(message)) => Ok(serves(&message, base)),
        Ok(Err(AttemptError::Final(status))) if status.code() != Code::Unavailable => Err(status),
        Ok(Err(_)) | Err(_) => Ok(false),
    }
}

/// Returns whether any answering instance serves.
async fn any_serves(
    nats: &NatsTransport,
    question: &'static str,
    base: &str,
) -> Result<bool, Status> {
    let client = nats.connection.client();
    let inbox = client.new_inbox();
    let mut events = nats.connection.event_receiver();
    let mut answers = client.subscribe(inbox.clone()).await.map_err(lost)?;
    let asking = client.publish_with_reply(question, inbox, Bytes::new());
    asking.await.map_err(lost)?;
    let found = async {
        let mut read = 0;
        while read < MAX_ANSWERS {
            tokio::select! {
                answer = answers.next() => match answer {
                    Some(message) if serves(&message, base) => return Ok(true),
                    Some(_) => read += 1,
                    None => return Ok(false),
                },
                Ok(event) = events.recv() => {
                    if let ConnectionEvent::TooManySubscriptions { error } = event {
                        let text = format!("the NATS server does not allow services to answer: \
                                            {error}");
                        return Err(Status::resource_exhausted(text));
                    }
                }
            }
        }
        Ok(false)
    };
    let found = tokio::time::timeout(ROUND, found).await;
    found.unwrap_or(Ok(false))
}

/// Returns the error if the connection accepts no more requests.
fn lost(error: impl std::error::Error + Send + Sync + 'static) -> Status {
    Status::unavailable("cannot query discovery").with_source(error)
}

/// Returns whether a discovery answer comes from a service below this subject.
pub(crate) fn serves(message: &Message, base: &str) -> bool {
    let is_none = message.status == Some(StatusCode::NO_RESPONDERS);
    if is_none || message.payload.len() > MAX_ANSWER {
        return false;
    }
    let Ok(info) = serde_json::from_slice::<InfoReply>(&message.payload) else {
        return false;
    };
    let below = |subject: &str| {
        subject
            .strip_prefix(base)
            .is_some_and(|rest| rest.starts_with('.'))
    };
    let endpoints = info.endpoints.iter().flatten().map(|e| &e.subject);
    let mut subjects = endpoints.chain(info.subjects.iter().flatten());
    subjects.any(|subject| below(subject))
}
