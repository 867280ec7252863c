//! Names of files, as received from peers.
//!
//! These rules concern only the text. [`Store`](crate::store::Store) makes sure that links do not
//! lead out of the directory.

use crate::error::FileError;

/// Maximum length of a name in bytes.
const MAX: usize = 1024;

const PART_PREFIX: &str = ".files-";
const PART_SUFFIX: &str = ".part";

/// Checks a name: refuses names that could lead out of a directory, that differ between systems, or
/// that could mislead a reader when printed.
pub(crate) fn check(name: &str) -> Result<(), FileError> {
    match reason(name) {
        None => Ok(()),
        Some(reason) => Err(FileError::Name {
            name: name.chars().take(MAX).collect(),
            reason,
        }),
    }
}

/// Checks the name of a directory like [`check`]; the empty name is the root.
pub(crate) fn check_directory(name: &str) -> Result<(), FileError> {
    if name.is_empty() { Ok(()) } else { check(name) }
}

/// Returns the name of a temporary file.
pub(crate) fn part(number: u64) -> String {
    format!("{PART_PREFIX}{}-{number}{PART_SUFFIX}", std::process::id())
}

/// Returns whether the last part of a name is that of a temporary file.
pub(crate) fn is_part(file_name: &str) -> bool {
    file_name.starts_with(PART_PREFIX) && file_name.ends_with(PART_SUFFIX)
}

fn reason(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        return Some("it is empty");
    }
    if name.len() > MAX {
        return Some("it is longer than 1024 bytes");
    }
    if name.chars().any(char::is_control) {
        return Some("it has control characters");
    }
    if name.contains('\\') {
        return Some("it has a backslash");
    }
    if name.starts_with('/') {
        return Some("it is absolute");
    }
    for part in name.split('/') {
        match part {
            "" => return Some("one of its parts is empty"),
            "." | ".." => return Some("one of its parts is . or .."),
            part if is_part(part) => return Some("the name is reserved for temporary files"),
            _ => {}
        }
    }
    // Drive letters and alternate streams.
    if cfg!(windows) && name.contains(':') {
        return Some("it has a colon");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_are_taken() {
        for name in [
            "a",
            "a/b/c.txt",
            ".hidden",
            "...",
            "a b",
            "grüße.txt",
            "x.part",
            ".part",
        ] {
            assert!(check(name).is_ok(), "{name:?}");
        }
        assert!(check(&"x".repeat(MAX)).is_ok());
        assert!(check_directory("").is_ok());
    }

    #[test]
    fn names_that_escape_or_confuse_are_refused() {
        for name in [
            "",
            "/",
            "/etc/passwd",
            "..",
            "../x",
            "a/../../x",
            "a/..",
            "./a",
            "a/.",
            "a//b",
            "a/",
            "a\\..\\b",
            "a\0b",
            "a\nb",
            "\u{1b}[2J",
            ".files-1-2.part",
            "a/.files-1-2.part",
        ] {
            assert!(check(name).is_err(), "{name:?}");
        }
        assert!(check(&"x".repeat(MAX + 1)).is_err());
        assert!(is_part(&part(7)));
    }
}
