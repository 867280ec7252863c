//! Peers in other languages.

use nmfw_tests::Failure;

use crate::{launch::Launcher, peer::Peer};

/// The peers in Go, which one program is.
pub(crate) fn go(peer: Peer) -> Result<Launcher, Failure> {
    Err(Failure::new(format!("{peer} is not part of the suite yet")))
}

/// nats-py.
pub(crate) fn python(peer: Peer) -> Result<Launcher, Failure> {
    Err(Failure::new(format!("{peer} is not part of the suite yet")))
}
