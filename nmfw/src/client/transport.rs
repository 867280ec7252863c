//! What carries a call, behind all layers.

use std::sync::Arc;

use futures_util::{FutureExt, future::BoxFuture};
use tower::service_fn;

use super::local;
use crate::{
    Method, Status,
    call::{request::Request, response::Response},
    layer::BoxService,
    nats::client::Nats,
    service::{
        health::Checks,
        instance::{Instance, Lifecycle},
        service::Service,
    },
};

#[derive(Clone, Debug)]
pub(crate) enum Transport {
    Nats(Arc<Nats>),
    /// A service in this process, or why it cannot be one.
    Local(Result<Arc<Instance>, Status>),
}

impl Transport {
    pub(super) fn local(service: Service) -> Self {
        let instance = Instance::new(service, None, Lifecycle::new(Checks::default()));
        Self::Local(instance.map(Arc::new).map_err(|error| {
            Status::failed_precondition(error.to_string())
                .with_source(error)
                .not_started()
        }))
    }

    /// What the names of the methods of a method's service are appended to, unless it is in this
    /// process.
    pub(super) fn base(&self, method: Method) -> Option<&str> {
        match self {
            Self::Nats(nats) => Some(nats.base(method.service())),
            Self::Local(_) => None,
        }
    }

    pub(super) async fn call(&self, request: Request) -> Result<Response, Status> {
        // Behind all layers, which may have added some.
        if let Err(error) = request.metadata().check_size() {
            return Err(Status::from(error).not_started());
        }
        match self {
            Self::Nats(nats) => nats.call(request).await,
            Self::Local(Err(status)) => Err(status.clone()),
            Self::Local(Ok(instance)) => local::call(instance, request).await,
        }
    }

    /// The innermost service below layers. It takes the way that the request itself names, so that
    /// settings can be changed after a layer was added.
    pub(super) fn into_service() -> BoxService {
        BoxService::new(service_fn(
            |mut request: Request| -> BoxFuture<'static, Result<Response, Status>> {
                async move {
                    match request.head.via.take() {
                        Some(transport) => transport.call(request).await,
                        None => Err(Status::internal("a request without a channel")),
                    }
                }
                .boxed()
            },
        ))
    }
}
