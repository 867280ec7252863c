//! [`Running`]: a server at work.

#[cfg(feature = "prometheus")]
use std::net::SocketAddr;
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::{
    captured, discovery, fence::Fence, health_endpoint::HealthEndpoint, instance_endpoint,
    required_subjects::Subscriptions, schema_endpoint::SchemaEndpoint, work::Work,
};
#[cfg(feature = "prometheus")]
use crate::metrics_http::Monitor;
use crate::{Connection, Error};
use nmfw_core::{
    error::ErrorKind,
    service::{
        gauges,
        health::Health,
        instance::{Instance, Lifecycle},
        service::Service,
    },
};

/// A running server, created by [`Server::start`](super::Server::start).
///
/// Dropping it stops the server gracefully in the background; [`join`](Self::join) waits for its
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

/// How a server ended after it was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ending {
    /// All requests in flight completed.
    Drained,
    /// The [grace period](super::Server::grace) ended, and the remaining handlers were dropped.
    GraceEnded,
    /// The server was stopped by force, with [`Running::force_stop`] or a second signal, and the
    /// remaining handlers were dropped.
    Forced,
}

/// A service as listed in discovery.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServedService {
    /// The name, for example `calc`.
    pub name: String,
    /// The globally unique id of this instance.
    pub id: String,
    /// The version.
    pub version: String,
    /// The subjects of the served methods.
    pub subjects: Vec<String>,
    /// The queue group of each subject, in the same order; `None` if every instance gets every
    /// request.
    pub queue_groups: Vec<Option<String>>,
}

/// The reason why a server ended by itself, as a cloneable `Error`.
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
        // Runs before the subscriptions, so that an unhealthy instance receives no calls.
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
            // Fails without receivers.
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

    /// Returns the services with their names and instance ids.
    #[must_use]
    pub fn services(&self) -> &[ServedService] {
        &self.services
    }

    /// Ends the HTTP endpoint together with the server.
    #[cfg(feature = "prometheus")]
    pub(crate) fn watch_over(&mut self, monitor: Option<Monitor>) {
        let Some(monitor) = monitor else {
            return;
        };
        self.metrics = Some(monitor.address());
        let mut end = self.end.clone();
        tokio::spawn(async move {
            // An error also means that the server has ended.
            _ = end.wait_for(Option::is_some).await;
            drop(monitor);
        });
    }

    /// Returns the address of the HTTP endpoint of [`Server::metrics`](super::Server::metrics),
    /// with the actual port if port 0 was requested.
    #[cfg(feature = "prometheus")]
    #[must_use]
    pub const fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics
    }

    /// Returns the health of the server: the last results of its
    /// [checks](super::Server::health_check), and conditions that it detects itself.
    #[must_use]
    pub fn health(&self) -> Health {
        self.lifecycle.health()
    }

    /// Stops the server gracefully, without waiting: see
    /// [`Server`](super::Server#how-a-server-stops). Further calls have no effect; use
    /// [`force_stop`](Self::force_stop) to stop it at once.
    pub fn stop(&self) {
        self.lifecycle.draining.cancel();
    }

    /// Stops the server at once, without waiting, even during a graceful shutdown: handlers are
    /// dropped, and their callers get `UNAVAILABLE`.
    pub fn force_stop(&self) {
        self.lifecycle.draining.cancel();
        self.lifecycle.force();
    }

    /// Waits for the end of the server, and returns whether all requests completed. Once the server
    /// is stopping, the wait is bounded. The future does not borrow the server, which stops if it
    /// is dropped.
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
    /// If the server ended by itself: [`Closed`](ErrorKind::Closed) if the connection was closed
    /// permanently, [`PermissionDenied`](ErrorKind::PermissionDenied) if the NATS server revoked a
    /// permission, [`Limit`](ErrorKind::Limit) if it refused subscriptions beyond its limit after a
    /// reconnect.
    pub fn join(&self) -> impl Future<Output = Result<Ending, Error>> + Send + use<> {
        let mut end = self.end.clone();
        async move {
            match end.wait_for(Option::is_some).await.as_deref() {
                Ok(Some(Ok(ending))) => Ok(*ending),
                Ok(Some(Err(End(kind, message)))) => Err(Error::new(*kind, message.clone())),
                // Never `None`, because the wait ends when the value changes from it.
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

    /// Formats the queue groups: a single name if all are equal, otherwise one per subject, with
    /// `-` for none.
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

/// Subscribes to everything that the instances need, and returns when the NATS server has accepted
/// it.
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
    // Subscribed last, so that a discovered service can be called.
    for instance in instances {
        let client = work.connection.client();
        let responder = discovery::responder(instance, client).await?;
        work.discovery.spawn(responder);
        let health = instance_endpoint::responder(instance, client, HealthEndpoint).await?;
        work.discovery.spawn(health);
        if let Some(schema) = SchemaEndpoint::of(instance) {
            let responder = instance_endpoint::responder(instance, client, schema).await?;
            work.discovery.spawn(responder);
        }
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
