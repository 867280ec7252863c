//! [`Subscriptions`]: verifies that the NATS server has accepted a server's subscriptions.

use std::{sync::Arc, time::Duration};

use tokio::sync::{
    Notify,
    broadcast::{Receiver, error::RecvError},
};

use super::{discovery, fence::Fence, work::MAX_ROUND_TRIP};
use crate::{Connection, ConnectionEvent, Error, nats::connection::server_message::is_token_limit};
use nmfw_core::{
    error::ErrorKind,
    service::instance::{Instance, Lifecycle},
};

/// How long to wait for refusals after a round trip. async-nats forwards events in a separate task,
/// so an event can arrive shortly after the message that followed it.
const MAX_EVENT_DELAY: Duration = Duration::from_millis(20);

/// The subjects that a server requires, and the events about them. The NATS server reports a
/// refused subscription with an event, and an accepted one not at all.
pub(crate) struct Subscriptions {
    connection: Connection,
    events: Receiver<ConnectionEvent>,
    subjects: Vec<String>,
    /// The epoch of the connection whose subscriptions are verified.
    epoch: u64,
    /// Notified after a resubscription.
    resubscribed: Arc<Notify>,
    /// Number of subscriptions, including discovery.
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
            // Opening sessions is not included, because base mode works without it.
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
            // The additional ones are for opening sessions, for sessions of single methods, for
            // requests to the instance, two each for health and the schema, and one for round trips.
            count: subjects.len() + 7 * instances.len() + 1,
            subjects,
        }
    }

    /// Verifies the subscriptions with a round trip.
    ///
    /// # Errors
    /// Fails if one of them was refused, or if the NATS server does not answer.
    pub(crate) async fn confirm(&mut self, fence: &Fence) -> Result<(), Error> {
        let passed = tokio::select! {
            biased;
            refusal = self.refusal() => return Err(refusal),
            passed = fence.pass(MAX_ROUND_TRIP) => passed,
        };
        // Usually there is none. A later one is detected while the server runs.
        let refusal = tokio::time::timeout(MAX_EVENT_DELAY, self.refusal()).await;
        refusal.map_or(passed, Err)
    }

    /// Waits for a refusal of a recent subscription.
    async fn refusal(&mut self) -> Error {
        loop {
            let event = self.next().await;
            if let Some(error) = self.check(&event, true) {
                return error;
            }
        }
    }

    /// Waits for the error that ends the server.
    ///
    /// After a reconnect, all subscriptions are made again, and a server with smaller limits or
    /// other permissions may refuse some. Other subscriptions on the connection do not affect
    /// existing ones: only until a round trip is a refusal taken for one of the server's own
    /// subscriptions.
    pub(crate) async fn watch(&mut self, fence: &Fence) -> Error {
        let mut state = self.connection.state_receiver();
        let resubscribed = Arc::clone(&self.resubscribed);
        let mut is_unconfirmed = false;
        loop {
            let now = *state.borrow_and_update();
            if now.is_connected() && (is_unconfirmed || now.epoch != self.epoch) {
                match self.confirm(fence).await {
                    Ok(()) => {}
                    // The connection is lost again, or the NATS server hangs.
                    Err(error) if error.kind() == ErrorKind::TimedOut => {
                        log_limited!(warn, %error, "the subscriptions of the server could not be confirmed");
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
                    log_limited!(
                        warn,
                        missed,
                        "events of the connection were lost, which may \
                                                include a refused subscription"
                    );
                }
                Err(RecvError::Closed) => return ConnectionEvent::Closed,
            }
        }
    }

    fn check(&self, event: &ConnectionEvent, is_unconfirmed: bool) -> Option<Error> {
        match event {
            ConnectionEvent::SubscribeDenied { subject, error, .. }
                if self.subjects.contains(subject) =>
            {
                Some(denied(subject, error))
            }
            ConnectionEvent::TooManySubscriptions { error } if is_unconfirmed => Some(Error::new(
                ErrorKind::Limit,
                format!(
                    "the NATS server refuses subscriptions of this server with {error:?}: the \
                     server needs up to {}, in addition to those of clients on the same \
                     connection; raise max_subscriptions of the NATS server, the account or the \
                     user",
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

/// Returns the error of a denied subscription, with the NATS server's message.
pub(crate) fn denied(subject: &str, words: &str) -> Error {
    if is_token_limit(words) {
        return Error::new(
            ErrorKind::Limit,
            format!(
                "the NATS server refuses the subscription to {subject} with {words:?}: raise \
                 max_sub_tokens of the NATS server, or set a shorter base subject for the service"
            ),
        );
    }
    Error::new(
        ErrorKind::PermissionDenied,
        format!(
            "the NATS server does not allow this connection to subscribe to {subject}: a service \
             needs permission for its own subjects and for $SRV.>"
        ),
    )
}
