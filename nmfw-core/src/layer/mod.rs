//! Layers: what wraps calls, on client and server alike.

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

/// A service of the middle: what layers wrap, on client and server alike.
pub type BoxService = BoxCloneSyncService<Request, Response, Status>;

/// Every [`Layer`] that can wrap a call: implemented for all layers whose service takes a
/// [`Request`], gives a [`Response`], can be cloned and sent between threads, and fails with
/// anything that is an error.
///
/// Most of tower's own qualify. One whose service is not `Clone`, such as
/// `tower::limit::RateLimitLayer`, does behind a `tower::buffer::BufferLayer`.
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
    // The one place where a layered service is boxed.
    fn wrap(&self, inner: BoxService) -> BoxService {
        let layered = self.layer(inner);
        BoxService::new(layered.map_err(|error| Status::from(error.into()).returned_by("a layer")))
    }
}

mod sealed {
    pub trait Sealed {}
    impl<L: ?Sized> Sealed for L {}
}

/// What a channel and a service keep their layers in: nothing is paid for layers that are not there.
#[derive(Clone, Default)]
pub(crate) struct Layers(Option<BoxService>);

impl Layers {
    /// Wraps what is there, or `innermost` if nothing is yet.
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
