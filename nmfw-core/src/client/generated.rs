//! [`Client`]: the base of generated clients.

use std::{panic::AssertUnwindSafe, time::Duration};

use futures_util::StreamExt;
use prost::Message;

use super::{Call, Channel, Requests};
use crate::{
    Method, ServiceSpec, Status, Streaming,
    call::body::{Body, Messages, encode::encode, encode_to_share},
    server::Service,
};

/// A generated client without its methods: a channel, and a constructor for each kind of call.
#[derive(Clone, Debug)]
pub struct Client(Channel);

impl Client {
    /// Creates a client on a channel.
    pub fn new(channel: impl Into<Channel>) -> Self {
        Self(channel.into())
    }

    /// Creates a client of a service in this process.
    #[must_use]
    pub fn local(service: Service) -> Self {
        Self(Channel::local(service))
    }

    /// Waits until an instance of the service answers.
    ///
    /// # Errors
    /// See [`Channel::wait_ready`].
    pub async fn wait_ready(
        &self,
        service: &'static ServiceSpec,
        timeout: Duration,
    ) -> Result<(), Status> {
        self.0.wait_ready(service, timeout).await
    }

    /// Creates a call with one request and one response.
    pub fn unary<Q: Message, R>(&self, method: Method, request: Q) -> Call<R> {
        self.with_one(method, &request)
    }

    /// Creates a call with one request and a stream of responses.
    pub fn server_streaming<Q, R>(&self, method: Method, request: Q) -> Call<Streaming<R>>
    where
        Q: Message,
    {
        self.with_one(method, &request)
    }

    /// Creates a call with a stream of requests and one response.
    pub fn client_streaming<Q, R>(&self, method: Method, requests: impl Requests<Q>) -> Call<R>
    where
        Q: Message + 'static,
    {
        self.with_many(method, requests)
    }

    /// Creates a call with streams in both directions.
    pub fn streaming<Q, R>(&self, method: Method, requests: impl Requests<Q>) -> Call<Streaming<R>>
    where
        Q: Message + 'static,
    {
        self.with_many(method, requests)
    }

    fn with_one<A>(&self, method: Method, request: &impl Message) -> Call<A> {
        Call::new(self.0.clone(), method, encode_to_share(request).into())
    }

    fn with_many<Q, A>(&self, method: Method, requests: impl Requests<Q>) -> Call<A>
    where
        Q: Message + 'static,
    {
        let encoded = AssertUnwindSafe(encode(requests.into_streaming())).catch_unwind();
        let encoded = encoded.map(move |requests| match requests {
            // The mark "not started" belongs to another call, and would cause this call to be
            // resent.
            Ok(requests) => requests.map_err(|status: Status| {
                let whose = format_args!("the stream of requests to {method}");
                status.started().returned_by(whose)
            }),
            // The requests are sent by a task, whose panic would otherwise go unnoticed.
            Err(_) => Err(Status::internal("the stream of requests panicked")),
        });
        let body = Body::Messages(Messages::new(encoded));
        Call::new(self.0.clone(), method, body)
    }
}
