//! [`Settings`]: the limits and timeouts of a broker.

use std::time::Duration;

/// The settings that connections read.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) max_payload: usize,
    pub(crate) max_pending: usize,
    pub(crate) ping_interval: Duration,
    pub(crate) write_deadline: Duration,
}

impl Default for Settings {
    /// Returns the defaults of nats-server.
    fn default() -> Self {
        Self {
            max_payload: 1024 * 1024,
            max_pending: 64 * 1024 * 1024,
            ping_interval: Duration::from_secs(120),
            write_deadline: Duration::from_secs(10),
        }
    }
}
