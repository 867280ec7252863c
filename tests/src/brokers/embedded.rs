//! The embedded broker, adapted for [`TestBroker`](crate::TestBroker).

use std::io;
use std::time::Duration;

use nmfw::embedded::Broker;
use tokio::time::sleep;

use crate::failure::{Doing, Failure};
use crate::free_port;

/// Starts an embedded broker, on `port` if one is given.
///
/// Without `port`, it uses a port that is free again after a stop, unlike a port that the system
/// chooses; see [`free_port`].
///
/// # Errors
///
/// Fails if it could not start.
pub async fn start(port: Option<u16>, max_payload: Option<usize>) -> Result<Broker, Failure> {
    let mut taken = None;
    for _ in 0..5 {
        let mut builder = Broker::builder().port(port.map_or_else(free_port, Ok)?);
        if let Some(bytes) = max_payload {
            builder = builder.max_payload(bytes);
        }
        match builder.start().await {
            // Another process was faster, or a process that is just starting holds a copy of the
            // socket of the previous broker.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                taken = Some(error);
                sleep(Duration::from_millis(20)).await;
            }
            started => return started.doing("start the embedded broker"),
        }
    }
    Err(Failure::new(format!(
        "start the embedded broker: {taken:?}"
    )))
}
