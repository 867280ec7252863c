//! The peers in Rust: for each, a server, and a client that the common driver uses.

mod async_nats_service;
mod flood;
mod local;
mod nmfw;
mod raw;
mod tonic;
mod wide;

use std::{any::Any, fmt::Display, time::Duration};

use bytes::Bytes;
use nmfw_tests::Failure;

use crate::{meter::Over, peer::Peer, setup::Many};

pub(crate) use self::{
    async_nats_service::ServiceClient,
    local::LocalClient,
    nmfw::{BaseClient, MultiplexedClient},
    raw::{HeadersClient, RawClient},
    tonic::TonicClient,
};

/// How long a sleeping handler sleeps.
pub(crate) const NAP: Duration = Duration::from_millis(10);

/// The timeout of calls that set one. It is much longer than the calls, because only its cost is
/// measured.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(2);

/// The metadata of calls with metadata.
pub(crate) const METADATA: [(&str, &str); 3] = [
    ("tenant", "acme"),
    ("request-id", "0123456789abcdef"),
    ("client", "bench"),
];

/// The variant of a unary call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Plain,
    /// To the sleeping handler.
    Sleep,
    /// With [`TIMEOUT`].
    Deadline,
    /// With [`METADATA`].
    Metadata,
}

/// A resource that is released when dropped.
pub(crate) type Held = Box<dyn Any + Send>;

/// A client of a peer, on a separate connection.
pub(crate) trait Client: Clone + Send + Sync + 'static {
    fn connect(address: &str) -> impl Future<Output = Result<Self, Failure>> + Send;

    /// Returns the response's body, which equals the request's.
    fn unary(&self, how: How, body: Bytes) -> impl Future<Output = Result<Bytes, String>> + Send;

    /// Receives messages of that size until it is over; returns their number.
    fn download(
        &self,
        _size: usize,
        _over: Over,
    ) -> impl Future<Output = Result<u64, String>> + Send {
        async { Err("no streams".to_owned()) }
    }

    /// Sends messages until it is over; returns the number that the server has received.
    fn upload(
        &self,
        _body: Bytes,
        _over: Over,
    ) -> impl Future<Output = Result<u64, String>> + Send {
        async { Err("no streams".to_owned()) }
    }

    /// Sends messages and receives responses until it is over; returns the number of responses.
    fn chat(&self, _body: Bytes, _over: Over) -> impl Future<Output = Result<u64, String>> + Send {
        async { Err("no streams".to_owned()) }
    }

    /// Opens an idle stream in both directions.
    fn idle_stream(&self) -> impl Future<Output = Result<Held, String>> + Send {
        async { Err("no streams".to_owned()) }
    }
}

/// Serves as this peer. The result serves at the returned address until it is dropped.
pub(crate) async fn serve(
    peer: Peer,
    url: &str,
    many: Option<(Many, usize)>,
) -> Result<(Held, String), Failure> {
    match peer {
        Peer::Nmfw | Peer::NmfwBase => nmfw::serve(peer, url, many).await,
        Peer::Raw | Peer::RawHeaders => raw::serve(peer, url).await,
        Peer::AsyncNatsService => async_nats_service::serve(url).await,
        Peer::Tonic => tonic::serve().await,
        _ => Err(Failure::new(format!("{peer} has no server in Rust"))),
    }
}

/// Returns the subject of a peer's server, so that peers do not share calls.
fn subject(peer: Peer) -> String {
    format!("bench.{peer}")
}

fn text(error: impl Display) -> String {
    error.to_string()
}
