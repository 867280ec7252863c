//! A round trip through the NATS server, which proves that everything sent before was processed.

use std::time::Duration;

use async_nats::{Message, StatusCode, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::{sync::broadcast, time::Instant};

use super::required_subjects;
use crate::{Connection, ConnectionEvent, Error, nats::subject};
use nmfw_core::error::ErrorKind;

/// Delay before a round trip is retried, because its message may have been lost with a connection.
const RETRY: Duration = Duration::from_secs(1);

/// Delay before a message is also sent to the service's own subject.
const PATIENCE: Duration = Duration::from_millis(100);

/// Performs round trips with the permissions that a service has anyway: publishing to inboxes, and
/// subscribing below its own subject.
///
/// A round trip publishes to an unused inbox, with a reply subject of its own, on which the NATS
/// server reports "no responders". If another connection subscribes to everything, as `nats sub
/// '>'` does, there is no such report, so after a while it also publishes to the reply subject
/// itself. If that is denied, the denial counts as an answer too, but the server logs it.
///
/// A client that may call the service may also publish below its subject. Each round trip therefore
/// has a random reply subject, which is subscribed only during the round trip, and is ended only by
/// messages that the server or this side may have sent.
#[derive(Debug)]
pub(crate) struct Fence {
    connection: Connection,
    /// The base subject of an instance, below which the round trip takes place.
    base: String,
    id: String,
}

/// A single round trip.
struct Trip {
    connection: Connection,
    subscriber: Subscriber,
    reply: String,
    /// The content that this side sends to the reply subject.
    secret: Bytes,
}

impl Fence {
    /// Creates a fence; `base` and `id` are those of an instance.
    pub(crate) fn new(connection: &Connection, base: &str, id: &str) -> Self {
        Self {
            connection: connection.clone(),
            base: base.to_owned(),
            id: id.to_owned(),
        }
    }

    /// Returns when the server has processed everything that was sent before the call.
    ///
    /// # Errors
    /// Fails if that takes longer than `limit`, if the service may not subscribe to its own
    /// subject, or if the connection is closed permanently.
    pub(crate) async fn pass(&self, limit: Duration) -> Result<(), Error> {
        let end = Instant::now() + limit;
        let mut events = self.connection.event_receiver();
        let token: u128 = rand::random();
        let reply = subject::instance(&self.base, &self.id, &format!("fence.{token:032x}"));
        let secret: [u8; 16] = rand::random();
        let mut trip = Trip {
            connection: self.connection.clone(),
            subscriber: crate::nats::server::subscribe(
                self.connection.client(),
                reply.clone(),
                None,
            )
            .await?,
            reply,
            secret: Bytes::copy_from_slice(&secret),
        };
        loop {
            let inbox = format!("{}.nmfw.{}", self.connection.inbox_prefix(), nuid::next());
            let attempt = trip.attempt(&mut events, &inbox);
            let left = end.saturating_duration_since(Instant::now());
            match tokio::time::timeout(left.min(RETRY), attempt).await {
                Ok(passed) => return passed,
                Err(_) if left > RETRY => {}
                Err(_) => {
                    return Err(Error::new(
                        ErrorKind::TimedOut,
                        self.connection
                            .because(&format!("the NATS server did not answer within {limit:?}")),
                    ));
                }
            }
        }
    }
}

impl Trip {
    async fn attempt(
        &mut self,
        events: &mut broadcast::Receiver<ConnectionEvent>,
        inbox: &str,
    ) -> Result<(), Error> {
        let client = self.connection.client();
        client
            .publish_with_reply(inbox.to_owned(), self.reply.clone(), Bytes::new())
            .await
            .map_err(closed)?;
        let mut patience = std::pin::pin!(tokio::time::sleep(PATIENCE));
        let mut patient = true;
        loop {
            tokio::select! {
                () = &mut patience, if patient => {
                    patient = false;
                    let client = self.connection.client();
                    let sent = client.publish(self.reply.clone(), self.secret.clone()).await;
                    sent.map_err(closed)?;
                }
                // An answer to an earlier attempt is sufficient, because that attempt was also made
                // after the call.
                message = self.subscriber.next() => match message {
                    Some(message) if self.ends(&message) => return Ok(()),
                    Some(_) => {}
                    None => return Err(closed("the subscription ended")),
                },
                event = events.recv() => match event {
                    // The server's denial arrives in order, and is as good as an answer.
                    Ok(ConnectionEvent::PublishDenied { subject })
                        if subject == inbox || subject == self.reply =>
                    {
                        return Ok(());
                    }
                    Ok(ConnectionEvent::SubscribeDenied { subject, error, .. })
                        if subject == self.reply =>
                    {
                        return Err(required_subjects::denied(&subject, &error));
                    }
                    Ok(ConnectionEvent::Closed) => return Err(closed("it was closed")),
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => {
                        return Err(closed("it was closed"));
                    }
                },
            }
        }
    }

    /// Returns whether the message comes from the server, or is the one that this side has sent.
    fn ends(&self, message: &Message) -> bool {
        message.status == Some(StatusCode::NO_RESPONDERS) || message.payload == self.secret
    }
}

fn closed(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(ErrorKind::Closed, "the connection to NATS is closed").with_source(source)
}
