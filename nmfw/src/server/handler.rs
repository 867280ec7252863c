//! From a method of the user's trait to something that dispatch can store.

use std::{fmt, sync::Arc};

use bytes::BytesMut;
use futures_util::{FutureExt, future::BoxFuture};
use prost::Message;
use tower::service_fn;

use super::Service;
use crate::{
    Context, ServiceSpec, Status,
    middleware::{BoxService, Request, Response},
};

/// A method of a user's service trait: `Calc::add`, say. The lifetime is that of the borrow of the
/// service, which lives as long as the future.
pub trait UnaryFn<'a, T, Q, R>: Send + Sync {
    /// What the method returns.
    type Future: Future<Output = Result<R, Status>> + Send + 'a;

    /// Calls the method.
    fn call(&self, service: &'a T, ctx: Context, request: Q) -> Self::Future;
}

impl<'a, T, Q, R, F, Fut> UnaryFn<'a, T, Q, R> for F
where
    T: 'a,
    F: Fn(&'a T, Context, Q) -> Fut + Send + Sync,
    Fut: Future<Output = Result<R, Status>> + Send + 'a,
{
    type Future = Fut;

    fn call(&self, service: &'a T, ctx: Context, request: Q) -> Fut {
        self(service, ctx, request)
    }
}

type Handler = Box<dyn Fn(Request) -> BoxFuture<'static, Result<Response, Status>> + Send + Sync>;

/// The handlers of a service, in the order of its methods.
#[derive(Clone)]
pub(crate) struct Handlers(Arc<[Handler]>);

impl Handlers {
    pub(crate) fn call(&self, request: Request) -> BoxFuture<'static, Result<Response, Status>> {
        match self.0.get(request.method().index()) {
            Some(handler) => handler(request),
            None => {
                let status = Status::unimplemented(format!("no method {}", request.method()));
                std::future::ready(Err(status)).boxed()
            }
        }
    }

    pub(crate) fn into_service(self) -> BoxService {
        BoxService::new(service_fn(move |request| self.call(request)))
    }
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} handlers", self.0.len())
    }
}

/// Collects the methods of a service. Generated code's way to a [`Service`].
pub struct ServiceBuilder<T> {
    spec: &'static ServiceSpec,
    service: Arc<T>,
    handlers: Vec<Handler>,
}

impl<T: Send + Sync + 'static> ServiceBuilder<T> {
    /// Starts with no method.
    #[must_use]
    pub fn new(spec: &'static ServiceSpec, service: Arc<T>) -> Self {
        Self {
            spec,
            service,
            handlers: Vec::new(),
        }
    }

    /// Adds the next method.
    #[must_use]
    pub fn unary<Q, R, F>(mut self, method: F) -> Self
    where
        Q: Message + Default + 'static,
        R: Message + 'static,
        F: for<'a> UnaryFn<'a, T, Q, R> + Copy + 'static,
    {
        let service = Arc::clone(&self.service);
        self.handlers.push(Box::new(move |request| {
            let service = Arc::clone(&service);
            unary(service, method, request).boxed()
        }));
        self
    }

    /// Ends with the service.
    pub fn build(self) -> Service {
        Service::new(self.spec, Handlers(self.handlers.into()))
    }
}

impl<T> fmt::Debug for ServiceBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceBuilder")
            .field("spec", self.spec)
            .finish_non_exhaustive()
    }
}

async fn unary<T, Q, R, F>(service: Arc<T>, method: F, request: Request) -> Result<Response, Status>
where
    Q: Message + Default,
    R: Message,
    F: for<'a> UnaryFn<'a, T, Q, R>,
{
    let name = request.method();
    let (context, body) = Context::from_request(request);
    let message = Q::decode(body).map_err(|error| {
        let text = format!("the request is not a valid message for {name}: {error}");
        Status::invalid_argument(text).with_source(error)
    })?;
    let guard = context.guard();
    let outcome = method.call(&service, context.clone(), message).await;
    guard.finish();
    let metadata = context.take_response_metadata();
    match outcome {
        Ok(message) => {
            let mut body = BytesMut::with_capacity(message.encoded_len());
            // Fails only for want of room, which the buffer always has.
            message.encode(&mut body)?;
            Ok(Response::with_metadata(body.freeze(), metadata))
        }
        Err(status) => {
            // The handler has run. The mark can be that of a call that it made itself, and would
            // have this one repeated.
            let mut status = status.started();
            status.metadata_mut().merge(&metadata);
            Err(status)
        }
    }
}
