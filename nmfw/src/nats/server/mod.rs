//! [`Server`]: serves services on a NATS connection.

mod captured;
mod discovery;
mod fence;
pub(crate) mod handle;
mod health_endpoint;
mod instance_endpoint;
pub(crate) mod intake;
mod required_subjects;
mod schema_endpoint;
mod work;

#[cfg(feature = "prometheus")]
use std::net::SocketAddr;
use std::{mem, pin::pin, time::Duration};

use async_nats::Subscriber;
use futures_util::{StreamExt, stream::BoxStream};

use self::handle::{Ending, Running};
#[cfg(feature = "prometheus")]
use crate::metrics_http::Monitor;
use crate::{Connection, Error, MethodName, signal::Shutdown};
use nmfw_core::service::{health::Checks, instance::Lifecycle, selection, service::Service};
use nmfw_core::{error::ErrorKind, layer::CallLayer};

/// Default grace period for handlers during shutdown.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(10);

/// Serves any number of services on one connection.
///
/// ```no_run
/// # async fn example(calc: nmfw::server::Service) -> Result<(), nmfw::Error> {
/// let nats = nmfw::connect("nats://localhost:4222").await?;
/// nmfw::Server::new(nats)
///     .add_service(calc) // CalcServer::new(Calculator)
///     .serve_with_shutdown(nmfw::shutdown_signal())
///     .await?;
/// # Ok(())
/// # }
/// ```
///
/// Instances are independent of each other: NATS delivers each request to one of the instances that
/// serve the method, in this process, on this machine or in another region.
///
/// # Where handlers run
///
/// Handlers run on tasks of the tokio runtime on which the server was started, up to
/// [`Service::concurrency`] at a time. Only handlers of methods that never wait and take less than
/// ten microseconds on average run on the task that reads their calls, because handing such a call
/// over takes longer than answering it. Use `tokio::task::spawn_blocking` for blocking code, as
/// usual.
///
/// # How a server stops
///
/// 1. The server leaves discovery and asks the NATS server to send no more requests. Requests in
///    transit still arrive, and are served if a handler can start at once.
/// 2. Queued calls are answered as *not started*; clients send them to other instances.
/// 3. Handlers and their streams get the [grace period](Self::grace) to finish, of which
///    [`Context::stopping`](crate::Context::stopping) notifies them. After that, or on a second
///    signal or [`Running::force_stop`], they are dropped and their callers get `UNAVAILABLE`.
/// 4. The server waits until the NATS server has received all answers, so that the process can exit
///    at once. The connection stays open, because it may have other users.
///
/// Every request gets an answer.
#[derive(Debug)]
#[must_use = "a server does nothing until it is started"]
pub struct Server {
    connection: Connection,
    services: Vec<Service>,
    layers: ServerLayers,
    only: Option<Vec<MethodName>>,
    checks: Checks,
    #[cfg(feature = "prometheus")]
    metrics: Option<SocketAddr>,
    grace: Duration,
}

/// Layers for all services, in the order in which they were added.
#[derive(Default)]
struct ServerLayers(Vec<Box<dyn CallLayer + Send + Sync>>);

impl std::fmt::Debug for ServerLayers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} layers", self.0.len())
    }
}

impl Server {
    /// Creates a server on a connection.
    pub fn new(connection: impl Into<Connection>) -> Self {
        Self {
            connection: connection.into(),
            services: Vec::new(),
            layers: ServerLayers::default(),
            only: None,
            checks: Checks::default(),
            #[cfg(feature = "prometheus")]
            metrics: None,
            grace: DEFAULT_GRACE,
        }
    }

    /// Adds a service. Each becomes an ADR-32 service with its own instance id.
    pub fn add_service(mut self, service: Service) -> Self {
        self.services.push(service);
        self
    }

    /// Returns the connection of the server, for clients that handlers use to call other services.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    #[cfg(feature = "cli")]
    pub(crate) fn services(&self) -> &[Service] {
        &self.services
    }

    #[cfg(feature = "cli")]
    pub(crate) fn grace_period(&self) -> Duration {
        self.grace
    }

    /// Serves only some methods of all services: constants such as `CalcServer::ADD`, or texts:
    /// `Add`, or `calc.Calc.Add` if several services have a method of that name. Use it in
    /// processes whose methods are selected by a command line or a configuration; [`Service::only`]
    /// is for a single service and applies as well.
    ///
    /// The other methods are neither subscribed to nor listed in discovery, so their requests go to
    /// instances that serve them. A service without any selected method is not served. A name that
    /// no service has is an error at startup. Repeated calls add methods.
    pub fn only<M: Into<MethodName>>(mut self, methods: impl IntoIterator<Item = M>) -> Self {
        self.only
            .get_or_insert_default()
            .extend(methods.into_iter().map(Into::into));
        self
    }

    /// Wraps all methods of all services, whenever they are added, in a tower layer; see
    /// [`middleware`](crate::middleware). These layers see a request before the layers of its
    /// service.
    pub fn layer(mut self, layer: impl CallLayer + Send + Sync + 'static) -> Self {
        self.layers.0.push(Box::new(layer));
        self
    }

    /// Serves HTTP on this address, for Prometheus, and for the probes of Kubernetes or other
    /// supervisors. Requires the feature `prometheus`.
    ///
    /// | path | response |
    /// |---|---|
    /// | `/metrics` | all [metrics](crate::metrics) of the process, including its own, in the text format of Prometheus |
    /// | `/healthz` | 200 until the server has ended, for a liveness probe |
    /// | `/readyz` | 200 while the server accepts calls, otherwise 503, for a readiness probe. The body is [`Health`](crate::server::Health) as JSON |
    ///
    /// The endpoint starts before the server waits for NATS, and stops when the server has ended.
    /// It is unauthenticated; expose it on trusted networks only.
    ///
    /// At startup, the server installs a recorder for the process, unless there is one. Methods
    /// that the process has called before, and sessions that it has opened, are then not counted.
    /// With a recorder installed by the program, `/metrics` is answered with 404, because that
    /// recorder has its own exporter.
    ///
    /// ```no_run
    /// # async fn example(nats: nmfw::Connection, calc: nmfw::server::Service) -> Result<(), nmfw::Error> {
    /// nmfw::Server::new(nats)
    ///     .add_service(calc) // CalcServer::new(Calculator)
    ///     .metrics(([0, 0, 0, 0], 9090))
    ///     .serve_with_shutdown(nmfw::shutdown_signal())
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "prometheus")]
    pub fn metrics(mut self, address: impl Into<SocketAddr>) -> Self {
        self.metrics = Some(address.into());
        self
    }

    /// Adds a check of something that the services depend on, for example a database. All checks
    /// run when the server starts, and then periodically. While a check fails, times out or panics,
    /// the server requests no calls from NATS, and answers calls that still arrive as *not
    /// started*, so that clients send them to other instances; calls in flight continue. The server
    /// then reports `NOT_SERVING`:
    ///
    /// - in `/readyz` of `Server::metrics`,
    /// - in INFO answers, in the metadata `nmfw.health`, and in STATS answers, in the data of each
    ///   endpoint,
    /// - to requests on the NATS subject `<subject of the service>._health`, as a
    ///   `grpc.health.v1.HealthCheckResponse`,
    /// - in [`Running::health`].
    ///
    /// ```no_run
    /// # async fn example(nats: nmfw::Connection, calc: nmfw::server::Service) -> Result<(), nmfw::Error> {
    /// # #[derive(Clone)] struct Pool;
    /// # impl Pool { async fn ping(&self) -> Result<(), std::io::Error> { Ok(()) } }
    /// # let pool = Pool;
    /// nmfw::Server::new(nats)
    ///     .add_service(calc) // CalcServer::new(Calculator)
    ///     .health_check("database", move || {
    ///         let pool = pool.clone();
    ///         async move { pool.ping().await }
    ///     })
    ///     .serve_with_shutdown(nmfw::shutdown_signal())
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn health_check<F, Fut, E>(mut self, name: impl Into<String>, check: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: std::fmt::Display,
    {
        self.checks.add(name.into(), check);
        self
    }

    /// Sets the interval of [checks](Self::health_check). The default is
    /// [`DEFAULT_HEALTH_INTERVAL`](crate::server::DEFAULT_HEALTH_INTERVAL), 5 seconds.
    pub fn health_interval(mut self, interval: Duration) -> Self {
        self.checks.interval = interval;
        self
    }

    /// Sets the timeout of a [check](Self::health_check). The default is
    /// [`DEFAULT_HEALTH_TIMEOUT`](crate::server::DEFAULT_HEALTH_TIMEOUT), 2 seconds.
    pub fn health_timeout(mut self, timeout: Duration) -> Self {
        self.checks.timeout = timeout;
        self
    }

    /// Sets the grace period for handlers during shutdown. The default is [`DEFAULT_GRACE`].
    /// Shutting down can take up to 10 seconds more if the NATS server does not answer, and about 2
    /// if the connection is lost.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Starts the server, and returns once requests are served: a client that calls afterwards
    /// finds the service. If the connection is still waiting for its server, this method waits too.
    ///
    /// # Errors
    /// [`InvalidConfig`](ErrorKind::InvalidConfig) if a service has invalid settings,
    /// [`PermissionDenied`](ErrorKind::PermissionDenied) if the NATS server denies a required
    /// subscription, [`Limit`](ErrorKind::Limit) if the connection reaches the maximum number of
    /// subscriptions of the server, the account or the user, [`Closed`](ErrorKind::Closed) or
    /// [`TimedOut`](ErrorKind::TimedOut) if the server is no longer reachable,
    /// [`Other`](ErrorKind::Other) if the address for metrics is not available.
    pub async fn start(self) -> Result<Running, Error> {
        if self.services.is_empty() {
            return Err(Error::new(
                ErrorKind::InvalidConfig,
                "the server has no services: add one with add_service",
            ));
        }
        let mut services = match &self.only {
            Some(only) => selection::select(self.services, only)?,
            None => self.services,
        };
        for service in &mut services {
            for layer in &self.layers.0 {
                service.wrap(&**layer);
            }
        }
        let connection = self.connection.clone();
        let lifecycle = Lifecycle::new(self.checks).with_loss(move || connection.loss());
        // Runs first, because counters belong to the recorder that exists when they are created.
        #[cfg(feature = "prometheus")]
        let monitor = match self.metrics {
            None => None,
            Some(address) => {
                let lifecycle = lifecycle.clone();
                let health = move || lifecycle.health();
                Some(Monitor::start(address, health).await?)
            }
        };
        let running = Running::start(self.connection, services, lifecycle, self.grace).await;
        #[cfg(feature = "prometheus")]
        let running = running.map(|mut running| {
            running.watch_over(monitor);
            running
        });
        running
    }

    /// Serves until the connection is closed permanently.
    ///
    /// # Errors
    /// See [`start`](Self::start) and [`Running::join`].
    pub async fn serve(self) -> Result<Ending, Error> {
        self.start().await?.join().await
    }

    /// Serves until a future completes, or until a signal with
    /// [`shutdown_signal`](crate::shutdown_signal), and returns how the server ended.
    ///
    /// # Errors
    /// See [`start`](Self::start) and [`Running::join`].
    pub async fn serve_with_shutdown(self, shutdown: impl Shutdown) -> Result<Ending, Error> {
        self.serve_while(shutdown.requests(), |_| {}).await
    }

    /// Serves, reports when it has started, and stops gracefully on the first request, and at once
    /// on the second.
    pub(crate) async fn serve_while(
        self,
        mut requests: BoxStream<'static, ()>,
        started: impl FnOnce(&Running),
    ) -> Result<Ending, Error> {
        let state = self.connection.state_receiver();
        let mut is_stopping = false;
        let mut starting = pin!(self.start());
        let running = tokio::select! {
            biased;
            _ = requests.next() => {
                is_stopping = true;
                if !state.borrow().is_connected() {
                    // Nothing has started while it waits for a NATS server.
                    return Ok(Ending::Drained);
                }
                // Requests may already be in flight, and are answered.
                let running = starting.await?;
                running.stop();
                running
            }
            running = &mut starting => running?,
        };
        started(&running);
        let mut end = pin!(running.join());
        loop {
            tokio::select! {
                end = &mut end => return end,
                Some(()) = requests.next() => match mem::replace(&mut is_stopping, true) {
                    false => running.stop(),
                    true => running.force_stop(),
                },
            }
        }
    }
}

/// Subscribes; the error names the subject.
async fn subscribe(
    client: &async_nats::Client,
    subject: String,
    queue_group: Option<String>,
) -> Result<Subscriber, Error> {
    let subscribed = match queue_group {
        None => client.subscribe(subject.clone()).await,
        Some(group) => client.queue_subscribe(subject.clone(), group).await,
    };
    subscribed.map_err(|error| {
        let kind = match error.kind() {
            async_nats::client::SubscribeErrorKind::InvalidSubject
            | async_nats::client::SubscribeErrorKind::InvalidQueueName => ErrorKind::InvalidConfig,
            async_nats::client::SubscribeErrorKind::Other => ErrorKind::Closed,
        };
        Error::new(kind, format!("cannot subscribe to {subject}")).with_source(error)
    })
}
