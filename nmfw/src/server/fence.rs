//! A round trip through the NATS server: what was sent before it has been processed after it.

use std::time::Duration;

use async_nats::Subscriber;
use futures_util::StreamExt;
use tokio::{sync::broadcast, time::Instant};

use crate::{Connection, ConnectionEvent, Error, error::ErrorKind, subject};

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
#[derive(Debug)]
pub(crate) struct Fence {
    connection: Connection,
    subscriber: Subscriber,
    reply: String,
    passed: u64,
}

impl Fence {
    /// `base` and `id` are those of an instance.
    pub(crate) async fn new(connection: &Connection, base: &str, id: &str) -> Result<Self, Error> {
        let pattern = subject::instance(base, id, "fence.*");
        let subscriber = super::subscribe(connection.client(), pattern, None).await?;
        Ok(Self {
            connection: connection.clone(),
            subscriber,
            reply: subject::instance(base, id, "fence"),
            passed: 0,
        })
    }

    /// Comes back when the server has processed everything sent before the call.
    ///
    /// # Errors
    /// When that has not happened within `limit`, or the connection is gone for good.
    pub(crate) async fn pass(&mut self, limit: Duration) -> Result<(), Error> {
        let end = Instant::now() + limit;
        let mut events = self.connection.subscribe_events();
        loop {
            self.passed += 1;
            let reply = format!("{}.{}", self.reply, self.passed);
            let inbox = format!("{}.nmfw.{}", self.connection.inbox_prefix(), nuid::next());
            let attempt = self.attempt(&mut events, &inbox, &reply);
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

    async fn attempt(
        &mut self,
        events: &mut broadcast::Receiver<ConnectionEvent>,
        inbox: &str,
        reply: &str,
    ) -> Result<(), Error> {
        self.connection
            .client()
            .publish_with_reply(inbox.to_owned(), reply.to_owned(), bytes::Bytes::new())
            .await
            .map_err(closed)?;
        let mut patience = std::pin::pin!(tokio::time::sleep(PATIENCE));
        let mut patient = true;
        loop {
            tokio::select! {
                () = &mut patience, if patient => {
                    patient = false;
                    let client = self.connection.client();
                    let sent = client.publish(reply.to_owned(), bytes::Bytes::new()).await;
                    sent.map_err(closed)?;
                }
                message = self.subscriber.next() => match message {
                    Some(message) if message.subject.as_str() == reply => return Ok(()),
                    // The answer to an attempt before this one.
                    Some(_) => {}
                    None => return Err(closed("the subscription ended")),
                },
                // A server that forbids one of them says so in its turn: as good as an answer.
                event = events.recv() => match event {
                    Ok(ConnectionEvent::PublishDenied { subject })
                        if subject == inbox || subject == reply =>
                    {
                        return Ok(());
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
}

fn closed(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(ErrorKind::Closed, "the connection to NATS is closed").with_source(source)
}
