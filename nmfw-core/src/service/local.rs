//! Local calls of a service, with the semantics of calls over a network.

use std::{
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream};
use smol_str::SmolStr;
use tokio::sync::oneshot;

use super::service::Service;
use crate::{
    Deadline, ServiceSpec, Status,
    call::{
        body::{Body, Messages},
        extensions::Extensions,
        request::Request,
        response::Response,
        transport::Transport,
    },
    service::instance::{Endpoint, Instance},
};

impl Transport for Service {
    /// Executes a local call, with only the data that a network would transfer: extensions of the
    /// caller's layers stay on their side.
    fn call(self: Arc<Self>, request: Request) -> BoxFuture<'static, Result<Response, Status>> {
        match self.instance() {
            Ok(instance) => Box::pin(call(Arc::clone(instance), request)),
            Err(status) => Box::pin(std::future::ready(Err(status.clone()))),
        }
    }

    fn ready(&self, _: &'static ServiceSpec, _: Duration) -> BoxFuture<'_, Result<(), Status>> {
        let instance = self.instance();
        Box::pin(std::future::ready(instance.map(drop).map_err(Clone::clone)))
    }
}

/// Executes calls that a front takes from a wire: admission, limits, queue, layers, the handler with its
/// deadline, and statistics, as for calls over NATS. Clones share limits and statistics.
impl tower::Service<Request> for Service {
    type Response = Response;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Response, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        // A full service refuses calls, so that their clients can send them elsewhere.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        match self.instance() {
            Ok(instance) => Box::pin(take(Arc::clone(instance), request)),
            Err(status) => Box::pin(std::future::ready(Err(status.clone()))),
        }
    }
}

async fn take(instance: Arc<Instance>, mut request: Request) -> Result<Response, Status> {
    let endpoint = prepare(&instance, &mut request)?;
    request
        .head
        .origin
        .get_or_insert_with(|| Arc::new(instance.origin(())));
    instance.call_here(endpoint, request).await
}

/// Finds the endpoint of a call, and makes the checks that all fronts have in common.
fn prepare<'a>(
    instance: &'a Arc<Instance>,
    request: &mut Request,
) -> Result<&'a Arc<Endpoint>, Status> {
    let method = request.method();
    let Some(endpoint) = instance.endpoint(method) else {
        let text = format!("{method} is not served by this instance");
        // Not started: no handler was found.
        return Err(Status::unimplemented(text).not_started());
    };
    let size = request.body().map_or(0, bytes::Bytes::len);
    let checked = endpoint.check(request.encoding(), size);
    checked.inspect_err(|status| endpoint.refuse(status))?;
    // The caller may have its own generated copy of the method.
    request.method = endpoint.method;
    if request.head.deadline == Deadline::NONE
        && let Some(timeout) = endpoint.limits.timeout
    {
        request.head.deadline = Deadline::after(timeout);
    }
    Ok(endpoint)
}

async fn call(instance: Arc<Instance>, mut request: Request) -> Result<Response, Status> {
    let endpoint = prepare(&instance, &mut request)?;
    let method = endpoint.method;
    // Extensions of a client's layers stay on the client's side.
    request.head.extensions = Extensions::default();
    request.head.client_version = Some(SmolStr::new_static(method.service().version()));
    if method.is_client_streaming() {
        Box::pin(call_with_stream(&instance, endpoint, request)).await
    } else {
        instance.call_here(endpoint, request).await
    }
}

/// Calls with a request stream. An error in the caller's own stream cancels the call: the handler
/// is dropped without seeing the error, which becomes the result of the call.
async fn call_with_stream(
    instance: &Instance,
    endpoint: &Arc<Endpoint>,
    mut request: Request,
) -> Result<Response, Status> {
    let (failed, mut failure) = oneshot::channel();
    request.head.body = match request.take_body() {
        Body::Messages(requests) => Body::Messages(until_failure(requests, failed)),
        message => message,
    };
    let mut call = Box::pin(instance.call_here(endpoint, request));
    let response = tokio::select! {
        biased;
        Ok(status) = &mut failure => return Err(status),
        outcome = &mut call => outcome?,
    };
    let Response { metadata, body } = response;
    let Body::Messages(answers) = body else {
        return Ok(Response { metadata, body });
    };
    let mut failure = Some(failure);
    let answers = answers.wrap(|mut answers| {
        stream::poll_fn(move |cx| {
            if let Some(failed) = &mut failure
                && let Poll::Ready(outcome) = failed.poll_unpin(cx)
            {
                failure = None;
                if let Ok(status) = outcome {
                    return Poll::Ready(Some(Err(status)));
                }
            }
            answers.poll_next_unpin(cx)
        })
    });
    Ok(Response::streaming(answers, metadata))
}

/// Diverts an error from a stream, which then never ends: its reader is about to be dropped.
fn until_failure(requests: Messages, failed: oneshot::Sender<Status>) -> Messages {
    let mut failed = Some(failed);
    requests.wrap(|mut requests| {
        stream::poll_fn(move |cx| {
            if failed.is_none() {
                return Poll::Pending;
            }
            match ready!(requests.poll_next_unpin(cx)) {
                Some(Err(status)) => match failed.take().map(|failed| failed.send(status)) {
                    // The call has ended, and a task of the handler continues to read.
                    Some(Err(status)) => Poll::Ready(Some(Err(status))),
                    _ => Poll::Pending,
                },
                item => Poll::Ready(item),
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use prost::Message;
    use tokio::sync::{Semaphore, mpsc};

    use super::*;
    use crate::{Context, MethodSpec, server::ClientId, service::handler::ServiceBuilder};

    static SPEC: ServiceSpec =
        ServiceSpec::new("a", "Gate").with_methods(&[MethodSpec::unary("Add")]);

    /// Reports each call, and ends it once it gets a permit.
    struct Gate {
        begun: mpsc::UnboundedSender<String>,
        permits: Semaphore,
    }

    impl Gate {
        async fn add(&self, _: Context, name: String) -> Result<String, Status> {
            self.begun.send(name.clone()).unwrap();
            self.permits.acquire().await.unwrap().forget();
            Ok(name)
        }
    }

    #[tokio::test]
    async fn clients_that_a_front_names_take_turns() {
        let (begun, mut order) = mpsc::unbounded_channel();
        let gate = Arc::new(Gate {
            begun,
            permits: Semaphore::new(0),
        });
        let method = SPEC.method(0);
        let service = ServiceBuilder::new(&SPEC, Arc::clone(&gate)).unary(method, Gate::add);
        let mut service = service.build().concurrency(1).queue(3);
        let mut call = |client: &str, name: &str| {
            let body = Bytes::from(name.to_owned().encode_to_vec());
            let mut request = Request::new(method, body);
            request.extensions_mut().insert(ClientId::of(client));
            tokio::spawn(tower::Service::call(&mut service, request))
        };
        let mut calls = vec![call("a", "a1")];
        assert_eq!(order.recv().await.unwrap(), "a1");
        for (client, name) in [("a", "a2"), ("a", "a3"), ("b", "b1")] {
            calls.push(call(client, name));
            // Until the call is queued.
            tokio::task::yield_now().await;
        }
        gate.permits.add_permits(calls.len());
        for call in calls {
            call.await.unwrap().unwrap();
        }
        let order: Vec<_> = std::iter::from_fn(|| order.try_recv().ok()).collect();
        assert_eq!(order, ["a2", "b1", "a3"]);
    }
}
