//! The timer of a session.

use std::{pin::Pin, time::Instant};

use tokio::time::Sleep;

/// A timer that is rarely reset: it may fire early, when its original time is no longer relevant.
/// The times of a session change with every packet, and resetting a timer is not free.
pub(crate) struct Timer {
    sleep: Pin<Box<Sleep>>,
    armed: Option<Instant>,
}

impl Timer {
    pub(crate) fn new() -> Self {
        Self {
            sleep: Box::pin(tokio::time::sleep_until(tokio::time::Instant::now())),
            armed: None,
        }
    }

    /// Makes the timer fire at this time, or at an earlier time that was set before.
    pub(crate) fn set(&mut self, at: Option<Instant>) {
        if let Some(at) = at
            && self.armed.is_none_or(|armed| at < armed)
        {
            self.sleep.as_mut().reset(at.into());
            self.armed = Some(at);
        }
    }

    /// Completes when the timer fires; never if it is not set.
    pub(crate) async fn elapsed(&mut self) {
        if self.armed.is_none() {
            return std::future::pending().await;
        }
        self.sleep.as_mut().await;
        self.armed = None;
    }
}
