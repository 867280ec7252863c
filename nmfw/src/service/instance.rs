//! [`Instance`]: a service as one process serves it, whatever its requests arrive on.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use futures_util::{StreamExt, stream};
use tokio::sync::{Notify, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    admission::{Admission, Admitted},
    client_id::ClientId,
    handler::Handlers,
    health::{Checks, Health},
    inline::Quick,
    limits::{Effective, service_queue_group},
    service::Service,
    stats::Stats,
};
use crate::{
    Error, Method, Status,
    call::{
        body::{Body, chunk::Chunk},
        deadline::format_rfc3339,
        origin::Origin,
    },
    layer::Layers,
    observe::{metrics::MethodMetrics, trace::Identity},
};

/// Requests that are being turned away at a time. Turning one away is a publish, so this many are
/// there only when the connection is stuck; those past it get no answer but a log line.
const MAX_REFUSALS: usize = 16 * 1024;

/// A service with an identity, its settings resolved and checked.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) version: String,
    pub(crate) description: String,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) started: String,
    pub(crate) base: String,
    pub(crate) endpoints: Vec<Arc<Endpoint>>,
    /// Who shares the sessions that clients open; nobody opens one without.
    pub(crate) queue_group: Option<String>,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) handlers: Handlers,
    pub(crate) layers: Layers,
}

/// A method as it is served.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) method: Method,
    pub(crate) subject: String,
    pub(crate) limits: Effective,
    pub(crate) stats: Stats,
    pub(crate) admission: Arc<Admission>,
    pub(crate) quick: Quick,
}

/// The stages of a server's end, and the tasks that must see it.
#[derive(Clone)]
pub(crate) struct Lifecycle {
    /// No new work is looked for.
    pub(crate) draining: Arc<CancellationToken>,
    /// Work under way is ended.
    pub(crate) forced: CancellationToken,
    /// There was some when the end was forced.
    was_cut: Arc<AtomicBool>,
    /// Every request under way.
    pub(crate) tasks: TaskTracker,
    pub(crate) refusals: Arc<Semaphore>,
    /// While they fail, no calls are started.
    pub(crate) checks: Arc<Checks>,
    /// Wakes the task that watches over the server's subscriptions when one was made again.
    pub(crate) resubscribed: Arc<Notify>,
    /// The server takes calls, or did.
    pub(crate) has_started: Arc<AtomicBool>,
    /// Says why calls cannot arrive at present, if so.
    loss: Option<Arc<dyn Fn() -> Option<String> + Send + Sync>>,
}

impl fmt::Debug for Lifecycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lifecycle")
            .field("draining", &self.draining.is_cancelled())
            .field("forced", &self.forced.is_cancelled())
            .field("tasks", &self.tasks.len())
            .finish_non_exhaustive()
    }
}

impl Lifecycle {
    pub(crate) fn new(checks: Checks) -> Self {
        Self {
            checks: Arc::new(checks),
            loss: None,
            resubscribed: Arc::default(),
            has_started: Arc::default(),
            draining: Arc::new(CancellationToken::new()),
            forced: CancellationToken::new(),
            was_cut: Arc::default(),
            tasks: TaskTracker::new(),
            refusals: Arc::new(Semaphore::new(MAX_REFUSALS)),
        }
    }

    /// Has the health tell why calls cannot arrive, which `loss` knows.
    pub(crate) fn with_loss(
        mut self,
        loss: impl Fn() -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.loss = Some(Arc::new(loss));
        self
    }

    /// Ends work under way.
    pub(crate) fn force(&self) {
        // Before, as handlers end by themselves once they see it.
        self.was_cut
            .fetch_or(!self.tasks.is_empty(), Ordering::AcqRel);
        self.forced.cancel();
    }

    /// Whether work under way was ended by [`force`](Self::force).
    pub(crate) fn was_cut(&self) -> bool {
        self.was_cut.load(Ordering::Acquire)
    }

    pub(crate) fn health(&self) -> Health {
        let has_started = self.has_started.load(Ordering::Relaxed);
        let unwilling = if self.draining.is_cancelled() {
            Some("the server is stopping")
        } else {
            (!has_started).then_some("the server is starting")
        };
        let loss = self.loss.as_ref().and_then(|loss| loss());
        self.checks.health(unwilling, loss.as_deref())
    }
}

impl Instance {
    pub(crate) fn new(service: Service, lifecycle: Lifecycle) -> Result<Self, Error> {
        let base = service.checked_subject()?;
        let name = service.checked_name()?;
        let endpoints = service
            .served_methods()?
            .into_iter()
            .map(|method| Endpoint::new(&service, &name, method, &base).map(Arc::new))
            .collect::<Result<_, _>>()?;
        let from_proto = service.spec.metadata().iter();
        let mut metadata: BTreeMap<_, _> = from_proto
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        metadata.extend(service.metadata.clone());
        metadata.insert("nmfw.service".to_owned(), service.spec.full_name());
        metadata.insert(
            "nmfw.version".to_owned(),
            env!("CARGO_PKG_VERSION").to_owned(),
        );
        Ok(Self {
            name,
            id: nuid::next().to_string(),
            version: service.checked_version()?,
            description: service
                .description
                .clone()
                .unwrap_or_else(|| service.spec.description().to_owned()),
            metadata,
            started: format_rfc3339(SystemTime::now().into()),
            base,
            endpoints,
            queue_group: service_queue_group(&service)?,
            lifecycle,
            handlers: service.handlers,
            layers: service.layers,
        })
    }

    /// Returns the origin of calls that a front has taken, with facts of its own.
    pub(crate) fn origin<F: Send + Sync + 'static>(&self, facts: F) -> Origin<F> {
        Origin {
            stopping: Arc::clone(&self.lifecycle.draining),
            facts,
        }
    }

    /// Returns how spans name this instance.
    pub(crate) fn identity(&self) -> Identity<'_> {
        Identity {
            address: &self.base,
            name: &self.name,
            version: &self.version,
            id: &self.id,
        }
    }

    /// How this instance is: the same as all others of the server.
    pub(crate) fn health(&self) -> Health {
        self.lifecycle.health()
    }

    /// The endpoint of a method, unless it is not served here. Two crates may have generated the same
    /// method; another one at the same place of another service is not it.
    pub(crate) fn endpoint(&self, method: Method) -> Option<&Arc<Endpoint>> {
        let mut endpoints = self.endpoints.iter();
        endpoints.find(|endpoint| endpoint.method.is_the_same_as(method))
    }

    /// Asks for a place for a request of so many bytes, of this client.
    pub(crate) fn admit(
        &self,
        endpoint: &Endpoint,
        bytes: usize,
        client: impl FnOnce() -> ClientId,
    ) -> Admitted {
        if let Some(refusal) = self.lifecycle.checks.refusal() {
            return Admitted::Refused(refusal);
        }
        let draining = &self.lifecycle.draining;
        endpoint.admission.enter(draining, bytes, client)
    }
}

impl Endpoint {
    fn new(service: &Service, name: &str, method: Method, base: &str) -> Result<Self, Error> {
        let limits = Effective::of(service, method)?;
        Ok(Self {
            method,
            subject: service.checked_method_subject(base, method)?,
            admission: Admission::new(limits.concurrency, limits.queue, limits.queue_bytes),
            limits,
            stats: Stats::new(MethodMetrics::new(name, method.name())),
            quick: Quick::default(),
        })
    }

    /// Whether a request is small enough.
    pub(crate) fn check_size(&self, size: usize) -> Result<(), Status> {
        let limit = self.limits.max_request_size;
        if size > limit {
            return Err(Status::resource_exhausted(format!(
                "the request of {size} bytes is over this service's limit of {limit}"
            )));
        }
        Ok(())
    }

    /// Has a handler's stream of requests end at one that is too large.
    pub(crate) fn check_sizes(self: &Arc<Self>, body: &mut Body) {
        if let Body::Messages(messages) = body {
            let endpoint = Arc::clone(self);
            let checked = move |chunk| stream::iter(endpoint.checked(chunk).into_iter().flatten());
            messages.wrap_with(|messages| messages.flat_map(checked));
        }
    }

    /// What may pass of requests, and the error that the first which may not is.
    fn checked(&self, chunk: Result<Chunk, Status>) -> [Option<Result<Chunk, Status>>; 2] {
        let refused = match &chunk {
            Ok(chunk) => {
                self.stats.metrics.received_in_stream(chunk);
                self.check_size(chunk.tally().largest).err()
            }
            Err(_) => None,
        };
        match (chunk, refused) {
            (Ok(Chunk::Row(mut row)), Some(refused)) => {
                let limit = self.limits.max_request_size;
                let front = row.split_to(|tally| tally.largest <= limit);
                let first = row.first_len().map(|len| self.check_size(len));
                let refused = first.and_then(Result::err).unwrap_or(refused);
                [front.map(Ok), Some(Err(refused))]
            }
            (Ok(Chunk::Message(_)), Some(refused)) => [Some(Err(refused)), None],
            (chunk, _) => [Some(chunk), None],
        }
    }

    /// Counts a request that no handler has seen.
    pub(crate) fn refuse(&self, status: &Status) {
        log_limited!(debug, method = %self.method, %status, "request refused");
        self.stats.refuse(status);
    }
}
