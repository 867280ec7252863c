//! [`Instance`]: a service as one process serves it, whatever its requests arrive on.

use std::{collections::BTreeMap, panic::AssertUnwindSafe, sync::Arc, time::SystemTime};

use futures_util::FutureExt;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

use super::{
    Handlers, Service,
    admission::{Admission, Admitted},
    limits::{Effective, service_queue_group},
    stats::Stats,
};
use crate::{
    Connection, Error, Method, Status,
    deadline::format_rfc3339,
    middleware::{Layers, Request, Response},
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
    pub(crate) connection: Option<Connection>,
    /// Who shares the sessions that clients open; nobody opens one without.
    pub(crate) queue_group: Option<String>,
    pub(crate) lifecycle: Lifecycle,
    handlers: Handlers,
    layers: Layers,
}

/// A method as it is served.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) method: Method,
    pub(crate) subject: String,
    pub(crate) limits: Effective,
    pub(crate) stats: Stats,
    pub(crate) admission: Arc<Admission>,
}

/// The stages of a server's end, and the tasks that must see it.
#[derive(Clone, Debug)]
pub(crate) struct Lifecycle {
    /// No new work is looked for.
    pub(crate) draining: CancellationToken,
    /// Work under way is ended.
    pub(crate) forced: CancellationToken,
    /// Every request under way.
    pub(crate) tasks: TaskTracker,
    pub(crate) refusals: Arc<Semaphore>,
}

impl Lifecycle {
    pub(crate) fn new() -> Self {
        Self {
            draining: CancellationToken::new(),
            forced: CancellationToken::new(),
            tasks: TaskTracker::new(),
            refusals: Arc::new(Semaphore::new(MAX_REFUSALS)),
        }
    }
}

impl Instance {
    pub(crate) fn new(
        service: Service,
        connection: Option<Connection>,
        lifecycle: Lifecycle,
    ) -> Result<Self, Error> {
        let base = service.checked_subject()?;
        let endpoints = service
            .served_methods()?
            .into_iter()
            .map(|method| Endpoint::new(&service, method, &base).map(Arc::new))
            .collect::<Result<_, _>>()?;
        let from_proto = service.spec.facts().iter();
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
            name: service.checked_name()?,
            id: nuid::next().to_string(),
            version: service.checked_version()?,
            description: service
                .description
                .clone()
                .unwrap_or_else(|| service.spec.about().to_owned()),
            metadata,
            started: format_rfc3339(SystemTime::now().into()),
            base,
            endpoints,
            connection,
            queue_group: service_queue_group(&service)?,
            lifecycle,
            handlers: service.handlers,
            layers: service.layers,
        })
    }

    /// Runs a request that the gate has been asked about: waits for its turn if it must, and lets
    /// the handler work until it answers, panics, or nobody waits any more.
    ///
    /// The permit is for the caller to keep until the answer is on its way, so that answers which
    /// cannot be sent do not pile up behind handlers that go on making more.
    pub(crate) async fn call(
        &self,
        endpoint: &Endpoint,
        admitted: Admitted,
        request: Request,
    ) -> (Result<Response, Status>, Option<OwnedSemaphorePermit>) {
        let deadline = request.deadline();
        let turn = match admitted {
            Admitted::Now(permit) => Ok(permit),
            Admitted::Later(ticket) => ticket.turn(deadline, &self.lifecycle.draining).await,
            Admitted::Refused(status) => Err(status),
        };
        let permit = match turn {
            Ok(permit) => permit,
            Err(status) => {
                endpoint.refuse(&status);
                return (Err(status), None);
            }
        };
        let begin = Instant::now();
        let outcome = self.run(request).await;
        let counted = outcome.as_ref().map(|_| ());
        endpoint.stats.record(counted, begin.elapsed());
        (outcome, Some(permit))
    }

    async fn run(&self, request: Request) -> Result<Response, Status> {
        let (method, deadline) = (request.method(), request.deadline());
        if deadline.has_passed() {
            // A handler that never waits would otherwise run to its end all the same.
            let text = format!("no time was left for {method}");
            return Err(Status::deadline_exceeded(text).not_started());
        }
        let span = tracing::info_span!(
            "call",
            rpc.system = "nats",
            rpc.method = %method,
            service.instance.id = self.id,
        );
        let work = async {
            match self.layers.get() {
                None => self.handlers.call(request).await,
                Some(layered) => tower::ServiceExt::oneshot(layered.clone(), request).await,
            }
        };
        async {
            tokio::select! {
                biased;
                outcome = AssertUnwindSafe(work).catch_unwind() => outcome.unwrap_or_else(|panic| {
                    let panic = panic_text(panic.as_ref());
                    tracing::error!(%method, panic, "handler panicked");
                    // What a panic says is for the operator, not for the caller.
                    Err(Status::internal(format!("the handler of {method} panicked")))
                }),
                () = deadline.passed() => Err(Status::deadline_exceeded(format!(
                    "{method} was not done when the deadline passed"
                ))),
                () = self.lifecycle.forced.cancelled() => Err(Status::unavailable(format!(
                    "the server was stopped before {method} was done"
                ))),
            }
        }
        .instrument(span)
        .await
    }

    /// The endpoint of a method, unless it is not served here.
    pub(crate) fn endpoint(&self, method: Method) -> Option<&Arc<Endpoint>> {
        self.endpoints
            .iter()
            .find(|endpoint| endpoint.method.index() == method.index())
    }

    pub(crate) fn admit(&self, endpoint: &Endpoint) -> Admitted {
        endpoint.admission.enter(&self.lifecycle.draining)
    }
}

impl Endpoint {
    fn new(service: &Service, method: Method, base: &str) -> Result<Self, Error> {
        let limits = Effective::of(service, method)?;
        Ok(Self {
            method,
            subject: service.checked_method_subject(base, method)?,
            admission: Admission::new(limits.concurrency, limits.queue),
            limits,
            stats: Stats::default(),
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

    /// Counts a request that no handler has seen.
    pub(crate) fn refuse(&self, status: &Status) {
        tracing::debug!(method = %self.method, %status, "request refused");
        self.stats.record(Err(status), std::time::Duration::ZERO);
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no text)")
}
