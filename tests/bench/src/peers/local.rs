//! nmfw without NATS: the service runs in the client's process.

use bytes::Bytes;
use nmfw_tests::Failure;

use super::{
    Client, How,
    nmfw::{BenchClient, Echo, unary},
};

#[derive(Clone, Debug)]
pub(crate) struct LocalClient(BenchClient);

impl Client for LocalClient {
    async fn connect(_address: &str) -> Result<Self, Failure> {
        Ok(Self(BenchClient::local(Echo)))
    }

    async fn unary(&self, how: How, body: Bytes) -> Result<Bytes, String> {
        unary(&self.0, how, body).await
    }
}
