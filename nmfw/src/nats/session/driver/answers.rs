//! [`Answers`]: what packets of sessions that this side does not know are answered with.

use std::{
    pin::pin,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_nats::{Client, Subject};
use bytes::Bytes;
use futures_util::FutureExt;
use tokio::{task::unconstrained, time::Instant};

use nmfw_core::{
    observe::metrics,
    token_bucket::{Bucket, Pace},
};

/// The limit for an instance of a service, or for a connection of a client: enough for all sessions when a
/// connection comes back, and little for a peer that asks all the time.
const PACE: Pace = Pace {
    interval: Some(Duration::from_millis(1)),
    burst: 1000,
};

/// Answers at a limited rate. What is too much is dropped and counted: peers that are there ask again.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    bucket: Mutex<Bucket>,
}

impl Answers {
    /// Publishes an answer, unless there are too many, or the connection takes nothing at this moment: the
    /// task that reads packets does not wait for it.
    pub(crate) fn send(&self, client: &Client, to: Subject, answer: Bytes) {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let is_taken = bucket.take(&PACE, Instant::now());
        drop(bucket);
        if is_taken {
            let publishing = pin!(client.publish(to, answer));
            // Not to wait because the reader has done enough for a turn.
            if let Some(Ok(())) = unconstrained(publishing).now_or_never() {
                return;
            }
        }
        metrics::answer_dropped();
        log_limited!(
            debug,
            "a packet of a session that is over gets no answer: too many"
        );
    }
}
