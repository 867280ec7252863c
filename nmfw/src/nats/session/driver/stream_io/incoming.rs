//! [`Incoming`]: the application's end of a stream, for received messages.

use std::{
    collections::VecDeque,
    future::poll_fn,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::Stream;

use super::{Flow, StreamCommand, StreamIo, lock, park};
use crate::{
    Metadata, Status,
    nats::session::{driver::Mailbox, protocol::STREAM_WINDOW},
};
use nmfw_core::call::body::chunk::{Chunk, Tally};

/// Taken messages are reported to the session in steps of this size, or when the application waits
/// for more. The session grants no smaller steps, but is notified at once of a message that blocks
/// others.
const CREDIT_STEP: u64 = STREAM_WINDOW as u64 / 2;

/// The application's end of a stream, for received messages. Dropping it notifies the session.
#[derive(Debug)]
pub(crate) struct Incoming<C: From<StreamCommand>> {
    io: Arc<StreamIo>,
    mailbox: Arc<Mailbox<C>>,
    /// Messages taken from the shared queue in one batch.
    chunks: VecDeque<Chunk>,
    taken: Tally,
    is_over: bool,
}

impl<C: From<StreamCommand>> Incoming<C> {
    pub(crate) fn new(io: Arc<StreamIo>, mailbox: Arc<Mailbox<C>>) -> Self {
        Self {
            io,
            mailbox,
            chunks: VecDeque::new(),
            taken: Tally::default(),
            is_over: false,
        }
    }

    pub(crate) fn io(&self) -> Arc<StreamIo> {
        Arc::clone(&self.io)
    }

    /// Waits until the service has started to answer, and returns the metadata before the messages.
    ///
    /// # Errors
    /// Fails if the call ends with an error before that.
    pub(crate) async fn headers(&mut self) -> Result<Metadata, Status> {
        poll_fn(|cx| {
            let mut inbox = lock(&self.io.inbox);
            if let Some(headers) = inbox.headers.take() {
                return Poll::Ready(Ok(headers));
            }
            if !inbox.chunks.is_empty() {
                return Poll::Ready(Ok(Metadata::new()));
            }
            match &inbox.outcome {
                Some(Ok(_)) => Poll::Ready(Ok(Metadata::new())),
                Some(Err(status)) => {
                    let status = status.clone();
                    drop(inbox);
                    self.is_over = true;
                    Poll::Ready(Err(status))
                }
                None => {
                    park(&mut inbox.waker, cx);
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Returns the next chunk. A row counts as taken when it is returned, so up to a packet more
    /// than the window can be held here.
    fn poll_chunk(&mut self, cx: &Context<'_>) -> Poll<Option<Result<Chunk, Status>>> {
        if let Some(chunk) = self.chunks.pop_front() {
            self.taken.add(chunk.tally());
            if self.taken.cost >= CREDIT_STEP {
                self.notify();
            }
            return Poll::Ready(Some(Ok(chunk)));
        }
        if self.is_over {
            return Poll::Ready(None);
        }
        let mut inbox = lock(&self.io.inbox);
        if !inbox.chunks.is_empty() {
            mem::swap(&mut inbox.chunks, &mut self.chunks);
            drop(inbox);
            return self.poll_chunk(cx);
        }
        match &inbox.outcome {
            Some(outcome) => {
                let end = outcome.as_ref().err().cloned();
                drop(inbox);
                self.is_over = true;
                Poll::Ready(end.map(Err))
            }
            None => {
                park(&mut inbox.waker, cx);
                drop(inbox);
                if self.taken.messages > 0 {
                    self.notify();
                }
                Poll::Pending
            }
        }
    }

    /// Reports taken messages to the session.
    fn notify(&mut self) {
        let taken = mem::take(&mut self.taken);
        let was_told = {
            let mut inbox = lock(&self.io.inbox);
            inbox.taken.add(taken);
            mem::replace(&mut inbox.is_notified, true)
        };
        if !was_told {
            self.command();
        }
    }

    fn command(&self) {
        let io = Arc::clone(&self.io);
        let flow = Flow::Taken;
        // Fails if the session has ended, when no report is needed.
        _ = self.mailbox.command(StreamCommand { io, flow }.into());
    }
}

impl<C: From<StreamCommand>> Stream for Incoming<C> {
    type Item = Result<Chunk, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_chunk(cx)
    }
}

impl<C: From<StreamCommand>> Drop for Incoming<C> {
    fn drop(&mut self) {
        {
            let mut inbox = lock(&self.io.inbox);
            inbox.is_dropped = true;
            let mut left = Tally::default();
            for chunk in self.chunks.iter().chain(&inbox.chunks) {
                left.add(chunk.tally());
            }
            inbox.taken.add(left);
            inbox.taken.add(self.taken);
            inbox.chunks = VecDeque::new();
            // A caller may have sent everything while the call continues. The rest can be a large
            // message for which messages of other streams wait.
            if inbox.outcome.is_some() && left.messages == 0 {
                if !inbox.is_notified {
                    self.mailbox.untold(inbox.taken.cost);
                }
                return;
            }
        }
        self.command();
    }
}

/// Returns the trailers of a stream that ended without an error.
pub(crate) fn trailers(io: Arc<StreamIo>) -> impl FnOnce() -> Metadata + Send {
    move || match lock(&io.inbox).outcome.take() {
        Some(Ok(trailers)) => trailers,
        _ => Metadata::new(),
    }
}
