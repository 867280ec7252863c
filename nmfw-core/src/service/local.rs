//! Local calls of a service, with the semantics of calls over a network.

use std::{
    sync::Arc,
    task::{Poll, ready},
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
    fn call(&self, request: Request) -> BoxFuture<'_, Result<Response, Status>> {
        match self.instance() {
            Ok(instance) => Box::pin(call(instance, request)),
            Err(status) => Box::pin(std::future::ready(Err(status.clone()))),
        }
    }

    fn ready(&self, _: &'static ServiceSpec, _: Duration) -> BoxFuture<'_, Result<(), Status>> {
        let instance = self.instance();
        Box::pin(std::future::ready(instance.map(drop).map_err(Clone::clone)))
    }
}

async fn call(instance: &Arc<Instance>, mut request: Request) -> Result<Response, Status> {
    let method = request.method();
    let Some(endpoint) = instance.endpoint(method) else {
        let text = format!("{method} is not served here");
        // Not started: no handler was found.
        return Err(Status::unimplemented(text).not_started());
    };
    if let Some(body) = request.body() {
        let fits = endpoint.check_size(body.len());
        fits.inspect_err(|status| endpoint.refuse(status))?;
    }
    // The caller may have its own generated copy of the method.
    request.method = endpoint.method;
    let head = &mut *request.head;
    // Extensions of a client's layers stay on the client's side.
    head.extensions = Extensions::default();
    head.client_version = Some(SmolStr::new_static(method.service().version()));
    if head.deadline == Deadline::NONE
        && let Some(timeout) = endpoint.limits.timeout
    {
        head.deadline = Deadline::after(timeout);
    }
    if method.streams_requests() {
        Box::pin(call_with_stream(instance, endpoint, request)).await
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
