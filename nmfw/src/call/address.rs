//! Names and addresses of services: checks, and the address of a method.

use std::fmt;

/// Longest subject that is taken: a NATS server's control line ends at 4096 bytes.
const MAX_SUBJECT: usize = 1024;

/// Longest name in discovery.
const MAX_NAME: usize = 128;

/// Why a text cannot be a subject, queue group or name. Reads as the end of a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Invalid {
    Empty,
    TooLong,
    EmptyToken,
    Space,
    Wildcard,
    Reserved,
    NameCharacter,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "it is empty",
            Self::TooLong => "it is too long: subjects have 1024 bytes at most, names 128",
            Self::EmptyToken => "it has an empty token: dots must stand between tokens",
            Self::Space => "it has white space or a control character",
            Self::Wildcard => "it has a wildcard ('*' or '>')",
            Self::Reserved => "a token begins with '_' or '$', which is reserved",
            Self::NameCharacter => "only ASCII letters, digits, '-' and '_' are allowed (ADR-32)",
        })
    }
}

/// Checks the subject of a service, which method names are appended to.
pub(crate) fn check_subject(subject: &str) -> Result<(), Invalid> {
    check_queue_group(subject)?;
    if subject.split('.').any(str::is_empty) {
        return Err(Invalid::EmptyToken);
    }
    if subject
        .split('.')
        .any(|token| token.starts_with(['_', '$']))
    {
        return Err(Invalid::Reserved);
    }
    Ok(())
}

/// Checks the name of a queue group.
pub(crate) fn check_queue_group(group: &str) -> Result<(), Invalid> {
    if group.is_empty() {
        return Err(Invalid::Empty);
    }
    if group.len() > MAX_SUBJECT {
        return Err(Invalid::TooLong);
    }
    if group.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(Invalid::Space);
    }
    if group.contains(['*', '>']) {
        return Err(Invalid::Wildcard);
    }
    Ok(())
}

/// Checks a name of ADR-32: `^[a-zA-Z0-9_-]+$`.
pub(crate) fn check_name(name: &str) -> Result<(), Invalid> {
    if name.is_empty() {
        return Err(Invalid::Empty);
    }
    if name.len() > MAX_NAME {
        return Err(Invalid::TooLong);
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if !name.bytes().all(allowed) {
        return Err(Invalid::NameCharacter);
    }
    Ok(())
}

/// The subject of a method.
pub(crate) fn method(base: &str, method: &str) -> String {
    format!("{base}.{method}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_subjects() {
        for (subject, why) in [
            ("", Invalid::Empty),
            (".", Invalid::EmptyToken),
            ("a.", Invalid::EmptyToken),
            ("a..b", Invalid::EmptyToken),
            ("a b", Invalid::Space),
            ("a\r\nPUB b", Invalid::Space),
            ("a.*", Invalid::Wildcard),
            ("a.>", Invalid::Wildcard),
            ("$SRV.a", Invalid::Reserved),
            ("a._b", Invalid::Reserved),
        ] {
            assert_eq!(check_subject(subject), Err(why), "{subject:?}");
        }
        assert_eq!(check_subject(&"a".repeat(2000)), Err(Invalid::TooLong));
        assert_eq!(check_subject("nmfw.calc"), Ok(()));
        assert_eq!(check_name("a.b"), Err(Invalid::NameCharacter));
        assert_eq!(check_name("acme-billing_v1"), Ok(()));
    }
}
