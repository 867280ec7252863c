//! [`JsonLayer`]: sends calls in JSON.

use std::task::{Context, Poll};

use futures_util::{FutureExt, future::BoxFuture};
use tower::{Layer, Service, ServiceExt};

use crate::{
    Status,
    call::{
        json::{Transcoder, convert},
        request::{Encoding, Request},
        response::Response,
    },
    layer::BoxService,
};

/// The innermost layer of a channel with JSON.
#[derive(Clone, Copy, Debug)]
pub(super) struct JsonLayer;

impl Layer<BoxService> for JsonLayer {
    type Service = JsonCalls;

    fn layer(&self, inner: BoxService) -> JsonCalls {
        JsonCalls(inner)
    }
}

/// Converts requests to JSON and responses from it.
#[derive(Clone, Debug)]
pub(super) struct JsonCalls(BoxService);

impl Service<Request> for JsonCalls {
    type Response = Response;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Response, Status>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let inner = self.0.clone();
        async move {
            // A request that is already JSON comes from a tool, which reads JSON, too.
            if request.encoding() == Encoding::Json {
                return inner.oneshot(request).await;
            }
            // Not started: the call is not handed to a transport.
            let json = Transcoder::of(request.method()).map_err(Status::not_started)?;
            let requests = json.clone();
            convert(request.body_mut(), move |message| {
                requests.request_to_json(message)
            })?;
            request.set_encoding(Encoding::Json);
            let mut response = inner.oneshot(request).await?;
            convert(response.body_mut(), move |message| {
                json.response_to_binary(message)
            })?;
            Ok(response)
        }
        .boxed()
    }
}
