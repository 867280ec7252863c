//! Variables with two names: a specific one, and a short one that other programs may use.

use std::env;

/// Returns the name of the variable to use: the specific one, unless only the short one is set.
pub(super) fn counting(own: &'static str, short: &'static str) -> &'static str {
    let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    match !is_set(own) && is_set(short) {
        true => short,
        false => own,
    }
}
