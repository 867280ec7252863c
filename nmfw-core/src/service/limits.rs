//! [`Limits`]: settings of a method, which override those of its service.

use std::time::Duration;

use super::service::Service;
use crate::{
    Error, Method,
    call::{address, body::MAX_MESSAGE, spec::QueueGroup},
};

/// Default number of concurrent handlers per method.
pub const DEFAULT_CONCURRENCY: usize = 1024;

/// Default maximum size of a method's queued requests: 32 MiB.
pub const DEFAULT_QUEUE_BYTES: usize = 32 * 1024 * 1024;

/// Default maximum size of a request in bytes.
const DEFAULT_MAX_REQUEST_SIZE: usize = MAX_MESSAGE;

/// The default of ADR-32.
const DEFAULT_QUEUE_GROUP: &str = "q";

/// Settings of one method: see [`Service::method`].
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Limits {
    pub(crate) queue_group: Option<QueueGroup<String>>,
    pub(crate) concurrency: Option<usize>,
    pub(crate) queue: Option<usize>,
    pub(crate) queue_bytes: Option<usize>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) max_request_size: Option<usize>,
}

impl Limits {
    /// See [`Service::queue_group`].
    pub fn queue_group(mut self, group: impl Into<String>) -> Self {
        self.queue_group = Some(QueueGroup::Named(group.into()));
        self
    }

    /// See [`Service::no_queue_group`].
    pub fn no_queue_group(mut self) -> Self {
        self.queue_group = Some(QueueGroup::None);
        self
    }

    /// See [`Service::concurrency`].
    pub fn concurrency(mut self, limit: usize) -> Self {
        self.concurrency = Some(limit);
        self
    }

    /// See [`Service::queue`].
    pub fn queue(mut self, length: usize) -> Self {
        self.queue = Some(length);
        self
    }

    /// See [`Service::queue_bytes`].
    pub fn queue_bytes(mut self, bytes: usize) -> Self {
        self.queue_bytes = Some(bytes);
        self
    }

    /// See [`Service::timeout`].
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// See [`Service::max_request_size`].
    pub fn max_request_size(mut self, bytes: usize) -> Self {
        self.max_request_size = Some(bytes);
        self
    }
}

/// A method's resolved settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    pub queue_group: Option<String>,
    pub concurrency: usize,
    pub queue: usize,
    pub(crate) queue_bytes: usize,
    /// Always set if neither side streams.
    pub timeout: Option<Duration>,
    pub max_request_size: usize,
}

impl Effective {
    /// Resolves the settings. The order of precedence is: run time for the method, run time for the
    /// service, `.proto` for the method, `.proto` for the service, default.
    pub(crate) fn of(service: &Service, method: Method) -> Result<Self, Error> {
        let unset = Limits::default();
        let own = service.method_limits.get(method.name()).unwrap_or(&unset);
        let all = &service.limits;

        let concurrency = own.concurrency.or(all.concurrency).unwrap_or_else(|| {
            method
                .concurrency()
                .map_or(DEFAULT_CONCURRENCY, |limit| limit as usize)
        });
        // Tokio's semaphores have an upper limit.
        let bounds = 1..=tokio::sync::Semaphore::MAX_PERMITS;
        if !bounds.contains(&concurrency) {
            return Err(service.invalid(format!(
                "the concurrency of {} must be from 1 to {}",
                method.name(),
                bounds.end()
            )));
        }
        // The duration of a stream is limited only by settings of its method.
        let all_timeout = all.timeout.filter(|_| !method.is_streaming());
        let timeout = own.timeout.or(all_timeout).or(method.timeout());
        if timeout.is_some_and(|timeout| timeout.is_zero()) {
            return Err(service.invalid(format!(
                "the timeout of {} is zero: set a longer one",
                method.name()
            )));
        }
        let max_request_size = own
            .max_request_size
            .or(all.max_request_size)
            .unwrap_or(DEFAULT_MAX_REQUEST_SIZE);
        if max_request_size == 0 {
            return Err(service.invalid(format!(
                "the maximum request size of {} is 0 bytes, so that every request would be refused",
                method.name()
            )));
        }
        let from_proto = method
            .queue_group()
            .or(method.service().default_queue_group());
        let queue_group = queue_group(service, own, from_proto)?;
        if queue_group.is_none() && method.is_streaming() {
            return Err(service.invalid(format!(
                "{} streams and needs a queue group, because a stream is served by a single \
                 instance",
                method.name()
            )));
        }
        Ok(Self {
            queue_group,
            concurrency,
            // A stream may last forever, and so would the wait for its slot.
            queue: own
                .queue
                .or(all.queue)
                .unwrap_or(match method.is_streaming() {
                    true => 0,
                    false => concurrency,
                }),
            queue_bytes: own
                .queue_bytes
                .or(all.queue_bytes)
                .unwrap_or(DEFAULT_QUEUE_BYTES),
            timeout,
            max_request_size,
        })
    }
}

impl Service {
    /// Returns the queue group of the service as a whole, and of each served method.
    #[doc(hidden)]
    pub fn queue_groups(&self) -> Result<QueueGroups, Error> {
        let mut groups = Vec::new();
        for method in self.served_methods()? {
            groups.push((method, Effective::of(self, method)?.queue_group));
        }
        Ok((service_queue_group(self)?, groups))
    }
}

type QueueGroups = (Option<String>, Vec<(Method, Option<String>)>);

/// Returns the queue group of a service; `None` if each instance gets every request.
pub(crate) fn service_queue_group(service: &Service) -> Result<Option<String>, Error> {
    let from_proto = service.spec.default_queue_group();
    queue_group(service, &Limits::default(), from_proto)
}

fn queue_group(
    service: &Service,
    own: &Limits,
    from_proto: Option<QueueGroup<&'static str>>,
) -> Result<Option<String>, Error> {
    let configured = own.queue_group.as_ref();
    let group = match configured.or(service.limits.queue_group.as_ref()) {
        Some(QueueGroup::None) => return Ok(None),
        Some(QueueGroup::Named(name)) => name.clone(),
        None => match from_proto {
            Some(QueueGroup::None) => return Ok(None),
            Some(QueueGroup::Named(name)) => name.to_owned(),
            None => DEFAULT_QUEUE_GROUP.to_owned(),
        },
    };
    address::check_queue_group(&group).map_err(|why| {
        service.invalid(format!("the queue group {group:?} cannot be used: {why}"))
    })?;
    Ok(Some(group))
}
