//! Knowing that the server has seen what a plain NATS client sent.

use std::time::Duration;

use async_nats::Client;
use futures_util::StreamExt;
use tokio::time::timeout;

use crate::failure::{Doing, Failure};

/// Sends a message to itself and awaits it: what the client sent before, subscriptions above all,
/// has reached the server then. `flush` only says that it was written to the socket.
///
/// # Errors
///
/// Fails if nothing came back within `limit`.
pub async fn round_trip(client: &Client, limit: Duration) -> Result<(), Failure> {
    let inbox = client.new_inbox();
    let mut echoes = client.subscribe(inbox.clone()).await.doing("subscribe")?;
    client
        .publish(inbox, "echo".into())
        .await
        .doing("publish")?;
    match timeout(limit, echoes.next()).await {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(Failure::new("the connection is closed")),
        Err(_) => Err(Failure::new(format!("no echo within {limit:?}"))),
    }
}
