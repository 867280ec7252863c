//! [`Origin`]: what the front that took a call knows of it.

use std::{any::Any, fmt, sync::Arc};

use tokio_util::sync::CancellationToken;

/// What the front that took a call knows of it, and the server that it came to. Calls can share one.
pub(crate) struct Origin<F: ?Sized = dyn Any + Send + Sync> {
    /// Cancelled when the server is told to stop. In an `Arc`, as a token's own clones meet at a lock.
    pub(crate) stopping: Arc<CancellationToken>,
    /// Facts of the front's own type. Handlers find them as an extension.
    pub(crate) facts: F,
}

impl Origin {
    /// Returns the facts if they are of type `T`.
    pub(crate) fn get<T: 'static>(&self) -> Option<&T> {
        self.facts.downcast_ref()
    }
}

impl<F: ?Sized> fmt::Debug for Origin<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Origin")
    }
}
