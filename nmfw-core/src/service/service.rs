//! [`Service`]: an implementation with its settings.

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
    call::{address, spec::QueueGroup},
    error::ErrorKind,
    layer::{CallLayer, Layers},
};

/// An implementation of a generated trait, ready to be served. Generated code creates it
/// (`CalcServer::new(Calculator)`); its methods override settings of the `.proto`.
///
/// Settings made here take precedence over the method's options in the `.proto`, those over the
/// service's options, and those over the defaults. Invalid values are reported when the server
/// starts.
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
    #[doc(hidden)]
    pub spec: &'static ServiceSpec,
    pub(crate) handlers: Handlers,
    pub(crate) layers: Layers,
    #[doc(hidden)]
    pub name: Option<String>,
    pub(crate) subject: Option<String>,
    #[doc(hidden)]
    pub version: Option<String>,
    #[doc(hidden)]
    pub description: Option<String>,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) only: Option<Vec<MethodName>>,
    pub(crate) limits: Limits,
    pub(crate) method_limits: BTreeMap<String, Limits>,
    own: Own,
}

/// The instance that executes calls of a service without a server, created by the first call.
/// Clones share it, until a setting changes.
type Own = Arc<OnceLock<Result<Arc<Instance>, Status>>>;

impl Service {
    #[doc(hidden)]
    pub fn new(spec: &'static ServiceSpec, handlers: Handlers) -> Self {
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

    /// Returns the description of the service and its methods from the `.proto`.
    #[must_use]
    pub fn spec(&self) -> &'static ServiceSpec {
        self.spec
    }

    #[doc(hidden)]
    #[must_use]
    pub fn shown_name(&self) -> &str {
        self.name.as_deref().unwrap_or(self.spec.discovery_name())
    }

    #[doc(hidden)]
    #[must_use]
    pub fn shown_version(&self) -> &str {
        self.version.as_deref().unwrap_or(self.spec.version())
    }

    #[doc(hidden)]
    #[must_use]
    pub fn shown_description(&self) -> &str {
        self.description
            .as_deref()
            .unwrap_or(self.spec.description())
    }

    /// Returns the instance for local calls.
    ///
    /// # Errors
    /// Fails if the service has invalid settings.
    pub(crate) fn instance(&self) -> Result<&Arc<Instance>, &Status> {
        let make = || {
            let instance = Instance::new(self.clone(), Lifecycle::new(Checks::default()));
            instance.map(Arc::new).map_err(|error| {
                Status::failed_precondition(error.to_string())
                    .with_source(error)
                    // Not started: the service was not set up.
                    .not_started()
            })
        };
        self.own.get_or_init(make).as_ref()
    }

    /// Sets the name in discovery (`nats micro ls`). ADR-32 allows letters, digits, `-` and `_`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.own = Own::default();
        self.name = Some(name.into());
        self
    }

    /// Sets the subject to which the methods' names are appended, for example in place of
    /// `nmfw.calc`. Clients need to set it too: `Channel::subject`.
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.own = Own::default();
        self.subject = Some(subject.into());
        self
    }

    /// Sets the version in discovery, a [SemVer](https://semver.org).
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.own = Own::default();
        self.version = Some(version.into());
        self
    }

    /// Sets the description in discovery.
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.own = Own::default();
        self.description = Some(description.into());
        self
    }

    /// Adds metadata in discovery.
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.own = Own::default();
        self.metadata.insert(key.into(), value.into());
        self
    }

    /// Serves only some methods, given as constants such as `CalcServer::ADD` or named as in the
    /// `.proto`, so that functions of one service can be deployed and scaled separately. Calls of
    /// the other methods go to instances that serve them. Repeated calls add methods.
    pub fn only<M: Into<MethodName>>(mut self, methods: impl IntoIterator<Item = M>) -> Self {
        self.only
            .get_or_insert_default()
            .extend(methods.into_iter().map(Into::into));
        self
    }

    /// Sets the queue group. Each request goes to one of the instances in a group. The default is
    /// `q`, as in ADR-32.
    pub fn queue_group(mut self, group: impl Into<String>) -> Self {
        self.own = Own::default();
        self.limits.queue_group = Some(QueueGroup::Named(group.into()));
        self
    }

    /// Disables queue groups: this instance gets every request, in addition to other instances. The
    /// caller gets the first response, and its client never resends such a call.
    pub fn no_queue_group(mut self) -> Self {
        self.own = Own::default();
        self.limits.queue_group = Some(QueueGroup::None);
        self
    }

    /// Sets the number of concurrent handlers per method. The default is
    /// [`DEFAULT_CONCURRENCY`](crate::server::DEFAULT_CONCURRENCY).
    pub fn concurrency(mut self, limit: usize) -> Self {
        self.own = Own::default();
        self.limits.concurrency = Some(limit);
        self
    }

    /// Sets the number of queued requests per method. The default equals the concurrency, or 0 for
    /// methods that stream, because a stream can occupy its slot for long. Further requests are
    /// answered with `RESOURCE_EXHAUSTED`, marked as not started, and their clients try another
    /// instance: see [overload](super#overload).
    pub fn queue(mut self, length: usize) -> Self {
        self.own = Own::default();
        self.limits.queue = Some(length);
        self
    }

    /// Sets the maximum size of the queued requests per method, in base mode and sessions together.
    /// Further requests are refused as for [`queue`](Self::queue). The default is
    /// [`DEFAULT_QUEUE_BYTES`](crate::server::DEFAULT_QUEUE_BYTES), 32 MiB. A larger request is never
    /// queued, but runs if a slot is free.
    pub fn queue_bytes(mut self, bytes: usize) -> Self {
        self.own = Own::default();
        self.limits.queue_bytes = Some(bytes);
        self
    }

    /// Sets the timeout of requests without a deadline. Methods that stream are limited only by
    /// settings of the method itself: see [`method`](Self::method).
    pub fn timeout(mut self, timeout: std::time::Duration) -> Self {
        self.own = Own::default();
        self.limits.timeout = Some(timeout);
        self
    }

    /// Sets the maximum size of a request in bytes; larger ones are answered with
    /// `RESOURCE_EXHAUSTED`. The default is 16 MiB. The memory of a session grows by twice the
    /// excess over the default, for the largest method. In a stream, the limit applies to each
    /// message.
    pub fn max_request_size(mut self, bytes: usize) -> Self {
        self.own = Own::default();
        self.limits.max_request_size = Some(bytes);
        self
    }

    /// Overrides settings for one method, given as a constant or named as in the `.proto`.
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
        self.own = Own::default();
        let name = method.into();
        // A name that the service does not have is kept and reported when the server starts.
        let name = match self.spec.methods().find(|method| name.is(*method)) {
            Some(method) => method.name().to_owned(),
            None => name.to_string(),
        };
        let limits = self.method_limits.entry(name).or_default();
        *limits = set(std::mem::take(limits));
        self
    }

    /// Wraps all methods in a tower layer; see [`middleware`](crate::middleware). The last layer
    /// added is the first to see a request. The concurrency limit and the queue come before all
    /// layers.
    pub fn layer(mut self, layer: impl CallLayer) -> Self {
        self.own = Own::default();
        self.wrap(&layer);
        self
    }

    #[doc(hidden)]
    pub fn wrap(&mut self, layer: &(impl CallLayer + ?Sized)) {
        self.own = Own::default();
        let handlers = self.handlers.clone();
        self.layers.push(layer, || handlers.into_service());
    }

    /// Returns the served methods, or the error of invalid settings.
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
            return Err(self.invalid(
                "only() was called without a method: name one, or remove the call to \
                              serve all methods"
                    .to_owned(),
            ));
        }
        if let Some(key) = self.metadata.keys().find(|key| key.starts_with("nmfw.")) {
            return Err(self.invalid(format!(
                "the metadata key {key:?} is reserved: keys must not begin with \"nmfw.\""
            )));
        }
        let methods = self.spec.methods().filter(|method| {
            self.only
                .as_ref()
                .is_none_or(|only| only.iter().any(|name| name.is(*method)))
        });
        Ok(methods.collect())
    }

    #[doc(hidden)]
    pub fn checked_name(&self) -> Result<String, Error> {
        let name = self.name.as_deref().unwrap_or(self.spec.discovery_name());
        address::check_name(name)
            .map_err(|why| self.invalid(format!("the name {name:?} cannot be used: {why}")))?;
        Ok(name.to_owned())
    }

    #[doc(hidden)]
    pub fn checked_subject(&self) -> Result<String, Error> {
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
