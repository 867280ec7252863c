//! [`from_fn`]: a layer from an async function.

use std::{
    fmt,
    task::{Context, Poll},
};

use tower::{Layer, Service, ServiceExt};

use super::BoxService;
use crate::{
    Status,
    call::{request::Request, response::Response},
};

/// Makes a layer from an async function, which receives each call and the rest of the stack.
///
/// ```
/// use std::time::Instant;
/// use nmfw::{Status, middleware::{self, Next, Request, Response}};
///
/// async fn log(request: Request, next: Next) -> Result<Response, Status> {
///     let (method, begin) = (request.method(), Instant::now());
///     let outcome = next.run(request).await;
///     tracing::info!(%method, ok = outcome.is_ok(), elapsed = ?begin.elapsed());
///     outcome
/// }
///
/// # fn example(server: nmfw::Server) {
/// let server = server.layer(middleware::from_fn(log));
/// # }
/// ```
pub fn from_fn<F, Fut>(function: F) -> FromFn<F>
where
    F: Fn(Request, Next) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Response, Status>> + Send + 'static,
{
    FromFn(function)
}

/// The layer that [`from_fn`] makes.
#[derive(Clone)]
pub struct FromFn<F>(F);

/// The service of that layer.
#[derive(Clone)]
pub struct FromFnService<F> {
    function: F,
    inner: BoxService,
}

/// The rest of the stack after a [`from_fn`] layer: further layers, and finally the call itself.
pub struct Next(BoxService);

impl Next {
    /// Continues the call.
    ///
    /// # Errors
    /// Returns the error of the call.
    pub async fn run(self, request: Request) -> Result<Response, Status> {
        self.0.oneshot(request).await
    }
}

impl<F: Clone> Layer<BoxService> for FromFn<F> {
    type Service = FromFnService<F>;

    fn layer(&self, inner: BoxService) -> Self::Service {
        FromFnService {
            function: self.0.clone(),
            inner,
        }
    }
}

impl<F, Fut> Service<Request> for FromFnService<F>
where
    F: Fn(Request, Next) -> Fut,
    Fut: Future<Output = Result<Response, Status>>,
{
    type Response = Response;
    type Error = Status;
    type Future = Fut;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        // The function may never continue the call, so `Next::run` waits for the rest to be ready
        // only then.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Fut {
        (self.function)(request, Next(self.inner.clone()))
    }
}

impl<F> fmt::Debug for FromFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::any::type_name::<F>())
    }
}

impl<F> fmt::Debug for FromFnService<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::any::type_name::<F>())
    }
}

impl fmt::Debug for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Next")
    }
}
