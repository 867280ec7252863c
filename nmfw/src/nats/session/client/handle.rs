//! [`Handle`]: a session as seen by callers, and calls on it.

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
    command::{ClientCommand, CommandHead, Mailbox},
};
use crate::{
    Metadata, Method, Status,
    nats::session::{
        client::source::{Sent, Source},
        driver::{Incoming, StreamIo, trailers},
        protocol::{Liveness, Opened},
    },
};
use nmfw_core::call::{
    body::{Messages, chunk::Chunk},
    per_method::PerMethod,
    request::Request,
    response::Response,
};

/// A session. It ends when the last handle is dropped.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) mailbox: Arc<Mailbox>,
    calls: AtomicUsize,
    /// The discriminant of a [`Liveness`].
    liveness: AtomicU8,
    /// The epoch of the connection in which the last packet of the service arrived: see
    /// [`Self::is_absent`].
    heard_in: AtomicU64,
    service: OnceLock<Facts>,
}

/// The service's properties from ACCEPT.
#[derive(Debug)]
struct Facts {
    instance: String,
    /// Sorted; empty if all methods may be called.
    methods: Vec<SmolStr>,
    max_calls: usize,
    serves: PerMethod<bool>,
}

impl Handle {
    pub(crate) fn new(packet_window: u32) -> Self {
        Self {
            mailbox: Arc::new(Mailbox::new(packet_window)),
            calls: AtomicUsize::new(0),
            liveness: AtomicU8::new(Liveness::Alive as u8),
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
        // Called once.
        _ = self.service.set(facts);
    }

    /// Returns the number of calls in flight.
    pub(crate) fn load(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    pub(crate) fn liveness(&self, liveness: Liveness) {
        self.liveness.store(liveness as u8, Ordering::Relaxed);
    }

    /// Returns whether the service may be gone.
    pub(crate) fn is_suspect(&self) -> bool {
        self.liveness.load(Ordering::Relaxed) != Liveness::Alive as u8
    }

    /// Records that a packet of the service arrived in this epoch of the connection.
    pub(crate) fn heard_in(&self, epoch: u64) {
        self.heard_in.store(epoch, Ordering::Relaxed);
    }

    /// Returns whether the service is known to be disconnected from NATS, or has sent no packet in
    /// this epoch of the client's connection: it may have closed the session while the client was
    /// disconnected.
    pub(crate) fn is_absent(&self, epoch: u64) -> bool {
        self.liveness.load(Ordering::Relaxed) >= Liveness::Vanished as u8
            || self.heard_in.load(Ordering::Relaxed) != epoch
    }

    /// Returns whether the service has sent no packet in this epoch of the client's connection, and
    /// is not known to be disconnected itself.
    pub(crate) fn is_unheard(&self, epoch: u64) -> bool {
        self.heard_in.load(Ordering::Relaxed) != epoch
            && self.liveness.load(Ordering::Relaxed) < Liveness::Vanished as u8
    }

    /// Returns whether the session has room for another call.
    pub(crate) fn has_room(&self) -> bool {
        let max = self.service.get().map_or(0, |facts| facts.max_calls);
        self.load() < max
    }

    /// Returns whether the service accepts calls of the method in this session; other calls use
    /// base mode.
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

    /// Returns whether both sessions are with the same instance.
    pub(crate) fn is_with_instance_of(&self, other: &Self) -> bool {
        let (own, other) = (self.service.get(), other.service.get());
        own.zip(other)
            .is_some_and(|(own, other)| own.instance == other.instance)
    }

    /// Makes a call. Dropping the future, or the resulting stream, cancels the call at the service
    /// too.
    pub(crate) async fn call(
        self: &Arc<Self>,
        request: &Request,
        sent: &Sent,
    ) -> Result<Response, Status> {
        match sent {
            Sent::Message(body) if !request.method().is_streaming() => {
                self.unary(request, body.clone()).await
            }
            // Boxed, so that unary calls need no space for it.
            _ => Box::pin(self.streaming(request, sent)).await,
        }
    }

    /// Makes a unary call. The session task enforces the deadline, which keeps this future small.
    fn unary<'a>(
        &'a self,
        request: &Request,
        body: Bytes,
    ) -> impl Future<Output = Result<Response, Status>> + use<'a> {
        let busy = Busy::new(self);
        let (sender, receiver) = oneshot::channel();
        let command = ClientCommand::Unary {
            head: CommandHead::of(request),
            body,
            sender,
        };
        let is_over = self.mailbox.command(command).is_err();
        AwaitedAnswer {
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
        let (method, head) = (request.method(), CommandHead::of(request));
        let busy = Busy::new(Arc::clone(self));
        match sent {
            Sent::Message(body) => {
                let (io, incoming) = self.io();
                self.begin(method, head, io, Some(body.clone()))?;
                finish(method, incoming, busy, None, None).await
            }
            Sent::Stream(source) => {
                let (io, incoming) = self.io();
                self.begin(method, head, Arc::clone(&io), None)?;
                let outgoing = Outgoing::new(io, Arc::clone(&self.mailbox));
                let sending = Arc::clone(source);
                let deadline = request.deadline();
                let sending = tokio::spawn(async move {
                    tokio::select! {
                        () = sending.send(&outgoing) => {}
                        // The answers also enforce the deadline, but may not be polled.
                        () = deadline.passed() => {}
                    }
                });
                let sending = AbortOnDropHandle::new(sending);
                finish(method, incoming, busy, Some(sending), Some(source)).await
            }
        }
    }

    fn io(&self) -> (Arc<StreamIo>, Incoming<ClientCommand>) {
        let io = Arc::new(StreamIo::default());
        let incoming = Incoming::new(Arc::clone(&io), Arc::clone(&self.mailbox));
        (io, incoming)
    }

    fn begin(
        &self,
        method: Method,
        head: CommandHead,
        io: Arc<StreamIo>,
        body: Option<Bytes>,
    ) -> Result<(), Status> {
        let is_single = !method.is_server_streaming();
        let command = ClientCommand::Begin {
            head,
            io,
            body,
            is_single,
        };
        self.mailbox.command(command).map_err(|_| is_over())
    }
}

fn is_over() -> Status {
    // Not started: the session did not accept the command.
    Status::unavailable("the session has ended").not_started()
}

/// Waits for a streaming call: for its end if it has a single answer, otherwise for its start.
async fn finish(
    method: Method,
    mut incoming: Incoming<ClientCommand>,
    busy: Busy<Arc<Handle>>,
    sending: Option<AbortOnDropHandle<()>>,
    source: Option<&Arc<Source>>,
) -> Result<Response, Status> {
    let io = incoming.io();
    let metadata = incoming.headers().await?;
    if let Some(source) = source {
        source.begun();
    }
    if !method.is_server_streaming() {
        return one(incoming, io, metadata).await;
    }
    let answers = AnswerStream {
        incoming,
        _sending: sending,
        _busy: busy,
    };
    let messages = Messages::new(answers).with_trailers(trailers(io));
    Ok(Response::streaming(messages, metadata))
}

/// The answers of a call, and the task that sends its requests.
struct AnswerStream {
    incoming: Incoming<ClientCommand>,
    _sending: Option<AbortOnDropHandle<()>>,
    _busy: Busy<Arc<Handle>>,
}

impl Stream for AnswerStream {
    type Item = Result<Chunk, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.incoming.poll_next_unpin(cx)
    }
}

/// Waits for the only answer.
async fn one(
    mut answers: impl Stream<Item = Result<Chunk, Status>> + Unpin,
    io: Arc<StreamIo>,
    mut metadata: Metadata,
) -> Result<Response, Status> {
    let answer = answers.next().await.transpose()?;
    let more = || Status::internal("the response has more than one message");
    let body = match answer {
        Some(Chunk::Message(body)) => body,
        Some(Chunk::Row(_)) => return Err(more()),
        None => return Err(Status::internal("the response has no message")),
    };
    if answers.next().await.transpose()?.is_some() {
        return Err(more());
    }
    metadata.merge(&trailers(io)());
    Ok(Response::with_metadata(body, metadata))
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.mailbox.drain();
    }
}

/// A call in flight, counted for the choice among sessions; a streaming call owns its handle.
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
struct AwaitedAnswer<'a> {
    busy: Busy<&'a Handle>,
    receiver: oneshot::Receiver<Result<Response, Status>>,
    /// Whether there is nothing to cancel: the call was answered or refused.
    is_over: bool,
}

impl Future for AwaitedAnswer<'_> {
    type Output = Result<Response, Status>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.is_over {
            return Poll::Ready(Err(is_over()));
        }
        let outcome = ready!(self.receiver.poll_unpin(cx));
        self.is_over = true;
        // The session's task completes all calls, unless its runtime is shutting down.
        Poll::Ready(
            outcome.unwrap_or_else(|_| Err(Status::unavailable("the session task has ended"))),
        )
    }
}

impl Drop for AwaitedAnswer<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            // The session looks for closed receivers.
            self.receiver.close();
            self.busy.0.mailbox.cancelled();
        }
    }
}
