//! Asking ADR-32 discovery as any NATS client can, without nmfw.

use std::time::Duration;

use async_nats::{Client, Message, StatusCode};
use futures_util::StreamExt;
use serde_json::Value;
use tokio::time::timeout;

use crate::failure::{Doing, Failure};

/// How long answers may take.
const LIMIT: Duration = Duration::from_secs(10);

/// How long nothing more must come after the last answer.
const SILENCE: Duration = Duration::from_millis(50);

/// All answers to a message with an empty body, which must be that many; 0 where the server must
/// say at once that there are no responders.
///
/// # Errors
///
/// Fails if there were more or fewer.
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
                    return Err(unexpected(&format!("an answer too many, {reply:?}")));
                }
                answers.push(reply);
            }
        }
    }
}

/// All answers to a question such as `$SRV.PING`, which must be that many.
///
/// # Errors
///
/// See [`collect`], or that one is no JSON.
pub async fn ask(client: &Client, subject: &str, count: usize) -> Result<Vec<Value>, Failure> {
    let answers = collect(client, subject, count).await?;
    let parse = |answer: Message| {
        serde_json::from_slice(&answer.payload)
            .doing(format_args!("read the answer {:?}", answer.payload))
    };
    answers.into_iter().map(parse).collect()
}

/// The one answer to a question.
///
/// # Errors
///
/// See [`ask`].
pub async fn ask_one(client: &Client, subject: &str) -> Result<Value, Failure> {
    Ok(ask(client, subject, 1).await?.remove(0))
}

/// The endpoint of a name in an INFO or STATS answer.
///
/// # Errors
///
/// Fails if there is none.
pub fn endpoint<'a>(answer: &'a Value, name: &str) -> Result<&'a Value, Failure> {
    let endpoints = answer["endpoints"].as_array().into_iter().flatten();
    let mut named = endpoints.filter(|endpoint| endpoint["name"] == name);
    named
        .next()
        .ok_or_else(|| Failure::new(format!("no endpoint {name} in {answer}")))
}
