//! The peers that are written in Rust: for each a server, and a client that the same code drives.

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

/// How long a handler sleeps, where one does.
pub(crate) const NAP: Duration = Duration::from_millis(10);

/// The time-out of calls that have one of their own. Far more than they take: what is measured is what
/// it costs to have one.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(2);

/// What calls with metadata carry.
pub(crate) const METADATA: [(&str, &str); 3] = [
    ("tenant", "acme"),
    ("request-id", "0123456789abcdef"),
    ("client", "bench"),
];

/// How a unary call is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Plain,
    /// To the handler that sleeps.
    Sleep,
    /// With [`TIMEOUT`].
    Deadline,
    /// With [`METADATA`].
    Metadata,
}

/// Something that ends when it is dropped.
pub(crate) type Held = Box<dyn Any + Send>;

/// A client of a peer, on a connection of its own.
pub(crate) trait Client: Clone + Send + Sync + 'static {
    fn connect(address: &str) -> impl Future<Output = Result<Self, Failure>> + Send;

    /// Gives the answer's body, which is the request's.
    fn unary(&self, how: How, body: Bytes) -> impl Future<Output = Result<Bytes, String>> + Send;

    /// Takes messages of that size until it is over; gives their number.
    fn download(
        &self,
        _size: usize,
        _over: Over,
    ) -> impl Future<Output = Result<u64, String>> + Send {
        async { Err("no streams".to_owned()) }
    }

    /// Sends messages until it is over; gives the number of those that the server has got.
    fn upload(
        &self,
        _body: Bytes,
        _over: Over,
    ) -> impl Future<Output = Result<u64, String>> + Send {
        async { Err("no streams".to_owned()) }
    }

    /// Sends messages and takes what comes back until it is over; gives the number of the latter.
    fn chat(&self, _body: Bytes, _over: Over) -> impl Future<Output = Result<u64, String>> + Send {
        async { Err("no streams".to_owned()) }
    }

    /// Opens a stream both ways, on which nothing happens.
    fn idle_stream(&self) -> impl Future<Output = Result<Held, String>> + Send {
        async { Err("no streams".to_owned()) }
    }
}

/// Serves as this peer. What it gives back serves until it is dropped, at the address.
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

/// The subject that a peer's server listens on, so that no two share their calls.
fn subject(peer: Peer) -> String {
    format!("bench.{peer}")
}

fn text(error: impl Display) -> String {
    error.to_string()
}
