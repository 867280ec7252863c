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

/// Time limit of a round trip.
const LIMIT: Duration = Duration::from_secs(2);

/// Delay before it tries a path that may be denied.
const PATIENCE: Duration = Duration::from_millis(500);

/// Returns when the server has processed everything that was sent before, and its subscriptions
/// have received everything that it sent before; or after a time limit.
///
/// A round trip needs only the permissions of a service: it publishes to an unused inbox with a
/// reply subject below `fence`, on which the server reports "no responders". If another connection
/// subscribes to everything, it publishes to the reply subject itself; a denial of that also counts
/// as an answer. Without services there are no queue groups, which need this, and a flush is
/// enough.
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
        log_limited!(target: LOG, debug, "a round trip through the NATS server was not answered in \
                                          time");
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
