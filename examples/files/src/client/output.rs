//! Output of commands.

use std::io::{self, Write};

use crate::{files::FileInfo, names};

/// Prints a line. Unlike `println!`, it returns an error when the reader is gone, as with `head`.
pub(crate) fn line(text: impl std::fmt::Display) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}

/// Prints a note on standard error.
pub(super) fn note(text: impl std::fmt::Display) {
    // There is nothing to do if this fails.
    _ = writeln!(io::stderr().lock(), "{}", plain(&text.to_string()));
}

/// Replaces line breaks, and characters that could manipulate a terminal.
pub(crate) fn plain(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// Formats a name for output, because names from a service could manipulate a terminal.
pub(super) fn name(file: &FileInfo) -> String {
    match names::check(&file.name) {
        Ok(()) => file.name.clone(),
        Err(_) => format!("{:?}", file.name),
    }
}
