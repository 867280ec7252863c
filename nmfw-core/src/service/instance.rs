//! [`Instance`]: a service as served by one process, independent of the transport.

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
    timing,
};
use crate::{
    EmbeddedSchema, Error, Method, Status,
    call::{
        body::{Body, chunk::Chunk},
        deadline::format_rfc3339,
        json::Transcoder,
        origin::Origin,
        request::{Encoding, Request},
    },
    layer::Layers,
    observe::{metrics::MethodMetrics, trace::Identity},
};

/// Maximum number of concurrent refusals. A refusal is a publish, so there are only this many if
/// the connection is stuck; beyond that, requests get no answer but a log line.
const MAX_REFUSALS: usize = 16 * 1024;

/// A service with an identity, and with validated settings.
#[derive(Debug)]
pub struct Instance {
    pub name: String,
    pub id: String,
    pub version: String,
    pub description: String,
    pub metadata: BTreeMap<String, String>,
    pub started: String,
    pub base: String,
    pub endpoints: Vec<Arc<Endpoint>>,
    /// The descriptors that the service carries.
    pub schema: Option<EmbeddedSchema>,
    /// The queue group in which sessions are opened; `None` disables sessions.
    pub queue_group: Option<String>,
    pub lifecycle: Lifecycle,
    pub(crate) handlers: Handlers,
    pub(crate) layers: Layers,
}

/// A served method.
#[derive(Debug)]
pub struct Endpoint {
    pub method: Method,
    pub subject: String,
    pub limits: Effective,
    pub stats: Stats,
    pub admission: Arc<Admission>,
    pub quick: Quick,
}

/// The stages of a server's shutdown, and the tasks that observe it.
#[derive(Clone)]
pub struct Lifecycle {
    /// Cancelled when the server stops accepting work.
    pub draining: Arc<CancellationToken>,
    /// Cancelled when running work is aborted.
    pub forced: CancellationToken,
    /// Whether there was running work when it was aborted.
    was_cut: Arc<AtomicBool>,
    /// All requests in flight.
    pub tasks: TaskTracker,
    pub refusals: Arc<Semaphore>,
    /// The health checks; while one fails, no calls are started.
    pub checks: Arc<Checks>,
    /// Notified after a resubscription, for the task that monitors the server's subscriptions.
    pub resubscribed: Arc<Notify>,
    /// Whether the server has begun to accept calls.
    pub has_started: Arc<AtomicBool>,
    /// Returns the reason why calls cannot arrive at present, if any.
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
    pub fn new(checks: Checks) -> Self {
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

    /// Includes the reason why calls cannot arrive, from `loss`, in the health.
    pub fn with_loss(mut self, loss: impl Fn() -> Option<String> + Send + Sync + 'static) -> Self {
        self.loss = Some(Arc::new(loss));
        self
    }

    /// Aborts running work.
    pub fn force(&self) {
        // Set first, because handlers end as soon as they are cancelled.
        self.was_cut
            .fetch_or(!self.tasks.is_empty(), Ordering::AcqRel);
        self.forced.cancel();
    }

    /// Returns whether running work was aborted by [`force`](Self::force).
    pub fn was_cut(&self) -> bool {
        self.was_cut.load(Ordering::Acquire)
    }

    pub fn health(&self) -> Health {
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
    pub fn new(service: Service, lifecycle: Lifecycle) -> Result<Self, Error> {
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
        let schema = service.spec.schema();
        if let Some(schema) = schema {
            metadata.insert("nmfw.schema".to_owned(), schema.hash().to_owned());
        }
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
            schema,
            queue_group: service_queue_group(&service)?,
            lifecycle,
            handlers: service.handlers,
            layers: service.layers,
        })
    }

    /// Returns the origin of calls that a front has received, with the front's own facts.
    pub fn origin<F: Send + Sync + 'static>(&self, facts: F) -> Origin<F> {
        Origin {
            stopping: Arc::clone(&self.lifecycle.draining),
            facts,
        }
    }

    /// Returns the identity of this instance for spans.
    pub(crate) fn identity(&self) -> Identity<'_> {
        Identity {
            address: &self.base,
            name: &self.name,
            version: &self.version,
            id: &self.id,
        }
    }

    /// Returns the health of this instance, which is that of the whole server.
    pub fn health(&self) -> Health {
        self.lifecycle.health()
    }

    /// Returns the endpoint of a method if it is served here. Methods are compared by name, because
    /// two crates may have generated the same method, and another service may have another method
    /// at the same index.
    pub(crate) fn endpoint(&self, method: Method) -> Option<&Arc<Endpoint>> {
        let mut endpoints = self.endpoints.iter();
        endpoints.find(|endpoint| endpoint.method.is_the_same_as(method))
    }

    /// Requests admission for a request of this client and size.
    pub fn admit(
        &self,
        endpoint: &Endpoint,
        request: &mut Request,
        bytes: usize,
        client: impl FnOnce() -> ClientId,
    ) -> Admitted {
        timing::note_arrival(request);
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

    /// Checks the encoding and the size of a request.
    pub fn check(&self, encoding: Encoding, size: usize) -> Result<(), Status> {
        self.check_encoding(encoding)?;
        self.check_size(size)
    }

    /// Checks the encoding of a request.
    ///
    /// # Errors
    /// Fails with `UNIMPLEMENTED` if handlers cannot read it.
    pub fn check_encoding(&self, encoding: Encoding) -> Result<(), Status> {
        match encoding {
            Encoding::Protobuf => Ok(()),
            // Not started: requests are checked before their handlers exist.
            Encoding::Json => Transcoder::of(self.method)
                .map(drop)
                .map_err(Status::not_started),
        }
    }

    /// Returns whether the handler of a request may run on the reader task: if it is
    /// [quick](super::inline), and its request is not converted before.
    pub fn runs_at_once(&self, encoding: Encoding) -> bool {
        self.quick.is_quick() && encoding == Encoding::Protobuf
    }

    /// Checks the size of a request.
    pub fn check_size(&self, size: usize) -> Result<(), Status> {
        let limit = self.limits.max_request_size;
        if size > limit {
            return Err(Status::resource_exhausted(format!(
                "the request of {size} bytes exceeds this service's limit of {limit} bytes"
            )));
        }
        Ok(())
    }

    /// Makes a handler's request stream end at a message that is too large.
    pub(crate) fn check_sizes(self: &Arc<Self>, body: &mut Body) {
        if let Body::Messages(messages) = body {
            let endpoint = Arc::clone(self);
            let checked = move |chunk| stream::iter(endpoint.checked(chunk).into_iter().flatten());
            messages.wrap_with(|messages| messages.flat_map(checked));
        }
    }

    /// Returns the part of a chunk that may pass, and the error for the first message that may not.
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
    pub fn refuse(&self, status: &Status) {
        log_limited!(debug, method = %self.method, %status, "request refused");
        self.stats.refuse(status);
    }
}
