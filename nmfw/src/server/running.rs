//! [`Running`]: a server at work, and its end.

use std::{sync::Arc, time::Duration};

use async_nats::Subscriber;
use futures_util::{FutureExt, StreamExt, future::BoxFuture};
use tokio::{
    sync::{broadcast, mpsc, watch},
    task::JoinSet,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{Instance, Lifecycle, Service, discovery, dispatch, fence::Fence, instance::Endpoint};
use crate::{Connection, ConnectionEvent, Error, error::ErrorKind};

/// How long the NATS server may take to process what a starting or stopping server sends it.
const MAX_ROUND_TRIP: Duration = Duration::from_secs(5);

/// The same once the server is told to end at once.
const MAX_FORCED_ROUND_TRIP: Duration = Duration::from_secs(1);

/// How long to wait for denials of what a round trip has shown to be processed. async-nats hands
/// events on in a task of its own, so that one can come a moment after the message that followed it.
const MAX_EVENT_DELAY: Duration = Duration::from_millis(20);

/// How long tasks that were told to end at once may take to send their answers.
const MAX_LAST_ANSWERS: Duration = Duration::from_secs(5);

/// nats-server reads a number of more than nine digits as one that is reached already, and ends the
/// subscription; async-nats takes it at its word and goes on delivering what is on its way. So
/// nothing is lost, as it would be by async-nats's own `unsubscribe` and `drain`.
const UNSUBSCRIBE_NOW: u64 = 9_999_999_999;

/// A server at work, made by [`Server::start`](super::Server::start).
///
/// Dropping it stops the server gracefully, in the background; [`join`](Self::join) waits for its
/// end.
#[derive(Debug)]
#[must_use = "dropping it stops the server"]
pub struct Running {
    services: Vec<ServedService>,
    lifecycle: Lifecycle,
    end: watch::Receiver<Option<Result<(), End>>>,
}

/// A service as it is found in discovery.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServedService {
    /// The name, for example `calc`.
    pub name: String,
    /// The id of this instance, unique in the world.
    pub id: String,
    /// The version.
    pub version: String,
    /// The subjects of the methods served.
    pub subjects: Vec<String>,
}

/// Why a server ended by itself. `Error` cannot be cloned; this can.
#[derive(Clone, Debug)]
struct End(ErrorKind, String);

impl Running {
    pub(super) async fn start(
        connection: Connection,
        services: Vec<Service>,
        grace: Duration,
    ) -> Result<Self, Error> {
        let lifecycle = Lifecycle::new();
        let instances = services
            .into_iter()
            .map(|service| {
                Instance::new(service, Some(connection.clone()), lifecycle.clone()).map(Arc::new)
            })
            .collect::<Result<Vec<_>, _>>()?;
        wait_for_connection(&connection).await?;

        let mut events = connection.subscribe_events();
        let mut work = Work::new(connection, lifecycle.clone(), grace);
        let first = &instances[0];
        let mut fence = Fence::new(&work.connection, &first.base, &first.id).await?;
        for instance in &instances {
            for endpoint in &instance.endpoints {
                work.read(instance, endpoint).await?;
            }
        }
        fence.pass(MAX_ROUND_TRIP).await?;
        // Only now, so that who finds a service can call it.
        for instance in &instances {
            let client = work.connection.client();
            let responder = discovery::responder(instance, client).await?;
            work.discovery.spawn(responder);
        }
        fence.pass(MAX_ROUND_TRIP).await?;
        let ours = Subjects::of(&instances);
        let denied = async {
            while let Ok(event) = events.recv().await {
                ours.check(&event)?;
            }
            Ok(())
        };
        // None is what is hoped for. One that is later still ends the server by itself.
        if let Ok(Err(error)) = tokio::time::timeout(MAX_EVENT_DELAY, denied).await {
            return Err(error);
        }

        let services: Vec<_> = instances.iter().map(|i| ServedService::of(i)).collect();
        for service in &services {
            tracing::info!(
                service = service.name,
                version = service.version,
                instance = service.id,
                subjects = service.subjects.join(" "),
                "serving"
            );
        }
        let (ended, end) = watch::channel(None);
        tokio::spawn(async move {
            let outcome = work.until_the_end(fence, events, ours).await;
            // Nobody may be interested any more.
            _ = ended.send(Some(outcome));
        });
        Ok(Self {
            services,
            lifecycle,
            end,
        })
    }

    /// The services with their names and instance ids.
    #[must_use]
    pub fn services(&self) -> &[ServedService] {
        &self.services
    }

    /// Tells the server to stop: the first time gracefully, the second time at once. Does not wait.
    pub fn stop(&self) {
        if self.lifecycle.draining.is_cancelled() {
            self.force_stop();
        } else {
            self.lifecycle.draining.cancel();
        }
    }

    /// Tells the server to stop at once: handlers are dropped, and their callers get
    /// `UNAVAILABLE`. Does not wait.
    pub fn force_stop(&self) {
        self.lifecycle.draining.cancel();
        self.lifecycle.forced.cancel();
    }

    /// Waits for the end, which is always bounded once the server is told to stop.
    ///
    /// # Errors
    /// If it ended by itself: [`Closed`](ErrorKind::Closed) when the connection is gone for good,
    /// [`PermissionDenied`](ErrorKind::PermissionDenied) when the NATS server took a permission
    /// away.
    pub async fn join(self) -> Result<(), Error> {
        self.wait().await
    }

    pub(super) fn wait(&self) -> BoxFuture<'static, Result<(), Error>> {
        let mut end = self.end.clone();
        async move {
            match end.wait_for(Option::is_some).await.as_deref() {
                Ok(Some(Err(End(kind, message)))) => Err(Error::new(*kind, message.clone())),
                Ok(_) => Ok(()),
                Err(_) => Err(Error::new(
                    ErrorKind::Other,
                    "the server's task ended: its runtime is shutting down",
                )),
            }
        }
        .boxed()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.lifecycle.draining.cancel();
    }
}

impl ServedService {
    fn of(instance: &Instance) -> Self {
        let endpoints = instance.endpoints.iter();
        Self {
            name: instance.name.clone(),
            id: instance.id.clone(),
            version: instance.version.clone(),
            subjects: endpoints.map(|e| e.subject.clone()).collect(),
        }
    }
}

async fn wait_for_connection(connection: &Connection) -> Result<(), Error> {
    let mut state = connection.state();
    let state = state
        .wait_for(|state| state.is_connected() || state.is_closed())
        .await;
    match state {
        Ok(state) if state.is_connected() => Ok(()),
        _ => Err(Error::new(
            ErrorKind::Closed,
            "the connection to NATS is closed",
        )),
    }
}

/// The subjects that a server cannot do without.
struct Subjects(Vec<String>);

impl Subjects {
    fn of(instances: &[Arc<Instance>]) -> Self {
        let own = |instance: &Arc<Instance>| {
            let endpoints = instance.endpoints.iter().map(|e| e.subject.clone());
            let fence = crate::subject::instance(&instance.base, &instance.id, "fence.*");
            endpoints.chain([fence]).collect::<Vec<_>>()
        };
        Self(instances.iter().flat_map(own).collect())
    }

    fn check(&self, event: &ConnectionEvent) -> Result<(), Error> {
        match event {
            ConnectionEvent::SubscribeDenied { subject, .. }
                if self.0.contains(subject) || subject.starts_with("$SRV.") =>
            {
                Err(Error::new(
                    ErrorKind::PermissionDenied,
                    format!(
                        "the NATS server does not let this connection subscribe to {subject}: \
                         a service needs to subscribe to its own subjects and to $SRV.>"
                    ),
                ))
            }
            ConnectionEvent::Closed => Err(Error::new(
                ErrorKind::Closed,
                "the connection to NATS was closed",
            )),
            _ => Ok(()),
        }
    }
}

/// All tasks of a server. They end with it.
struct Work {
    connection: Connection,
    lifecycle: Lifecycle,
    grace: Duration,
    readers: JoinSet<()>,
    discovery: JoinSet<()>,
    /// Cancelled when the NATS server has sent the last request it will send.
    fenced: CancellationToken,
    /// Every reader holds a sender until it has asked for no more requests.
    asked: (mpsc::Sender<()>, mpsc::Receiver<()>),
}

impl Work {
    fn new(connection: Connection, lifecycle: Lifecycle, grace: Duration) -> Self {
        Self {
            connection,
            lifecycle,
            grace,
            readers: JoinSet::new(),
            discovery: JoinSet::new(),
            fenced: CancellationToken::new(),
            asked: mpsc::channel(1),
        }
    }

    async fn read(
        &mut self,
        instance: &Arc<Instance>,
        endpoint: &Arc<Endpoint>,
    ) -> Result<(), Error> {
        let subscriber = super::subscribe(
            self.connection.client(),
            endpoint.subject.clone(),
            endpoint.limits.queue_group.clone(),
        )
        .await?;
        let (instance, endpoint) = (Arc::clone(instance), Arc::clone(endpoint));
        let (fenced, asked) = (self.fenced.clone(), self.asked.0.clone());
        self.readers.spawn(async move {
            read(&instance, &endpoint, subscriber, asked, fenced).await;
        });
        Ok(())
    }

    async fn until_the_end(
        mut self,
        mut fence: Fence,
        mut events: broadcast::Receiver<ConnectionEvent>,
        ours: Subjects,
    ) -> Result<(), End> {
        let draining = self.lifecycle.draining.clone();
        let failure = async {
            loop {
                let error = match events.recv().await {
                    Ok(event) => ours.check(&event).err(),
                    Err(broadcast::error::RecvError::Lagged(_)) => None,
                    Err(broadcast::error::RecvError::Closed) => {
                        ours.check(&ConnectionEvent::Closed).err()
                    }
                };
                if let Some(error) = error {
                    return End(error.kind(), error.to_string());
                }
            }
        };
        let outcome = tokio::select! {
            () = draining.cancelled() => Ok(()),
            end = failure => Err(end),
        };
        draining.cancel();
        let lost = matches!(&outcome, Err(End(ErrorKind::Closed, _)));
        self.drain(&mut fence, lost).await;
        outcome
    }

    /// Ends everything: first the intake, then the work, then the connection's buffer.
    async fn drain(&mut self, fence: &mut Fence, connection_lost: bool) {
        tracing::info!(running = self.lifecycle.tasks.len(), "stopping");
        let end = Instant::now() + self.grace;
        let forced = self.lifecycle.forced.clone();

        self.discovery.join_all_within(MAX_ROUND_TRIP).await;
        if connection_lost {
            self.readers.abort_all();
        } else {
            let intake = async {
                // Nobody sends; it ends when the last reader drops its sender.
                drop(std::mem::replace(&mut self.asked.0, mpsc::channel(1).0));
                self.asked.1.recv().await;
                if let Err(error) = fence.pass(MAX_ROUND_TRIP).await {
                    tracing::warn!(%error, "requests on their way may be lost");
                }
            };
            tokio::select! {
                () = intake => {}
                () = patience(&forced) => {
                    tracing::warn!("the connection is stuck: requests on their way may be lost");
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
        // Callers of handlers that the grace has run out for should still learn of it.
        let flush = if forced.is_cancelled() {
            MAX_FORCED_ROUND_TRIP
        } else {
            MAX_ROUND_TRIP
        };
        let left = self.lifecycle.tasks.len();
        if left > 0 {
            tracing::warn!(left, "handlers are ended before they are done");
            forced.cancel();
            let answers = self.lifecycle.tasks.wait();
            if tokio::time::timeout(MAX_LAST_ANSWERS, answers)
                .await
                .is_err()
            {
                tracing::error!("handlers that block their threads cannot be ended");
            }
        }
        if !connection_lost && let Err(error) = self.connection.flush_within(flush).await {
            tracing::warn!(%error, "the last answers may be lost");
        }
        tracing::info!("stopped");
    }
}

/// Ends when the NATS server has had time enough, which is less once the end is forced.
async fn patience(forced: &CancellationToken) {
    let forced = async {
        forced.cancelled().await;
        tokio::time::sleep(MAX_FORCED_ROUND_TRIP).await;
    };
    tokio::select! {
        () = forced => {}
        () = tokio::time::sleep(MAX_ROUND_TRIP) => {}
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

/// The life of a method's subscription. Never waits for anything but messages, so that none is
/// dropped for want of room.
async fn read(
    instance: &Arc<Instance>,
    endpoint: &Arc<Endpoint>,
    mut subscriber: Subscriber,
    asked: mpsc::Sender<()>,
    fenced: CancellationToken,
) {
    let draining = instance.lifecycle.draining.clone();
    while let Some(Some(message)) = draining.run_until_cancelled(subscriber.next()).await {
        dispatch::accept(instance, endpoint, message);
    }
    if let Err(error) = subscriber.unsubscribe_after(UNSUBSCRIBE_NOW).await {
        tracing::debug!(%error, subject = endpoint.subject, "unsubscribing failed");
    }
    drop(asked);
    while let Some(Some(message)) = fenced.run_until_cancelled(subscriber.next()).await {
        dispatch::accept(instance, endpoint, message);
    }
    // The server has sent all; what is left lies in the subscription's buffer.
    while let Some(Some(message)) = subscriber.next().now_or_never() {
        dispatch::accept(instance, endpoint, message);
    }
}
