//! [`survey`]: queries discovery over a connection.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt, stream::SelectAll};
use nmfw::{
    Connection, ConnectionEvent,
    async_nats::{ConnectionExt, StatusCode},
};

use super::{
    Verb,
    census::{Census, Survey},
    subject,
};
use crate::failure::{Exit, Failure};

/// Queries the instances of a service, or all, with these verbs, for at most `limit`. The name of the
/// service must be a token of a subject.
pub(crate) async fn survey(
    nats: &Connection,
    service: Option<&str>,
    verbs: &[Verb],
    limit: Duration,
) -> Result<Survey, Failure> {
    let client = nats.client();
    let mut events = nats.events();
    let mut answers = SelectAll::new();
    let mut queries = Vec::new();
    for &verb in verbs {
        // An inbox for each verb, so that an answer cannot pass for that of another verb.
        let inbox = client.new_inbox();
        let subscriber = client.subscribe(inbox.clone()).await.map_err(lost)?;
        answers.push(subscriber.map(move |message| (verb, message)));
        queries.push((subject(verb, service), inbox));
    }
    let mut census = Census::new(verbs, Instant::now());
    for (subject, inbox) in queries {
        let query = client.publish_with_reply(subject, inbox, Bytes::new());
        query.await.map_err(lost)?;
    }
    while let Some(deadline) = census.deadline(limit) {
        tokio::select! {
            biased;
            answer = answers.next() => match answer {
                Some((verb, message)) => {
                    if message.status == Some(StatusCode::NO_RESPONDERS) {
                        census.unheard(verb);
                    } else {
                        census.add(verb, &message.payload, Instant::now());
                    }
                }
                None => return Err(lost("the subscriptions ended")),
            },
            event = events.recv() => match event {
                Some(event) => {
                    if let Some(failure) = denial(event) {
                        return Err(failure);
                    }
                }
                None => return Err(lost("the connection is closed")),
            },
            () = tokio::time::sleep_until(deadline.into()) => break,
        }
    }
    Ok(census.finish())
}

fn lost(cause: impl ToString) -> Failure {
    Failure::new(format!(
        "the connection to NATS was lost while discovery was queried: {}",
        cause.to_string()
    ))
    .exit(Exit::Unconnected)
}

/// Returns a failure if the NATS server does not allow the query or its answers.
fn denial(event: ConnectionEvent) -> Option<Failure> {
    let (what, subject) = match event {
        ConnectionEvent::PublishDenied { subject, .. } => ("publish to", subject),
        ConnectionEvent::SubscribeDenied { subject, .. } => ("subscribe to", subject),
        ConnectionEvent::ReplyDenied { reply, .. } => ("get answers on", reply),
        ConnectionEvent::TooManySubscriptions { error, .. } => {
            return Some(Failure::new(format!(
                "the NATS server does not allow services to answer: {error}"
            )));
        }
        _ => return None,
    };
    Some(
        Failure::new(format!("this user may not {what} {subject}"))
            .exit(Exit::Unconnected)
            .hint(
                "`nmfw permissions --role observer` prints the permissions that are needed; add \
                 them to the user, or log in as another one with --context",
            ),
    )
}
