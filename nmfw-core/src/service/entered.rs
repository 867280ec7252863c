//! [`Entered`]: whether a layered call has come to its handler.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::{Status, call::request::Request};

/// Records whether a request has passed the layers of a service and reached the handler.
///
/// A layer can mark a call as not started, or fail with an error that is converted to such a
/// status, such as that of a tower layer that sheds load. If a layer did so after calling the
/// handler, the client would resend the call and execute it twice. The mark is therefore removed
/// from calls that have reached their handler.
#[derive(Clone, Debug, Default)]
pub(super) struct Entered(Arc<AtomicBool>);

impl Entered {
    /// Attaches this record to the request and its clones.
    pub(super) fn follow(&self, request: &mut Request) {
        request.extensions_mut().insert(self.clone());
    }

    /// Records that the request has reached its handler.
    pub(super) fn note(request: &Request) {
        if let Some(entered) = request.extensions().get::<Self>() {
            entered.0.store(true, Ordering::Release);
        }
    }

    /// Removes the mark from the error of a call that has reached its handler.
    pub(super) fn unmark(&self, status: Status) -> Status {
        match self.0.load(Ordering::Acquire) {
            true => status.started(),
            false => status,
        }
    }
}
