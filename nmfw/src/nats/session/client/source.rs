//! [`Source`]: a caller's request stream, over all attempts of a call.

use std::{
    collections::VecDeque,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use tokio::sync::Mutex;

use super::Outgoing;
use crate::Status;
use nmfw_core::call::body::{Body, Messages, chunk::Chunk};

/// Maximum size of requests that are kept for another instance in case that the first one has not
/// started the call.
const MAX_KEPT: u64 = 256 * 1024;

/// The requests of a call, over all attempts.
#[derive(Clone, Debug)]
pub(crate) enum Sent {
    Message(Bytes),
    Stream(Arc<Source>),
}

impl From<Body> for Sent {
    fn from(body: Body) -> Self {
        match body {
            Body::Message(message) => Self::Message(message),
            Body::Messages(messages) => Self::Stream(Arc::new(Source::new(messages))),
        }
    }
}

impl Sent {
    /// Returns whether another attempt can send the same requests.
    pub(crate) fn is_whole(&self) -> bool {
        match self {
            Self::Message(_) => true,
            Self::Stream(source) => !source.is_lost.load(Ordering::Relaxed),
        }
    }

    /// Returns the caller's own error, which cancels the call. Another attempt would not encounter
    /// it again, and would take the preceding messages for the whole stream.
    pub(crate) fn failure(&self) -> Option<&Status> {
        match self {
            Self::Message(_) => None,
            Self::Stream(source) => source.failure.get(),
        }
    }
}

/// A caller's request stream. Messages are kept until the call has started, up to a limit.
#[derive(Debug)]
pub(crate) struct Source {
    state: Mutex<SourceState>,
    has_begun: AtomicBool,
    /// Whether the first messages are no longer kept.
    is_lost: AtomicBool,
    /// The error with which the caller has ended the stream, if any.
    failure: OnceLock<Status>,
}

#[derive(Debug)]
struct SourceState {
    messages: Messages,
    kept: VecDeque<Chunk>,
    size: u64,
}

impl Source {
    fn new(messages: Messages) -> Self {
        let state = SourceState {
            messages,
            kept: VecDeque::new(),
            size: 0,
        };
        Self {
            state: Mutex::new(state),
            has_begun: AtomicBool::new(false),
            is_lost: AtomicBool::new(false),
            failure: OnceLock::new(),
        }
    }

    /// Records that the service has started to answer, so that there will be no other attempt.
    pub(crate) fn begun(&self) {
        self.has_begun.store(true, Ordering::Relaxed);
    }

    /// Sends all requests, starting with those of an earlier attempt.
    pub(crate) async fn send(&self, outgoing: &Outgoing) {
        // The other attempt has ended, or is about to.
        let mut state = self.state.lock().await;
        let SourceState {
            messages,
            kept,
            size,
        } = &mut *state;
        if !kept.is_empty() && !outgoing.send_again(kept.clone()).await {
            return;
        }
        let keep = |chunk: Result<&Chunk, &Status>| {
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(status) => {
                    _ = self.failure.set(status.clone());
                    return;
                }
            };
            if self.is_lost.load(Ordering::Relaxed) {
                return;
            }
            *size += chunk.tally().cost;
            if *size > MAX_KEPT || self.has_begun.load(Ordering::Relaxed) {
                self.is_lost.store(true, Ordering::Relaxed);
                *kept = VecDeque::new();
            } else {
                kept.push_back(chunk.clone());
            }
        };
        outgoing.send_all(messages, keep).await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::stream;
    use tokio::time::timeout;

    use super::{super::Mailbox, *};
    use crate::nats::session::driver::StreamIo;

    fn source(sent: &Sent) -> &Source {
        match sent {
            Sent::Stream(source) => source,
            Sent::Message(_) => panic!("one message"),
        }
    }

    #[tokio::test]
    async fn an_error_of_the_caller_is_remembered_for_all_attempts() {
        let failure = Status::data_loss("the file is broken");
        let sent = loop {
            let messages = stream::iter([Ok(Bytes::new().into()), Err(failure.clone())]);
            let sent = Sent::from(Body::Messages(Messages::new(messages)));
            assert!(sent.failure().is_none());
            let outgoing = Outgoing::new(Arc::default(), Arc::new(Mailbox::new(1)));
            // On a busy machine, the error can miss the batch of the message, and would wait until
            // a session takes that batch; this test has no session.
            let first = timeout(Duration::from_millis(50), source(&sent).send(&outgoing));
            if first.await.is_ok() {
                break sent;
            }
        };
        let io = Arc::new(StreamIo::default());
        io.finish(Err(Status::unavailable("refused").not_started()));
        let outgoing = Outgoing::new(io, Arc::new(Mailbox::new(1)));
        source(&sent).send(&outgoing).await;
        assert_eq!(sent.failure().map(Status::message), Some(failure.message()));
    }
}
