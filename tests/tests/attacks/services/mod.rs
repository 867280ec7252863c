//! Attacks on services.

mod discovery;
mod messages;
mod replies;
mod sessions;
mod streams;

use crate::measure::Attack;

/// Returns all attacks.
pub(crate) fn all() -> Vec<Attack> {
    [
        messages::ATTACKS,
        replies::ATTACKS,
        discovery::ATTACKS,
        sessions::ATTACKS,
        streams::ATTACKS,
    ]
    .into_iter()
    .flatten()
    .copied()
    .collect()
}
