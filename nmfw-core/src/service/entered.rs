//! [`Entered`]: whether a layered call has come to its handler.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::{Status, call::request::Request};

/// Goes with a request through the layers of a service, to the handler.
///
/// A layer may mark a call as not started, or fail in a way that is read so, as a tower layer that sheds
/// load does. If the layer did that after it had called the handler, a client would make the call run
/// twice. So the mark is removed from calls that have come to their handler.
#[derive(Clone, Debug, Default)]
pub(super) struct Entered(Arc<AtomicBool>);

impl Entered {
    /// Sends this along with the request, and with its clones.
    pub(super) fn follow(&self, request: &mut Request) {
        request.extensions_mut().insert(self.clone());
    }

    /// Notes that the request has come to its handler.
    pub(super) fn note(request: &Request) {
        if let Some(entered) = request.extensions().get::<Self>() {
            entered.0.store(true, Ordering::Release);
        }
    }

    /// Removes the mark from the error of a call that has come to its handler.
    pub(super) fn unmark(&self, status: Status) -> Status {
        match self.0.load(Ordering::Acquire) {
            true => status.started(),
            false => status,
        }
    }
}
