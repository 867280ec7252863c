//! [`Inbox`]: the subscription that all replies of a connection arrive on.

use std::time::Duration;

use async_nats::{Message, SubscribeError, Subscriber};
use futures_util::StreamExt;
use tokio::time::Instant;

use crate::Status;

/// The time after which a refused subscription is tried again: at first, doubling up to the longest.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// A subscription that finds out when the server has refused it.
#[derive(Debug)]
pub(super) struct Inbox {
    client: async_nats::Client,
    pattern: String,
    subscriber: Subscriber,
    /// A message has arrived over the present connection, so that the subscription is there.
    is_confirmed: bool,
    retry: Option<Instant>,
    /// Refusals since the last message.
    refusals: u32,
}

impl Inbox {
    pub(super) async fn subscribe(
        client: &async_nats::Client,
        pattern: String,
    ) -> Result<Self, SubscribeError> {
        Ok(Self {
            subscriber: client.subscribe(pattern.clone()).await?,
            client: client.clone(),
            pattern,
            is_confirmed: false,
            retry: None,
            refusals: 0,
        })
    }

    /// Returns the next message, or `None` when the connection is closed.
    pub(super) async fn next(&mut self) -> Option<Message> {
        let message = self.subscriber.next().await?;
        self.is_confirmed = true;
        self.refusals = 0;
        Some(message)
    }

    /// Notes that the server has refused a subscription, and returns what calls end with if it can be
    /// this one: the server does not say which. A wrong guess costs the calls until the next try.
    pub(super) fn refused(&mut self, words: &str) -> Option<Status> {
        if self.is_confirmed {
            return None;
        }
        let wait = FIRST_RETRY.saturating_mul(1 << self.refusals.min(6));
        self.refusals = self.refusals.saturating_add(1);
        self.retry = Some(Instant::now() + wait.min(LONGEST_RETRY));
        Some(Status::resource_exhausted(format!(
            "the NATS server refuses a subscription, most likely to {}, where replies arrive, and \
             says {words:?}: raise max_subscriptions of the server, the account or the user, or \
             subscribe to less on this connection",
            self.pattern
        )))
    }

    /// The client subscribes anew after a reconnect.
    pub(super) fn reconnected(&mut self) {
        self.is_confirmed = false;
        self.retry = None;
    }

    /// When a refused subscription is to be tried again.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.retry
    }

    pub(super) async fn subscribe_again(&mut self) {
        self.retry = None;
        match self.client.subscribe(self.pattern.clone()).await {
            Ok(subscriber) => self.subscriber = subscriber,
            // The connection is closed, which ends the task.
            Err(error) => tracing::debug!(%error, pattern = self.pattern, "not subscribed again"),
        }
    }
}
