//! Waiting for a service that is still starting.

use std::time::Duration;

use async_nats::{HeaderMap, Message, StatusCode, Subject};
use bytes::Bytes;
use serde::Deserialize;

use super::nats::{Nats, Refusal};
use crate::{ServiceSpec, Status, subject};

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const MAX_PAUSE: Duration = Duration::from_millis(250);

/// The part of an INFO answer that matters here.
#[derive(Deserialize)]
struct Info {
    endpoints: Option<Vec<Endpoint>>,
    /// What there was before ADR-32 had endpoints, as in Go nmfw's services.
    subjects: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Endpoint {
    subject: String,
}

/// Asks discovery until an instance of the service answers that serves on this channel's subject.
/// The service asked for by name is that of the `.proto`; it may run under another.
pub(super) async fn wait(
    nats: &Nats,
    service: &'static ServiceSpec,
    timeout: Duration,
) -> Result<(), Status> {
    let base = nats.subject.as_deref().unwrap_or(service.base_subject());
    // A service at another subject may well have another name.
    let question = if nats.subject.is_some() {
        "$SRV.INFO".to_owned()
    } else {
        subject::discovery_of("INFO", service.discovery_name())
    };
    let question = Subject::from(question);
    let asking = async {
        let mut pause = FIRST_PAUSE;
        loop {
            let round = nats.request(&question, HeaderMap::new(), Bytes::new());
            // Somebody may have to be asked again: who answered first may be another service.
            match tokio::time::timeout(MAX_PAUSE, round).await {
                Ok(Ok(message)) if serves(&message, base) => return Ok(()),
                Ok(Err(Refusal::Final(status))) if !is_transient(&status) => return Err(status),
                _ => {}
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    };
    match tokio::time::timeout(timeout, asking).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Status::unavailable(format!(
            "no instance of {} answered within {timeout:?}",
            service.full_name()
        ))),
    }
}

fn is_transient(status: &Status) -> bool {
    status.code() == crate::Code::Unavailable
}

fn serves(message: &Message, base: &str) -> bool {
    if message.status == Some(StatusCode::NO_RESPONDERS) {
        return false;
    }
    let Ok(info) = serde_json::from_slice::<Info>(&message.payload) else {
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
