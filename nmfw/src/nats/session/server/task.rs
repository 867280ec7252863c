//! [`SessionCallTask`]: a running handler of a session's call.

use std::{sync::Arc, time::Instant};

use tokio_util::task::task_tracker::TaskTrackerToken;

use super::{calls::ServerCommand, served::Served};
use crate::{
    Deadline, Status,
    nats::session::{
        driver::{Mailbox, Outgoing, StreamIo},
        protocol::StreamId,
    },
};
use nmfw_core::{
    call::{body::Body, origin::Origin, response::Response},
    service::{
        client_id::ClientId,
        execute::Work,
        instance::Instance,
        stalled::{Stall, Stalling, Stream},
        workers::Job,
    },
};

#[derive(Debug)]
pub(crate) struct SessionCallTask {
    pub(crate) common: Arc<Common>,
    /// The index of its method among the served ones.
    pub(crate) index: usize,
    pub(crate) stream: StreamId,
    /// Set if either side streams.
    pub(crate) io: Option<Arc<StreamIo>>,
    pub(crate) work: Work,
    pub(crate) deadline: Deadline,
}

/// Values shared by all calls of a session, because counters that many threads change are slow.
#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) instance: Arc<Instance>,
    pub(crate) mailbox: Arc<Mailbox<ServerCommand>>,
    /// For accounting clients' shares.
    pub(crate) client: ClientId,
    pub(crate) served: Arc<[Served]>,
    /// One per served method.
    pub(crate) origins: Box<[Arc<Origin>]>,
    /// Makes the server wait for a session's handlers too.
    pub(crate) _tracked: TaskTrackerToken,
}

impl Job for SessionCallTask {
    /// Runs the handler, and sends its outcome to the session's task.
    async fn run(self) {
        let Self {
            common,
            index,
            stream,
            io,
            work,
            deadline,
        } = self;
        let Common {
            instance,
            mailbox,
            served,
            ..
        } = &*common;
        let Some(Served { endpoint, .. }) = served.get(index) else {
            return;
        };
        let mut unanswered = Unanswered {
            mailbox,
            stream: Some(stream),
        };
        // A stalled stream must not keep a slot that another call needs.
        let stalling = io.as_ref().map(|io| {
            let call: Arc<Stream<dyn Stalling>> = Arc::new(Stream::new(OnLane {
                common: Arc::clone(&common),
                io: Arc::clone(io),
                stream,
            }));
            call
        });
        // The permit lasts until the session has the answer; the number of streams bounds the
        // answers in a session.
        let (outcome, _permit) = instance.work(endpoint, work, stalling).await;
        match (outcome, io) {
            (
                Ok(Response {
                    metadata,
                    body: Body::Messages(mut messages),
                }),
                Some(io),
            ) => {
                let answers = Outgoing::new(io, Arc::clone(mailbox));
                answers.headers(metadata);
                let sending = async {
                    tokio::select! {
                        biased;
                        () = answers.send_all(&mut messages, |_| {}) => {}
                        // While the client reads nothing, the handler's stream is not polled; at
                        // the deadline, it is polled once more and ends with an error.
                        () = deadline.passed() => answers.send_all(&mut messages, |_| {}).await,
                    }
                };
                // Boxed, so that other calls need no space for it.
                Box::pin(sending).await;
            }
            // Fails if the session has ended, so that no caller waits.
            (outcome, _) => _ = mailbox.command(ServerCommand::Answer { stream, outcome }),
        }
        unanswered.stream = None;
    }
}

/// A call that streams.
struct OnLane {
    common: Arc<Common>,
    io: Arc<StreamIo>,
    stream: StreamId,
}

impl Stalling for OnLane {
    fn client(&self) -> ClientId {
        self.common.client
    }

    fn stalled_since(&self) -> Option<Instant> {
        self.io.stalled_since()
    }

    fn progress(&self) -> u64 {
        self.io.progress()
    }

    fn end(&self, why: Stall) {
        let stream = self.stream;
        // Fails if the session has ended, and with it the call.
        _ = self
            .common
            .mailbox
            .command(ServerCommand::Stalled { stream, why });
    }
}

/// A call without an answer. If it ends by an uncaught panic, for instance in a user's `Drop`, its
/// caller still gets an error.
struct Unanswered<'a> {
    mailbox: &'a Mailbox<ServerCommand>,
    stream: Option<StreamId>,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if let Some(stream) = self.stream {
            let outcome = Err(Status::internal("the handler ended without an answer"));
            // Has no effect if the task was aborted because its call ended.
            _ = self
                .mailbox
                .command(ServerCommand::Answer { stream, outcome });
        }
    }
}
