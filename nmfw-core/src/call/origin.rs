//! [`Origin`]: a call's transport-specific facts.

use std::{any::Any, fmt, sync::Arc};

use tokio_util::sync::CancellationToken;

/// The facts of the front that received a call, and of its server. Calls can share one.
pub struct Origin<F: ?Sized = dyn Any + Send + Sync> {
    /// Cancelled when the server starts its shutdown. In an `Arc`, because clones of the token
    /// itself would contend for a lock.
    pub(crate) stopping: Arc<CancellationToken>,
    /// Facts of the front, available to handlers as an extension.
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
