//! [`Transport`]: what carries calls to a service, behind all of a client's layers.

use std::{any::Any, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;

use super::{request::Request, response::Response};
use crate::{ServiceSpec, Status};

/// What carries calls to a service: a connection, or a [`Service`](crate::server::Service) in this
/// process.
///
/// A [`Channel`](crate::Channel) is made from one, and adds what holds for all calls: layers, metadata,
/// timeouts, metrics and spans.
pub trait Transport: Any + Send + Sync {
    /// Makes a call. It begins when the future is polled. Dropping the future gives the call up, as
    /// does dropping the stream of messages that the response may have.
    ///
    /// The transport ends the call at its [deadline](Request::deadline), with `DEADLINE_EXCEEDED`. An
    /// error for a call that certainly was not begun is marked as
    /// [not started](Status::not_started), so that it can be sent again.
    fn call(&self, request: Request) -> BoxFuture<'_, Result<Response, Status>>;

    /// Waits until an instance of the service can be reached, for this long at most.
    fn ready(
        &self,
        service: &'static ServiceSpec,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<(), Status>> {
        _ = (service, timeout);
        Box::pin(std::future::ready(Ok(())))
    }

    /// Returns where the service is reached, as spans and messages of errors show it.
    fn address<'a>(&'a self, service: &'static ServiceSpec) -> Option<&'a str> {
        _ = service;
        None
    }
}

/// What a [`Channel`](crate::Channel) can be made from: every [`Transport`], and what a transport is made
/// from with its default settings.
pub trait IntoTransport {
    /// Returns the transport.
    fn into_transport(self) -> Arc<dyn Transport>;
}

impl<T: Transport> IntoTransport for T {
    fn into_transport(self) -> Arc<dyn Transport> {
        Arc::new(self)
    }
}
