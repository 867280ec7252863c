//! [`Outgoing`]: the application's end of a stream, for sent messages.

use std::{
    collections::VecDeque,
    future::poll_fn,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use futures_util::Stream;

use super::{Flow, SendBatch, StreamCommand, StreamIo, lock, park};
use crate::{
    Metadata, Status,
    nats::session::driver::{self, Mailbox},
};
use nmfw_core::call::body::{Messages, chunk::Chunk, encode::MAX_WAIT};

/// Size at which a batch for the session is closed; a row is a batch by itself.
const BATCH: u64 = 128 * 1024;

/// Size at which a batch is closed while the peer accepts little of the session's data.
const SMALL_BATCH: u64 = 4 * 1024;

/// The application's end of a stream, for sent messages.
#[derive(Debug)]
pub(crate) struct Outgoing<C: From<StreamCommand>> {
    io: Arc<StreamIo>,
    mailbox: Arc<Mailbox<C>>,
}

impl<C: From<StreamCommand>> Outgoing<C> {
    pub(crate) fn new(io: Arc<StreamIo>, mailbox: Arc<Mailbox<C>>) -> Self {
        Self { io, mailbox }
    }

    /// Sends metadata before the messages.
    pub(crate) fn headers(&self, metadata: Metadata) {
        self.command(Flow::Headers(metadata));
    }

    /// Sends all messages and the end. Returns early if the peer wants no more.
    ///
    /// `seen` is called with each message, and with the error that ends them.
    pub(crate) async fn send_all(
        &self,
        messages: &mut Messages,
        mut seen: impl FnMut(Result<&Chunk, &Status>),
    ) {
        loop {
            let Some((batch, began)) = self.batch(messages, &mut seen).await else {
                return;
            };
            let is_last = batch.end.is_some();
            self.io.batch_given(began);
            if !self.command(Flow::Batch(batch)) || is_last {
                return;
            }
            if !poll_fn(|cx| self.poll_free(cx)).await {
                return;
            }
        }
    }

    /// Sends these messages, with more to follow. Returns whether the peer wants them.
    pub(crate) async fn send_again(&self, chunks: VecDeque<Chunk>) -> bool {
        self.io.batch_given(driver::now());
        let end = None;
        self.command(Flow::Batch(SendBatch { chunks, end }))
            && poll_fn(|cx| self.poll_free(cx)).await
    }

    fn command(&self, flow: Flow) -> bool {
        let io = Arc::clone(&self.io);
        self.mailbox
            .command(StreamCommand { io, flow }.into())
            .is_ok()
    }

    /// Collects the ready messages up to the size of a batch, with the time; returns `None` if the
    /// peer wants no more.
    async fn batch(
        &self,
        messages: &mut Messages,
        seen: &mut impl FnMut(Result<&Chunk, &Status>),
    ) -> Option<(SendBatch, Instant)> {
        let mut batch = SendBatch::default();
        let mut size = 0;
        poll_fn(|cx| {
            let began = driver::now();
            let most = if self.mailbox.is_full() {
                SMALL_BATCH
            } else {
                BATCH
            };
            while size < most {
                match Pin::new(&mut *messages).poll_next(cx) {
                    Poll::Ready(Some(Ok(chunk))) => {
                        size += chunk.tally().cost;
                        seen(Ok(&chunk));
                        // The batch is full or has reached its time limit.
                        let is_row = matches!(chunk, Chunk::Row(_));
                        batch.chunks.push_back(chunk);
                        if is_row || began.elapsed() > MAX_WAIT {
                            break;
                        }
                    }
                    Poll::Ready(Some(Err(status))) => {
                        seen(Err(&status));
                        batch.end = Some(Err(status));
                        break;
                    }
                    Poll::Ready(None) => {
                        batch.end = Some(Ok(messages.take_trailers()));
                        break;
                    }
                    Poll::Pending if size > 0 => break,
                    Poll::Pending => {
                        let mut outbox = lock(&self.io.outbox);
                        if outbox.is_over {
                            return Poll::Ready(None);
                        }
                        park(&mut outbox.waker, cx);
                        return Poll::Pending;
                    }
                }
            }
            Poll::Ready(Some((mem::take(&mut batch), began)))
        })
        .await
    }

    /// Completes when the next batch is wanted; `false` if none ever is.
    fn poll_free(&self, cx: &Context<'_>) -> Poll<bool> {
        let mut outbox = lock(&self.io.outbox);
        if outbox.is_over {
            return Poll::Ready(false);
        }
        if outbox.busy_since.is_some() {
            park(&mut outbox.waker, cx);
            return Poll::Pending;
        }
        Poll::Ready(true)
    }
}
