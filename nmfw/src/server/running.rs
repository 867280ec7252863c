//! [`Running`]: a server at work.

#[cfg(feature = "prometheus")]
use std::net::SocketAddr;
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

#[cfg(feature = "prometheus")]
use super::monitor::Monitor;
use super::{
    Instance, Lifecycle, Service, captured, discovery,
    fence::Fence,
    gauges,
    health::{self, Health},
    work::{MAX_ROUND_TRIP, Work},
};
use crate::{Connection, ConnectionEvent, Error, error::ErrorKind};

/// How long to wait for denials of what a round trip has shown to be processed. async-nats hands
/// events on in a task of its own, so that one can come a moment after the message that followed it.
const MAX_EVENT_DELAY: Duration = Duration::from_millis(20);

/// A server at work, made by [`Server::start`](super::Server::start).
///
/// Dropping it stops the server gracefully, in the background; [`join`](Self::join) waits for its
/// end.
#[derive(Debug)]
#[must_use = "dropping it stops the server"]
pub struct Running {
    services: Vec<ServedService>,
    connection: Connection,
    lifecycle: Lifecycle,
    end: watch::Receiver<Option<Result<Ending, End>>>,
    #[cfg(feature = "prometheus")]
    metrics: Option<SocketAddr>,
}

/// How a server that was told to stop came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ending {
    /// Every request under way was served to its end.
    Drained,
    /// The [grace period](super::Server::grace) ran out, and handlers still at work were dropped.
    GraceEnded,
    /// It was told a second time to stop, and handlers still at work were dropped.
    Forced,
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
    /// The queue group of each of those, in their order; `None` where every instance gets every
    /// request.
    pub queue_groups: Vec<Option<String>>,
}

/// Why a server ended by itself. `Error` cannot be cloned; this can.
#[derive(Clone, Debug)]
pub(super) struct End(pub(super) ErrorKind, pub(super) String);

impl Running {
    pub(super) async fn start(
        connection: Connection,
        services: Vec<Service>,
        lifecycle: Lifecycle,
        grace: Duration,
    ) -> Result<Self, Error> {
        let instances = services
            .into_iter()
            .map(|service| {
                Instance::new(service, Some(connection.clone()), lifecycle.clone()).map(Arc::new)
            })
            .collect::<Result<Vec<_>, _>>()?;
        wait_for_connection(&connection).await?;
        // So that nobody calls an instance that is not ready, if that is known.
        lifecycle.checks.make().await;

        let mut events = connection.subscribe_events();
        let mut work = Work::new(connection.clone(), lifecycle.clone(), grace);
        let first = &instances[0];
        let mut fence = Fence::new(&work.connection, &first.base, &first.id).await?;
        for instance in &instances {
            work.serve(instance).await?;
        }
        fence.pass(MAX_ROUND_TRIP).await?;
        // Only now, so that who finds a service can call it.
        for instance in &instances {
            let client = work.connection.client();
            let responder = discovery::responder(instance, client).await?;
            work.discovery.spawn(responder);
            let responder = health::responder(instance, client).await?;
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
                queue_group = service.shown_queue_groups(),
                "serving"
            );
        }
        lifecycle.has_started.store(true, Ordering::Relaxed);
        let (ended, end) = watch::channel(None);
        tokio::spawn(async move {
            let checks = Arc::clone(&work.lifecycle.checks);
            let checking = async move { checks.repeat().await };
            let _checking = AbortOnDropHandle::new(tokio::spawn(checking));
            let looking = captured::look(work.connection.clone(), instances.clone());
            let _looking = AbortOnDropHandle::new(tokio::spawn(looking));
            let _sampling = AbortOnDropHandle::new(tokio::spawn(gauges::sample(instances)));
            let outcome = work.until_the_end(fence, events, ours).await;
            // Nobody may be interested any more.
            _ = ended.send(Some(outcome));
        });
        Ok(Self {
            services,
            connection,
            lifecycle,
            end,
            #[cfg(feature = "prometheus")]
            metrics: None,
        })
    }

    /// The services with their names and instance ids.
    #[must_use]
    pub fn services(&self) -> &[ServedService] {
        &self.services
    }

    /// Lets the HTTP endpoint end with the server.
    #[cfg(feature = "prometheus")]
    pub(super) fn watch_over(&mut self, monitor: Option<Monitor>) {
        let Some(monitor) = monitor else {
            return;
        };
        self.metrics = Some(monitor.address());
        let mut end = self.end.clone();
        tokio::spawn(async move {
            // An error is an end, too.
            _ = end.wait_for(Option::is_some).await;
            drop(monitor);
        });
    }

    /// Where the HTTP endpoint of [`Server::metrics`](super::Server::metrics) listens: with the port
    /// that the system has chosen, if that was 0.
    #[cfg(feature = "prometheus")]
    #[must_use]
    pub const fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics
    }

    /// How the server is: what its [checks](super::Server::health_check) have said the last time, and
    /// what it knows by itself.
    #[must_use]
    pub fn health(&self) -> Health {
        self.lifecycle.health(self.connection.is_connected())
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
        self.lifecycle.force();
    }

    /// Waits for the end, which is always bounded once the server is told to stop.
    ///
    /// # Errors
    /// If it ended by itself: [`Closed`](ErrorKind::Closed) when the connection is gone for good,
    /// [`PermissionDenied`](ErrorKind::PermissionDenied) when the NATS server took a permission
    /// away.
    pub async fn join(self) -> Result<(), Error> {
        self.ended().await.map(drop)
    }

    /// As [`join`](Self::join), and tells whether all requests were served to their end.
    ///
    /// ```no_run
    /// # async fn example(server: nmfw::server::Running) -> Result<(), nmfw::Error> {
    /// use nmfw::server::Ending;
    ///
    /// server.stop();
    /// if server.ended().await? == Ending::GraceEnded {
    ///     tracing::warn!("some requests take longer than the grace period");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`join`](Self::join).
    pub async fn ended(self) -> Result<Ending, Error> {
        self.wait().await
    }

    pub(super) fn wait(&self) -> BoxFuture<'static, Result<Ending, Error>> {
        let mut end = self.end.clone();
        async move {
            match end.wait_for(Option::is_some).await.as_deref() {
                Ok(Some(Ok(ending))) => Ok(*ending),
                Ok(Some(Err(End(kind, message)))) => Err(Error::new(*kind, message.clone())),
                // Never `None`, which is waited for to go away.
                Ok(None) | Err(_) => Err(Error::new(
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
            subjects: endpoints.clone().map(|e| e.subject.clone()).collect(),
            queue_groups: endpoints.map(|e| e.limits.queue_group.clone()).collect(),
        }
    }

    /// One name if it is that of all, else one for each subject, with `-` for none.
    fn shown_queue_groups(&self) -> String {
        let mut shown: Vec<_> = self
            .queue_groups
            .iter()
            .map(|group| group.as_deref().unwrap_or("-"))
            .collect();
        if shown.iter().all(|group| *group == shown[0]) {
            shown.truncate(1);
        }
        shown.join(" ")
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
pub(super) struct Subjects(Vec<String>);

impl Subjects {
    fn of(instances: &[Arc<Instance>]) -> Self {
        let own = |instance: &Arc<Instance>| {
            let endpoints = instance.endpoints.iter().map(|e| e.subject.clone());
            let own = |what| crate::subject::instance(&instance.base, &instance.id, what);
            // Where sessions are opened is not among them: without, there is still base mode.
            endpoints
                .chain([own("fence.*"), own("s.*")])
                .chain(discovery::subjects(instance))
                .collect::<Vec<_>>()
        };
        Self(instances.iter().flat_map(own).collect())
    }

    pub(super) fn check(&self, event: &ConnectionEvent) -> Result<(), Error> {
        match event {
            ConnectionEvent::SubscribeDenied { subject, .. } if self.0.contains(subject) => {
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
