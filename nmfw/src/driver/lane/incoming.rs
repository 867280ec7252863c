//! [`Incoming`]: the application's end of a lane, for what comes.

use std::{
    collections::VecDeque,
    future::poll_fn,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::Stream;

use super::{Flow, Lane, LaneCommand, Taken, lock, park};
use crate::{Metadata, Status, driver::Mailbox};

/// What was taken is told to the session when it comes to this, or when the application waits for
/// more. So what is held back is never what the peer waits for.
const CREDIT_STEP: usize = 32 * 1024;

/// The application's end of a lane, for what comes. Dropping it tells the session.
#[derive(Debug)]
pub(crate) struct Incoming<C: From<LaneCommand>> {
    lane: Arc<Lane>,
    mailbox: Arc<Mailbox<C>>,
    /// Taken from the lane, all that was there at once.
    messages: VecDeque<Bytes>,
    taken: Taken,
    is_over: bool,
}

impl<C: From<LaneCommand>> Incoming<C> {
    pub(crate) fn new(lane: Arc<Lane>, mailbox: Arc<Mailbox<C>>) -> Self {
        Self {
            lane,
            mailbox,
            messages: VecDeque::new(),
            taken: Taken::default(),
            is_over: false,
        }
    }

    pub(crate) fn lane(&self) -> Arc<Lane> {
        Arc::clone(&self.lane)
    }

    /// Waits until the service has begun to answer, and gives the metadata that went ahead.
    ///
    /// # Errors
    /// If the call is over before, with an error.
    pub(crate) async fn headers(&mut self) -> Result<Metadata, Status> {
        poll_fn(|cx| {
            let mut inbox = lock(&self.lane.inbox);
            if let Some(headers) = inbox.headers.take() {
                return Poll::Ready(Ok(headers));
            }
            if !inbox.messages.is_empty() {
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

    fn poll_message(&mut self, cx: &Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        if let Some(message) = self.messages.pop_front() {
            self.taken.messages += 1;
            self.taken.bytes += message.len();
            if self.taken.cost() >= CREDIT_STEP {
                self.tell();
            }
            return Poll::Ready(Some(Ok(message)));
        }
        if self.is_over {
            return Poll::Ready(None);
        }
        let mut inbox = lock(&self.lane.inbox);
        if !inbox.messages.is_empty() {
            mem::swap(&mut inbox.messages, &mut self.messages);
            drop(inbox);
            return self.poll_message(cx);
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
                    self.tell();
                }
                Poll::Pending
            }
        }
    }

    /// Tells the session what was taken.
    fn tell(&mut self) {
        let Taken { messages, bytes } = mem::take(&mut self.taken);
        let was_told = {
            let mut inbox = lock(&self.lane.inbox);
            inbox.taken.messages += messages;
            inbox.taken.bytes += bytes;
            mem::replace(&mut inbox.is_told, true)
        };
        if !was_told {
            self.command();
        }
    }

    fn command(&self) {
        let lane = Arc::clone(&self.lane);
        let flow = Flow::Taken;
        // Fails if the session is over, where nothing is to be told.
        _ = self.mailbox.command(LaneCommand { lane, flow }.into());
    }
}

impl<C: From<LaneCommand>> Stream for Incoming<C> {
    type Item = Result<Bytes, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_message(cx)
    }
}

impl<C: From<LaneCommand>> Drop for Incoming<C> {
    fn drop(&mut self) {
        {
            let mut inbox = lock(&self.lane.inbox);
            inbox.is_dropped = true;
            let left = self.messages.iter().chain(&inbox.messages);
            let (messages, bytes) = left.fold((0, 0), |(n, bytes), m| (n + 1, bytes + m.len()));
            inbox.taken.messages += messages + self.taken.messages;
            inbox.taken.bytes += bytes + self.taken.bytes;
            inbox.messages = VecDeque::new();
            // A caller may have said all while the call goes on. What nobody has taken of it can be
            // a large message, for which those of other streams wait.
            if inbox.outcome.is_some() && messages == 0 {
                return;
            }
        }
        self.command();
    }
}

/// The trailers of a stream that has ended well.
pub(crate) fn trailers(lane: Arc<Lane>) -> impl FnOnce() -> Metadata + Send {
    move || match lock(&lane.inbox).outcome.take() {
        Some(Ok(trailers)) => trailers,
        _ => Metadata::new(),
    }
}
