//! A round trip through the NATS server: what was sent before it has been processed after it.

use std::time::Duration;

use async_nats::{Message, StatusCode, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::{sync::broadcast, time::Instant};

use crate::{Connection, ConnectionEvent, Error, error::ErrorKind, nats::subject};

/// How long a round trip may take before another is tried: the message may have been lost with a
/// connection.
const RETRY: Duration = Duration::from_secs(1);

/// How long to wait for an answer to the message that nobody reads before one is sent that somebody
/// does.
const PATIENCE: Duration = Duration::from_millis(100);

/// Makes round trips with the permissions that a service has anyway: to publish into inboxes, and
/// to subscribe below its own subject.
///
/// It publishes into an inbox that nobody reads, with a reply subject of its own. The NATS server
/// answers on that: there are no responders. Unless somebody listens to everything, as
/// `nats sub '>'` does. So after a while it publishes to its own subject besides. That may be
/// forbidden, which is an answer too, but one that the server writes to its log.
///
/// A client that may call the service may publish below the service's subject, too. So each round
/// trip has a reply subject that cannot be guessed, which is subscribed for the time of the round trip
/// only, and only messages that the server or this side may have sent end it.
#[derive(Debug)]
pub(crate) struct Fence {
    connection: Connection,
    /// Of an instance, whose own subjects are used.
    base: String,
    id: String,
}

/// One round trip.
struct Trip {
    connection: Connection,
    subscriber: Subscriber,
    reply: String,
    /// What this side sends to the reply subject.
    secret: Bytes,
}

impl Fence {
    /// `base` and `id` are those of an instance.
    pub(crate) fn new(connection: &Connection, base: &str, id: &str) -> Self {
        Self {
            connection: connection.clone(),
            base: base.to_owned(),
            id: id.to_owned(),
        }
    }

    /// Comes back when the server has processed everything sent before the call.
    ///
    /// # Errors
    /// When that has not happened within `limit`, when the service may not subscribe to its own
    /// subject, or when the connection is gone for good.
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
                // The answer to an earlier attempt will do, as that was sent after the call, too.
                message = self.subscriber.next() => match message {
                    Some(message) if self.ends(&message) => return Ok(()),
                    Some(_) => {}
                    None => return Err(closed("the subscription ended")),
                },
                event = events.recv() => match event {
                    // A server that forbids one of them says so in its turn: as good as an answer.
                    Ok(ConnectionEvent::PublishDenied { subject })
                        if subject == inbox || subject == self.reply =>
                    {
                        return Ok(());
                    }
                    Ok(ConnectionEvent::SubscribeDenied { subject, .. })
                        if subject == self.reply =>
                    {
                        return Err(crate::nats::server::required_subjects::denied(&subject));
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

    /// Whether the message is of the server, or the one that this side has sent.
    fn ends(&self, message: &Message) -> bool {
        message.status == Some(StatusCode::NO_RESPONDERS) || message.payload == self.secret
    }
}

fn closed(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(ErrorKind::Closed, "the connection to NATS is closed").with_source(source)
}
