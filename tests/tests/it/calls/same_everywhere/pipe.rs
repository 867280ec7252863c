//! A custom transport and front over an in-memory pipe, with the public API only.

use std::{
    future::pending,
    sync::{Arc, Mutex},
};

use futures_util::{FutureExt, Stream, StreamExt, future::BoxFuture, stream};
use nmfw::{
    Deadline, Metadata, Method, Status,
    client::Transport,
    middleware::{Body, Encoding, Request, Response},
    prost::bytes::Bytes,
    server::Service,
};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

const WINDOW: usize = 16;

enum Frame {
    Headers(Metadata),
    Message(Bytes),
    End(Result<Metadata, Status>),
}

struct Call {
    method: &'static str,
    version: &'static str,
    deadline: Deadline,
    encoding: Encoding,
    metadata: Metadata,
    requests: mpsc::Receiver<Frame>,
    responses: mpsc::Sender<Frame>,
}

pub(crate) struct Pipe(mpsc::Sender<Call>);

impl Pipe {
    /// Starts a front of a service at the other end.
    pub(crate) fn to(service: Service) -> Self {
        let (sender, mut calls) = mpsc::channel(WINDOW);
        tokio::spawn(async move {
            while let Some(call) = calls.recv().await {
                tokio::spawn(serve(service.clone(), call));
            }
        });
        Self(sender)
    }
}

/// Serves a call until its client disconnects.
async fn serve(mut service: Service, call: Call) {
    let Some(method) = service.spec().find_method(call.method) else {
        return;
    };
    let mut requests = receive(call.requests);
    let body = match method.is_client_streaming() {
        true => Body::from_stream(requests),
        false => match requests.next().await {
            Some(Ok(message)) => Body::from(message),
            _ => return,
        },
    };
    let mut request = Request::new(method, body);
    *request.metadata_mut() = call.metadata;
    request.limit_deadline(call.deadline);
    request.set_encoding(call.encoding);
    request.set_client_version(call.version);
    let answer = async {
        match tower::Service::call(&mut service, request).await {
            Ok(response) => {
                let (metadata, body) = response.into_parts();
                _ = call.responses.send(Frame::Headers(metadata)).await;
                tokio::task::yield_now().await; // The messages may block the thread.
                send(body, &call.responses).await;
            }
            Err(status) => _ = call.responses.send(Frame::End(Err(status))).await,
        }
    };
    tokio::select! {
        () = answer => {}
        () = call.responses.closed() => {}
    }
}

/// Sends the messages of a body and its end. Returns the error of the body, if there is one.
async fn send(body: Body, frames: &mpsc::Sender<Frame>) -> Option<Status> {
    let mut messages = body.into_stream();
    let mut failure = None;
    while let Some(message) = messages.next().await {
        match message {
            Ok(message) => frames.send(Frame::Message(message)).await.ok()?,
            Err(status) => failure = Some(status),
        }
    }
    let end = failure.clone().map_or(Ok(messages.trailers()), Err);
    _ = frames.send(Frame::End(end)).await;
    failure
}

fn receive(
    frames: mpsc::Receiver<Frame>,
) -> impl Stream<Item = Result<Bytes, Status>> + Send + Unpin {
    Box::pin(stream::unfold(Some(frames), |frames| async {
        let mut frames = frames?;
        match frames.recv().await {
            Some(Frame::Message(message)) => Some((Ok(message), Some(frames))),
            Some(Frame::End(Ok(_)) | Frame::Headers(_)) => None,
            Some(Frame::End(Err(status))) => Some((Err(status), None)),
            None => Some((Err(Status::cancelled("the caller has disconnected")), None)),
        }
    }))
}

/// Returns the error of the call at its deadline.
async fn late(method: Method, deadline: Deadline) -> Status {
    let Some(at) = deadline.instant() else {
        return pending().await;
    };
    tokio::time::sleep_until(at.into()).await;
    Status::deadline_exceeded(format!("{method} did not complete before its deadline"))
}

impl Transport for Pipe {
    fn call(self: Arc<Self>, request: Request) -> BoxFuture<'static, Result<Response, Status>> {
        let (method, deadline) = (request.method(), request.deadline());
        let call = async move {
            let (to_service, requests) = mpsc::channel(WINDOW);
            let (responses, mut frames) = mpsc::channel(WINDOW);
            let call = Call {
                method: method.name(),
                version: method.service().version(),
                deadline,
                encoding: request.encoding(),
                metadata: request.metadata().clone(),
                requests,
                responses,
            };
            let closed = |_| Status::unavailable("the pipe is closed").not_started();
            self.0.send(call).await.map_err(closed)?;
            let sending =
                tokio::spawn(async move { send(request.into_parts().1, &to_service).await });
            let mut sending = AbortOnDropHandle::new(sending).fuse();
            let first = tokio::select! {
                biased;
                Ok(Some(failure)) = &mut sending => return Err(failure),
                frame = frames.recv() => frame,
            };
            let mut metadata = match first {
                Some(Frame::Headers(metadata)) => metadata,
                Some(Frame::End(Err(status))) => return Err(status),
                _ => return Err(Status::internal("no headers")),
            };
            let trailers = Arc::new(Mutex::new(Metadata::new()));
            let end = Arc::clone(&trailers);
            let messages = stream::unfold(Some((frames, sending)), move |state| {
                let end = Arc::clone(&end);
                async move {
                    let (mut frames, mut sending) = state?;
                    let status = tokio::select! {
                        biased;
                        Ok(Some(failure)) = &mut sending => failure,
                        status = late(method, deadline) => status,
                        frame = frames.recv() => match frame {
                            Some(Frame::Message(message)) => {
                                return Some((Ok(message), Some((frames, sending))));
                            }
                            Some(Frame::End(Ok(trailers))) => {
                                *end.lock().unwrap() = trailers;
                                return None;
                            }
                            Some(Frame::End(Err(status))) => status,
                            _ => Status::unavailable("the pipe is closed"),
                        },
                    };
                    Some((Err(status), None))
                }
            });
            let trailers = move || std::mem::take(&mut *trailers.lock().unwrap());
            let body = Body::from_stream(messages).with_trailers(trailers);
            if method.is_server_streaming() {
                return Ok(Response::with_body(body, metadata));
            }
            let mut messages = body.into_stream();
            let Some(message) = messages.next().await.transpose()? else {
                return Err(Status::internal("no message"));
            };
            messages.next().await.transpose()?;
            metadata.merge(&messages.trailers());
            Ok(Response::with_body(message, metadata))
        };
        Box::pin(async move {
            tokio::select! {
                outcome = call => outcome,
                status = late(method, deadline) => Err(status),
            }
        })
    }
}
