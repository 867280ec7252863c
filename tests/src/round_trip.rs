//! Makes sure that the server has processed the messages of a plain NATS client.

use std::time::Duration;

use async_nats::Client;
use futures_util::StreamExt;
use tokio::time::timeout;

use crate::failure::{Doing, Failure};

/// Sends a message to itself and waits for it. Everything that the client sent before, in
/// particular subscriptions, has then reached the server. `flush` only means that it was written to
/// the socket.
///
/// # Errors
///
/// Fails if the message does not return within `limit`.
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
