//! Attempts: extensions of a call that a client's layer sends more than once, for its transport.

use std::{
    any::Any,
    error::Error as StdError,
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use crate::Status;

/// Marks a request that a layer has sent before, so that its transport can limit how many there are.
#[derive(Debug)]
pub(crate) struct Resent;

/// Shared by the attempts of one call that are in flight together: the peer that the last of them took,
/// so that the next one can take another.
#[derive(Debug, Default)]
pub(crate) struct Parallel(Mutex<Option<Weak<dyn Any + Send + Sync>>>);

impl Parallel {
    /// Notes the peer that an attempt takes.
    pub(crate) fn set_taken<T: Send + Sync + 'static>(&self, peer: &Arc<T>) {
        let peer: Arc<dyn Any + Send + Sync> = Arc::<T>::clone(peer);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::downgrade(&peer));
    }

    /// Returns the peer that another attempt has taken, if it is still there.
    pub(crate) fn taken<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        taken.as_ref()?.upgrade()?.downcast().ok()
    }
}

/// The source of a status with which a further attempt of a layer ends that was not made.
#[derive(Debug)]
pub(crate) struct Spent;

impl Spent {
    pub(crate) fn status() -> Status {
        let text = "not sent again: too few calls of the channel have succeeded";
        Status::resource_exhausted(text)
            .not_started()
            .with_source(Self)
    }

    /// Whether an attempt has ended with it.
    pub(crate) fn is_cause_of(status: &Status) -> bool {
        StdError::source(status).is_some_and(<dyn StdError>::is::<Self>)
    }
}

impl fmt::Display for Spent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the channel's budget of further sends is spent")
    }
}

impl StdError for Spent {}
