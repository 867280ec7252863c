//! Extensions with which client layers mark the attempts of a call that they send more than once.

use std::{
    any::Any,
    error::Error as StdError,
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use crate::Status;

/// Marks a request that a layer has sent before, so that the transport can limit resends.
#[derive(Debug)]
pub struct Resent;

/// Shared by concurrent attempts of one call: the peer of the latest attempt, so that the next one
/// can choose another.
#[derive(Debug, Default)]
pub struct Parallel(Mutex<Option<Weak<dyn Any + Send + Sync>>>);

impl Parallel {
    /// Records the peer of an attempt.
    pub fn set_taken<T: Send + Sync + 'static>(&self, peer: &Arc<T>) {
        let peer: Arc<dyn Any + Send + Sync> = Arc::<T>::clone(peer);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::downgrade(&peer));
    }

    /// Returns the peer of another attempt, if it still exists.
    pub fn taken<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        taken.as_ref()?.upgrade()?.downcast().ok()
    }
}

/// The source of the status of an attempt that was not made because the budget was used up.
#[derive(Debug)]
pub struct Spent;

impl Spent {
    pub fn status() -> Status {
        let text = "not resent: the channel's resend budget is used up, because too few calls have \
                    succeeded";
        Status::resource_exhausted(text)
            // Not started: this attempt is not made. The layer takes earlier attempts into account.
            .not_started()
            .with_source(Self)
    }

    /// Returns whether an attempt ended for this reason.
    pub fn is_cause_of(status: &Status) -> bool {
        StdError::source(status).is_some_and(<dyn StdError>::is::<Self>)
    }
}

impl fmt::Display for Spent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the channel's resend budget is used up")
    }
}

impl StdError for Spent {}
