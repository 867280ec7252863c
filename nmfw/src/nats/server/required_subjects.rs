//! [`Subscriptions`]: the proof that the NATS server has accepted a server's subscriptions.

use std::{sync::Arc, time::Duration};

use tokio::sync::{
    Notify,
    broadcast::{Receiver, error::RecvError},
};

use super::{discovery, fence::Fence, work::MAX_ROUND_TRIP};
use crate::{
    Connection, ConnectionEvent, Error,
    error::ErrorKind,
    service::instance::{Instance, Lifecycle},
};

/// How long to wait for refusals of what a round trip has shown to be processed. async-nats hands
/// events on in a task of its own, so that one can come a moment after the message that followed it.
const MAX_EVENT_DELAY: Duration = Duration::from_millis(20);

/// The subjects that a server cannot do without, and the events that concern them. The NATS server answers
/// refused subscriptions with an event each, and accepted ones not at all.
pub(crate) struct Subscriptions {
    connection: Connection,
    events: Receiver<ConnectionEvent>,
    subjects: Vec<String>,
    /// The life of the connection whose subscriptions are known to be there.
    epoch: u64,
    /// A subscription was made again.
    resubscribed: Arc<Notify>,
    /// The subscriptions, discovery's included.
    count: usize,
}

impl Subscriptions {
    /// Listens from now on, so that no refusal is missed.
    pub(crate) fn of(
        connection: &Connection,
        instances: &[Arc<Instance>],
        lifecycle: &Lifecycle,
    ) -> Self {
        let own = |instance: &Arc<Instance>| {
            let endpoints = instance.endpoints.iter().map(|e| e.subject.clone());
            let own = |what| crate::nats::subject::instance(&instance.base, &instance.id, what);
            // Where sessions are opened is not among them: without, there is still base mode.
            endpoints
                .chain([own("s.*")])
                .chain(discovery::subjects(instance))
                .collect::<Vec<_>>()
        };
        let subjects: Vec<_> = instances.iter().flat_map(own).collect();
        Self {
            connection: connection.clone(),
            events: connection.event_receiver(),
            epoch: connection.state().epoch,
            resubscribed: Arc::clone(&lifecycle.resubscribed),
            // Besides: where sessions are opened, those of single methods, and two for health; and one
            // for round trips.
            count: subjects.len() + 4 * instances.len() + 1,
            subjects,
        }
    }

    /// Makes a round trip behind subscriptions of the server.
    ///
    /// # Errors
    /// If one of them was refused, or the NATS server does not answer.
    pub(crate) async fn confirm(&mut self, fence: &Fence) -> Result<(), Error> {
        let passed = tokio::select! {
            biased;
            refusal = self.refusal() => return Err(refusal),
            passed = fence.pass(MAX_ROUND_TRIP) => passed,
        };
        // None is what is hoped for. One that is later still is found while the server runs.
        let refusal = tokio::time::timeout(MAX_EVENT_DELAY, self.refusal()).await;
        refusal.map_or(passed, Err)
    }

    /// Waits for a refusal of a subscription that was made just now.
    async fn refusal(&mut self) -> Error {
        loop {
            let event = self.next().await;
            if let Some(error) = self.check(&event, true) {
                return error;
            }
        }
    }

    /// Returns what ends the server, once there is something.
    ///
    /// After a reconnect all subscriptions are made anew, and a server with smaller limits, or with
    /// other permissions, refuses some. Subscriptions of others on the connection do no harm to those
    /// that are there: only until a round trip a refusal is taken for one of the server's own.
    pub(crate) async fn watch(&mut self, fence: &Fence) -> Error {
        let mut state = self.connection.state_receiver();
        let resubscribed = Arc::clone(&self.resubscribed);
        let mut is_unconfirmed = false;
        loop {
            let now = *state.borrow_and_update();
            if now.is_connected() && (is_unconfirmed || now.epoch != self.epoch) {
                match self.confirm(fence).await {
                    Ok(()) => {}
                    // Lost again, or the NATS server is stuck.
                    Err(error) if error.kind() == ErrorKind::TimedOut => {
                        log_limited!(warn, %error, "the server's subscriptions are not confirmed");
                    }
                    Err(error) => return error,
                }
                self.epoch = now.epoch;
                is_unconfirmed = false;
            }
            tokio::select! {
                biased;
                () = resubscribed.notified() => is_unconfirmed = true,
                Ok(()) = state.changed() => {}
                event = self.next() => if let Some(error) = self.check(&event, false) {
                    return error;
                },
            }
        }
    }

    async fn next(&mut self) -> ConnectionEvent {
        loop {
            match self.events.recv().await {
                Ok(event) => return event,
                Err(RecvError::Lagged(missed)) => {
                    log_limited!(warn, missed, "too many events of the connection at a time");
                }
                Err(RecvError::Closed) => return ConnectionEvent::Closed,
            }
        }
    }

    fn check(&self, event: &ConnectionEvent, is_unconfirmed: bool) -> Option<Error> {
        match event {
            ConnectionEvent::SubscribeDenied { subject, .. } if self.subjects.contains(subject) => {
                Some(denied(subject))
            }
            ConnectionEvent::TooManySubscriptions { error } if is_unconfirmed => Some(Error::new(
                ErrorKind::Limit,
                format!(
                    "the NATS server refuses subscriptions of this server and says {error:?}: it \
                     needs up to {}, besides those of clients on the same connection; raise \
                     max_subscriptions of the NATS server, the account or the user",
                    self.count
                ),
            )),
            ConnectionEvent::Closed => Some(Error::new(
                ErrorKind::Closed,
                "the connection to NATS was closed",
            )),
            _ => None,
        }
    }
}

/// Describes a denied subscription.
pub(crate) fn denied(subject: &str) -> Error {
    Error::new(
        ErrorKind::PermissionDenied,
        format!(
            "the NATS server does not let this connection subscribe to {subject}: \
             a service needs to subscribe to its own subjects and to $SRV.>"
        ),
    )
}
