//! Connecting as the command line says.

use nmfw::{ConnectOptions, Connection};

use crate::{arguments::Global, failure::Failure};

/// Maximum number of answers that wait to be read. More than that at once is not legible, and
/// each can have the size of the NATS server's `max_payload`.
const MAX_WAITING: usize = 8192;

/// Connects to the NATS server of the command line.
pub(crate) async fn connect(global: &Global) -> Result<Connection, Failure> {
    let options = ConnectOptions::new()
        .name("nmfw")
        .connect_attempts(1)
        .connection_timeout(global.timeout)
        .subscription_capacity(MAX_WAITING);
    let connecting = global.connect.connect_with(options);
    match tokio::time::timeout(global.timeout * 2, connecting).await {
        Ok(connected) => Ok(connected?),
        Err(_) => Err(Failure::new(format!(
            "no NATS server accepted the connection within {:?}",
            global.timeout * 2
        ))
        .exit(crate::failure::Exit::Unconnected)
        .hint("set a longer --timeout, or name another server with --server or --context")),
    }
}
