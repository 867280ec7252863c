//! [`Task`]: a handler at work on a call of a session.

use std::{sync::Arc, time::Instant};

use tokio_util::task::task_tracker::TaskTrackerToken;

use super::{calls::Command, served::Served};
use crate::{
    Deadline, Status,
    nats::session::{
        driver::{Lane, Mailbox, Outgoing},
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
pub(crate) struct Task {
    pub(crate) common: Arc<Common>,
    /// Of the method among those served.
    pub(crate) index: usize,
    pub(crate) stream: StreamId,
    /// If either side streams.
    pub(crate) lane: Option<Arc<Lane>>,
    pub(crate) work: Work,
    pub(crate) deadline: Deadline,
}

/// What all calls of a session have in common. They share one, as counters that many threads change
/// are slow.
#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) instance: Arc<Instance>,
    pub(crate) mailbox: Arc<Mailbox<Command>>,
    /// For the shares of clients.
    pub(crate) client: ClientId,
    pub(crate) served: Arc<[Served]>,
    /// Of the methods served.
    pub(crate) origins: Box<[Arc<Origin>]>,
    /// The server waits for a session's handlers too.
    pub(crate) _tracked: TaskTrackerToken,
}

impl Job for Task {
    /// Runs the handler, and sends its outcome to the session's task.
    async fn run(self) {
        let Self {
            common,
            index,
            stream,
            lane,
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
        // A stream that does not go on keeps no place that others want.
        let stalling = lane.as_ref().map(|lane| {
            let call: Arc<Stream<dyn Stalling>> = Arc::new(Stream::new(OnLane {
                common: Arc::clone(&common),
                lane: Arc::clone(lane),
                stream,
            }));
            call
        });
        // The permit lasts until the session has the answer; how many of those a session can hold
        // is bounded by its streams.
        let (outcome, _permit) = instance.work(endpoint, work, stalling).await;
        match (outcome, lane) {
            (
                Ok(Response {
                    metadata,
                    body: Body::Messages(mut messages),
                }),
                Some(lane),
            ) => {
                let answers = Outgoing::new(lane, Arc::clone(mailbox));
                answers.headers(metadata);
                let sending = async {
                    tokio::select! {
                        biased;
                        () = answers.send_all(&mut messages, |_| {}) => {}
                        // While the client takes nothing nobody looks at the handler's stream,
                        // which knows that it is late, and says so once it is looked at.
                        () = deadline.passed() => answers.send_all(&mut messages, |_| {}).await,
                    }
                };
                // In a box, so that other calls have no room for it in their futures.
                Box::pin(sending).await;
            }
            // Fails if the session has ended: then nobody waits for the answer.
            (outcome, _) => _ = mailbox.command(Command::Answer { stream, outcome }),
        }
        unanswered.stream = None;
    }
}

/// A call that streams.
struct OnLane {
    common: Arc<Common>,
    lane: Arc<Lane>,
    stream: StreamId,
}

impl Stalling for OnLane {
    fn client(&self) -> ClientId {
        self.common.client
    }

    fn stalled_since(&self) -> Option<Instant> {
        self.lane.stalled_since()
    }

    fn progress(&self) -> u64 {
        self.lane.progress()
    }

    fn end(&self, why: Stall) {
        let stream = self.stream;
        // Fails if the session is over, and the call with it.
        _ = self
            .common
            .mailbox
            .command(Command::Stalled { stream, why });
    }
}

/// One that has not answered. If it ends by a panic where none is caught, as when something of the
/// user's is dropped, it leaves nobody waiting.
struct Unanswered<'a> {
    mailbox: &'a Mailbox<Command>,
    stream: Option<StreamId>,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if let Some(stream) = self.stream {
            let outcome = Err(Status::internal("the handler ended without an answer"));
            // Of no effect if the task was ended because its call was.
            _ = self.mailbox.command(Command::Answer { stream, outcome });
        }
    }
}
