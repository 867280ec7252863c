//! The embedded broker, shaped for [`TestBroker`](crate::TestBroker).

use crate::failure::Failure;

/// A running embedded broker.
#[derive(Debug)]
pub struct Embedded {
    port: u16,
}

impl Embedded {
    /// Starts it, on this port if one is given.
    ///
    /// # Errors
    ///
    /// That it could not start.
    pub async fn start(_port: Option<u16>, _max_payload: Option<usize>) -> Result<Self, Failure> {
        Err(Failure::new("the embedded broker is not there yet"))
    }

    /// The port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Closes all connections and the port.
    pub async fn shutdown(self) {}
}
