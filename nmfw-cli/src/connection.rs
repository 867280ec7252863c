//! Connecting as the command line says.

use std::time::Duration;

use nmfw::{ConnectOptions, Connection};

use crate::{
    arguments::Global,
    failure::{Exit, Failure},
};

/// Maximum number of answers that wait to be read. More than that at once is not legible, and
/// each can have the size of the NATS server's `max_payload`.
const MAX_WAITING: usize = 8192;

/// Connects to the NATS server of the command line.
pub(crate) async fn connect(global: &Global) -> Result<Connection, Failure> {
    connect_within(&global.connect, global.timeout).await
}

/// Connects within a time.
pub(crate) async fn connect_within(
    connect: &nmfw::cli::Connect,
    limit: Duration,
) -> Result<Connection, Failure> {
    let options = ConnectOptions::new()
        .name("nmfw")
        .connect_attempts(1)
        .connection_timeout(limit)
        .subscription_capacity(MAX_WAITING);
    // There can be several servers, each with the time limit.
    match tokio::time::timeout(limit * 2, connect.connect_with(options)).await {
        Ok(connected) => Ok(connected?),
        Err(_) => Err(Failure::new(format!(
            "no NATS server accepted the connection within {limit:?}"
        ))
        .exit(Exit::Unconnected)
        .hint("set a longer --timeout, or name another server with --server or --context")),
    }
}
