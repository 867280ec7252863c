//! [`Client`]: what generated clients are made of.

use std::{panic::AssertUnwindSafe, time::Duration};

use futures_util::StreamExt;
use prost::Message;

use super::{Call, Channel, Requests};
use crate::{
    Method, ServiceSpec, Status, Streaming,
    call::body::{Body, Messages, encode::encode, encode_to_share},
    server::Service,
};

/// A generated client without its methods: a channel, and a way to begin a call of each kind.
#[derive(Clone, Debug)]
pub struct Client(Channel);

impl Client {
    /// Makes a client that calls over a channel.
    pub fn new(channel: impl Into<Channel>) -> Self {
        Self(channel.into())
    }

    /// Makes a client that calls a service in this process.
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

    /// Begins a call with one request and one answer.
    pub fn unary<Q: Message, R>(&self, method: Method, request: Q) -> Call<R> {
        self.with_one(method, &request)
    }

    /// Begins a call with one request and a stream of answers.
    pub fn server_streaming<Q, R>(&self, method: Method, request: Q) -> Call<Streaming<R>>
    where
        Q: Message,
    {
        self.with_one(method, &request)
    }

    /// Begins a call with a stream of requests and one answer.
    pub fn client_streaming<Q, R>(&self, method: Method, requests: impl Requests<Q>) -> Call<R>
    where
        Q: Message + 'static,
    {
        self.with_many(method, requests)
    }

    /// Begins a call with streams both ways.
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
            // The mark is of another call, and would have this one repeated.
            Ok(requests) => requests.map_err(|status: Status| {
                let whose = format_args!("the stream of requests to {method}");
                status.started().returned_by(whose)
            }),
            // A task sends the requests, so that the panic would be seen nowhere else.
            Err(_) => Err(Status::internal("the stream of requests panicked")),
        });
        let body = Body::Messages(Messages::new(encoded));
        Call::new(self.0.clone(), method, body)
    }
}
