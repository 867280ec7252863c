//! [`Running`]: a server at work.

#[cfg(feature = "prometheus")]
use std::net::SocketAddr;
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::{captured, discovery, fence::Fence, required_subjects::Subscriptions, work::Work};
#[cfg(feature = "prometheus")]
use crate::metrics_http::Monitor;
use crate::{
    Connection, Error,
    error::ErrorKind,
    service::{
        gauges,
        health::Health,
        instance::{Instance, Lifecycle},
        service::Service,
    },
};

/// A server at work, made by [`Server::start`](super::Server::start).
///
/// Dropping it stops the server gracefully, in the background; [`join`](Self::join) waits for its
/// end.
#[derive(Debug)]
#[must_use = "dropping it stops the server"]
pub struct Running {
    services: Vec<ServedService>,
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
    /// It was told to stop at once, by [`Running::force_stop`] or a second signal, and handlers still
    /// at work were dropped.
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
pub(crate) struct End(pub(crate) ErrorKind, pub(crate) String);

impl Running {
    pub(crate) async fn start(
        connection: Connection,
        services: Vec<Service>,
        lifecycle: Lifecycle,
        grace: Duration,
    ) -> Result<Self, Error> {
        let instances = services
            .into_iter()
            .map(|service| Instance::new(service, lifecycle.clone()).map(Arc::new))
            .collect::<Result<Vec<_>, _>>()?;
        wait_for_connection(&connection).await?;
        // So that nobody calls an instance that is not ready, if that is known.
        lifecycle.checks.make().await;

        let mut subscriptions = Subscriptions::of(&connection, &instances, &lifecycle);
        let mut work = Work::new(connection.clone(), lifecycle.clone(), grace);
        let fence = match subscribe(&instances, &mut work, &mut subscriptions).await {
            Ok(fence) => fence,
            Err(error) => {
                work.abandon().await;
                return Err(error);
            }
        };

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
            let outcome = work.until_the_end(fence, subscriptions).await;
            // Nobody may be interested any more.
            _ = ended.send(Some(outcome));
        });
        Ok(Self {
            services,
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
    pub(crate) fn watch_over(&mut self, monitor: Option<Monitor>) {
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
        self.lifecycle.health()
    }

    /// Tells the server to stop gracefully: see [`Server`](super::Server#how-a-server-stops). Does not
    /// wait. Once it stops, further calls change nothing, whichever part of a program makes them;
    /// [`force_stop`](Self::force_stop) does.
    pub fn stop(&self) {
        self.lifecycle.draining.cancel();
    }

    /// Tells the server to stop at once, also while it stops gracefully: handlers are dropped, and
    /// their callers get `UNAVAILABLE`. Does not wait.
    pub fn force_stop(&self) {
        self.lifecycle.draining.cancel();
        self.lifecycle.force();
    }

    /// Waits for the end, which is always bounded once the server stops, and returns whether all requests
    /// were served to their end. The future does not borrow the server, which stops if it is dropped.
    ///
    /// ```no_run
    /// # async fn example(server: nmfw::server::Running) -> Result<(), nmfw::Error> {
    /// use nmfw::server::Ending;
    ///
    /// server.stop();
    /// if server.join().await? == Ending::GraceEnded {
    ///     tracing::warn!("some requests take longer than the grace period");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If it ended by itself: [`Closed`](ErrorKind::Closed) when the connection is gone for good,
    /// [`PermissionDenied`](ErrorKind::PermissionDenied) when the NATS server took a permission
    /// away, [`Limit`](ErrorKind::Limit) when after a reconnect it refuses subscriptions that are over
    /// its limit.
    pub fn join(&self) -> impl Future<Output = Result<Ending, Error>> + Send + use<> {
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

/// Subscribes to all that the instances need, and returns when the NATS server has accepted it.
async fn subscribe(
    instances: &[Arc<Instance>],
    work: &mut Work,
    subscriptions: &mut Subscriptions,
) -> Result<Fence, Error> {
    let first = &instances[0];
    let fence = Fence::new(&work.connection, &first.base, &first.id);
    for instance in instances {
        work.serve(instance).await?;
    }
    subscriptions.confirm(&fence).await?;
    // Only now, so that a service that is found can be called.
    for instance in instances {
        let client = work.connection.client();
        let responder = discovery::responder(instance, client).await?;
        work.discovery.spawn(responder);
        let responder = super::health_endpoint::responder(instance, client).await?;
        work.discovery.spawn(responder);
    }
    subscriptions.confirm(&fence).await?;
    Ok(fence)
}

async fn wait_for_connection(connection: &Connection) -> Result<(), Error> {
    let mut state = connection.state_receiver();
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
