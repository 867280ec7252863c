//! [`Service`]: an implementation with everything that can be set about serving it.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use super::{
    handler::Handlers,
    health::Checks,
    instance::{Instance, Lifecycle},
    limits::Limits,
};
use crate::{
    Error, Method, MethodName, ServiceSpec, Status,
    call::{address, method::QueueGroup},
    error::ErrorKind,
    layer::{CallLayer, Layers},
};

/// An implementation of a generated trait, ready to be served. Generated code makes it
/// (`CalcServer::new(Calculator)`); the methods here set what the `.proto` leaves open.
///
/// What is set here goes before what the `.proto` says of the method, that before what it says of
/// the service, and that before the defaults. Wrong values are reported when the server starts.
///
/// ```no_run
/// # fn example(service: nmfw::server::Service, nats: nmfw::Connection) {
/// let server = nmfw::Server::new(nats).add_service(
///     service
///         .only(["Average"])                // this process serves one method, CalcServer::AVERAGE
///         .concurrency(64)                  // 64 handlers at a time,
///         .queue(256)                       // 256 requests behind them
///         .metadata("region", "eu-1"),
/// );
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a service does nothing until a Server serves it"]
pub struct Service {
    pub(crate) spec: &'static ServiceSpec,
    pub(crate) handlers: Handlers,
    pub(crate) layers: Layers,
    pub(crate) name: Option<String>,
    pub(crate) subject: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) only: Option<Vec<MethodName>>,
    pub(crate) limits: Limits,
    pub(crate) method_limits: BTreeMap<String, Limits>,
    own: Own,
}

/// The instance that carries out calls of a service that no server serves, once there was one. A clone
/// has its own, as it can be set up further.
#[derive(Debug, Default)]
struct Own(OnceLock<Result<Arc<Instance>, Status>>);

impl Clone for Own {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Service {
    pub(crate) fn new(spec: &'static ServiceSpec, handlers: Handlers) -> Self {
        Self {
            spec,
            handlers,
            layers: Layers::default(),
            name: None,
            subject: None,
            version: None,
            description: None,
            metadata: BTreeMap::new(),
            only: None,
            limits: Limits::default(),
            method_limits: BTreeMap::new(),
            own: Own::default(),
        }
    }

    /// Returns the instance that carries out calls of this process.
    ///
    /// # Errors
    /// If the service is set up wrongly.
    pub(crate) fn instance(&self) -> Result<&Arc<Instance>, &Status> {
        let make = || {
            let instance = Instance::new(self.clone(), Lifecycle::new(Checks::default()));
            instance.map(Arc::new).map_err(|error| {
                Status::failed_precondition(error.to_string())
                    .with_source(error)
                    .not_started()
            })
        };
        self.own.0.get_or_init(make).as_ref()
    }

    /// Sets the name in discovery (`nats micro ls`). ADR-32 allows letters, digits, `-` and `_`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the subject that the methods' names are appended to, in place of `nmfw.calc`, say.
    /// Clients need the same: [`Channel::subject`](crate::Channel::subject).
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// Sets the version in discovery, a [SemVer](https://semver.org).
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// Sets the description in discovery.
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// Adds to the metadata in discovery.
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    /// Serves some methods only, given as constants or named as in the `.proto`, so that functions of
    /// one service can run and scale apart. The others are not subscribed to, and so go to instances that serve
    /// them. Called several times, it adds.
    pub fn only<M: Into<MethodName>>(mut self, methods: impl IntoIterator<Item = M>) -> Self {
        self.only
            .get_or_insert_default()
            .extend(methods.into_iter().map(Into::into));
        self
    }

    /// Sets the queue group: of all instances in one group, one gets a request. The default is
    /// `q`, as everywhere in ADR-32.
    pub fn queue_group(mut self, group: impl Into<String>) -> Self {
        self.limits.queue_group = Some(QueueGroup::Named(group.into()));
        self
    }

    /// Leaves the queue groups: this instance gets every request, whoever else does. The caller
    /// gets the first answer, and its client never sends such a call again.
    pub fn no_queue_group(mut self) -> Self {
        self.limits.queue_group = Some(QueueGroup::None);
        self
    }

    /// Sets how many handlers of each method run at a time. The default is
    /// [`DEFAULT_CONCURRENCY`](super::DEFAULT_CONCURRENCY).
    pub fn concurrency(mut self, limit: usize) -> Self {
        self.limits.concurrency = Some(limit);
        self
    }

    /// Sets how many requests of each method may wait for their turn; by default as many as run, and
    /// none where a side streams, as a stream can keep its place for long. Past that a request is
    /// answered with `RESOURCE_EXHAUSTED`, marked as not started, and its client tries another
    /// instance: see [under overload](super#under-overload).
    pub fn queue(mut self, length: usize) -> Self {
        self.limits.queue = Some(length);
        self
    }

    /// Sets how many bytes the requests of each method may have that wait for their turn, in base mode
    /// and in sessions together. Past that a request is answered as it is past the [`queue`](Self::queue).
    /// The default is [`DEFAULT_QUEUE_BYTES`](super::DEFAULT_QUEUE_BYTES), 32 MiB. A request that is
    /// larger than this never waits, but runs if there is a place for it at once.
    pub fn queue_bytes(mut self, bytes: usize) -> Self {
        self.limits.queue_bytes = Some(bytes);
        self
    }

    /// Sets the time that requests get which come without a deadline. Methods that stream are
    /// limited only by what is set for each of them: see [`method`](Self::method).
    pub fn timeout(mut self, timeout: std::time::Duration) -> Self {
        self.limits.timeout = Some(timeout);
        self
    }

    /// Sets the largest request that is taken, in bytes; larger ones are answered with
    /// `RESOURCE_EXHAUSTED`. The default is 16 MiB. What a session keeps for its client grows
    /// with it: by twice as much as it is over the default, for the largest of its methods.
    /// Of a stream it is each message of this size.
    pub fn max_request_size(mut self, bytes: usize) -> Self {
        self.limits.max_request_size = Some(bytes);
        self
    }

    /// Sets any of this for one method, given as a constant or named as in the `.proto`.
    ///
    /// ```no_run
    /// # struct CalcServer;
    /// # impl CalcServer {
    /// #     const EXPRESSION: nmfw::Method = CALC_SPEC.method_named("Expression");
    /// # }
    /// # static CALC_SPEC: nmfw::ServiceSpec = nmfw::ServiceSpec::new("calc", "Calc")
    /// #     .with_methods(&[nmfw::MethodSpec::unary("Expression")]);
    /// # fn example(service: nmfw::server::Service) -> nmfw::server::Service {
    /// service
    ///     .concurrency(256)
    ///     .method(CalcServer::EXPRESSION, |limits| limits.concurrency(4).queue_group("slow"))
    /// # }
    /// ```
    pub fn method(
        mut self,
        method: impl Into<MethodName>,
        set: impl FnOnce(Limits) -> Limits,
    ) -> Self {
        let name = method.into();
        // A name that the service does not have is kept, to be reported at the start.
        let name = match self.spec.methods().find(|method| name.is(*method)) {
            Some(method) => method.name().to_owned(),
            None => name.to_string(),
        };
        let limits = self.method_limits.entry(name).or_default();
        *limits = set(std::mem::take(limits));
        self
    }

    /// Wraps all methods in a tower layer; see [`middleware`](crate::middleware). The last layer
    /// added is the first to see a request. Concurrency limit and queue come before all layers.
    pub fn layer(mut self, layer: impl CallLayer) -> Self {
        self.wrap(&layer);
        self
    }

    pub(crate) fn wrap(&mut self, layer: &(impl CallLayer + ?Sized)) {
        let handlers = self.handlers.clone();
        self.layers.push(layer, || handlers.into_service());
    }

    /// The methods to serve, or what is wrong with the settings.
    pub(crate) fn served_methods(&self) -> Result<Vec<Method>, Error> {
        let limited = self.method_limits.keys().map(String::as_str);
        let limited: Vec<_> = limited.map(MethodName::from).collect();
        for name in self.only.iter().flatten().chain(&limited) {
            if !self.spec.methods().any(|method| name.is(method)) {
                let methods: Vec<_> = self.spec.methods().map(Method::name).collect();
                return Err(self.invalid(format!(
                    "there is no method {name:?}; the service has: {}",
                    methods.join(", ")
                )));
            }
        }
        if self.only.as_ref().is_some_and(Vec::is_empty) {
            return Err(
                self.invalid("only() names no method, so that nothing is served".to_owned())
            );
        }
        if let Some(key) = self.metadata.keys().find(|key| key.starts_with("nmfw.")) {
            return Err(self.invalid(format!(
                "the metadata key {key:?} is reserved, as all that begin with \"nmfw.\""
            )));
        }
        let methods = self.spec.methods().filter(|method| {
            self.only
                .as_ref()
                .is_none_or(|only| only.iter().any(|name| name.is(*method)))
        });
        Ok(methods.collect())
    }

    pub(crate) fn checked_name(&self) -> Result<String, Error> {
        let name = self.name.as_deref().unwrap_or(self.spec.discovery_name());
        address::check_name(name)
            .map_err(|why| self.invalid(format!("the name {name:?} cannot be used: {why}")))?;
        Ok(name.to_owned())
    }

    pub(crate) fn checked_subject(&self) -> Result<String, Error> {
        let base = self.subject.as_deref().unwrap_or(self.spec.base_subject());
        address::check_subject(base)
            .map_err(|why| self.invalid(format!("the subject {base:?} cannot be used: {why}")))?;
        Ok(base.to_owned())
    }

    pub(crate) fn checked_method_subject(
        &self,
        base: &str,
        method: Method,
    ) -> Result<String, Error> {
        let subject = address::method(base, method.name());
        address::check_subject(&subject).map_err(|why| {
            self.invalid(format!("the subject {subject:?} cannot be used: {why}"))
        })?;
        Ok(subject)
    }

    pub(crate) fn checked_version(&self) -> Result<String, Error> {
        let version = self.version.as_deref().unwrap_or(self.spec.version());
        semver::Version::parse(version).map_err(|why| {
            self.invalid(format!("the version {version:?} is not a SemVer: {why}"))
        })?;
        Ok(version.to_owned())
    }

    pub(crate) fn invalid(&self, problem: String) -> Error {
        let service = self.spec.full_name();
        Error::new(
            ErrorKind::InvalidConfig,
            format!("service {service}: {problem}"),
        )
    }
}
