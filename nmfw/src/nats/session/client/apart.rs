//! [`Apart`]: keeps attempts of one call that are under way together from going to one instance.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::Handle;

/// What the attempts know of each other: the session that the last of them took.
#[derive(Debug, Default)]
pub(crate) struct Apart(Mutex<Weak<Handle>>);

impl Apart {
    /// An attempt takes a session.
    pub(crate) fn takes(&self, session: &Arc<Handle>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(session);
    }

    /// The session that another has taken, if it is still there.
    pub(crate) fn taken(&self) -> Option<Arc<Handle>> {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        taken.upgrade()
    }
}
