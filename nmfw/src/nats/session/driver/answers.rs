//! [`Answers`]: answers to packets of unknown sessions.

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

/// The rate limit per service instance or client connection: enough for all sessions after a
/// reconnect, and little for a peer that sends continuously.
const PACE: Pace = Pace {
    interval: Some(Duration::from_millis(1)),
    burst: 1000,
};

/// Sends answers at a limited rate. Excess answers are dropped and counted; live peers repeat their
/// packets.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    bucket: Mutex<Bucket>,
}

impl Answers {
    /// Publishes an answer, unless the rate limit is exceeded or the connection is not ready: the
    /// task that reads packets does not wait for it.
    pub(crate) fn send(&self, client: &Client, to: Subject, answer: Bytes) {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let is_taken = bucket.take(&PACE, Instant::now());
        drop(bucket);
        if is_taken {
            let publishing = pin!(client.publish(to, answer));
            // Unconstrained, so that the reader's coop budget does not delay it.
            if let Some(Ok(())) = unconstrained(publishing).now_or_never() {
                return;
            }
        }
        metrics::answer_dropped();
        log_limited!(
            debug,
            "a packet of an ended session was not answered: too many such packets"
        );
    }
}
