//! [`Inbox`]: the subscription for all replies of a connection.

use std::{future::poll_fn, task::Poll, time::Duration};

use async_nats::{Message, Subscriber};
use futures_util::StreamExt;
use tokio::time::Instant;

use super::session::SESSION;
use crate::{
    Connection, Status,
    nats::connection::{Follower, Refusals},
};

/// Delay before a refused subscription is retried: the initial one, which doubles up to the
/// longest.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// A subscription that detects a refusal by the server.
#[derive(Debug)]
pub(crate) struct Inbox {
    client: async_nats::Client,
    pattern: String,
    subscriber: Subscriber,
    /// Whether a message has arrived on the current connection, which proves the subscription.
    is_confirmed: bool,
    retry: Option<Instant>,
    /// Number of refusals since the last message.
    refusals: u32,
    follower: Follower,
    connection: Refusals,
    /// The subscription on a second connection, while the first one moves to another server.
    second: Option<Subscriber>,
}

impl Inbox {
    pub(crate) async fn subscribe(
        connection: &Connection,
        pattern: String,
    ) -> Result<Self, Status> {
        let follower = connection.follow(None);
        let client = connection.client();
        Ok(Self {
            subscriber: client.subscribe(pattern.clone()).await.map_err(|error| {
                Status::unavailable("subscribing to replies failed").with_source(error)
            })?,
            client: client.clone(),
            pattern,
            is_confirmed: false,
            retry: None,
            refusals: 0,
            follower,
            connection: connection.refusals(),
            second: None,
        })
    }

    /// Moves the subscription along with the connection.
    pub(crate) async fn follow(&mut self) {
        let Some(stage) = self.follower.due() else {
            return;
        };
        if let (Some(second), None) = (&stage.second, &self.second) {
            match second.subscribe(self.pattern.clone()).await {
                Ok(subscriber) => self.second = Some(subscriber),
                Err(error) => {
                    tracing::debug!(%error, "subscribing to replies on the second connection failed");
                }
            }
        }
        // A subscription on a closed connection is read until its end.
        self.follower.done(&stage);
    }

    /// Returns the next message, or `None` when the connection is closed. A message may arrive
    /// twice, once on each connection.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        if self.second.is_some() {
            return Box::pin(self.next_of_both()).await;
        }
        let message = self.subscriber.next().await?;
        self.is_confirmed = true;
        self.refusals = 0;
        Some(message)
    }

    async fn next_of_both(&mut self) -> Option<Message> {
        poll_fn(|cx| {
            while let Some(second) = &mut self.second {
                match second.poll_next_unpin(cx) {
                    Poll::Ready(Some(message)) if self.is_second_packet(&message) => {}
                    Poll::Ready(Some(message)) => return Poll::Ready(Some(message)),
                    Poll::Ready(None) => self.second = None,
                    Poll::Pending => break,
                }
            }
            self.subscriber.poll_next_unpin(cx)
        })
        .await
    }

    /// Returns whether a message belongs to a session and also arrives on the first connection.
    /// Sessions would treat messages on two paths as reordered. While the first connection is down,
    /// they need the second.
    fn is_second_packet(&self, message: &Message) -> bool {
        if self.connection.is_moving() {
            return false;
        }
        let prefix = self.pattern.trim_end_matches('>');
        let id = message.subject.strip_prefix(prefix);
        id.is_some_and(|id| id.starts_with(SESSION))
    }

    /// Records that the server has refused a subscription. Returns the error for calls if it may be
    /// this one; the server does not name it. A wrong guess affects calls until the next retry.
    pub(crate) fn refused(&mut self, words: &str) -> Option<Status> {
        if self.is_confirmed {
            return None;
        }
        let wait = FIRST_RETRY.saturating_mul(1 << self.refusals.min(6));
        self.refusals = self.refusals.saturating_add(1);
        self.retry = Some(Instant::now() + wait.min(LONGEST_RETRY));
        Some(Status::resource_exhausted(format!(
            "the NATS server refuses a subscription, probably the one for replies, {}, with \
             {words:?}: raise max_subscriptions of the server, the account or the user, or use \
             fewer subscriptions on this connection",
            self.pattern
        )))
    }

    /// Records a reconnect, after which the client subscribes again.
    pub(crate) fn reconnected(&mut self) {
        self.is_confirmed = false;
        self.retry = None;
    }

    /// Returns when to retry a refused subscription.
    pub(crate) fn retry_at(&self) -> Option<Instant> {
        self.retry
    }

    /// Retries a refused subscription if it is due; returns whether it did.
    pub(crate) async fn try_again(&mut self) -> bool {
        if self.retry.is_none_or(|at| at > Instant::now()) {
            return false;
        }
        self.retry = None;
        match self.client.subscribe(self.pattern.clone()).await {
            Ok(subscriber) => self.subscriber = subscriber,
            // The connection is closed, which ends the task.
            Err(error) => {
                tracing::debug!(%error, pattern = self.pattern, "resubscribing to replies failed");
            }
        }
        true
    }
}
