//! [`Instance`]: a service as one process serves it, whatever its requests arrive on.

use std::{
    collections::BTreeMap, future::poll_fn, panic::AssertUnwindSafe, pin::pin, sync::Arc,
    task::Poll, time::SystemTime,
};

use async_nats::Subject;
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

use super::{
    Handlers, Service,
    admission::{Admission, Admitted},
    dispatch,
    limits::{Effective, service_queue_group},
    sessions,
    stats::Stats,
    watch::{self, Count, Watched},
    workers::{Job, Workers},
};
use crate::{
    Connection, Error, Method, Status,
    body::Body,
    deadline::format_rfc3339,
    middleware::{Layers, Origin, Request, Response},
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
    /// Who has handlers answer.
    pub(super) workers: Workers<Answering>,
    handlers: Handlers,
    layers: Layers,
}

/// A handler that answers to somebody.
#[derive(Debug)]
pub(super) enum Answering {
    Request(dispatch::Task),
    Call(sessions::Task),
}

impl Job for Answering {
    async fn run(self) {
        match self {
            Self::Request(task) => task.run().await,
            Self::Call(task) => task.run().await,
        }
    }
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
    pub(crate) draining: Arc<CancellationToken>,
    /// Work under way is ended.
    pub(crate) forced: CancellationToken,
    /// Every request under way.
    pub(crate) tasks: TaskTracker,
    pub(crate) refusals: Arc<Semaphore>,
}

impl Lifecycle {
    pub(crate) fn new() -> Self {
        Self {
            draining: Arc::new(CancellationToken::new()),
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
            workers: Workers::new(),
            handlers: service.handlers,
            layers: service.layers,
        })
    }

    /// Runs a request that the gate has been asked about: waits for its turn if it must, and lets
    /// the handler work until it answers, panics, or nobody waits any more. A stream that it answers
    /// with is watched over in the same way, to its end.
    ///
    /// The permit is for the caller to keep until the answer is on its way, so that answers which
    /// cannot be sent do not pile up behind handlers that go on making more. A stream keeps its own.
    pub(crate) async fn call(
        &self,
        endpoint: &Arc<Endpoint>,
        admitted: Admitted,
        request: Request,
    ) -> (Result<Response, Status>, Option<OwnedSemaphorePermit>) {
        let (method, deadline) = (request.method(), request.deadline());
        let mut count = Count::new(&**endpoint);
        let turn = match admitted {
            Admitted::Now(permit) => Ok(permit),
            Admitted::Later(ticket) => {
                // In a box, so that calls that need not wait have no room for it in their futures.
                Box::pin(ticket.turn(deadline, &self.lifecycle.draining)).await
            }
            Admitted::Refused(status) => Err(status),
        };
        let permit = match turn {
            Ok(permit) => permit,
            Err(status) => {
                count.end(Err(&status));
                return (Err(status), None);
            }
        };
        count.begin();
        let request = endpoint.check_sizes(request);
        let span = tracing::info_span!(
            "call",
            rpc.system = "nats",
            rpc.method = %method,
            service.instance.id = self.id,
        );
        let outcome = self.run(request).instrument(span.clone()).await;
        match outcome {
            Ok(Response {
                metadata,
                body: Body::Messages(messages),
            }) => {
                let call = (method, deadline);
                let count = count.keep(endpoint);
                let forced = &self.lifecycle.forced;
                let messages = messages
                    .wrap(|messages| Watched::new(messages, call, forced, span, count, permit));
                (Ok(Response::streaming(messages, metadata)), None)
            }
            outcome => {
                count.end(outcome.as_ref().map(|_| ()));
                (outcome, Some(permit))
            }
        }
    }

    async fn run(&self, request: Request) -> Result<Response, Status> {
        let (method, deadline) = (request.method(), request.deadline());
        if deadline.has_passed() {
            // A handler that never waits would otherwise run to its end all the same.
            let text = format!("no time was left for {method}");
            return Err(Status::deadline_exceeded(text).not_started());
        }
        let work = async {
            match self.layers.get() {
                None => self.handlers.call(request).await,
                Some(layered) => {
                    let layered = tower::ServiceExt::oneshot(layered.clone(), request);
                    Box::pin(layered).await
                }
            }
        };
        let mut work = pin!(AssertUnwindSafe(work).catch_unwind());
        let first = poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await;
        let outcome = match first {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => {
                // Only a handler that waits has a timer, which takes some work and memory.
                let end = async {
                    tokio::select! {
                        biased;
                        () = deadline.passed() => watch::late(method),
                        () = self.lifecycle.forced.cancelled() => watch::stopped(method),
                    }
                };
                tokio::select! {
                    biased;
                    outcome = work => outcome,
                    status = Box::pin(end) => return Err(status),
                }
            }
        };
        outcome.unwrap_or_else(|panic| Err(watch::panicked(method, panic.as_ref())))
    }

    /// What a request that came on a subject comes with.
    pub(super) fn origin(&self, subject: Subject, reply: Subject) -> Origin {
        Origin {
            subject,
            reply,
            connection: self.connection.clone(),
            stopping: Arc::clone(&self.lifecycle.draining),
        }
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

    /// Has a handler's stream of requests end at one that is too large.
    fn check_sizes(self: &Arc<Self>, mut request: Request) -> Request {
        request.body = match request.body {
            Body::Messages(messages) => {
                let endpoint = Arc::clone(self);
                let check = move |message: Bytes| {
                    endpoint.check_size(message.len())?;
                    Ok(message)
                };
                Body::Messages(
                    messages.wrap(|messages| messages.map(move |message| message.and_then(&check))),
                )
            }
            body => body,
        };
        request
    }

    /// Counts a request that no handler has seen.
    pub(crate) fn refuse(&self, status: &Status) {
        tracing::debug!(method = %self.method, %status, "request refused");
        self.stats.record(Err(status), std::time::Duration::ZERO);
    }
}
