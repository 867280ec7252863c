//! Variables with two names: ours, and a short one that other programs of a machine may have set.

use std::env;

/// Returns the name of the variable that counts: our own, unless only the short one is set to
/// something.
pub(super) fn counting(own: &'static str, short: &'static str) -> &'static str {
    let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    match !is_set(own) && is_set(short) {
        true => short,
        false => own,
    }
}
