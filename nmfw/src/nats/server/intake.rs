//! [`Intake`]: a subscription for requests, which pauses while the instance is not ready and follows its connection to another server.

use std::{future::poll_fn, sync::Arc, task::Poll};

use async_nats::{Message, Subscriber};
use futures_util::StreamExt;
use tokio::sync::{Notify, watch};

use super::work::UNSUBSCRIBE_NOW;
use crate::{
    Connection, Error,
    nats::{
        connection::{Follower, Placement, Stage},
        subject,
    },
};
use nmfw_core::service::instance::Instance;

/// A subscription for requests. In a queue group, it unsubscribes while a check of the instance
/// fails, so that clients reach ready instances. Requests in transit still arrive, and are answered
/// as not started.
#[derive(Debug)]
pub(crate) struct Intake {
    client: async_nats::Client,
    subject: String,
    group: Option<String>,
    first: Way,
    /// The subscription on a second connection, while the first one moves to another server.
    second: Option<Way>,
    is_ready: watch::Receiver<bool>,
    follower: Follower,
    resubscribed: Arc<Notify>,
}

impl Intake {
    pub(crate) async fn new(
        instance: &Instance,
        connection: &Connection,
        subject: String,
        group: Option<String>,
    ) -> Result<Self, Error> {
        let mut is_ready = instance.lifecycle.checks.is_ready();
        // Subscribe even if not ready, because the start verifies the permission.
        is_ready.mark_changed();
        let fence = subject::instance(&instance.base, &instance.id, "moved");
        let follower = connection.follow(Some(fence));
        let client = connection.client();
        let subscriber =
            crate::nats::server::subscribe(client, subject.clone(), group.clone()).await?;
        Ok(Self {
            client: client.clone(),
            first: Way::new(subscriber),
            second: None,
            subject,
            group,
            is_ready,
            follower,
            resubscribed: Arc::clone(&instance.lifecycle.resubscribed),
        })
    }

    /// Returns the next message; `None` if the connection is closed.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        loop {
            tokio::select! {
                biased;
                // The sender lives as long as the instance. It also wakes this loop when the
                // connection moves.
                Ok(()) = self.is_ready.changed() => self.follow().await,
                message = received(&mut self.second, &mut self.first) => return message,
            }
        }
    }

    /// Returns the next remaining message after unsubscribing.
    pub(crate) async fn rest(&mut self) -> Option<Message> {
        received(&mut self.second, &mut self.first).await
    }

    /// Updates the subscriptions to the current placement.
    async fn follow(&mut self) {
        let is_ready = *self.is_ready.borrow_and_update();
        let stage = self.follower.stage();
        // Without a queue group all instances get each message, so no instance replaces another,
        // and on two connections each message would arrive twice.
        if self.group.is_some() {
            self.follow_to(&stage, is_ready).await;
        }
        self.follower.done(&stage);
    }

    async fn follow_to(&mut self, stage: &Stage, is_ready: bool) {
        let on_first = is_ready && stage.place != Placement::Second;
        let on_second = is_ready && matches!(stage.place, Placement::Both | Placement::Second);
        if let Some(client) = &stage.second
            && on_second
        {
            let is_subscribed = self.second.as_ref().is_some_and(|way| way.is_subscribed);
            if !is_subscribed && let Some(subscriber) = self.subscribe(client).await {
                match &mut self.second {
                    Some(way) => way.renew(subscriber),
                    None => self.second = Some(Way::new(subscriber)),
                }
            }
        }
        if on_first
            && !self.first.is_subscribed
            && let Some(subscriber) = self.subscribe(&self.client).await
        {
            self.first.renew(subscriber);
            self.resubscribed.notify_one();
        }
        if !on_first {
            self.first.leave(&self.subject).await;
        }
        if let Some(second) = &mut self.second
            && !on_second
        {
            second.leave(&self.subject).await;
        }
    }

    async fn subscribe(&self, client: &async_nats::Client) -> Option<Subscriber> {
        let subscribed =
            crate::nats::server::subscribe(client, self.subject.clone(), self.group.clone()).await;
        subscribed
            // The connection is closed. If it is the first, this ends the server.
            .inspect_err(|error| {
                let subject = &self.subject;
                tracing::debug!(%error, %subject, "cannot subscribe to requests");
            })
            .ok()
    }

    /// Unsubscribes.
    pub(crate) async fn leave(&mut self) {
        self.first.leave(&self.subject).await;
        if let Some(second) = &mut self.second {
            second.leave(&self.subject).await;
        }
    }
}

/// A subscription on one connection.
#[derive(Debug)]
struct Way {
    subscriber: Subscriber,
    /// The previous subscription, for messages in transit to it.
    previous: Option<Subscriber>,
    is_subscribed: bool,
}

impl Way {
    fn new(subscriber: Subscriber) -> Self {
        Self {
            subscriber,
            previous: None,
            is_subscribed: true,
        }
    }

    fn renew(&mut self, subscriber: Subscriber) {
        self.previous = Some(std::mem::replace(&mut self.subscriber, subscriber));
        self.is_subscribed = true;
    }

    async fn leave(&mut self, subject: &str) {
        if !self.is_subscribed {
            return;
        }
        if let Err(error) = self.subscriber.unsubscribe_after(UNSUBSCRIBE_NOW).await {
            tracing::debug!(%error, subject, "cannot unsubscribe from requests");
        }
        // Set after the await, because the future may be dropped while it waits, and is then
        // retried.
        self.is_subscribed = false;
    }

    /// Returns a message of either subscription. The end of the current one is the end.
    fn poll_next(&mut self, cx: &mut std::task::Context<'_>) -> Poll<Option<Message>> {
        if let Some(previous) = &mut self.previous
            && let Poll::Ready(Some(message)) = previous.poll_next_unpin(cx)
        {
            return Poll::Ready(Some(message));
        }
        self.subscriber.poll_next_unpin(cx)
    }
}

/// Returns a message of either connection. The end of the first connection is the end.
async fn received(second: &mut Option<Way>, first: &mut Way) -> Option<Message> {
    poll_fn(|cx| {
        if let Some(way) = second {
            match way.poll_next(cx) {
                Poll::Ready(Some(message)) => return Poll::Ready(Some(message)),
                // The second connection is closed, because the first one has moved.
                Poll::Ready(None) => *second = None,
                Poll::Pending => {}
            }
        }
        first.poll_next(cx)
    })
    .await
}
