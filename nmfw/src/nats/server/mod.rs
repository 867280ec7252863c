//! [`Server`]: serves services on a connection to NATS.

mod captured;
mod discovery;
mod fence;
pub(crate) mod handle;
mod health_endpoint;
pub(crate) mod intake;
mod required_subjects;
mod work;

#[cfg(feature = "prometheus")]
use std::net::SocketAddr;
use std::{mem, pin::pin, time::Duration};

use async_nats::Subscriber;
use futures_util::{StreamExt, stream::BoxStream};

use self::handle::{Ending, Running};
#[cfg(feature = "prometheus")]
use crate::metrics_http::Monitor;
use crate::service::{health::Checks, instance::Lifecycle, selection, service::Service};
use crate::{Connection, Error, MethodName, error::ErrorKind, layer::CallLayer, signal::Shutdown};

/// How long handlers may go on once the server is told to stop, unless something else is set.
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
/// Instances need nothing of each other: NATS gives each request to one of those that serve the
/// method, in this process, on this machine or in another region.
///
/// # Where handlers run
///
/// On tasks of the tokio runtime that the server was started on, as many at a time as
/// [`Service::concurrency`] says. Only those of a method that have shown that they neither wait nor
/// take long, less than ten microseconds on average, run on the task that has read their calls: to
/// hand such a call on takes longer than to answer it. What blocks its thread belongs into
/// `tokio::task::spawn_blocking`, as everywhere.
///
/// # How a server stops
///
/// 1. It leaves discovery, and asks the NATS server to send no more requests. What is on its way
///    then still arrives, and is served if a handler can start on it at once.
/// 2. What waits for its turn is answered as *not started*; clients send it elsewhere.
/// 3. Handlers and their streams get the [grace period](Self::grace) to end, and can learn of it by
///    [`Context::stopping`](crate::Context::stopping). After that, or at a second signal or
///    [`Running::force_stop`], they are dropped and their callers get `UNAVAILABLE`.
/// 4. It waits until the NATS server has got all answers, so that the process may end at once. The
///    connection is not closed, as it may be used for other things too.
///
/// No request is lost without an answer.
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

/// Layers for all services, in the order of their addition.
#[derive(Default)]
struct ServerLayers(Vec<Box<dyn CallLayer + Send + Sync>>);

impl std::fmt::Debug for ServerLayers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} layers", self.0.len())
    }
}

impl Server {
    /// A server on a connection.
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

    /// Adds a service. Each becomes an ADR-32 service with an instance id of its own.
    pub fn add_service(mut self, service: Service) -> Self {
        self.services.push(service);
        self
    }

    /// The connection that it serves on: for clients that handlers call other services with.
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

    /// Serves some methods only, of whatever services it has: the constant `CalcServer::ADD`, or a text,
    /// `Add` or `calc.Calc.Add`, from a command line or a configuration. [`Service::only`] is for one
    /// service, and holds as well.
    ///
    /// The other methods are not subscribed to and not listed in discovery, and so their requests go
    /// to instances that serve them. A service that is left without a method is not served. A name
    /// that no service has is an error at the start. Called several times, it adds.
    pub fn only<M: Into<MethodName>>(mut self, methods: impl IntoIterator<Item = M>) -> Self {
        self.only
            .get_or_insert_default()
            .extend(methods.into_iter().map(Into::into));
        self
    }

    /// Wraps all methods of all services, whenever they are added, in a tower layer; see
    /// [`middleware`](crate::middleware). These layers see a request before those of a service.
    pub fn layer(mut self, layer: impl CallLayer + Send + Sync + 'static) -> Self {
        self.layers.0.push(Box::new(layer));
        self
    }

    /// Listens for HTTP on this address, for Prometheus and for the probes of Kubernetes or whatever else
    /// looks after the process. With feature `prometheus`.
    ///
    /// | path | answer |
    /// |---|---|
    /// | `/metrics` | all [metrics](crate::metrics) of the process, its own ones included, in the text format of Prometheus |
    /// | `/healthz` | 200 as long as the server has not ended: for a liveness probe |
    /// | `/readyz` | 200 while the server takes calls, else 503: for a readiness probe. The body is [`Health`](crate::server::Health) as JSON |
    ///
    /// It listens before the server waits for NATS, and until the server has ended. Nobody needs to log
    /// in: keep it where only those get who may see it.
    ///
    /// When the server starts it installs a recorder for the process, if there is none yet. Methods
    /// that the process has called before, and sessions that it has opened, are not counted then. With
    /// a recorder that the program has installed, `/metrics` is answered with 404, as that one has an
    /// exporter of its own.
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

    /// Adds a check of something that the services cannot do without: a database that can be reached,
    /// say. All checks are made when the server starts, and then again and again. While one of them
    /// fails, takes too long or panics, the server asks NATS for no calls, and answers those that come
    /// all the same as *not started*, so that clients send them to other instances; calls under way go
    /// on. And it is `NOT_SERVING`:
    ///
    /// - in `/readyz` of `Server::metrics`,
    /// - in the answers to INFO, in the metadata `nmfw.health`, and to STATS, in the data of each
    ///   endpoint,
    /// - to whom asks by NATS, on the subject `<subject of the service>._health`: the answer is a
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

    /// Sets how often [checks](Self::health_check) are made. The default is
    /// [`DEFAULT_HEALTH_INTERVAL`](crate::server::DEFAULT_HEALTH_INTERVAL), 5 seconds.
    pub fn health_interval(mut self, interval: Duration) -> Self {
        self.checks.interval = interval;
        self
    }

    /// Sets how long a [check](Self::health_check) may take. The default is
    /// [`DEFAULT_HEALTH_TIMEOUT`](crate::server::DEFAULT_HEALTH_TIMEOUT), 2 seconds.
    pub fn health_timeout(mut self, timeout: Duration) -> Self {
        self.checks.timeout = timeout;
        self
    }

    /// Sets how long handlers may go on once the server is told to stop. The default is
    /// [`DEFAULT_GRACE`]. Talking with the NATS server can take up to 10 seconds besides if that
    /// does not answer, and about 2 if the connection is lost.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Starts, and comes back when requests are being served: a client that calls after that finds
    /// the service. With a connection that still waits for its server, this waits too.
    ///
    /// # Errors
    /// [`InvalidConfig`](ErrorKind::InvalidConfig) if a service is set up wrongly,
    /// [`PermissionDenied`](ErrorKind::PermissionDenied) if the NATS server does not allow a
    /// subscription that is needed, [`Limit`](ErrorKind::Limit) if the connection has as many
    /// subscriptions as the server, the account or the user allows, [`Closed`](ErrorKind::Closed) or
    /// [`TimedOut`](ErrorKind::TimedOut) if it cannot be reached any more,
    /// [`Other`](ErrorKind::Other) if the address for metrics cannot be listened on.
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
        // First of all, as counters are the recorder's that they find.
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

    /// Serves until the connection is closed for good.
    ///
    /// # Errors
    /// Those of [`start`](Self::start) and [`Running::join`].
    pub async fn serve(self) -> Result<Ending, Error> {
        self.start().await?.join().await
    }

    /// Serves until a future completes, or until a signal with
    /// [`shutdown_signal`](crate::shutdown_signal), and returns how the server ended: whether all requests
    /// were served to their end.
    ///
    /// # Errors
    /// Those of [`start`](Self::start) and [`Running::join`].
    pub async fn serve_with_shutdown(self, shutdown: impl Shutdown) -> Result<Ending, Error> {
        self.serve_while(shutdown.requests(), |_| {}).await
    }

    /// Serves, tells when it does, and stops at the first of the requests, at once at the second.
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
                    // Nothing has begun while it waits for a NATS server that is not there yet.
                    return Ok(Ending::Drained);
                }
                // Requests may be under way already, and get their answers.
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

/// Subscribes, with an error that says to what.
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
