//! Names and addresses of services: checks, and the address of a method.

use std::fmt;

/// Maximum length of a subject: a NATS server's control line is limited to 4096 bytes.
const MAX_SUBJECT: usize = 1024;

/// Maximum length of a name in discovery.
const MAX_NAME: usize = 128;

/// The reason why a text is not a valid subject, queue group or name. Formatted as the end of a
/// sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalid {
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
            Self::TooLong => {
                "it is too long: the limit is 1024 bytes for a subject and 128 bytes \
                              for a name"
            }
            Self::EmptyToken => "it has an empty token: dots must separate tokens",
            Self::Space => "it has white space or a control character",
            Self::Wildcard => "it has a wildcard ('*' or '>')",
            Self::Reserved => "a token begins with '_' or '$', which is reserved",
            Self::NameCharacter => "only ASCII letters, digits, '-' and '_' are allowed (ADR-32)",
        })
    }
}

/// Checks the subject of a service, to which method names are appended.
pub fn check_subject(subject: &str) -> Result<(), Invalid> {
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

/// Checks a name by the rule of ADR-32: `^[a-zA-Z0-9_-]+$`.
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

/// Returns the subject of a method.
pub fn method(base: &str, method: &str) -> String {
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
