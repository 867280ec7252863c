//! [`ConnectionEvents`]: a stream of a connection's events.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::{
    Stream, StreamExt,
    stream::{self, BoxStream},
};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::ConnectionEvent;

/// The events of a connection since [`Connection::events`](super::Connection::events) was called;
/// also a [`Stream`].
///
/// Up to 256 events are buffered. Beyond that, the oldest are lost, and an
/// [`EventsMissed`](ConnectionEvent::EventsMissed) has their number.
#[must_use = "events are lost unless they are received"]
pub struct ConnectionEvents(BoxStream<'static, ConnectionEvent>);

impl ConnectionEvents {
    pub(super) fn new(receiver: Receiver<ConnectionEvent>) -> Self {
        let events = stream::unfold(receiver, |mut receiver| async move {
            let event = match receiver.recv().await {
                Ok(event) => event,
                Err(RecvError::Lagged(count)) => ConnectionEvent::EventsMissed { count },
                Err(RecvError::Closed) => return None,
            };
            Some((event, receiver))
        });
        Self(events.boxed())
    }

    /// Waits for the next event; returns `None` once all clones of the connection are dropped. This
    /// method is cancel safe: dropping its future loses no event.
    pub async fn recv(&mut self) -> Option<ConnectionEvent> {
        self.0.next().await
    }
}

impl Stream for ConnectionEvents {
    type Item = ConnectionEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ConnectionEvent>> {
        self.0.poll_next_unpin(cx)
    }
}

impl fmt::Debug for ConnectionEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConnectionEvents")
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::broadcast;

    use super::*;

    #[tokio::test]
    async fn events_come_in_order_and_lost_ones_are_counted() {
        let sender = broadcast::Sender::new(2);
        let mut events = ConnectionEvents::new(sender.subscribe());
        assert!(futures_util::poll!(Box::pin(events.recv())).is_pending());
        for error in ["1", "2", "3"] {
            let event = ConnectionEvent::ServerError(error.to_owned());
            sender.send(event).unwrap();
        }
        drop(sender);
        let missed = ConnectionEvent::EventsMissed { count: 1 };
        assert_eq!(events.recv().await, Some(missed));
        let rest: Vec<_> = events.collect().await;
        let rest_is = ["2", "3"].map(|error| ConnectionEvent::ServerError(error.to_owned()));
        assert_eq!(rest, rest_is);
    }
}
