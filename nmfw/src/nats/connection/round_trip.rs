//! A round trip on any connection, with the permissions of a service.

use std::time::Duration;

use futures_util::StreamExt;
use tokio::{
    sync::broadcast,
    time::{sleep, timeout},
};

use super::{
    ConnectionEvent,
    events::{EventHub, LOG},
};

/// The longest that a round trip takes.
const LIMIT: Duration = Duration::from_secs(2);

/// The time after which it takes a way that may be denied.
const PATIENCE: Duration = Duration::from_millis(500);

/// Returns when the server has processed all that was sent before, and its subscriptions have all
/// that it sent before; or when it takes too long.
///
/// It needs no more than the permissions of a service: it publishes into an inbox that nobody reads,
/// with a reply subject below `fence` that the server answers on, as there are no responders. Where
/// somebody listens to everything, the reply subject is published to; a refusal of that is an answer,
/// too. Without services there are no queue groups, for which it matters, and a flush has to do.
pub(super) async fn round_trip(
    client: &async_nats::Client,
    hub: &EventHub,
    inbox_prefix: &str,
    fence: Option<&str>,
) {
    let Some(fence) = fence else {
        _ = timeout(LIMIT, client.flush()).await;
        return;
    };
    let nobody = format!("{inbox_prefix}.nmfw.{}", nuid::next());
    let reply = format!("{fence}.{}", nuid::next());
    let mut events = hub.subscribe();
    let trip = async {
        let mut replies = client.subscribe(reply.clone()).await.ok()?;
        let (to, from) = (nobody.clone(), reply.clone());
        client
            .publish_with_reply(to, from, bytes::Bytes::new())
            .await
            .ok()?;
        let mut patience = std::pin::pin!(sleep(PATIENCE));
        let mut is_patient = true;
        loop {
            tokio::select! {
                _ = replies.next() => return Some(()),
                event = events.recv() => match event {
                    Ok(event) if is_about(&event, [&nobody, &reply]) => return Some(()),
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                },
                () = &mut patience, if is_patient => {
                    is_patient = false;
                    let empty = bytes::Bytes::new();
                    client.publish(reply.clone(), empty).await.ok()?;
                }
            }
        }
    };
    if timeout(LIMIT, trip).await.ok().flatten().is_none() {
        log_limited!(target: LOG, debug, "a round trip was not answered");
    }
}

fn is_about(event: &ConnectionEvent, subjects: [&String; 2]) -> bool {
    match event {
        ConnectionEvent::PublishDenied { subject }
        | ConnectionEvent::SubscribeDenied { subject, .. }
        | ConnectionEvent::ReplyDenied { reply: subject } => subjects.contains(&subject),
        ConnectionEvent::TooManySubscriptions { .. } | ConnectionEvent::Closed => true,
        _ => false,
    }
}
