//! Layers around calls, on clients and servers.

pub(crate) mod circuit_breaker;
pub(crate) mod from_fn;
pub(crate) mod hedge;
mod method_filter;
pub(crate) mod rate_limit;
pub(crate) mod retry;
pub(crate) mod retry_budget;

use std::{
    error::Error as StdError,
    fmt,
    task::{Context, Poll},
};

use futures_util::future::BoxFuture;
use tower::{Layer, Service, ServiceExt, util::BoxCloneSyncService};

use crate::{
    Status,
    call::{request::Request, response::Response},
};

/// The service that a layer wraps, on clients and servers: further layers, and finally the call itself.
#[derive(Clone, Debug)]
pub struct BoxService(BoxCloneSyncService<Request, Response, Status>);

impl BoxService {
    /// Boxes a service, for example in a test of a layer.
    pub fn new<S>(service: S) -> Self
    where
        S: Service<Request, Response = Response, Error = Status> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        Self(BoxCloneSyncService::new(service))
    }
}

impl Service<Request> for BoxService {
    type Response = Response;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Response, Status>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        self.0.call(request)
    }
}

/// A [`Layer`] that can wrap a call: implemented for all layers whose service takes a [`Request`],
/// returns a [`Response`], is `Clone` and `Send`, and has any error type.
///
/// Most of tower's own layers qualify. A layer whose service is not `Clone`, such as
/// `tower::limit::RateLimitLayer`, needs a `tower::buffer::BufferLayer` in front.
pub trait CallLayer: sealed::Sealed {
    #[doc(hidden)]
    fn wrap(&self, inner: BoxService) -> BoxService;
}

impl<L> CallLayer for L
where
    L: Layer<BoxService>,
    L::Service: Service<Request, Response = Response> + Clone + Send + Sync + 'static,
    <L::Service as Service<Request>>::Error: Into<Box<dyn StdError + Send + Sync>>,
    <L::Service as Service<Request>>::Future: Send + 'static,
{
    // The only place where a layered service is boxed.
    fn wrap(&self, inner: BoxService) -> BoxService {
        let layered = self.layer(inner);
        BoxService::new(layered.map_err(|error| Status::from(error.into()).returned_by("a layer")))
    }
}

mod sealed {
    use super::*;

    pub trait Sealed {}

    // The bounds of `CallLayer`, so that no other type can implement the trait.
    impl<L> Sealed for L
    where
        L: Layer<BoxService>,
        L::Service: Service<Request, Response = Response> + Clone + Send + Sync + 'static,
        <L::Service as Service<Request>>::Error: Into<Box<dyn StdError + Send + Sync>>,
        <L::Service as Service<Request>>::Future: Send + 'static,
    {
    }
}

/// The layers of a channel or a service; without layers, calls have no overhead.
#[derive(Clone, Default)]
pub(crate) struct Layers(Option<BoxService>);

impl Layers {
    /// Wraps the current service, or `innermost` if there is no layer yet.
    pub(crate) fn push(
        &mut self,
        layer: &(impl CallLayer + ?Sized),
        innermost: impl FnOnce() -> BoxService,
    ) {
        let inner = self.0.take().unwrap_or_else(innermost);
        self.0 = Some(layer.wrap(inner));
    }

    pub(crate) fn get(&self) -> Option<&BoxService> {
        self.0.as_ref()
    }
}

impl fmt::Debug for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = if self.0.is_some() { "layered" } else { "none" };
        f.write_str(text)
    }
}
