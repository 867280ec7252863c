//! [`Alarm`]: the timer of a session.

use std::{pin::Pin, time::Instant};

use tokio::time::Sleep;

/// A timer that is moved seldom: it may ring early, when what it was set for is no longer due.
/// The times of a session move with every packet, and to move a timer is not free.
pub(crate) struct Alarm {
    sleep: Pin<Box<Sleep>>,
    armed: Option<Instant>,
}

impl Alarm {
    pub(crate) fn new() -> Self {
        Self {
            sleep: Box::pin(tokio::time::sleep_until(tokio::time::Instant::now())),
            armed: None,
        }
    }

    /// Rings at this time, or at an earlier one that was asked for before.
    pub(crate) fn set(&mut self, at: Option<Instant>) {
        if let Some(at) = at
            && self.armed.is_none_or(|armed| at < armed)
        {
            self.sleep.as_mut().reset(at.into());
            self.armed = Some(at);
        }
    }

    /// Comes back when it rings; never if it is not set.
    pub(crate) async fn rung(&mut self) {
        if self.armed.is_none() {
            return std::future::pending().await;
        }
        self.sleep.as_mut().await;
        self.armed = None;
    }
}
