//! [`Intake`]: a subscription for work, which is given up while the instance is not ready.

use std::{future::poll_fn, sync::Arc, task::Poll};

use async_nats::{Message, Subscriber};
use futures_util::StreamExt;
use tokio::sync::{Notify, watch};

use super::{Instance, work::UNSUBSCRIBE_NOW};
use crate::Error;

/// A subscription for work. While a check of the instance fails, and others share the work, it is given
/// up, so that clients need not find out who is ready. What is on its way then still arrives here, and
/// is answered as not started.
#[derive(Debug)]
pub(super) struct Intake {
    client: async_nats::Client,
    subject: String,
    group: Option<String>,
    subscriber: Subscriber,
    /// The one before, for what was on its way to it.
    previous: Option<Subscriber>,
    is_subscribed: bool,
    is_ready: watch::Receiver<bool>,
    resubscribed: Arc<Notify>,
}

impl Intake {
    pub(super) async fn new(
        instance: &Instance,
        client: &async_nats::Client,
        subject: String,
        group: Option<String>,
    ) -> Result<Self, Error> {
        let mut is_ready = instance.lifecycle.checks.is_ready();
        // Even if it is to be given up at once: a start finds out whether it is allowed.
        is_ready.mark_changed();
        Ok(Self {
            client: client.clone(),
            subscriber: super::subscribe(client, subject.clone(), group.clone()).await?,
            subject,
            group,
            previous: None,
            is_subscribed: true,
            is_ready,
            resubscribed: Arc::clone(&instance.lifecycle.resubscribed),
        })
    }

    /// The next message; `None` if the connection is closed.
    pub(super) async fn next(&mut self) -> Option<Message> {
        loop {
            tokio::select! {
                biased;
                // It ends with the instance, and then there is nothing to follow.
                Ok(()) = self.is_ready.changed(), if self.group.is_some() => self.follow().await,
                message = received(&mut self.previous, &mut self.subscriber) => return message,
            }
        }
    }

    /// The next message of those that are still sent, behind the end of the subscription.
    pub(super) async fn rest(&mut self) -> Option<Message> {
        received(&mut self.previous, &mut self.subscriber).await
    }

    async fn follow(&mut self) {
        let is_ready = *self.is_ready.borrow_and_update();
        if !is_ready {
            return self.leave().await;
        }
        if self.is_subscribed {
            return;
        }
        match super::subscribe(&self.client, self.subject.clone(), self.group.clone()).await {
            Ok(subscriber) => {
                self.previous = Some(std::mem::replace(&mut self.subscriber, subscriber));
                self.is_subscribed = true;
                self.resubscribed.notify_one();
            }
            // The connection is closed, which ends the server.
            Err(error) => tracing::debug!(%error, subject = self.subject, "not subscribed again"),
        }
    }

    /// Asks for no more.
    pub(super) async fn leave(&mut self) {
        if !self.is_subscribed {
            return;
        }
        if let Err(error) = self.subscriber.unsubscribe_after(UNSUBSCRIBE_NOW).await {
            tracing::debug!(%error, subject = self.subject, "unsubscribing failed");
        }
        // Only now: whoever waits here may be dropped, and it is asked again.
        self.is_subscribed = false;
    }
}

/// A message of either. The end of the present one is the end.
async fn received(previous: &mut Option<Subscriber>, present: &mut Subscriber) -> Option<Message> {
    poll_fn(|cx| {
        if let Some(previous) = previous
            && let Poll::Ready(Some(message)) = previous.poll_next_unpin(cx)
        {
            return Poll::Ready(Some(message));
        }
        present.poll_next_unpin(cx)
    })
    .await
}
