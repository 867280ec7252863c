//! Layers around calls, on clients and servers.

pub(crate) mod circuit_breaker;
pub(crate) mod from_fn;
pub(crate) mod hedge;
mod method_filter;
pub(crate) mod rate_limit;
pub(crate) mod retry;

use std::{error::Error as StdError, fmt};

use tower::{Layer, Service, ServiceExt, util::BoxCloneSyncService};

use crate::{
    Status,
    call::{request::Request, response::Response},
};

/// The service that layers wrap, on clients and servers.
pub type BoxService = BoxCloneSyncService<Request, Response, Status>;

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
    pub trait Sealed {}
    impl<L: ?Sized> Sealed for L {}
}

/// The layers of a channel or a service; without layers, they cost nothing.
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
