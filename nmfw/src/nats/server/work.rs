//! The tasks of a server, and the order in which they end.

use std::{sync::Arc, time::Duration};

use async_nats::Message;
use futures_util::FutureExt;
use tokio::{
    sync::mpsc,
    task::{JoinSet, unconstrained},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    fence::Fence,
    handle::{End, Ending},
    intake::Intake,
    required_subjects::Subscriptions,
};
use crate::{
    Connection, Error,
    nats::{
        headers,
        reply_subject::OwnBase,
        session::server::{self, ServerSessions},
        subject,
        unary::server::{UnaryFront, accept, refuse_unknown},
    },
};
use nmfw_core::{
    error::ErrorKind,
    service::instance::{Endpoint, Instance, Lifecycle},
};

/// Time limit for a round trip while a server starts or stops.
pub(crate) const MAX_ROUND_TRIP: Duration = Duration::from_secs(5);

/// Time limit for a round trip after a forced stop.
const MAX_FORCED_ROUND_TRIP: Duration = Duration::from_secs(1);

/// Time limit for sending the last answers after a forced stop.
const MAX_LAST_ANSWERS: Duration = Duration::from_secs(5);

/// nats-server treats a number of more than nine digits as already reached and ends the
/// subscription, whereas async-nats takes it literally and keeps delivering messages in transit.
/// Unlike async-nats' own `unsubscribe` and `drain`, this loses nothing.
pub(crate) const UNSUBSCRIBE_NOW: u64 = 9_999_999_999;

/// All tasks of a server, which end with it.
pub(crate) struct Work {
    pub(crate) connection: Connection,
    pub(crate) lifecycle: Lifecycle,
    grace: Duration,
    readers: JoinSet<()>,
    /// Tasks that read packets of sessions until the very end.
    packets: JoinSet<()>,
    pub(crate) discovery: JoinSet<()>,
    /// Cancelled when the NATS server has sent its last request.
    fenced: CancellationToken,
    /// Every reader holds a sender until it has unsubscribed.
    asked: (mpsc::Sender<()>, mpsc::Receiver<()>),
    /// Reserves the subjects of these services, so that peers cannot name them for answers.
    own: Vec<OwnBase>,
}

impl Work {
    pub(crate) fn new(connection: Connection, lifecycle: Lifecycle, grace: Duration) -> Self {
        let mut packets = JoinSet::new();
        // Intakes wait for checks and for relocations of the connection through the same channel.
        let (mut state, checks) = (connection.state_receiver(), Arc::clone(&lifecycle.checks));
        packets.spawn(async move {
            while state.changed().await.is_ok() {
                checks.wake();
            }
        });
        Self {
            connection,
            lifecycle,
            grace,
            readers: JoinSet::new(),
            packets,
            discovery: JoinSet::new(),
            fenced: CancellationToken::new(),
            asked: mpsc::channel(1),
            own: Vec::new(),
        }
    }

    /// Removes all subscriptions, so that they do not interfere with the next start on the
    /// connection.
    pub(crate) async fn abandon(mut self) {
        for tasks in [&mut self.readers, &mut self.packets, &mut self.discovery] {
            tasks.shutdown().await;
        }
    }

    /// Starts all subscriptions of an instance except discovery.
    pub(crate) async fn serve(&mut self, instance: &Arc<Instance>) -> Result<(), Error> {
        let sessions = ServerSessions::new(instance, &self.connection);
        self.own.push(OwnBase::new(&instance.base));
        let front = UnaryFront::new(Arc::clone(instance), self.connection.clone());
        let front = Arc::new(front);
        if let Some(sessions) = &sessions {
            self.sessions(instance, sessions).await?;
        }
        for endpoint in &instance.endpoints {
            let group = endpoint.limits.queue_group.clone();
            let route = Route::Method(Arc::clone(endpoint));
            let subject = endpoint.subject.clone();
            let requests = Requests::new(&front, route, sessions.clone());
            self.read(requests, subject, group).await?;
        }
        let own = subject::pinned(&instance.base, &instance.id);
        let requests = Requests::new(&front, Route::Pinned, sessions);
        self.read(requests, format!("{own}.*"), None).await
    }

    async fn read(
        &mut self,
        requests: Requests,
        subject: String,
        group: Option<String>,
    ) -> Result<(), Error> {
        let instance = &requests.front.instance;
        let intake = Intake::new(instance, &self.connection, subject, group).await?;
        let (fenced, asked) = (self.fenced.clone(), self.asked.0.clone());
        self.readers.spawn(requests.read(intake, asked, fenced));
        Ok(())
    }

    /// Lets clients open sessions with an instance.
    async fn sessions(
        &mut self,
        instance: &Arc<Instance>,
        sessions: &Arc<ServerSessions>,
    ) -> Result<(), Error> {
        let client = self.connection.client();
        let own = subject::instance(&instance.base, &instance.id, "s.*");
        let of_methods = subject::method_session(&instance.base, "*", &instance.id, "*");
        let packets = [
            crate::nats::server::subscribe(client, own, None).await?,
            crate::nats::server::subscribe(client, of_methods, None).await?,
        ];
        self.packets
            .spawn(server::packets(Arc::clone(sessions), packets));
        if let Some(group) = sessions.queue_group() {
            let open = subject::open(&instance.base);
            let group = Some(group.to_owned());
            let opening = Intake::new(instance, &self.connection, open, group).await?;
            let (fenced, asked) = (self.fenced.clone(), self.asked.0.clone());
            let sessions = Arc::clone(sessions);
            self.readers
                .spawn(server::opening(sessions, opening, asked, fenced));
        }
        Ok(())
    }

    pub(crate) async fn until_the_end(
        mut self,
        fence: Fence,
        mut subscriptions: Subscriptions,
    ) -> Result<Ending, End> {
        let draining = self.lifecycle.draining.clone();
        let failure = async {
            let error = subscriptions.watch(&fence).await;
            End(error.kind(), error.to_string())
        };
        let outcome = tokio::select! {
            () = draining.cancelled() => Ok(()),
            end = failure => Err(end),
        };
        draining.cancel();
        let cause = outcome.as_ref().err().map(|End(kind, _)| *kind);
        let ending = self.drain(&fence, cause).await;
        outcome.map(|()| ending)
    }

    /// Shuts down in order: first the intake, then the running work, then the sending of its
    /// answers.
    ///
    /// `cause` is the error if the server ends by itself.
    async fn drain(&mut self, fence: &Fence, cause: Option<ErrorKind>) -> Ending {
        let connection_lost = cause == Some(ErrorKind::Closed);
        tracing::info!(running = self.lifecycle.tasks.len(), "stopping");
        let end = Instant::now() + self.grace;
        let forced = self.lifecycle.forced.clone();
        // A lost connection may come back, and a fence whose subscription was refused may be
        // answered, but waiting for it gains little.
        let is_answered = cause != Some(ErrorKind::Limit);
        let round_trip = if is_answered && self.connection.is_connected() {
            MAX_ROUND_TRIP
        } else {
            MAX_FORCED_ROUND_TRIP
        };

        self.discovery.join_all_within(MAX_ROUND_TRIP).await;
        if connection_lost {
            self.readers.abort_all();
        } else {
            let intake = async {
                // Nothing is sent; the channel closes when the last reader drops its sender.
                drop(std::mem::replace(&mut self.asked.0, mpsc::channel(1).0));
                self.asked.1.recv().await;
                let (first, ()) =
                    tokio::join!(fence.pass(MAX_ROUND_TRIP), self.connection.pass_second());
                if let Err(error) = first {
                    tracing::warn!(%error, "requests in transit may be lost");
                }
            };
            tokio::select! {
                () = intake => {}
                () = patience(&forced, round_trip) => {
                    tracing::warn!("the connection is stuck: requests in transit may be lost");
                }
            }
            self.fenced.cancel();
        }
        self.readers.join_all_within(MAX_ROUND_TRIP).await;

        self.lifecycle.tasks.close();
        let work = self.lifecycle.tasks.wait();
        tokio::select! {
            () = work => {}
            () = forced.cancelled() => {}
            () = tokio::time::sleep_until(end) => {}
        }
        // Callers of handlers that were dropped at the end of the grace period still get an error.
        let last_round_trip = if forced.is_cancelled() {
            MAX_FORCED_ROUND_TRIP
        } else {
            round_trip
        };
        let left = self.lifecycle.tasks.len();
        let ending = if self.lifecycle.was_cut() || (left > 0 && forced.is_cancelled()) {
            Ending::Forced
        } else if left > 0 {
            Ending::GraceEnded
        } else {
            Ending::Drained
        };
        if left > 0 {
            tracing::warn!(left, "stopping handlers that did not complete");
            forced.cancel();
            let answers = self.lifecycle.tasks.wait();
            if tokio::time::timeout(MAX_LAST_ANSWERS, answers)
                .await
                .is_err()
            {
                tracing::error!("cannot stop handlers that block their threads");
            }
        }
        // A flush is not enough: if the process exits with unread input, its system may drop unsent
        // answers.
        if !connection_lost && let Err(error) = fence.pass(last_round_trip).await {
            tracing::warn!(%error, "the last responses may be lost");
        }
        tracing::info!("stopped");
        ending
    }
}

/// Completes when the NATS server has had enough time, which is less after a forced stop.
async fn patience(forced: &CancellationToken, limit: Duration) {
    let forced = async {
        forced.cancelled().await;
        tokio::time::sleep(MAX_FORCED_ROUND_TRIP).await;
    };
    tokio::select! {
        () = forced => {}
        () = tokio::time::sleep(limit) => {}
    }
}

trait JoinAllWithin {
    async fn join_all_within(&mut self, limit: Duration);
}

impl JoinAllWithin for JoinSet<()> {
    async fn join_all_within(&mut self, limit: Duration) {
        let all = async { while self.join_next().await.is_some() {} };
        if tokio::time::timeout(limit, all).await.is_err() {
            self.abort_all();
        }
    }
}

/// The subscription of a method.
struct Requests {
    front: Arc<UnaryFront>,
    route: Route,
    sessions: Option<Arc<ServerSessions>>,
}

/// What the messages of a subscription are for.
enum Route {
    Method(Arc<Endpoint>),
    /// The method that the last token of the subject names, or `_open` for a session.
    Pinned,
}

impl Requests {
    fn new(front: &Arc<UnaryFront>, route: Route, sessions: Option<Arc<ServerSessions>>) -> Self {
        Self {
            front: Arc::clone(front),
            route,
            sessions,
        }
    }

    /// Reads the subscription until its end. Never waits for anything except messages, so that the
    /// buffer does not overflow.
    async fn read(self, mut intake: Intake, asked: mpsc::Sender<()>, fenced: CancellationToken) {
        let draining = self.front.instance.lifecycle.draining.clone();
        while let Some(Some(message)) = draining.run_until_cancelled(intake.next()).await {
            self.accept(message);
            // Requests come in batches. tokio's coop budget ends the loop.
            while let Some(Some(message)) = intake.rest().now_or_never() {
                self.accept(message);
            }
        }
        intake.leave().await;
        drop(asked);
        while let Some(Some(message)) = fenced.run_until_cancelled(intake.rest()).await {
            self.accept(message);
        }
        // The server has sent everything; the rest is in the subscription's buffer and is read to
        // its end, regardless of tokio's coop budget.
        while let Some(Some(message)) = unconstrained(intake.rest()).now_or_never() {
            self.accept(message);
        }
    }

    fn accept(&self, message: Message) {
        match &self.route {
            Route::Method(endpoint) => self.accept_for(endpoint, message),
            Route::Pinned => self.accept_pinned(message),
        }
    }

    fn accept_for(&self, endpoint: &Arc<Endpoint>, message: Message) {
        match &self.sessions {
            Some(sessions) if headers::opens_session(message.headers.as_ref()) => {
                sessions.accept_for(endpoint, message);
            }
            _ => accept(&self.front, endpoint, message),
        }
    }

    fn accept_pinned(&self, message: Message) {
        let name = message.subject.rsplit('.').next().unwrap_or_default();
        let endpoints = &self.front.instance.endpoints;
        let endpoint = endpoints.iter().find(|each| each.method.name() == name);
        match (endpoint, &self.sessions) {
            (Some(endpoint), _) => self.accept_for(endpoint, message),
            (None, Some(sessions)) if name == "_open" => sessions.accept(message),
            (None, _) => refuse_unknown(&self.front, message),
        }
    }
}
