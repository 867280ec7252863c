//! Attacks on clients, by a hostile service.

mod replies;
mod sessions;

use crate::measure::Attack;

/// Returns all attacks.
pub(crate) fn all() -> Vec<Attack> {
    [replies::ATTACKS, sessions::ATTACKS]
        .into_iter()
        .flatten()
        .map(|attack| attack.by("hostile"))
        .collect()
}
