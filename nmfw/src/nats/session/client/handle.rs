//! [`Handle`]: a session as callers see it, and a call on it.

use std::{
    ops::Deref,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::{FutureExt, Stream, StreamExt};
use smol_str::SmolStr;
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

use super::{
    Outgoing,
    command::{Command, Mailbox},
};
use crate::{
    Metadata, Method, Status,
    call::{
        body::{Messages, chunk::Chunk},
        per_method::PerMethod,
        request::{Encoding, Request},
        response::Response,
    },
    nats::session::{
        client::source::{Sent, Source},
        driver::{Incoming, Lane, trailers},
        protocol::{CallHead, Doubt, Opened},
    },
};

/// A session. When the last is dropped, the session ends.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) mailbox: Arc<Mailbox>,
    calls: AtomicUsize,
    /// A [`Doubt`].
    doubt: AtomicU8,
    /// The life of the connection in which the service was heard: see [`Self::is_absent`].
    heard_in: AtomicU64,
    service: OnceLock<Facts>,
}

/// What the service said of itself.
#[derive(Debug)]
struct Facts {
    instance: String,
    /// Sorted; empty if all may be called.
    methods: Vec<SmolStr>,
    max_calls: usize,
    serves: PerMethod<bool>,
}

impl Handle {
    pub(crate) fn new(packet_window: u32) -> Self {
        Self {
            mailbox: Arc::new(Mailbox::new(packet_window)),
            calls: AtomicUsize::new(0),
            doubt: AtomicU8::new(Doubt::No as u8),
            heard_in: AtomicU64::new(0),
            service: OnceLock::new(),
        }
    }

    pub(crate) fn opened(&self, opened: Opened) {
        let Opened {
            instance,
            mut methods,
            max_streams,
            ..
        } = opened;
        methods.sort_unstable_by(|a, b| (**a).cmp(b));
        let facts = Facts {
            instance,
            methods,
            max_calls: max_streams,
            serves: PerMethod::default(),
        };
        // It happens once.
        _ = self.service.set(facts);
    }

    /// Calls under way.
    pub(crate) fn load(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    pub(crate) fn doubt(&self, doubt: Doubt) {
        self.doubt.store(doubt as u8, Ordering::Relaxed);
    }

    /// Whether the service may be gone.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.doubt.load(Ordering::Relaxed) != Doubt::No as u8
    }

    /// The service was heard in this life of the connection.
    pub(crate) fn heard_in(&self, epoch: u64) {
        self.heard_in.store(epoch, Ordering::Relaxed);
    }

    /// Whether the service is known to have no connection to NATS, or was not heard in this life of the
    /// client's: it may have given the session up while the client was away.
    pub(crate) fn is_absent(&self, epoch: u64) -> bool {
        self.doubt.load(Ordering::Relaxed) >= Doubt::Vanished as u8
            || self.heard_in.load(Ordering::Relaxed) != epoch
    }

    /// Whether the service was not heard in this life of the client's connection, nor is known to have none
    /// itself.
    pub(crate) fn is_unheard(&self, epoch: u64) -> bool {
        self.heard_in.load(Ordering::Relaxed) != epoch
            && self.doubt.load(Ordering::Relaxed) < Doubt::Vanished as u8
    }

    /// Whether the session has room for a further call.
    pub(crate) fn has_room(&self) -> bool {
        let max = self.service.get().map_or(0, |facts| facts.max_calls);
        self.load() < max
    }

    /// Whether the service takes calls of the method this way: other calls take base mode.
    pub(crate) fn serves(&self, method: Method) -> bool {
        let Some(facts) = self.service.get() else {
            return false;
        };
        facts.serves.get(method, |method| {
            let name = method.name();
            let found = facts
                .methods
                .binary_search_by(|served| (**served).cmp(name));
            facts.methods.is_empty() || found.is_ok()
        })
    }

    /// Whether both are with the same instance.
    pub(crate) fn is_with_instance_of(&self, other: &Self) -> bool {
        let (own, other) = (self.service.get(), other.service.get());
        own.zip(other)
            .is_some_and(|(own, other)| own.instance == other.instance)
    }

    /// Makes a call. Dropping the future, and the stream that it gives, gives the call up, at the
    /// service too.
    pub(crate) async fn call(
        self: &Arc<Self>,
        request: &Request,
        sent: &Sent,
    ) -> Result<Response, Status> {
        match sent {
            Sent::Message(body) if !request.method().streams() => {
                self.unary(request, body.clone()).await
            }
            // In a box: unary calls have no room for it.
            _ => Box::pin(self.streaming(request, sent)).await,
        }
    }

    /// The session's task sees to the deadline. What waits is little, as many do at a time.
    fn unary<'a>(
        &'a self,
        request: &Request,
        body: Bytes,
    ) -> impl Future<Output = Result<Response, Status>> + use<'a> {
        let busy = Busy::new(self);
        let (sender, receiver) = oneshot::channel();
        let command = Command::Unary {
            method: request.method(),
            head: head_of(request),
            body,
            sender,
        };
        let is_over = self.mailbox.command(command).is_err();
        Waiting {
            busy,
            receiver,
            is_over,
        }
    }

    async fn streaming(
        self: &Arc<Self>,
        request: &Request,
        sent: &Sent,
    ) -> Result<Response, Status> {
        let (method, head) = (request.method(), head_of(request));
        let busy = Busy::new(Arc::clone(self));
        match sent {
            Sent::Message(body) => {
                let (lane, incoming) = self.lane();
                self.begin(method, head, lane, Some(body.clone()))?;
                finish(method, incoming, busy, None, None).await
            }
            Sent::Stream(source) => {
                let (lane, incoming) = self.lane();
                self.begin(method, head, Arc::clone(&lane), None)?;
                let outgoing = Outgoing::new(lane, Arc::clone(&self.mailbox));
                let sending = Arc::clone(source);
                let deadline = request.deadline();
                let sending = tokio::spawn(async move {
                    tokio::select! {
                        () = sending.send(&outgoing) => {}
                        // Nobody may be looking at the answers, where it is seen as well.
                        () = deadline.passed() => {}
                    }
                });
                let sending = AbortOnDropHandle::new(sending);
                finish(method, incoming, busy, Some(sending), Some(source)).await
            }
        }
    }

    fn lane(&self) -> (Arc<Lane>, Incoming<Command>) {
        let lane = Arc::new(Lane::default());
        let incoming = Incoming::new(Arc::clone(&lane), Arc::clone(&self.mailbox));
        (lane, incoming)
    }

    fn begin(
        &self,
        method: Method,
        head: CallHead,
        lane: Arc<Lane>,
        body: Option<Bytes>,
    ) -> Result<(), Status> {
        let is_single = !method.streams_responses();
        let command = Command::Begin {
            head,
            lane,
            body,
            is_single,
        };
        self.mailbox.command(command).map_err(|_| is_over())
    }
}

fn head_of(request: &Request) -> CallHead {
    let method = request.method();
    CallHead {
        method: SmolStr::new_static(method.name()),
        deadline: request.deadline().instant().map(Into::into),
        encoding: Encoding::Protobuf,
        client_version: method.service().client_version().map(SmolStr::new_static),
        metadata: request.metadata().clone(),
        trace: request.head.trace.clone(),
    }
}

fn is_over() -> Status {
    Status::unavailable("the session is over").not_started()
}

/// Waits for a call that streams: for its end if it has one answer, else for its beginning.
async fn finish(
    method: Method,
    mut incoming: Incoming<Command>,
    busy: Busy<Arc<Handle>>,
    sending: Option<AbortOnDropHandle<()>>,
    source: Option<&Arc<Source>>,
) -> Result<Response, Status> {
    let lane = incoming.lane();
    let metadata = incoming.headers().await?;
    if let Some(source) = source {
        source.begun();
    }
    if !method.streams_responses() {
        return one(incoming, lane, metadata).await;
    }
    let answers = Answers {
        incoming,
        _sending: sending,
        _busy: busy,
    };
    let messages = Messages::new(answers).with_trailers(trailers(lane));
    Ok(Response::streaming(messages, metadata))
}

/// The answers of a call, and what goes on as long as they are wanted.
struct Answers {
    incoming: Incoming<Command>,
    _sending: Option<AbortOnDropHandle<()>>,
    _busy: Busy<Arc<Handle>>,
}

impl Stream for Answers {
    type Item = Result<Chunk, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.incoming.poll_next_unpin(cx)
    }
}

/// Waits for the only answer.
async fn one(
    mut answers: impl Stream<Item = Result<Chunk, Status>> + Unpin,
    lane: Arc<Lane>,
    mut metadata: Metadata,
) -> Result<Response, Status> {
    let answer = answers.next().await.transpose()?;
    let more = || Status::internal("the answer has more than one message");
    let body = match answer {
        Some(Chunk::Message(body)) => body,
        Some(Chunk::Row(_)) => return Err(more()),
        None => return Err(Status::internal("the answer has no message")),
    };
    if answers.next().await.transpose()?.is_some() {
        return Err(more());
    }
    metadata.merge(&trailers(lane)());
    Ok(Response::with_metadata(body, metadata))
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.mailbox.drain();
    }
}

/// A call under way, which counts for the choice among sessions; one that streams keeps its own.
#[derive(Debug)]
struct Busy<H: Deref<Target = Handle>>(H);

impl<H: Deref<Target = Handle>> Busy<H> {
    fn new(handle: H) -> Self {
        handle.calls.fetch_add(1, Ordering::Relaxed);
        Self(handle)
    }
}

impl<H: Deref<Target = Handle>> Drop for Busy<H> {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A unary call that waits for its answer.
struct Waiting<'a> {
    busy: Busy<&'a Handle>,
    receiver: oneshot::Receiver<Result<Response, Status>>,
    /// There is nothing to give up: it is answered, or was never taken.
    is_over: bool,
}

impl Future for Waiting<'_> {
    type Output = Result<Response, Status>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.is_over {
            return Poll::Ready(Err(is_over()));
        }
        let outcome = ready!(self.receiver.poll_unpin(cx));
        self.is_over = true;
        // The session's task answers all calls, unless the runtime it is on is shutting down.
        Poll::Ready(
            outcome.unwrap_or_else(|_| Err(Status::unavailable("the session's task has ended"))),
        )
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            // The session looks for those whose receivers are closed.
            self.receiver.close();
            self.busy.0.mailbox.gave_up();
        }
    }
}
