//! The subscriptions of sessions.

use std::sync::Arc;

use async_nats::Subscriber;
use futures_util::{FutureExt, StreamExt, stream};
use tokio::{
    sync::{broadcast::error::RecvError, mpsc},
    task::unconstrained,
};
use tokio_util::sync::CancellationToken;

use super::ServerSessions;
use crate::{ConnectionEvent, Status, nats::server::intake::Intake};

/// Reads the subscription for opening sessions. Like requests, no OPEN in transit during shutdown
/// stays unanswered.
pub(crate) async fn opening(
    sessions: Arc<ServerSessions>,
    mut intake: Intake,
    asked: mpsc::Sender<()>,
    fenced: CancellationToken,
) {
    let draining = sessions.instance.lifecycle.draining.clone();
    while let Some(Some(message)) = draining.run_until_cancelled(intake.next()).await {
        sessions.accept(message);
    }
    intake.leave().await;
    drop(asked);
    while let Some(Some(message)) = fenced.run_until_cancelled(intake.rest()).await {
        sessions.accept(message);
    }
    // Reads the rest of the subscription's buffer, regardless of tokio's coop budget.
    while let Some(Some(message)) = unconstrained(intake.rest()).now_or_never() {
        sessions.accept(message);
    }
}

/// Reads the packets of all sessions until aborted. Never waits for anything except messages and
/// events of all sessions.
pub(crate) async fn packets(sessions: Arc<ServerSessions>, subscribers: [Subscriber; 2]) {
    let mut subscriber = stream::select_all(subscribers);
    let mut events = sessions.connection.event_receiver();
    let lifecycle = &sessions.instance.lifecycle;
    let mut state = sessions.connection.state_receiver();
    let mut epoch = state.borrow_and_update().epoch;
    let mut is_draining = false;
    let mut is_ready = lifecycle.checks.is_ready();
    loop {
        tokio::select! {
            biased;
            () = lifecycle.forced.cancelled() => break,
            () = lifecycle.draining.cancelled(), if !is_draining => {
                is_draining = true;
                sessions.drain();
            }
            Ok(()) = is_ready.changed() => {
                if !*is_ready.borrow_and_update() {
                    // Clients open others, with instances that are ready.
                    sessions.each(crate::nats::session::driver::Mailbox::drain);
                }
            }
            changed = state.changed() => {
                let now = *state.borrow_and_update();
                if changed.is_err() || now.is_closed() {
                    return sessions.fail("the service's connection to NATS is closed");
                }
                if now.is_connected() && now.epoch != epoch {
                    epoch = now.epoch;
                    sessions.each(|session| session.reconnected(epoch));
                }
            }
            event = events.recv() => match event {
                Ok(ConnectionEvent::SubscribeDenied { subject, .. }) => sessions.denied(&subject),
                Ok(ConnectionEvent::PayloadTooLarge { error }) => {
                    // The sessions would resend the same packet repeatedly. Clients open others,
                    // with smaller packets.
                    let text = format!(
                        "the NATS server closed the service's connection with {error:?}"
                    );
                    let status = Status::unavailable(text);
                    sessions.each(|session| session.fail(status.clone()));
                }
                // A missed event may be a denial, too; OPENs then time out.
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => {
                    return sessions.fail("the service's connection to NATS is closed");
                }
            },
            message = subscriber.next() => match message {
                Some(message) => sessions.deliver(message),
                None => return sessions.fail("the service's connection to NATS is closed"),
            },
        }
    }
    sessions.fail("the server was stopped");
}
