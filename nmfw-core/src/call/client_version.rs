//! The version of a calling service, as sent with calls.

/// Maximum length of a calling service's version on the wire, in bytes.
pub const MAX_CLIENT_VERSION: usize = 64;

/// Shortens the version of a calling service. A version of more than 64 bytes loses its build
/// metadata, then its pre-release, and is then cut. Senders and receivers apply the same rule.
/// Returns `None` if it is empty or has characters other than `[0-9A-Za-z.+-]`.
///
/// A call never fails because of the length of a version, which is only used in logs.
pub const fn client_version(version: &str) -> Option<&str> {
    let bytes = version.as_bytes();
    let mut at = 0;
    let mut pre_release = bytes.len();
    let mut build = bytes.len();
    while at < bytes.len() {
        match bytes[at] {
            b'+' if build == bytes.len() => build = at,
            b'-' if pre_release == bytes.len() && build == bytes.len() => pre_release = at,
            b'.' | b'+' | b'-' => {}
            other if other.is_ascii_alphanumeric() => {}
            _ => return None,
        }
        at += 1;
    }
    let mut end = bytes.len();
    if end > MAX_CLIENT_VERSION {
        end = build;
    }
    if end > MAX_CLIENT_VERSION {
        end = pre_release;
    }
    if end > MAX_CLIENT_VERSION {
        end = MAX_CLIENT_VERSION;
    }
    if end == 0 {
        return None;
    }
    Some(version.split_at(end).0)
}
