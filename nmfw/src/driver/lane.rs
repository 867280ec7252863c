//! [`Lane`]: the messages of one call between the application, which polls and waits, and the task
//! of its session, which does neither.
//!
//! Towards the application messages lie in a queue that the stream's window bounds: credit for them
//! goes to the peer when the application has taken them. Towards the session one batch is on its
//! way at a time; the next is asked of the application when the session has taken it.

use std::{
    collections::VecDeque,
    future::poll_fn,
    mem,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use futures_util::Stream;

use super::Mailbox;
use crate::{
    Metadata, Status,
    body::Messages,
    session::{SendError, Session, StreamId},
};

/// A batch that the application gives the session is closed at this size.
const BATCH: usize = 32 * 1024;

/// What was taken is told to the session when it comes to this, or when the application waits for
/// more. So what is held back is never what the peer waits for.
const CREDIT_STEP: usize = 32 * 1024;

/// About what a message takes besides its bytes.
const MESSAGE_COST: usize = 32;

#[derive(Debug, Default)]
pub(crate) struct Lane {
    /// Set when the session has begun the stream.
    stream: OnceLock<StreamId>,
    inbox: Mutex<Inbox>,
    outbox: Mutex<Outbox>,
}

/// From the session to the application.
#[derive(Debug, Default)]
struct Inbox {
    messages: VecDeque<Bytes>,
    headers: Option<Metadata>,
    /// The end, with trailers if it is good.
    outcome: Option<Result<Metadata, Status>>,
    waker: Option<Waker>,
    taken: Taken,
    /// The session has been told to look at `taken`.
    is_told: bool,
    /// Nobody takes any more.
    is_dropped: bool,
}

/// What the application has taken since the peer got credit for it.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    messages: usize,
    bytes: usize,
}

impl Taken {
    fn cost(self) -> usize {
        self.bytes + self.messages * MESSAGE_COST
    }
}

/// From the application to the session.
#[derive(Debug, Default)]
struct Outbox {
    /// A batch is on its way.
    is_busy: bool,
    /// The peer wants no more.
    is_over: bool,
    waker: Option<Waker>,
}

/// What the application says on a lane.
#[derive(Debug)]
pub(crate) enum Flow {
    Headers(Metadata),
    Batch(Batch),
    /// Look at what was taken, and whether anybody takes.
    Taken,
}

/// Messages to send, and the end if it is near.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    messages: VecDeque<Bytes>,
    end: Option<Result<Metadata, Status>>,
}

/// A side's command for a lane.
#[derive(Debug)]
pub(crate) struct LaneCommand {
    pub(crate) lane: Arc<Lane>,
    pub(crate) flow: Flow,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// Keeps the waker of who polls.
fn park(slot: &mut Option<Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) if waker.will_wake(cx.waker()) => {}
        _ => *slot = Some(cx.waker().clone()),
    }
}

// The session's side.
impl Lane {
    pub(crate) fn stream(&self) -> Option<StreamId> {
        self.stream.get().copied()
    }

    /// Begins; a lane is of one stream.
    pub(crate) fn begin(&self, stream: StreamId) {
        _ = self.stream.set(stream);
    }

    fn put(&self, change: impl FnOnce(&mut Inbox)) {
        let waker = {
            let mut inbox = lock(&self.inbox);
            change(&mut inbox);
            inbox.waker.take()
        };
        wake(waker);
    }

    /// The stream has ended, or the peer has said its last. What has come before is still there.
    pub(crate) fn finish_inbox(&self, outcome: Result<Metadata, Status>) {
        self.put(|inbox| {
            inbox.outcome.get_or_insert(outcome);
        });
    }

    /// The application need send no more.
    pub(crate) fn finish_outbox(&self) {
        let waker = {
            let mut outbox = lock(&self.outbox);
            outbox.is_over = true;
            outbox.waker.take()
        };
        wake(waker);
    }

    /// The stream is over in both directions.
    pub(crate) fn finish(&self, outcome: Result<Metadata, Status>) {
        self.finish_inbox(outcome);
        self.finish_outbox();
    }

    fn batch_taken(&self) {
        let waker = {
            let mut outbox = lock(&self.outbox);
            outbox.is_busy = false;
            outbox.waker.take()
        };
        wake(waker);
    }
}

/// The session's end of a lane.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) lane: Arc<Lane>,
    /// What the session has no room for yet.
    waiting: Batch,
}

/// How a stream that this side has ended went.
#[derive(Debug)]
pub(crate) enum Ended {
    No,
    /// All has been given to the session; a service's call is over.
    Said,
    /// With the application's own error.
    Failed,
    /// The application was well, but what it said cannot be sent.
    Refused(Status),
}

impl Port {
    pub(crate) fn new(lane: Arc<Lane>) -> Self {
        Self {
            lane,
            waiting: Batch::default(),
        }
    }

    pub(crate) fn on_headers(&self, metadata: Metadata) {
        self.lane.put(|inbox| inbox.headers = Some(metadata));
    }

    /// A message has come; the session gets it back as taken if nobody wants it.
    pub(crate) fn on_message(&self, session: &mut Session, stream: StreamId, message: Bytes) {
        let len = message.len();
        let mut is_dropped = false;
        self.lane.put(|inbox| {
            is_dropped = inbox.is_dropped;
            if !is_dropped {
                inbox.messages.push_back(message);
            }
        });
        if is_dropped {
            session.consume(stream, 1, len);
        }
    }

    /// Gives the peer credit for what was taken.
    ///
    /// Says whether the application wants no more.
    pub(crate) fn on_taken(&self, session: &mut Session, stream: StreamId) -> bool {
        let (taken, is_dropped) = {
            let mut inbox = lock(&self.lane.inbox);
            inbox.is_told = false;
            (mem::take(&mut inbox.taken), inbox.is_dropped)
        };
        if taken.messages > 0 {
            session.consume(stream, taken.messages, taken.bytes);
        }
        is_dropped
    }

    /// A batch has come from the application. There is one at a time; only the last may come
    /// before another has gone, when the deadline has passed.
    pub(crate) fn on_batch(
        &mut self,
        session: &mut Session,
        stream: StreamId,
        batch: Batch,
    ) -> Ended {
        if self.waiting.messages.is_empty() {
            self.waiting = batch;
        } else {
            self.waiting.messages.extend(batch.messages);
            self.waiting.end = batch.end;
        }
        self.push(session, stream)
    }

    /// Gives the session what it has room for.
    pub(crate) fn push(&mut self, session: &mut Session, stream: StreamId) -> Ended {
        let Batch { messages, end } = &mut self.waiting;
        let was_empty = messages.is_empty() && end.is_none();
        while let Some(message) = messages.pop_front() {
            // An end without trailers goes with the last message.
            let is_last = messages.is_empty()
                && matches!(end, Some(Ok(trailers)) if *trailers == Metadata::new());
            match session.send_message(stream, message, is_last) {
                Ok(()) if is_last => {
                    *end = None;
                    return Ended::Said;
                }
                Ok(()) => {}
                Err(SendError::Full(message)) => {
                    messages.push_front(message);
                    return Ended::No;
                }
                Err(SendError::Ended) => {
                    self.waiting = Batch::default();
                    self.lane.finish_outbox();
                    return Ended::No;
                }
                Err(SendError::TooLarge(status)) => {
                    self.waiting = Batch::default();
                    self.lane.finish(Err(status.clone()));
                    return Ended::Refused(status);
                }
            }
        }
        match end.take() {
            None => {
                if !was_empty {
                    self.lane.batch_taken();
                }
                Ended::No
            }
            Some(Ok(trailers)) if trailers == Metadata::new() => {
                session.finish(stream);
                Ended::Said
            }
            Some(Ok(trailers)) => {
                session.send_status(stream, Ok(&trailers));
                Ended::Said
            }
            Some(Err(status)) => {
                self.end(session, stream, &status);
                Ended::Failed
            }
        }
    }

    /// Ends the stream, as what the application says cannot be sent.
    pub(crate) fn fail(
        &mut self,
        session: &mut Session,
        stream: StreamId,
        status: Status,
    ) -> Ended {
        self.end(session, stream, &status);
        Ended::Refused(status)
    }

    fn end(&mut self, session: &mut Session, stream: StreamId, status: &Status) {
        self.waiting = Batch::default();
        if session.is_server() {
            session.send_status(stream, Err(status));
        } else {
            session.reset(stream, status);
        }
        self.lane.finish(Err(status.clone()));
    }
}

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

/// The application's end of a lane, for what goes.
#[derive(Debug)]
pub(crate) struct Outgoing<C: From<LaneCommand>> {
    lane: Arc<Lane>,
    mailbox: Arc<Mailbox<C>>,
}

impl<C: From<LaneCommand>> Outgoing<C> {
    pub(crate) fn new(lane: Arc<Lane>, mailbox: Arc<Mailbox<C>>) -> Self {
        Self { lane, mailbox }
    }

    /// Sends metadata ahead of the messages.
    pub(crate) fn headers(&self, metadata: Metadata) {
        self.command(Flow::Headers(metadata));
    }

    /// Sends all messages, and the end. Comes back before if the peer wants no more.
    ///
    /// `seen` gets to know each message on its way, and the error that ends them.
    pub(crate) async fn send_all(
        &self,
        messages: &mut Messages,
        mut seen: impl FnMut(Result<&Bytes, &Status>),
    ) {
        loop {
            let Some(batch) = self.batch(messages, &mut seen).await else {
                return;
            };
            let is_last = batch.end.is_some();
            lock(&self.lane.outbox).is_busy = true;
            if !self.command(Flow::Batch(batch)) || is_last {
                return;
            }
            if !poll_fn(|cx| self.poll_free(cx)).await {
                return;
            }
        }
    }

    /// Sends these messages, with more to follow. Says whether the peer wants them.
    pub(crate) async fn send_again(&self, messages: VecDeque<Bytes>) -> bool {
        lock(&self.lane.outbox).is_busy = true;
        let end = None;
        self.command(Flow::Batch(Batch { messages, end })) && poll_fn(|cx| self.poll_free(cx)).await
    }

    fn command(&self, flow: Flow) -> bool {
        let lane = Arc::clone(&self.lane);
        self.mailbox
            .command(LaneCommand { lane, flow }.into())
            .is_ok()
    }

    /// All that is ready, up to the size of a batch; `None` if the peer wants no more.
    async fn batch(
        &self,
        messages: &mut Messages,
        seen: &mut impl FnMut(Result<&Bytes, &Status>),
    ) -> Option<Batch> {
        let mut batch = Batch::default();
        let mut size = 0;
        poll_fn(|cx| {
            while size < BATCH {
                match Pin::new(&mut *messages).poll_next(cx) {
                    Poll::Ready(Some(Ok(message))) => {
                        size += message.len() + MESSAGE_COST;
                        seen(Ok(&message));
                        batch.messages.push_back(message);
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
                        let mut outbox = lock(&self.lane.outbox);
                        if outbox.is_over {
                            return Poll::Ready(None);
                        }
                        park(&mut outbox.waker, cx);
                        return Poll::Pending;
                    }
                }
            }
            Poll::Ready(Some(mem::take(&mut batch)))
        })
        .await
    }

    /// Whether the next batch is wanted; `false` if none ever is.
    fn poll_free(&self, cx: &Context<'_>) -> Poll<bool> {
        let mut outbox = lock(&self.lane.outbox);
        if outbox.is_over {
            return Poll::Ready(false);
        }
        if outbox.is_busy {
            park(&mut outbox.waker, cx);
            return Poll::Pending;
        }
        Poll::Ready(true)
    }
}
