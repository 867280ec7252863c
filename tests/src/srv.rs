//! Queries ADR-32 discovery as any NATS client can, without nmfw.

use std::time::Duration;

use async_nats::{Client, Message, StatusCode};
use futures_util::StreamExt;
use serde_json::Value;
use tokio::time::timeout;

use crate::failure::{Doing, Failure};

/// The time limit for answers.
const LIMIT: Duration = Duration::from_secs(10);

/// The time without further answers after the last one.
const SILENCE: Duration = Duration::from_millis(50);

/// Returns all answers to a message with an empty body, of which there must be `count`; with 0, the
/// server must report at once that there are no responders.
///
/// # Errors
///
/// Fails if there are more or fewer.
pub async fn collect(
    client: &Client,
    subject: &str,
    count: usize,
) -> Result<Vec<Message>, Failure> {
    let inbox = client.new_inbox();
    let mut replies = client
        .subscribe(inbox.clone())
        .await
        .doing("subscribe to an inbox")?;
    client
        .publish_with_reply(subject.to_owned(), inbox, "".into())
        .await
        .doing("ask")?;
    let mut answers = Vec::new();
    loop {
        let enough = count > 0 && answers.len() >= count;
        let reply = timeout(if enough { SILENCE } else { LIMIT }, replies.next()).await;
        let unexpected = |what: &str| Failure::new(format!("{subject}: {what} after {answers:?}"));
        match reply {
            Err(_) if enough => return Ok(answers),
            Err(_) => return Err(unexpected("no answer")),
            Ok(None) => return Err(unexpected("the connection was closed")),
            Ok(Some(reply)) if reply.status == Some(StatusCode::NO_RESPONDERS) => {
                if count == 0 {
                    return Ok(answers);
                }
                return Err(unexpected("no responders"));
            }
            Ok(Some(reply)) => {
                if answers.len() == count {
                    return Err(unexpected(&format!("an unexpected answer, {reply:?}")));
                }
                answers.push(reply);
            }
        }
    }
}

/// Returns all answers to a query such as `$SRV.PING`, of which there must be `count`.
///
/// # Errors
///
/// See [`collect`]; also fails if an answer is not JSON.
pub async fn ask(client: &Client, subject: &str, count: usize) -> Result<Vec<Value>, Failure> {
    let answers = collect(client, subject, count).await?;
    let parse = |answer: Message| {
        serde_json::from_slice(&answer.payload)
            .doing(format_args!("read the answer {:?}", answer.payload))
    };
    answers.into_iter().map(parse).collect()
}

/// Returns the only answer to a query.
///
/// # Errors
///
/// See [`ask`].
pub async fn ask_one(client: &Client, subject: &str) -> Result<Value, Failure> {
    Ok(ask(client, subject, 1).await?.remove(0))
}

/// Returns the endpoint with this name in an INFO or STATS answer.
///
/// # Errors
///
/// Fails if there is no such endpoint.
pub fn endpoint<'a>(answer: &'a Value, name: &str) -> Result<&'a Value, Failure> {
    let endpoints = answer["endpoints"].as_array().into_iter().flatten();
    let mut named = endpoints.filter(|endpoint| endpoint["name"] == name);
    named
        .next()
        .ok_or_else(|| Failure::new(format!("no endpoint {name} in {answer}")))
}
