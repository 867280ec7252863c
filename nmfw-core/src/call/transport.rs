//! [`Transport`]: carries calls to a service, below all layers of a client.

use std::{any::Any, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;

use super::{request::Request, response::Response};
use crate::{ServiceSpec, Status};

/// Carries calls to a service: a connection, or a [`Service`](crate::server::Service) in this
/// process.
///
/// A [`Channel`](crate::Channel) is made from a transport, and adds everything that applies to all
/// calls: layers, metadata, timeouts, metrics and spans.
pub trait Transport: Any + Send + Sync {
    /// Makes a call, which starts when the future is first polled. Dropping the future, or the
    /// stream of messages in the response, cancels the call. The future may outlive the channel,
    /// and so it shares ownership of the transport.
    ///
    /// The transport ends the call at its [deadline](Request::deadline) with `DEADLINE_EXCEEDED`.
    /// If the call was certainly not started, it marks the error as [not
    /// started](Status::not_started), so that the call can be sent again.
    fn call(self: Arc<Self>, request: Request) -> BoxFuture<'static, Result<Response, Status>>;

    /// Waits until an instance of the service is reachable, for at most `timeout`.
    fn ready(
        &self,
        service: &'static ServiceSpec,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<(), Status>> {
        _ = (service, timeout);
        Box::pin(std::future::ready(Ok(())))
    }

    /// Returns the address of the service, for spans and error messages.
    fn address<'a>(&'a self, service: &'static ServiceSpec) -> Option<&'a str> {
        _ = service;
        None
    }
}

/// A source of a [`Channel`](crate::Channel): every [`Transport`], and types that convert to one
/// with default settings.
pub trait IntoTransport {
    /// Converts to the transport.
    fn into_transport(self) -> Arc<dyn Transport>;
}

impl<T: Transport> IntoTransport for T {
    fn into_transport(self) -> Arc<dyn Transport> {
        Arc::new(self)
    }
}
